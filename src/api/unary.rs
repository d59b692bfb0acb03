//! One message in, one message out: gRPC as the most frequent calls need it.
//!
//! tonic serves everything else. These calls are served here because a third
//! of the processor time of a small call in tonic goes into being general:
//! boxes around bodies, buffers of 8 KiB, streams of one message. The message
//! is copied once, into bytes of its own, so that a value which the store
//! keeps does not keep the connection's buffer alive.
//!
//! Compressed messages are not read here.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use prost::Message;
use tonic::{Code, Status};

use super::budget::{Budget, Content, Next, Parcel, Share};
use super::calls::Kind;
use super::listing::Listing;
use super::status;
use crate::proto::etcdserverpb::RangeResponse;
use crate::proto::mvccpb::KeyValue;
use crate::store::RangeRows;

/// In front of every message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

/// The largest message that etcd sends.
const SENT_BYTES_MAX: u32 = i32::MAX.cast_unsigned();

/// What a large range is cut into.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// What a message may claim of memory before it has arrived.
const CLAIM_BYTES_MAX: usize = 64 << 10;

/// The body of an answer.
#[derive(Default)]
pub(super) enum Body {
    /// A message and success, with which the answer ends.
    Message(Bytes),
    /// The same, encoded as the client takes it.
    Range(Box<Pieces>),
    /// The same, read as the client takes it.
    List(Box<Listing>),
    /// The same, with a share of the budget.
    Parcel(Parcel),
    /// Success, after its message.
    Success,
    /// Nothing more.
    #[default]
    End,
    /// Somebody else's.
    Other(tonic::body::Body),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match this {
            Body::Message(message) => {
                let message = std::mem::take(message);
                *this = Body::Success;
                Poll::Ready(Some(Ok(Frame::data(message))))
            }
            Body::Range(pieces) => {
                let piece = pieces.next_piece();
                if pieces.is_done() {
                    *this = Body::Success;
                }
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Body::Parcel(parcel) => match parcel.next() {
                Next::Piece(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
                Next::Last(piece) => {
                    *this = Body::Success;
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                Next::Lost => {
                    *this = Body::End;
                    Poll::Ready(Some(status::end(&status::TOO_MANY_REQUESTS.into())))
                }
            },
            Body::List(list) => match list.poll_piece(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(piece)) => Poll::Ready(Some(piece.map(Frame::data))),
                Poll::Ready(None) => {
                    *this = Body::Success;
                    Pin::new(this).poll_frame(cx)
                }
            },
            Body::Success => {
                *this = Body::End;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Body::End => Poll::Ready(None),
            Body::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Message(_) | Body::Range(_) | Body::List(_) | Body::Parcel(_) | Body::Success => {
                false
            }
            Body::End => true,
            Body::Other(body) => body.is_end_stream(),
        }
    }

    /// A message does not tell its size, or its length would be sent twice.
    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Other(body) => body.size_hint(),
            Body::Message(_) | Body::Range(_) | Body::List(_) | Body::Parcel(_) | Body::Success => {
                SizeHint::default()
            }
            Body::End => SizeHint::with_exact(0),
        }
    }
}

/// Decodes a message.
pub(super) fn decode<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| status::undecodable(&error.to_string(), Kind::Unary))
}

/// Takes the first message of a request; what follows is nobody's business.
pub(super) async fn receive_bytes(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Status> {
    let mut reader = Reader::new(bytes_max);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            reader.take(data)?;
            if reader.is_done() {
                break;
            }
        }
    }
    reader.finish()
}

/// Gives the one message of an answer.
pub(super) fn answer(message: &impl Message) -> http::Response<Body> {
    let bytes = message.encoded_len();
    let mut buffer = match begin(bytes, bytes) {
        Ok(buffer) => buffer,
        Err(status) => return status.into_http(),
    };
    message.encode(&mut buffer).expect("the buffer has room for the encoded length");
    with_body(Body::Message(buffer.freeze()))
}

