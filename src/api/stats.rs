//! The log's line about a call: `request stats`, for every unary call where
//! debug lines are wanted and for slow ones anyway; and that a read was slow.
//!
//! A call that is not told costs one look at the clock. Values never get into
//! the log, only their sizes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message as _;
use tracing::Level;

use super::calls::Direct;
use super::member::Member;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::store::RangeRows;

/// The most of a request that is written down.
const CONTENT_BYTES_MAX: usize = 4096;

/// When a call began, and where it came from.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// When it began.
    pub(super) began: Instant,
    /// Whose it is; none if it came from within.
    pub(super) remote: Option<SocketAddr>,
}

/// What is told of the size of a call, in etcd's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    request_count: i64,
    request_bytes: i64,
    response_count: i64,
    response_bytes: i64,
}

/// Of most calls nothing is told.
const UNTOLD: Sizes =
    Sizes { request_count: -1, request_bytes: -1, response_count: -1, response_bytes: -1 };

impl Asked {
    /// It begins now.
    pub(super) fn now(remote: Option<SocketAddr>) -> Asked {
        Asked { began: Instant::now(), remote }
    }

    /// Tells of a call after so long, if it is to be told.
    pub(super) fn tell(self, member: &Member, method: &str, took: Duration) {
        if is_told(member, took) {
            self.write(member, method, took, UNTOLD, "");
        }
    }

    fn write(self, member: &Member, method: &str, took: Duration, sizes: Sizes, content: &str) {
        let start = Timestamp::now() - took;
        let start = start.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let remote = self.remote.map_or("memory".to_owned(), |remote| remote.to_string());
        let Sizes { request_count, request_bytes, response_count, response_bytes } = sizes;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    "start time" = start,
                    "time spent" = format!("{took:?}"),
                    remote,
                    "response type" = method,
                    "request count" = request_count,
                    "request size" = request_bytes,
                    "response count" = response_count,
                    "response size" = response_bytes,
                    "request content" = content,
                    "request stats"
                )
            };
        }
        // As in etcd: who wants all lines gets them all at one level.
        if tracing::enabled!(Level::DEBUG) || took <= member.options.slow_after {
            line!(debug);
        } else {
            line!(warn);
        }
    }
}

fn is_told(member: &Member, took: Duration) -> bool {
    took > member.options.slow_after || tracing::enabled!(Level::DEBUG)
}

/// A call that is served directly, with its message, until its answer is sent.
pub(super) struct Kept<'a> {
    member: &'a Member,
    asked: Asked,
    message: Bytes,
}

