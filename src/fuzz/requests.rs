//! Calls one after another, taken from the socket to the store.
//!
//! Each is a record: which call, where its body is cut in two, its length, the
//! body. What passes the door is carried out, and what is found is found in every
//! way there is: as a message, as rows, in pieces. At the end the store must be
//! what is on its disk.

use std::sync::Arc;

use prost::Message;

use crate::api::fuzz as door;
use crate::api::fuzz::Wish;
use crate::engine::Memory;
use crate::ids::{ClusterId, LeaseId, LogIndex, MemberId, ProposalId, Revision, Term};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::store::{
    Access, Caller, ENGINE, Genesis, KeyRange, Options, RangeRows, Reader, Request, Store,
    append_command, begin_entry,
};

const TERM: Term = Term(1);

/// Set in the first byte of a record whose message is framed here, and in one
/// whose caller is the administrator.
const FRAMED: u8 = 0x80;
const AS_ROOT: u8 = 0x40;

/// About what pieces of ranges and histories take.
const PIECE_BYTES: usize = 16;

/// Takes calls.
pub(super) fn run(data: &[u8]) {
    let mut desk = Desk::new();
    let mut rest = data;
    while let [call, cut, length, behind @ ..] = rest {
        let (bytes, left) = behind.split_at(behind.len().min(usize::from(*length)));
        desk.take(*call, usize::from(*cut), bytes);
        rest = left;
    }
    desk.close();
}

struct Desk {
    engine: Arc<Memory>,
    store: Store,
}

impl Desk {
    fn new() -> Desk {
        let engine = Arc::new(Memory::new(ENGINE));
        let genesis =
            Genesis { cluster: ClusterId(1), members: vec![], index: LogIndex(1), term: TERM };
        Store::found(&*engine, &genesis);
        let store = Desk::open(&engine);
        Desk { engine, store }
    }

    fn open(engine: &Arc<Memory>) -> Store {
        let engine = Arc::clone(engine);
        Store::open(engine, &Options::default()).expect("what a store wrote it can read")
    }

    /// Nothing comes of what is refused.
    fn take(&mut self, call: u8, cut: usize, bytes: &[u8]) {
        let mut body = Vec::new();
        if call & FRAMED != 0 {
            let length = u32::try_from(bytes.len()).expect("a record is short");
            body.push(0);
            body.extend_from_slice(&length.to_be_bytes());
        }
        body.extend_from_slice(bytes);
        let (first, second) = body.split_at(cut.min(body.len()));
        let Ok(wish) = door::take(call & !(FRAMED | AS_ROOT), &[first, second]) else { return };
        let reader = self.store.reader();
        let caller = match call & AS_ROOT {
            0 => Caller::default(),
            _ => Caller { user: "root".to_owned(), auth_revision: reader.auth_revision() },
        };
        match wish {
            Wish::Write(request) => self.apply(&caller, request),
            read => look(&reader, &caller, read),
        }
    }

    fn apply(&mut self, caller: &Caller, request: Request) {
        let before = self.store.reader().revision();
        let index = LogIndex(self.store.reader().applied().0 + 1);
        let id = ProposalId { member: MemberId(1), boot: 1, count: index.0 };
        let mut entry = begin_entry();
        append_command(&mut entry, id, caller, request);
        let applied = self.store.apply(index, TERM, &entry.into());
        assert_eq!(applied.answers.len(), 1, "one command has one answer");
        assert_eq!(applied.answers[0].id, id);
        let after = self.store.reader().revision();
        assert_eq!(after, before + i64::from(!applied.changes.is_empty()), "a change is one");
    }

    /// A store is what is on its disk, with what was compacted or without.
    fn close(mut self) {
        while self.store.purge() {}
        let (before, after) = (self.store.reader(), Desk::open(&self.engine).reader());
        assert_eq!(before.hash(), after.hash());
        assert_eq!(before.hash_kv(0).is_ok(), after.hash_kv(0).is_ok());
        assert_eq!(before.revision(), after.revision());
        assert_eq!(before.compact_revision(), after.compact_revision());
        assert_eq!(before.leases(), after.leases());
        assert_eq!(before.alarms(), after.alarms());
        assert_eq!((before.users(), before.roles()), (after.users(), after.roles()));
        assert_eq!(before.auth_revision(), after.auth_revision());
        assert_eq!(before.is_auth_on(), after.is_auth_on());
        assert_eq!(before.keys_total(), after.keys_total());
        let everything =
            pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        assert_eq!(before.range(&everything), after.range(&everything));
    }
}