/// Gives the one message of an answer out of the budget, if it is large; without
/// a budget somebody else sees to it.
pub(super) async fn answer_counted(
    message: &impl Message,
    budget: Option<&Budget>,
    share: Option<Share>,
) -> http::Response<Body> {
    let Some(budget) = budget else { return answer(message) };
    let share = budget.share_or(share, message.encoded_len()).await;
    parcel(answer(message), share)
}

/// Gives a range. A large one is encoded piece by piece: its values are not in
/// memory twice, and its encoding holds up nobody.
pub(super) async fn answer_range(
    message: RangeResponse,
    budget: Option<&Budget>,
    share: Option<Share>,
) -> http::Response<Body> {
    let bytes = message.encoded_len();
    if bytes <= PIECE_BYTES {
        return answer_counted(&message, budget, share).await;
    }
    let mut buffer = match begin(bytes, PIECE_BYTES) {
        Ok(buffer) => buffer,
        Err(status) => return status.into_http(),
    };
    let RangeResponse { header, kvs, more, count } = message;
    let head = RangeResponse { header, ..RangeResponse::default() };
    head.encode(&mut buffer).expect("the buffer grows");
    let tail = RangeResponse { more, count, ..RangeResponse::default() };
    let pieces = Pieces { buffer, kvs: kvs.into_iter(), tail, left: bytes, is_done: false };
    let answer = with_body(Body::Range(Box::new(pieces)));
    let Some(budget) = budget else { return answer };
    let share = budget.share_or(share, bytes).await;
    parcel(answer, share)
}

/// Has an answer sent with its share of the budget, if it has one.
pub(super) fn parcel(answer: http::Response<Body>, share: Option<Share>) -> http::Response<Body> {
    let Some(share) = share else { return answer };
    answer.map(|body| {
        let content = match body {
            Body::Message(message) => Content::Whole(message),
            Body::Range(pieces) => Content::Range(pieces),
            other => return other,
        };
        Body::Parcel(share.send(content))
    })
}

/// The one message of an answer that is all there.
pub(super) async fn collect(mut body: Body) -> Result<Bytes, Status> {
    let mut message = Bytes::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) if message.is_empty() => message = data,
            Ok(data) => message = [message, data].concat().into(),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                match Status::from_header_map(&trailers) {
                    Some(status) if status.code() != Code::Ok => return Err(status),
                    Some(_) | None => {}
                }
            }
        }
    }
    Ok(message)
}

/// Gives a list; `frame` is the answer without its keys.
pub(super) fn answer_rows(frame: &RangeResponse, rows: RangeRows) -> http::Response<Body> {
    let RangeResponse { header, more, count, .. } = *frame;
    let head = RangeResponse { header, ..RangeResponse::default() };
    let tail = RangeResponse { more, count, ..RangeResponse::default() };
    let head_bytes = head.encoded_len();
    let mut buffer = match begin(head_bytes + rows.bytes() + tail.encoded_len(), head_bytes) {
        Ok(buffer) => buffer,
        Err(status) => return status.into_http(),
    };
    head.encode(&mut buffer).expect("the buffer grows");
    with_body(Body::List(Box::new(Listing::new(rows, buffer.into(), tail))))
}

fn with_body(body: Body) -> http::Response<Body> {
    let mut answer = http::Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert(CONTENT_TYPE, grpc);
    answer
}

/// A buffer that begins with the prefix of a message of so many bytes.
fn begin(bytes: usize, capacity: usize) -> Result<BytesMut, Status> {
    let length = u32::try_from(bytes).ok().filter(|length| *length <= SENT_BYTES_MAX);
    let Some(length) = length else {
        return Err(Status::resource_exhausted(format!(
            "grpc: trying to send message larger than max ({bytes} vs. {SENT_BYTES_MAX})"
        )));
    };
    let mut buffer = BytesMut::with_capacity(PREFIX_BYTES + capacity);
    buffer.put_u8(0);
    buffer.put_u32(length);
    Ok(buffer)
}

