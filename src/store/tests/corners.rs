//! What no script can say.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::engine::{Batch, Engine, Family, Memory};
use crate::ids::{ClusterId, LogIndex, MemberId, ProposalId, Revision, Term};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::store::{
    Answer, Applied, Caller, ENGINE, Genesis, Options, Rejection, Reply, Request, Store,
    append_command, begin_entry,
};

const TERM: Term = Term(1);

pub(super) struct Fixture {
    pub(super) engine: Arc<Memory>,
    pub(super) store: Store,
}

impl Fixture {
    pub(super) fn new(options: &Options) -> Fixture {
        let engine = Arc::new(Memory::new(ENGINE));
        let genesis =
            Genesis { cluster: ClusterId(1), members: vec![], index: LogIndex(1), term: TERM };
        assert!(!Store::exists(&*engine));
        Store::found(&*engine, &genesis);
        assert!(Store::exists(&*engine));
        let store = Store::open(engine.clone(), options).unwrap();
        assert_eq!(store.reader().applied(), genesis.index);
        Fixture { engine, store }
    }

    pub(super) fn apply_entry(&mut self, entry: &Bytes) -> Applied {
        let index = LogIndex(self.store.reader().applied().0 + 1);
        self.store.apply(index, TERM, entry)
    }

    pub(super) fn apply(&mut self, requests: Vec<Request>) -> Vec<Answer> {
        let mut entry = begin_entry();
        for (count, request) in (1..).zip(requests) {
            let id = ProposalId { member: MemberId(1), boot: 2, count };
            append_command(&mut entry, id, &Caller::default(), request);
        }
        self.apply_entry(&entry.into()).answers
    }

    pub(super) fn one(&mut self, request: Request) -> Result<Reply, Rejection> {
        self.apply(vec![request]).remove(0).outcome
    }
}

pub(super) fn put(key: &str, value: &str) -> Request {
    Request::Put(put_request(key, value))
}

fn put_request(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest { key, value, ..pb::PutRequest::default() }
}

pub(super) fn delete(key: &str) -> Request {
    let key = key.to_owned().into();
    Request::DeleteRange(pb::DeleteRangeRequest { key, ..pb::DeleteRangeRequest::default() })
}

pub(super) fn compact(revision: i64) -> Request {
    Request::Compact(pb::CompactionRequest { revision, physical: false })
}

pub(super) fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: "\0".into(), range_end: "\0".into(), ..pb::RangeRequest::default() }
}

fn txn(ops: Vec<Op>) -> pb::TxnRequest {
    let success = ops.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest { success, ..pb::TxnRequest::default() }
}

