//! [`Intake`]: the body of a request as tonic gets to see it.
//!
//! Bodies that hold too little, too much or nothing are told apart here, as
//! etcd's gRPC library does it: a unary call is its first message, whatever
//! comes after; a call that answers with a stream is one message and no more; a
//! stream may end within the prefix of a message, but not within a message.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use tonic::Status;

use super::calls::Kind;
use super::status;
use super::unary::PREFIX_BYTES;

/// The body of a request to tonic.
pub(super) struct Intake {
    body: Incoming,
    messages: Messages,
}

impl Intake {
    /// Of a call of that kind.
    pub(super) fn new(body: Incoming, kind: Kind, bytes_max: usize) -> Intake {
        Intake { body, messages: Messages::new(kind, bytes_max) }
    }
}

impl Body for Intake {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if this.messages.is_done {
                return Poll::Ready(None);
            }
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    return Poll::Ready(this.messages.end().err().map(Err));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                }
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            match this.messages.take(data) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(status) => {
                    this.messages.is_done = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
    }
}

/// Where in its messages a body is.
struct Messages {
    kind: Kind,
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that are there.
    known: usize,
    /// Bytes that the message lacks.
    lacks: usize,
    /// Messages that are complete.
    count: usize,
    is_done: bool,
}

impl Messages {
    fn new(kind: Kind, bytes_max: usize) -> Messages {
        let prefix = [0; PREFIX_BYTES];
        Messages { kind, bytes_max, prefix, known: 0, lacks: 0, count: 0, is_done: false }
    }

    /// Takes the next piece, and gives what of it is to be decoded.
    fn take(&mut self, mut data: Bytes) -> Result<Bytes, Status> {
        let mut given = BytesMut::with_capacity(PREFIX_BYTES + data.len());
        while !data.is_empty() && !self.is_done {
            if self.known < PREFIX_BYTES {
                let count = data.len().min(PREFIX_BYTES - self.known);
                data.copy_to_slice(&mut self.prefix[self.known..self.known + count]);
                self.known += count;
                if self.known < PREFIX_BYTES {
                    break;
                }
                self.begin()?;
                if self.is_wanted() {
                    given.put_slice(&self.prefix);
                }
            } else {
                let piece = data.split_to(data.len().min(self.lacks));
                self.lacks -= piece.len();
                if self.is_wanted() {
                    given.put_slice(&piece);
                }
            }
            if self.lacks == 0 {
                self.complete()?;
            }
        }
        Ok(given.freeze())
    }

    /// Whether the message is one that somebody waits for, in a known form.
    fn is_wanted(&self) -> bool {
        self.prefix[0] <= 1 && (self.count == 0 || self.kind == Kind::BidiStream)
    }

    fn begin(&mut self) -> Result<(), Status> {
        let [_, length @ ..] = self.prefix;
        self.lacks = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if self.lacks > self.bytes_max {
            return Err(status::too_large(self.lacks, self.bytes_max));
        }
        Ok(())
    }

    fn complete(&mut self) -> Result<(), Status> {
        status::payload_format(self.prefix[0])?;
        self.known = 0;
        self.count += 1;
        match self.kind {
            Kind::Unary => self.is_done = true,
            Kind::ServerStream if self.count > 1 => {
                return Err(Status::internal(
                    "cardinality violation: received multiple request messages for \
                     non-client-streaming RPC",
                ));
            }
            Kind::ServerStream | Kind::BidiStream => {}
        }
        Ok(())
    }

    /// Whether a body may end here.
    fn end(&self) -> Result<(), Status> {
        let cut_off = "unexpected EOF";
        match self.kind {
            Kind::Unary if self.lacks > 0 => Err(Status::unknown(cut_off)),
            Kind::Unary => Err(Status::unknown("EOF")),
            _ if self.lacks > 0 => Err(Status::internal(cut_off)),
            Kind::ServerStream if self.count == 0 => Err(Status::internal(
                "cardinality violation: received no request message from non-client-streaming RPC",
            )),
            Kind::ServerStream | Kind::BidiStream => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is given of a body that comes byte by byte, and how it ends.
    fn read(kind: Kind, body: &[u8]) -> (Vec<u8>, String) {
        let mut messages = Messages::new(kind, 8);
        let mut given = Vec::new();
        for byte in body {
            match messages.take(Bytes::copy_from_slice(&[*byte])) {
                Ok(data) => given.extend(data),
                Err(status) => return (given, status.message().to_owned()),
            }
        }
        if messages.is_done {
            return (given, String::new());
        }
        let end = messages.end().err().map(|status| status.message().to_owned());
        (given, end.unwrap_or_default())
    }

    fn end(kind: Kind, body: &[u8]) -> String {
        read(kind, body).1
    }

    const ONE: &[u8] = b"\0\0\0\0\x02ab";
    const TWO: &[u8] = b"\0\0\0\0\x02ab\0\0\0\0\0";

    #[test]
    fn a_unary_call_is_its_first_message() {
        for body in [ONE, TWO, b"\0\0\0\0\x02abc"] {
            assert_eq!(read(Kind::Unary, body), (ONE.to_vec(), String::new()), "{body:?}");
        }
        assert_eq!([end(Kind::Unary, b""), end(Kind::Unary, b"\0\0")], ["EOF", "EOF"]);
        assert_eq!(end(Kind::Unary, &ONE[..6]), "unexpected EOF");
    }

    #[test]
    fn one_message_makes_a_stream_of_answers() {
        assert_eq!(read(Kind::ServerStream, ONE), (ONE.to_vec(), String::new()));
        let (given, end_of_two) = read(Kind::ServerStream, TWO);
        assert_eq!(given, ONE);
        assert!(end_of_two.contains("received multiple request messages"), "{end_of_two}");
        assert!(end(Kind::ServerStream, b"\0").contains("received no request message"));
        assert_eq!(end(Kind::ServerStream, &ONE[..6]), "unexpected EOF");
        assert_eq!(end(Kind::ServerStream, b"\0\0\0\0\x02ab\0"), "");
    }

    #[test]
    fn a_stream_ends_between_its_messages() {
        assert_eq!(read(Kind::BidiStream, TWO), (TWO.to_vec(), String::new()));
        assert_eq!(read(Kind::BidiStream, b"\0\0"), (Vec::new(), String::new()));
        assert_eq!(end(Kind::BidiStream, &ONE[..6]), "unexpected EOF");
    }

    #[test]
    fn forms_and_sizes_that_there_are_not_are_refused() {
        let (given, unknown) = read(Kind::Unary, b"\x02\0\0\0\x01a");
        assert_eq!((given.len(), &*unknown), (0, "grpc: received unexpected payload format 2"));
        let large = end(Kind::BidiStream, b"\0\0\0\0\x09");
        assert_eq!(large, "grpc: received message larger than max (9 vs. 8)");
    }
}