/// What is left of a range that is being sent. Its fields stand in the order of
/// their numbers, so that the encodings of the parts are that of the whole.
pub(super) struct Pieces {
    /// What was encoded before the keys.
    buffer: BytesMut,
    kvs: std::vec::IntoIter<KeyValue>,
    tail: RangeResponse,
    /// Bytes that were not given yet.
    left: usize,
    is_done: bool,
}

impl Pieces {
    /// Whether all was given.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// How much was not given yet.
    pub(super) fn bytes_left(&self) -> usize {
        self.left
    }

    /// Encodes the next keys.
    pub(super) fn next_piece(&mut self) -> Bytes {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut bytes = buffer.len();
        let mut kvs = Vec::new();
        while bytes < PIECE_BYTES
            && let Some(kv) = self.kvs.next()
        {
            bytes += kv.encoded_len();
            kvs.push(kv);
        }
        let piece = RangeResponse { kvs, ..RangeResponse::default() };
        buffer.reserve(piece.encoded_len());
        piece.encode(&mut buffer).expect("the buffer grows");
        if self.kvs.len() == 0 {
            self.tail.encode(&mut buffer).expect("the buffer grows");
            self.is_done = true;
        }
        self.left = self.left.saturating_sub(buffer.len());
        buffer.freeze()
    }
}

/// Puts a message together.
pub(super) struct Reader {
    bytes_max: usize,
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the prefix that are there.
    known: usize,
    message: BytesMut,
}

impl Reader {
    /// Of messages that are no larger.
    pub(super) fn new(bytes_max: usize) -> Reader {
        Reader { bytes_max, prefix: [0; PREFIX_BYTES], known: 0, message: BytesMut::new() }
    }

    /// Takes the next piece of the body.
    pub(super) fn take(&mut self, mut data: Bytes) -> Result<(), Status> {
        if self.known < PREFIX_BYTES {
            let count = data.len().min(PREFIX_BYTES - self.known);
            data.copy_to_slice(&mut self.prefix[self.known..self.known + count]);
            self.known += count;
            if self.known < PREFIX_BYTES {
                return Ok(());
            }
            self.check_prefix()?;
            self.message.reserve(self.length().min(CLAIM_BYTES_MAX));
        }
        data.truncate(self.length() - self.message.len());
        self.message.extend_from_slice(&data);
        Ok(())
    }

    /// Whether all of the message is there.
    pub(super) fn is_done(&self) -> bool {
        self.known == PREFIX_BYTES && self.message.len() == self.length()
    }

    /// Gives the message, if it is complete.
    pub(super) fn finish(self) -> Result<Bytes, Status> {
        if self.known < PREFIX_BYTES {
            return Err(Status::unknown("EOF"));
        }
        if self.message.len() < self.length() {
            return Err(Status::unknown("unexpected EOF"));
        }
        match self.prefix[0] {
            1 => Err(Status::internal(status::NO_ENCODING)),
            form => status::payload_format(form).map(|()| self.message.freeze()),
        }
    }