/// Looks at what somebody wants to see, allowed or not.
fn look(reader: &Reader, caller: &Caller, wish: Wish) {
    match wish {
        Wish::Range(request) => {
            let _may = reader.may_read(caller, &request.key, &request.range_end);
            range(reader, &request);
        }
        Wish::Stream(request) => stream(reader, &request),
        Wish::Txn(request) => {
            let _may = reader.may_txn(caller, &request);
            if let Ok(answer) = reader.txn(&request) {
                let wanted = if answer.succeeded { request.success } else { request.failure };
                assert_eq!(answer.responses.len(), wanted.len(), "an answer for each");
            }
        }
        Wish::Watch(create) => watch(reader, &create),
        Wish::Hash(revision) => drop(reader.hash_kv(revision)),
        Wish::Lease(id) => {
            let _may = reader.may_use(caller, LeaseId(id), Access::Write);
            reader.lease(LeaseId(id));
        }
        Wish::User(name) => drop((reader.roles_of(&name), reader.password_of(&name))),
        Wish::Role(name) => drop(reader.permissions_of(&name)),
        Wish::Nothing | Wish::Write(_) => {}
    }
}

/// A range as a message, and as rows.
fn range(reader: &Reader, request: &pb::RangeRequest) {
    let answer = reader.range(request);
    if let Ok(answer) = &answer {
        let found = i64::try_from(answer.kvs.len()).expect("a list fits into memory");
        assert!(found <= answer.count, "more keys than there are");
        assert!(request.limit <= 0 || found <= request.limit, "more keys than were wanted");
    }
    match reader.range_rows(request) {
        Ok(Some(rows)) => assert_eq!(read(rows), answer.expect("it was found").encode_to_vec()),
        Ok(None) => {}
        Err(refused) => assert_eq!(answer, Err(refused)),
    }
}

/// Rows as the message that they make.
fn read(mut rows: RangeRows) -> Vec<u8> {
    let pb::RangeResponse { header, more, count, .. } = rows.frame();
    let head = pb::RangeResponse { header, ..Default::default() };
    let tail = pb::RangeResponse { more, count, ..Default::default() };
    let mut message = head.encode_to_vec();
    while rows.read(&mut message, PIECE_BYTES) {}
    message.extend(tail.encode_to_vec());
    message
}

/// The pieces of a range make the whole, each sorted by itself.
fn stream(reader: &Reader, request: &pb::RangeRequest) {
    let mut whole = reader.range(request);
    let Ok(mut pieces) = reader.range_stream(request, PIECE_BYTES) else {
        assert!(whole.is_err(), "it was found");
        return;
    };
    let mut sum = pb::RangeResponse::default();
    while let Some(piece) = pieces.next_piece().expect("nothing is compacted meanwhile") {
        sum.kvs.extend(piece.kvs);
        sum = pb::RangeResponse { kvs: sum.kvs, ..piece };
    }
    sum.kvs.sort_by(|a, b| a.key.cmp(&b.key));
    if let Ok(whole) = &mut whole {
        whole.kvs.sort_by(|a, b| a.key.cmp(&b.key));
    }
    assert_eq!(Ok(sum), whole);
}

/// Everything that happened in a range, from some revision on.
fn watch(reader: &Reader, create: &pb::WatchCreateRequest) {
    let range = KeyRange::new(&create.key, &create.range_end);
    let mut from = Revision(create.start_revision);
    let newest = reader.revision();
    while from.0 <= newest {
        let Ok(history) = reader.history(&range, from, PIECE_BYTES) else { return };
        for changes in &history.changes {
            assert!((from.0..=newest).contains(&changes.revision.0), "a revision out of place");
            let mut keys = changes.events.iter().map(|event| &event.kv.key);
            assert!(keys.all(|key| range.holds(key)), "a key out of place");
        }
        assert!(history.next > from, "it goes on");
        from = history.next;
    }
}

/// A record of a message.
fn record(call: &str, message: &[u8]) -> Vec<u8> {
    let number = door::number(call).expect("there is such a call");
    // What is longer is cut off, and seen as that.
    let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
    let kept = &message[..usize::from(length)];
    [&[number | FRAMED | AS_ROOT, 3, length], kept].concat()
}