/// CRC-32C, bit by bit.
fn crc(parts: &[&[u8]]) -> u32 {
    let mut sum = u32::MAX;
    for byte in parts.concat() {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// The key of a row as etcd writes it.
fn row_key(main: u8, end: &str) -> Vec<u8> {
    let mut key = vec![0, 0, 0, 0, 0, 0, 0, main, b'_', 0, 0, 0, 0, 0, 0, 0, 0];
    key.extend_from_slice(end.as_bytes());
    key
}

/// A `KeyValue` of key `a` and some value, by hand.
fn row(create: u8, modified: u8, version: u8, value: u8) -> Vec<u8> {
    vec![0x0a, 1, b'a', 0x10, create, 0x18, modified, 0x20, version, 0x2a, 1, value]
}

const TOMBSTONE: &[u8] = &[0x0a, 1, b'a'];

#[test]
fn hash_kv_is_the_sum_of_the_rows() {
    let mut fixture = Fixture::new(&Options::default());
    let reader = fixture.store.reader();
    let hash = |revision| reader.hash_kv(revision).unwrap().hash;
    assert_eq!(hash(0), crc(&[b"key"]));
    for request in [put("a", "1"), put("a", "2"), delete("a")] {
        fixture.one(request).unwrap();
    }
    let (first, second) =
        ((row_key(2, ""), row(2, 2, 1, b'1')), (row_key(3, ""), row(2, 3, 2, b'2')));
    let third = row_key(4, "t");
    let two = crc(&[b"key", &first.0, &first.1, &second.0, &second.1]);
    let all = crc(&[b"key", &first.0, &first.1, &second.0, &second.1, &third, TOMBSTONE]);
    assert_eq!((hash(3), hash(4), hash(0)), (two, all, all));
}

#[test]
fn hash_kv_takes_all_rows_where_nothing_is_alive() {
    let mut fixture = Fixture::new(&Options::default());
    fixture.one(put("a", "1")).unwrap();
    fixture.one(compact(2)).unwrap();
    while fixture.store.purge() {}
    fixture.one(delete("a")).unwrap();
    // The row at the compact revision is not alive at 3; nothing is.
    let (first, second) = ((row_key(2, ""), row(2, 2, 1, b'1')), row_key(3, "t"));
    let all = crc(&[b"key", &first.0, &first.1, &second, TOMBSTONE]);
    let reader = fixture.store.reader();
    assert_eq!(reader.hash_kv(0).unwrap().hash, all);
    fixture.one(put("b", "1")).unwrap();
    let hashed = reader.hash_kv(3).unwrap();
    assert_eq!((hashed.hash, hashed.compact_revision), (all, 2));
    // But the purge that stops at the deletion keeps it, and so skips the row.
    fixture.one(compact(3)).unwrap();
    while fixture.store.purge() {}
    let hashed = reader.hash_kv(3).unwrap();
    let skipped = crc(&[b"key", &second, TOMBSTONE]);
    assert_eq!((hashed.hash, hashed.compact_revision), (skipped, 2));
}

#[test]
fn ten_hashes_of_compactions_are_kept() {
    let mut fixture = Fixture::new(&Options::default());
    for revision in 2..14 {
        fixture.one(put("a", "1")).unwrap();
        fixture.one(compact(revision)).unwrap();
        while fixture.store.purge() {}
    }
    let reader = fixture.store.reader();
    let kept = (2..14).filter(|revision| reader.hash_kv(*revision).is_ok());
    assert_eq!(kept.collect::<Vec<_>>(), (4..14).collect::<Vec<_>>());
    assert_eq!(reader.hash_kv(4).unwrap().compact_revision, 3);
}

#[test]
fn what_nobody_should_have_proposed_is_refused() {
    let mut fixture = Fixture::new(&Options::default());
    let unset = pb::TxnRequest {
        success: vec![pb::RequestOp { request: None }],
        ..pb::TxnRequest::default()
    };
    let sorted = pb::RangeRequest { sort_order: 7, ..everything() };
    let writes = Op::RequestPut(put_request("a", "1"));
    let odd = [
        Request::Txn(unset),
        Request::Txn(txn(vec![writes.clone(), Op::RequestRange(sorted)])),
        Request::Txn(txn(vec![writes, Op::RequestPut(put_request("", "1"))])),
        put("", "1"),
        Request::Alarm(pb::AlarmRequest { action: 9, member_id: 1, alarm: 1 }),
        Request::LeaseGrant(pb::LeaseGrantRequest { ttl: i64::MIN, id: 1 }),
    ];
    for request in odd {
        assert_eq!(fixture.one(request.clone()), Err(Rejection::Malformed), "{request:?}");
    }
    let reader = fixture.store.reader();
    assert_eq!((reader.revision(), reader.keys_total()), (1, 0));
    let sorted = pb::RangeRequest { sort_target: 7, ..everything() };
    assert_eq!(reader.range(&sorted), Err(Rejection::Malformed));
}

#[test]
fn alarms_that_nobody_knows_are_kept_and_stop_nothing() {
    let mut fixture = Fixture::new(&Options::default());
    let raised = [(2, 7), (1, 7), (-3, 6), (4, 5), (256, 5)];
    for (alarm, member_id) in raised.into_iter().rev() {
        let request = pb::AlarmRequest { action: 1, member_id, alarm };
        fixture.one(Request::Alarm(request)).unwrap();
    }
    let told = |store: &Store| {
        let alarms = store.reader().alarms().into_iter();
        alarms.map(|alarm| (alarm.alarm, alarm.member_id)).collect::<Vec<_>>()
    };
    assert_eq!(told(&fixture.store), raised);
    let reopened = Store::open(fixture.engine.clone(), &Options::default()).unwrap();
    assert_eq!(told(&reopened), raised);
    for (alarm, member_id) in &raised[..2] {
        let request = pb::AlarmRequest { action: 2, member_id: *member_id, alarm: *alarm };
        fixture.one(Request::Alarm(request)).unwrap();
    }
    fixture.one(put("a", "1")).unwrap();
    assert_eq!(told(&fixture.store), raised[2..]);
}

#[test]
fn odd_numbers_do_no_harm() {
    let mut fixture = Fixture::new(&Options::default());
    fixture.one(put("a", "1")).unwrap();
    assert_eq!(fixture.one(compact(i64::MAX)), Err(Rejection::FutureRevision));
    let oldest = Rejection::Compacted { oldest: -1 };
    assert_eq!(fixture.one(compact(i64::MIN)), Err(oldest));
    let reader = fixture.store.reader();
    for revision in [i64::MIN, -1, 0, 1, 2] {
        let range = pb::RangeRequest { revision, limit: i64::MAX, ..everything() };
        reader.range(&range).unwrap();
        reader.hash_kv(revision).unwrap();
        assert_eq!(reader.before(b"a", Revision(revision)), None);
    }
    assert!(reader.hash_kv(i64::MAX).is_err());
    assert!(reader.before(b"a", Revision(i64::MAX)).is_none());
    let range = crate::store::KeyRange::new(&"a".into(), &Bytes::new());
    assert!(reader.history(&range, Revision(i64::MIN), 1).is_err());
    let ahead = reader.history(&range, Revision(i64::MAX), 1).unwrap();
    assert_eq!((ahead.changes.len(), ahead.next), (0, Revision(i64::MAX)));
}

#[test]
fn a_command_nested_too_deeply_is_answered_and_passed_over() {
    let mut fixture = Fixture::new(&Options::default());
    let mut nested = txn(vec![]);
    for _ in 0..60 {
        nested = txn(vec![Op::RequestTxn(nested)]);
    }
    let answers = fixture.apply(vec![put("a", "1"), Request::Txn(nested), put("b", "1")]);
    let counts: Vec<_> = answers.iter().map(|answer| answer.id.count).collect();
    assert_eq!(counts, [1, 2, 3]);
    assert_eq!(answers[1].outcome, Err(Rejection::Malformed));
    assert_eq!(fixture.store.reader().revision(), 3);
}

#[test]
fn an_entry_names_who_waits_for_each_answer() {
    let mut fixture = Fixture::new(&Options::default());
    let answers = fixture.apply(vec![put("a", "1"), delete("b")]);
    let id = ProposalId { member: MemberId(1), boot: 2, count: 2 };
    assert_eq!(answers[1].id, id);
    let empty = fixture.apply_entry(&Bytes::new());
    assert!(empty.answers.is_empty() && empty.changes.is_empty());
    assert_eq!(fixture.store.reader().applied(), LogIndex(3));
}

#[test]
fn a_purge_waits_for_those_who_still_look() {
    let mut fixture = Fixture::new(&Options::default());
    for value in ["1", "2", "3"] {
        fixture.one(put("a", value)).unwrap();
        fixture.one(put("b", value)).unwrap();
    }
    let reader = fixture.store.reader();
    let then = pb::RangeRequest { revision: 3, ..everything() };
    let mut list = reader.range_rows(&then).unwrap().unwrap();
    let mut rows = Vec::new();
    assert!(list.read(&mut rows, 1));
    fixture.one(delete("b")).unwrap();
    fixture.one(compact(8)).unwrap();
    assert!(fixture.store.purge() && fixture.store.purge());
    assert_eq!(reader.purged_revision(), -1);
    while list.read(&mut rows, 1) {}
    let values = pb::RangeResponse::decode(&rows[..]).unwrap().kvs;
    let values: Vec<_> = values.iter().map(|kv| &kv.value[..]).collect();
    assert_eq!(values, [b"1", b"1"]);
    drop(list);
    assert!(!fixture.store.purge());
    assert_eq!(reader.purged_revision(), 8);
}

#[test]
fn a_stream_of_what_is_compacted_ends_and_holds_nobody_up() {
    let mut fixture = Fixture::new(&Options::default());
    for key in ["a", "b", "c", "d", "e"] {
        fixture.one(put(key, "1")).unwrap();
    }
    let reader = fixture.store.reader();
    let mut stream = reader.range_stream(&everything(), 1).unwrap();
    let first = stream.next_piece().unwrap().unwrap();
    assert_eq!((first.header, first.kvs.len()), (None, 2));
    fixture.one(compact(6)).unwrap();
    assert!(!fixture.store.purge());
    assert_eq!(reader.purged_revision(), 6);
    // At its revision, a compaction does no harm.
    assert_eq!(stream.next_piece().unwrap().unwrap().kvs[0].key, "c");
    fixture.one(put("a", "2")).unwrap();
    fixture.one(compact(7)).unwrap();
    assert!(!fixture.store.purge());
    assert_eq!(reader.purged_revision(), 7);
    assert_eq!(stream.next_piece(), Err(Rejection::Compacted { oldest: 7 }));
}

#[test]
fn an_event_keeps_nothing_of_its_entry_alive() {
    let mut fixture = Fixture::new(&Options::default());
    let mut entry = begin_entry();
    let id = ProposalId::default();
    append_command(&mut entry, id, &Caller::default(), put("key", &"x".repeat(100)));
    let entry = Bytes::from(entry);
    let within = entry.as_ptr_range();
    let applied = fixture.apply_entry(&entry);
    let kv = &applied.changes[0].events[0].kv;
    assert!(!within.contains(&kv.key.as_ptr()) && !within.contains(&kv.value.as_ptr()));
    let read = fixture.store.reader().range(&everything()).unwrap();
    assert!(!within.contains(&read.kvs[0].value.as_ptr()));
}

fn opens_after(damage: impl FnOnce(&mut Batch)) -> Result<Store, String> {
    let mut fixture = Fixture::new(&Options::default());
    fixture.one(put("a", "1")).unwrap();
    let mut batch = Batch::default();
    damage(&mut batch);
    fixture.engine.write(batch);
    Store::open(fixture.engine.clone(), &Options::default()).map_err(|why| why.to_string())
}

#[test]
fn a_store_that_makes_no_sense_is_not_opened() {
    let (revisions, leases, alarms, meta) = (Family(0), Family(1), Family(4), Family(5));
    assert!(opens_after(|_| ()).is_ok());
    let why = |damage: &dyn Fn(&mut Batch)| opens_after(damage).err().unwrap();
    assert!(why(&|batch| batch.delete(meta, b"format")).contains("format"));
    assert!(why(&|batch| batch.put(meta, b"format", &[0, 0, 0, 2])).contains("format"));
    assert!(why(&|batch| batch.delete(meta, b"applied")).contains("applied"));
    assert!(why(&|batch| batch.put(meta, b"revision", b"x")).contains("revision"));
    assert!(why(&|batch| batch.put(meta, b"revision", &[0; 8])).contains("behind the last"));
    assert!(why(&|batch| batch.put(revisions, b"x", b"x")).contains("revision"));
    let key = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(why(&|batch| batch.put(revisions, &key, b"x")).contains("revision"));
    assert!(why(&|batch| batch.put(leases, b"x", b"x")).contains("lease"));
    assert!(why(&|batch| batch.put(alarms, b"x", b"")).contains("alarm"));
    let empty = Arc::new(Memory::new(ENGINE));
    assert!(Store::open(empty, &Options::default()).is_err());
}

#[test]
fn the_plain_checksum_knows_neither_purge_nor_index() {
    let (mut one, mut other) =
        (Fixture::new(&Options::default()), Fixture::new(&Options::default()));
    for fixture in [&mut one, &mut other] {
        fixture.apply(vec![put("a", "1"), put("a", "2"), delete("a"), put("b", "1"), compact(4)]);
    }
    other.apply_entry(&Bytes::new());
    while other.store.purge() {}
    other.store.settle();
    let (one_reader, other_reader) = (one.store.reader(), other.store.reader());
    assert_eq!(one_reader.hash(), other_reader.hash());
    other.one(put("a", "3")).unwrap();
    assert_ne!(one_reader.hash(), other_reader.hash());
}

#[test]
fn an_entry_is_the_concatenation_of_its_commands() {
    let mut whole = begin_entry();
    let mut part = Vec::new();
    let id = ProposalId { member: MemberId(7), boot: 1, count: 9 };
    let caller = Caller { user: "u".into(), auth_revision: 3 };
    append_command(&mut part, id, &caller, put("a", "1"));
    whole.extend_from_slice(&part);
    let entry = crate::proto::kat::log::Entry::decode(whole.as_slice()).unwrap();
    assert_eq!((entry.format, entry.commands.len()), (1, 1));
    let command = &entry.commands[0];
    assert_eq!((command.user.as_str(), command.auth_revision), ("u", 3));
    assert_eq!(command.request, Some(put("a", "1")));
}
