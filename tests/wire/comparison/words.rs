//! Requests in few words; whatever a script adds stands in the script.

use bytes::Bytes;
use kat::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kat::proto::etcdserverpb::request_op::Request;
use kat::proto::etcdserverpb::watch_request::RequestUnion;
use kat::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest,
};

/// A range end that means: to the end.
pub(super) const ON: &str = "\0";

pub(super) fn get(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

pub(super) fn range(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { range_end: range_end.into(), ..get(key) }
}

/// Everything there is.
pub(super) fn all() -> RangeRequest {
    range("\0", ON)
}

pub(super) fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

pub(super) fn delete(key: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into(), ..DeleteRangeRequest::default() }
}

pub(super) fn delete_range(key: &'static str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest { range_end: range_end.into(), ..delete(key) }
}

pub(super) fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest { revision, physical: true }
}

/// If nothing is compared, the first list of operations is run.
pub(super) fn txn<const C: usize, const S: usize, const F: usize>(
    compare: [Compare; C],
    success: [RequestOp; S],
    failure: [RequestOp; F],
) -> TxnRequest {
    TxnRequest { compare: compare.into(), success: success.into(), failure: failure.into() }
}

/// A compare of anything with anything.
pub(super) fn check(key: &'static str, result: CompareResult, union: TargetUnion) -> Compare {
    let target = match union {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    Compare {
        result: result.into(),
        target: target.into(),
        key: key.into(),
        range_end: Bytes::new(),
        target_union: Some(union),
    }
}

/// Holds when the key has never been written since it was last deleted.
pub(super) fn absent(key: &'static str) -> Compare {
    check(key, CompareResult::Equal, TargetUnion::Version(0))
}

/// Holds when the key is there.
pub(super) fn present(key: &'static str) -> Compare {
    check(key, CompareResult::Greater, TargetUnion::Version(0))
}

/// What can be an operation of a txn.
pub(super) trait Operation {
    fn op(self) -> RequestOp;
}

macro_rules! operations {
    ($($request:ident: $arm:ident)*) => {
        $(
            impl Operation for $request {
                fn op(self) -> RequestOp {
                    RequestOp { request: Some(Request::$arm(self)) }
                }
            }
        )*
    };
}

operations! {
    RangeRequest: RequestRange
    PutRequest: RequestPut
    DeleteRangeRequest: RequestDeleteRange
    TxnRequest: RequestTxn
}

pub(super) fn watch(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..WatchCreateRequest::default()
    }
}

pub(super) fn create(request: WatchCreateRequest) -> RequestUnion {
    RequestUnion::CreateRequest(request)
}

pub(super) fn cancel(watch_id: i64) -> RequestUnion {
    RequestUnion::CancelRequest(WatchCancelRequest { watch_id })
}

pub(super) fn progress() -> RequestUnion {
    RequestUnion::ProgressRequest(WatchProgressRequest {})
}
