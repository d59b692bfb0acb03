//! Requests as they come: the whole body as one message, or JSON objects one
//! after another, each taken as soon as its last brace is there.

use std::error::Error;
use std::io::{self, ErrorKind};

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use prost_reflect::MessageDescriptor;
use tonic::Status;

use super::json;
use crate::api::status;

/// Reads a body to its end.
pub(super) async fn read_all(body: Body, bytes_max: usize) -> Result<Bytes, Status> {
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        let length = whole.len() + piece.len();
        if length > bytes_max {
            return Err(status::too_large(length, bytes_max));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// What etcd says of a body that does not come to its end.
fn broken(error: &(dyn Error + 'static)) -> Status {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(ErrorKind::InvalidInput | ErrorKind::InvalidData)) {
            return Status::invalid_argument("invalid byte in chunk length");
        }
        cause = error.source();
    }
    Status::cancelled("context canceled")
}

/// The messages of a body. As with etcd, what is not understood ends them, as
/// if the client had no more to say: what was asked before it goes on.
pub(super) fn messages(
    body: Body,
    kind: MessageDescriptor,
    bytes_max: usize,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let reader = Reader { pieces: body.into_data_stream(), splitter: Splitter::default() };
    stream::unfold(reader, move |mut reader| {
        let kind = kind.clone();
        async move {
            let object = reader.next(bytes_max).await?;
            match json::decode(&kind, &object) {
                Ok(message) => Some((message, reader)),
                Err(status) => {
                    tracing::debug!(%status, "a request is not understood");
                    None
                }
            }
        }
    })
}

struct Reader {
    pieces: BodyDataStream,
    splitter: Splitter,
}

impl Reader {
    async fn next(&mut self, bytes_max: usize) -> Option<Bytes> {
        loop {
            match self.splitter.next() {
                Found::Object(object) => return Some(object),
                Found::Nonsense => return None,
                Found::Nothing => {}
            }
            let piece = self.pieces.next().await?.ok()?;
            // Nobody's request is so large.
            if self.splitter.buffer.len() + piece.len() > bytes_max {
                return None;
            }
            self.splitter.buffer.extend_from_slice(&piece);
        }
    }
}

/// Cuts bytes into JSON objects, and looks at each byte once.
#[derive(Default)]
struct Splitter {
    buffer: BytesMut,
    /// Bytes of the buffer that were looked at.
    seen: usize,
    /// Braces and brackets that are open.
    depth: usize,
    is_string: bool,
    is_escaped: bool,
}

#[derive(Debug, PartialEq)]
enum Found {
    Object(Bytes),
    /// More bytes are needed.
    Nothing,
    /// Something else than an object.
    Nonsense,
}

impl Splitter {
    fn next(&mut self) -> Found {
        while let Some(byte) = self.buffer.get(self.seen).copied() {
            self.seen += 1;
            if self.is_string {
                self.is_string = self.is_escaped || byte != b'"';
                self.is_escaped = !self.is_escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'{' => self.depth += 1,
                _ if self.depth == 0 && !json::is_space(byte) => return Found::Nonsense,
                _ if self.depth == 0 => {}
                b'[' => self.depth += 1,
                b'"' => self.is_string = true,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let length = std::mem::take(&mut self.seen);
                        return Found::Object(self.buffer.split_to(length).freeze());
                    }
                }
                _ => {}
            }
        }
        Found::Nothing
    }
}

/// Cuts what came in pieces into JSON objects, up to what is none.
#[cfg(any(test, fuzzing))]
pub(super) fn split(pieces: &[&[u8]]) -> Vec<Bytes> {
    let mut splitter = Splitter::default();
    let mut objects = Vec::new();
    for piece in pieces {
        splitter.buffer.extend_from_slice(piece);
        loop {
            match splitter.next() {
                Found::Object(object) => objects.push(object),
                Found::Nothing => break,
                Found::Nonsense => return objects,
            }
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut splitter = Splitter::default();
        let mut objects = Vec::new();
        for piece in pieces {
            splitter.buffer.extend_from_slice(piece);
            loop {
                match splitter.next() {
                    Found::Object(object) => {
                        let object = String::from_utf8(object.to_vec()).unwrap();
                        objects.push(object.trim().to_owned());
                    }
                    Found::Nothing => break,
                    Found::Nonsense => return (objects, false),
                }
            }
        }
        (objects, true)
    }

    #[test]
    fn objects_are_found_however_they_are_cut() {
        let whole = br#" {"a":"}\"{\\"}{"b":[{},"x"]}
            {"c":{}}"#;
        let wanted = [r#"{"a":"}\"{\\"}"#, r#"{"b":[{},"x"]}"#, r#"{"c":{}}"#];
        for cut in 0..=whole.len() {
            let (first, second) = whole.split_at(cut);
            let (objects, is_good) = split(&[first, second]);
            assert!(is_good && objects == wanted, "{cut}: {objects:?}");
        }
        let bytes: Vec<_> = whole.chunks(1).collect();
        assert_eq!(split(&bytes).0, wanted);
    }

    #[test]
    fn what_is_no_object_ends_the_requests() {
        for (text, count) in [("x", 0), ("[{}]", 0), ("{} 5 {}", 1), ("{}}", 1), ("\"{}\"", 0)] {
            let (objects, is_good) = split(&[text.as_bytes()]);
            assert!(!is_good && objects.len() == count, "{text}: {objects:?}");
        }
        assert_eq!(split(&[b"{\"a\":"]), (Vec::new(), true));
    }

    #[tokio::test]
    async fn messages_end_with_the_body_or_with_nonsense() {
        let kind = &super::super::routes::find("/v3/lease/keepalive").unwrap().input;
        for (body, wanted) in [
            (r#"{"ID":"5"}{"ID":6}"#, 2),
            (r#"{"ID":"5"}{"ID":"x"}{"ID":7}"#, 1),
            ("", 0),
            (r#"{"ID":"#, 0),
        ] {
            let messages = messages(Body::from(body), kind.clone(), 100);
            assert_eq!(messages.count().await, wanted, "{body}");
        }
        let messages = messages(Body::from(r#"{"ID":"5"}"#), kind.clone(), 9);
        assert_eq!(messages.count().await, 0);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound() {
        assert_eq!(read_all(Body::from("12345"), 5).await.unwrap(), "12345");
        let refused = read_all(Body::from("123456"), 5).await.unwrap_err();
        assert_eq!(refused.message(), "grpc: received message larger than max (6 vs. 5)");
    }
}