impl<'a> Kept<'a> {
    /// Holds on to a message.
    pub(super) fn new(member: &'a Member, asked: Asked, message: &Bytes) -> Kept<'a> {
        Kept { member, asked, message: message.clone() }
    }

    /// A put was answered.
    pub(super) fn put(&self, response: &pb::PutResponse) {
        self.tell(Direct::Put, || {
            let request = pb::PutRequest::decode(self.message.clone()).unwrap_or_default();
            (self.sizes(1, 0, response.encoded_len()), loggable_put(&request))
        });
    }

    /// A deletion was answered.
    pub(super) fn delete_range(&self, response: &pb::DeleteRangeResponse) {
        self.tell(Direct::DeleteRange, || {
            let request = pb::DeleteRangeRequest::decode(self.message.clone()).unwrap_or_default();
            let sizes = self.sizes(0, response.deleted, response.encoded_len());
            (sizes, loggable_span(&request.key, &request.range_end))
        });
    }

    /// A range was answered.
    pub(super) fn range(&self, response: &pb::RangeResponse) {
        self.listed(response.count, || (response.kvs.len(), response.encoded_len()));
    }

    /// A list is about to be read; it was measured.
    pub(super) fn rows(&self, frame: &pb::RangeResponse, rows: &RangeRows) {
        self.listed(frame.count, || (rows.keys_left(), frame.encoded_len() + rows.bytes()));
    }

    /// So many keys were found, so many of them go out, in so many bytes.
    fn listed(&self, count: i64, size: impl Fn() -> (usize, usize)) {
        let content = || {
            let request = pb::RangeRequest::decode(self.message.clone()).unwrap_or_default();
            loggable_range(&request)
        };
        self.tell_slow("read-only range ", content, || {
            let (found, bytes) = size();
            format!("range_response_count:{found} size:{bytes}")
        });
        self.tell(Direct::Range, || (self.sizes(0, count, size().1), content()));
    }

    /// A txn was answered.
    pub(super) fn txn(&self, response: &pb::TxnResponse) {
        let request = || pb::TxnRequest::decode(self.message.clone()).unwrap_or_default();
        let is_read = || {
            let request = request();
            request
                .success
                .iter()
                .chain(&request.failure)
                .all(|op| matches!(op.request, Some(Op::RequestRange(_))))
        };
        if self.took() > self.member.options.slow_apply && is_read() {
            let count = response.responses.len();
            self.tell_slow(
                "read-only txn ",
                || loggable_txn(&request()),
                || format!("responses:{count} size:{}", response.encoded_len()),
            );
        }
        self.tell(Direct::Txn, || {
            let request = request();
            let ops = if response.succeeded { &request.success } else { &request.failure };
            let bytes: usize = ops.iter().map(prost::Message::encoded_len).sum();
            let sizes = Sizes {
                request_bytes: number(bytes),
                ..self.sizes(number(ops.len()), 0, response.encoded_len())
            };
            (sizes, loggable_txn(&request))
        });
    }

    fn took(&self) -> Duration {
        self.asked.began.elapsed()
    }

    fn sizes(&self, request_count: i64, response_count: i64, response_bytes: usize) -> Sizes {
        Sizes {
            request_count,
            request_bytes: number(self.message.len()),
            response_count,
            response_bytes: number(response_bytes),
        }
    }

    fn tell(&self, call: Direct, what: impl FnOnce() -> (Sizes, String)) {
        let took = self.took();
        if is_told(self.member, took) {
            let (sizes, content) = what();
            let method = match call {
                Direct::Put => "/etcdserverpb.KV/Put",
                Direct::Range => "/etcdserverpb.KV/Range",
                Direct::Txn => "/etcdserverpb.KV/Txn",
                Direct::DeleteRange => "/etcdserverpb.KV/DeleteRange",
            };
            self.asked.write(self.member, method, took, sizes, &content);
        }
    }

    fn tell_slow(&self, prefix: &str, request: impl Fn() -> String, response: impl Fn() -> String) {
        let (took, expected) = (self.took(), self.member.options.slow_apply);
        if took <= expected {
            return;
        }
        tracing::warn!(
            took = format!("{took:?}"),
            "expected-duration" = format!("{expected:?}"),
            prefix,
            request = request(),
            response = response(),
            "apply request took too long"
        );
        self.member.replica.counters().slow_applies.inc();
    }
}

fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn loggable_put(put: &pb::PutRequest) -> String {
    let mut text = format!("key:{:?} value_size:{} ", printable(&put.key), put.value.len());
    if put.lease != 0 {
        write!(text, "lease:{} ", put.lease).expect("memory takes any text");
    }
    text
}

fn loggable_span(key: &[u8], end: &[u8]) -> String {
    let mut text = format!("key:{:?}", printable(key));
    if !end.is_empty() {
        write!(text, " range_end:{:?}", printable(end)).expect("memory takes any text");
    }
    text
}

fn loggable_range(range: &pb::RangeRequest) -> String {
    let mut text = loggable_span(&range.key, &range.range_end);
    for (name, number) in [("limit", range.limit), ("revision", range.revision)] {
        if number != 0 {
            write!(text, " {name}:{number}").expect("memory takes any text");
        }
    }
    for (name, is_set) in [
        ("serializable", range.serializable),
        ("keys_only", range.keys_only),
        ("count_only", range.count_only),
    ] {
        if is_set {
            write!(text, " {name}:true").expect("memory takes any text");
        }
    }
    text
}

fn loggable_txn(txn: &pb::TxnRequest) -> String {
    let mut text = String::new();
    for compare in &txn.compare {
        let span = loggable_span(&compare.key, &compare.range_end);
        write!(text, "compare:<{span}> ").expect("memory takes any text");
    }
    for (name, ops) in [("success", &txn.success), ("failure", &txn.failure)] {
        for op in ops {
            let op = match &op.request {
                Some(Op::RequestRange(range)) => {
                    format!("request_range:<{}>", loggable_range(range))
                }
                Some(Op::RequestPut(put)) => format!("request_put:<{}>", loggable_put(put)),
                Some(Op::RequestDeleteRange(delete)) => {
                    let span = loggable_span(&delete.key, &delete.range_end);
                    format!("request_delete_range:<{span}>")
                }
                Some(Op::RequestTxn(inner)) => format!("request_txn:<{}>", inner.encoded_len()),
                None => String::new(),
            };
            write!(text, "{name}:<{op}> ").expect("memory takes any text");
            if text.len() > CONTENT_BYTES_MAX {
                return text + "...";
            }
        }
    }
    text
}

/// The beginning of a key, as text.
fn printable(key: &[u8]) -> String {
    let cut = &key[..key.len().min(CONTENT_BYTES_MAX)];
    String::from_utf8_lossy(cut).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_down_without_its_values() {
        let put = pb::PutRequest {
            key: "a".into(),
            value: "secret".into(),
            lease: 7,
            ..Default::default()
        };
        assert_eq!(loggable_put(&put), "key:\"a\" value_size:6 lease:7 ");
        let range = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 3,
            keys_only: true,
            ..Default::default()
        };
        assert_eq!(loggable_range(&range), "key:\"a\" range_end:\"b\" limit:3 keys_only:true");
        let op = |op| pb::RequestOp { request: Some(op) };
        let txn = pb::TxnRequest {
            compare: vec![pb::Compare { key: "c".into(), ..Default::default() }],
            success: vec![op(Op::RequestPut(put)), op(Op::RequestRange(range))],
            failure: vec![op(Op::RequestPut(pb::PutRequest::default())); 1000],
        };
        let text = loggable_txn(&txn);
        assert!(
            text.starts_with("compare:<key:\"c\"> success:<request_put:<key:\"a\" value_size:6")
        );
        assert!(!text.contains("secret") && text.len() < 2 * CONTENT_BYTES_MAX, "{text}");
    }
}