/// Every call with all its fields, and some that belong together.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..5)
        .flat_map(door::examples)
        .map(|example| record(&example.call, &example.message))
        .collect();
    seeds.push([keys(), lists()].concat());
    seeds.push([leases(), keys()].concat());
    seeds.push([accounts(), keys(), lists()].concat());
    seeds
}

fn keys() -> Vec<u8> {
    let put = |key: &'static str, value: &'static str| pb::PutRequest {
        key: key.into(),
        value: value.into(),
        ..Default::default()
    };
    let deletion = pb::DeleteRangeRequest { key: "a".into(), prev_kv: true, ..Default::default() };
    let op = |op| pb::RequestOp { request: Some(op) };
    let nested =
        pb::TxnRequest { success: vec![op(Op::RequestPut(put("b", "3")))], ..Default::default() };
    let compare = pb::Compare { key: "a".into(), ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestTxn(nested)), op(Op::RequestPut(put("c", "4")))],
        failure: vec![op(Op::RequestDeleteRange(deletion.clone()))],
    };
    let compaction = pb::CompactionRequest { revision: 3, physical: false };
    let watch = pb::WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision: 3,
        ..Default::default()
    };
    let watch = pb::watch_request::RequestUnion::CreateRequest(watch);
    let watch = pb::WatchRequest { request_union: Some(watch) };
    [
        record("etcdserverpb.KV/Put", &put("a", "1").encode_to_vec()),
        record("etcdserverpb.KV/Put", &put("b", "2").encode_to_vec()),
        record("etcdserverpb.KV/DeleteRange", &deletion.encode_to_vec()),
        record("etcdserverpb.KV/Txn", &txn.encode_to_vec()),
        record("etcdserverpb.KV/Compact", &compaction.encode_to_vec()),
        record("etcdserverpb.Watch/Watch", &watch.encode_to_vec()),
    ]
    .concat()
}

fn lists() -> Vec<u8> {
    let all = pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let sorted = pb::RangeRequest {
        sort_order: pb::range_request::SortOrder::Descend.into(),
        sort_target: pb::range_request::SortTarget::Value.into(),
        limit: 2,
        min_mod_revision: 1,
        ..all.clone()
    };
    let earlier = pb::RangeRequest { revision: 3, ..all.clone() };
    [
        record("etcdserverpb.KV/Range", &all.encode_to_vec()),
        record("etcdserverpb.KV/Range", &sorted.encode_to_vec()),
        record("etcdserverpb.KV/RangeStream", &earlier.encode_to_vec()),
    ]
    .concat()
}

fn leases() -> Vec<u8> {
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    let put = pb::PutRequest { key: "a".into(), lease: 7, ..Default::default() };
    let revoke = pb::LeaseRevokeRequest { id: 7 };
    let ask = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    [
        record("etcdserverpb.Lease/LeaseGrant", &grant.encode_to_vec()),
        record("etcdserverpb.KV/Put", &put.encode_to_vec()),
        record("etcdserverpb.Lease/LeaseTimeToLive", &ask.encode_to_vec()),
        record("etcdserverpb.Lease/LeaseRevoke", &revoke.encode_to_vec()),
    ]
    .concat()
}

fn accounts() -> Vec<u8> {
    let (user, role) = ("root".to_owned(), "root".to_owned());
    let add = pb::AuthUserAddRequest { name: user.clone(), ..Default::default() };
    let grant = pb::AuthUserGrantRoleRequest { user, role: role.clone() };
    let permission =
        crate::proto::authpb::Permission { perm_type: 2, key: "a".into(), range_end: "c".into() };
    let permit = pb::AuthRoleGrantPermissionRequest { name: role.clone(), perm: Some(permission) };
    let role = pb::AuthRoleAddRequest { name: role };
    [
        record("etcdserverpb.Auth/UserAdd", &add.encode_to_vec()),
        record("etcdserverpb.Auth/RoleAdd", &role.encode_to_vec()),
        record("etcdserverpb.Auth/RoleGrantPermission", &permit.encode_to_vec()),
        record("etcdserverpb.Auth/UserGrantRole", &grant.encode_to_vec()),
        record("etcdserverpb.Auth/AuthEnable", &[]),
    ]
    .concat()
}