    fn length(&self) -> usize {
        let [_, length @ ..] = self.prefix;
        usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)
    }

    fn check_prefix(&self) -> Result<(), Status> {
        let length = self.length();
        if length > self.bytes_max {
            Err(status::too_large(length, self.bytes_max))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{PutRequest, ResponseHeader};

    fn read(pieces: &[&[u8]]) -> Result<Bytes, String> {
        let mut reader = Reader::new(8);
        let text = |status: Status| status.message().to_owned();
        for piece in pieces {
            reader.take(Bytes::copy_from_slice(piece)).map_err(text)?;
        }
        reader.finish().map_err(text)
    }

    #[test]
    fn a_message_is_read_however_it_is_cut() {
        let whole = b"\0\0\0\0\x05hello";
        for cut in 0..=whole.len() {
            let (first, second) = whole.split_at(cut);
            assert_eq!(read(&[first, second]).unwrap(), "hello", "{cut}");
        }
        let bytes: Vec<_> = whole.chunks(1).collect();
        assert_eq!(read(&bytes).unwrap(), "hello");
        assert_eq!(read(&[b"\0\0\0\0\0"]).unwrap(), "");
        assert_eq!(read(&[whole, whole]).unwrap(), "hello");
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(read(&[]).unwrap_err(), "EOF");
        assert_eq!(read(&[b"\0\0\0"]).unwrap_err(), "EOF");
        assert_eq!(read(&[b"\0\0\0\0\x02a"]).unwrap_err(), "unexpected EOF");
        let unknown = read(&[b"\x02\0\0\0\x01a"]).unwrap_err();
        assert_eq!(unknown, "grpc: received unexpected payload format 2");
        let flagged = read(&[b"\x01\0\0\0\x01a"]).unwrap_err();
        assert_eq!(flagged, "grpc: compressed flag set with identity or empty encoding");
        let large = read(&[b"\0\0\0\0\x09"]).unwrap_err();
        assert_eq!(large, "grpc: received message larger than max (9 vs. 8)");
    }

    fn next(body: &mut Body) -> Option<Frame<Bytes>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match Pin::new(body).poll_frame(&mut cx) {
            Poll::Ready(frame) => frame.map(Result::unwrap),
            Poll::Pending => panic!("it has nothing to wait for"),
        }
    }

    #[test]
    fn an_answer_is_a_message_and_then_success() {
        let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
        let mut body = answer(&put).into_body();
        let message = next(&mut body).unwrap().into_data().unwrap();
        assert_eq!(PutRequest::decode(read(&[&message]).unwrap()).unwrap(), put);
        let trailers = next(&mut body).unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert!(next(&mut body).is_none());
    }

    #[tokio::test]
    async fn the_pieces_of_a_range_make_the_whole_message() {
        let budget = &Budget::new(1 << 20);
        let kv = |n: usize| KeyValue { value: vec![7; n * 1000].into(), ..Default::default() };
        let header = Some(ResponseHeader { revision: 9, ..Default::default() });
        for (keys, more, budget) in [
            (0, false, None),
            (5, true, None),
            (13, true, Some(budget)),
            (40, false, None),
            (40, true, Some(budget)),
        ] {
            let kvs = (0..keys).map(kv).collect();
            let whole = RangeResponse { header, kvs, more, count: 77 };
            let mut body = answer_range(whole.clone(), budget, None).await.into_body();
            let mut bytes = BytesMut::new();
            let mut frames = 0;
            let trailers = loop {
                match next(&mut body).unwrap().into_data() {
                    Ok(data) => bytes.extend_from_slice(&data),
                    Err(frame) => break frame.into_trailers().unwrap(),
                }
                frames += 1;
            };
            assert_eq!(trailers["grpc-status"], "0");
            assert_eq!(frames > 1, keys == 40, "{keys}");
            assert_eq!(bytes[1..5], u32::try_from(bytes.len() - 5).unwrap().to_be_bytes());
            assert_eq!(RangeResponse::decode(&bytes[5..]).unwrap(), whole, "{keys}");
        }
    }
    #[tokio::test]
    async fn an_answer_that_is_lost_ends_with_a_refusal() {
        let budget = Budget::new(1 << 20);
        let value = vec![7; 700 << 10].into();
        let put = PutRequest { value, ..Default::default() };
        let mut body = answer_counted(&put, Some(&budget), None).await.into_body();
        assert!(next(&mut body).unwrap().is_data());
        // Whoever waits for so long has nothing else to do.
        budget.reclaim(std::time::Instant::now() + std::time::Duration::from_secs(60));
        let trailers = next(&mut body).unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-message"], "etcdserver: too many requests");
        assert!(next(&mut body).is_none());
    }

    #[tokio::test]
    async fn the_message_of_a_body_is_taken_out_of_it() {
        let put = PutRequest { key: "a".into(), ..Default::default() };
        let message = collect(answer(&put).into_body()).await.unwrap();
        assert_eq!(PutRequest::decode(read(&[&message]).unwrap()).unwrap(), put);
        let budget = Budget::new(1 << 20);
        let lost = budget.share(1).await.send(Content::Whole(message));
        budget.reclaim(std::time::Instant::now() + std::time::Duration::from_secs(60));
        let refused = collect(Body::Parcel(lost)).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: too many requests");
    }
}
