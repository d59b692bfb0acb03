//! The clients' requests in etcd's words, and what they read out of answers.

use kat::ids::LeaseId;
use kat::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kat::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, Member, PutRequest,
    RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest, TxnResponse, request_op,
    response_op,
};
use kat::proto::kat::log::command::Request;
use kat::proto::kat::log::{MemberAdd, MemberPromote, MemberRemove};
use kat::proto::mvccpb::KeyValue;
use kat::store::{Reader, Reply};

use crate::checkers::{Leases, Value};

/// Two keys that are only ever written together.
pub const PAIR: [&str; 2] = ["pair/1", "pair/2"];

/// A key that goes with a lease.
pub fn lease_key(lease: LeaseId, value: Value) -> Vec<u8> {
    format!("{}{lease}/{value}", Leases::PREFIX).into_bytes()
}

/// A put.
pub fn put(key: &[u8], value: Value, lease: Option<LeaseId>) -> Request {
    Request::Put(put_request(key, value, lease))
}

fn put_request(key: &[u8], value: Value, lease: Option<LeaseId>) -> PutRequest {
    PutRequest {
        key: key.to_vec().into(),
        value: value.to_string().into(),
        lease: lease.map_or(0, |lease| lease.0),
        ..PutRequest::default()
    }
}

fn put_op(key: &[u8], value: Value) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestPut(put_request(key, value, None))) }
}

/// A deletion.
pub fn delete(key: &[u8]) -> Request {
    Request::DeleteRange(DeleteRangeRequest {
        key: key.to_vec().into(),
        ..DeleteRangeRequest::default()
    })
}

/// A put, if the key holds `from`; else a look at what it holds.
pub fn swap(key: &[u8], from: Option<Value>, to: Value) -> Request {
    let (target, union) = match from {
        Some(value) => (CompareTarget::Value, TargetUnion::Value(value.to_string().into())),
        None => (CompareTarget::Create, TargetUnion::CreateRevision(0)),
    };
    let compare = Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: key.to_vec().into(),
        target_union: Some(union),
        ..Compare::default()
    };
    let look = request_op::Request::RequestRange(range_request(key));
    Request::Txn(TxnRequest {
        compare: vec![compare],
        success: vec![put_op(key, to)],
        failure: vec![RequestOp { request: Some(look) }],
    })
}

/// Both keys of the pair at once.
pub fn put_pair(value: Value) -> Request {
    let success = PAIR.iter().map(|key| put_op(key.as_bytes(), value)).collect();
    Request::Txn(TxnRequest { success, ..TxnRequest::default() })
}

/// A lease.
pub fn grant(id: LeaseId, seconds: u64) -> Request {
    let ttl = i64::try_from(seconds).expect("a few seconds");
    Request::LeaseGrant(LeaseGrantRequest { ttl, id: id.0 })
}

/// A compaction.
pub fn compact(revision: i64) -> Request {
    Request::Compact(CompactionRequest { revision, physical: false })
}

/// The next change of members: each of two that never come is added, with a
/// vote or without, may get one, and is removed. The three that run are a
/// quorum of five.
pub fn change_members(reader: &Reader, value: Value) -> Request {
    let url = format!("http://127.0.0.1:{}", 9000 + value % 2);
    let members = reader.members();
    let Some(held) = members.iter().find(|member| member.peer_ur_ls.contains(&url)) else {
        let is_learner = !value.is_multiple_of(3);
        let id = PHANTOM + value;
        let member = Member { id, peer_ur_ls: vec![url], is_learner, ..Member::default() };
        return Request::MemberAdd(MemberAdd { member: Some(member), learners_max: 2 });
    };
    if held.is_learner && value % 5 < 2 {
        Request::MemberPromote(MemberPromote { member: held.id })
    } else {
        Request::MemberRemove(MemberRemove { member: held.id })
    }
}

/// Ids from here on are those of members that never come.
pub const PHANTOM: u64 = 1000;

fn range_request(key: &[u8]) -> RangeRequest {
    RangeRequest { key: key.to_vec().into(), ..RangeRequest::default() }
}

/// The revision in the header of a reply.
pub fn revision(reply: &Reply) -> i64 {
    let header = match reply {
        Reply::Put(response) => &response.header,
        Reply::DeleteRange(response) => &response.header,
        Reply::Txn(response) => &response.header,
        Reply::Compact(response) => &response.header,
        Reply::LeaseGrant(response) => &response.header,
        other => panic!("no client asked for {other:?}"),
    };
    stands_at(header.as_ref())
}

fn stands_at(header: Option<&ResponseHeader>) -> i64 {
    header.expect("every answer has a header").revision
}

fn held(kv: &KeyValue) -> Value {
    let text = std::str::from_utf8(&kv.value).expect("values are numbers in words");
    text.parse().expect("values are numbers")
}

/// What a swap that failed saw.
pub fn seen_by_txn(response: &TxnResponse) -> Option<Value> {
    match &response.responses[0].response {
        Some(response_op::Response::ResponseRange(range)) => range.kvs.first().map(held),
        other => panic!("a swap that fails looks: {other:?}"),
    }
}

fn range(reader: &Reader, request: &RangeRequest) -> Result<RangeResponse, String> {
    reader.range(request).map_err(|why| format!("a read was refused: {why}"))
}

/// The value of a key and the revision at which it was read.
pub fn read(reader: &Reader, key: &[u8]) -> Result<(i64, Option<Value>), String> {
    let response = range(reader, &range_request(key))?;
    Ok((stands_at(response.header.as_ref()), response.kvs.first().map(held)))
}

/// Value and revision of each key of the pair that there is.
pub fn read_pair(reader: &Reader) -> Result<(i64, Vec<(Value, i64)>), String> {
    let request = RangeRequest { range_end: "pair0".into(), ..range_request(b"pair/") };
    let response = range(reader, &request)?;
    let pair = response.kvs.iter().map(|kv| (held(kv), kv.mod_revision)).collect();
    Ok((stands_at(response.header.as_ref()), pair))
}
