//! The store against a model that a child could write: a list of all that ever
//! happened, searched from one end to the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::corners::{Fixture, compact, delete, everything, put};
use crate::ids::Revision;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{RangeRequest, RequestOp, TxnRequest};
use crate::store::{KeyRange, Options, Request, Store};

#[derive(Clone, Debug)]
enum Step {
    Entry(Vec<(u8, Option<u8>)>),
    Txn(BTreeMap<u8, Option<u8>>),
    Compact(u8),
    Purge,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let value = || prop::option::weighted(0.7, 0..200u8);
    let change = (0..12u8, value());
    prop_oneof![
        6 => prop::collection::vec(change, 1..6).prop_map(Step::Entry),
        3 => prop::collection::btree_map(0..12u8, value(), 1..6).prop_map(Step::Txn),
        1 => (0..8u8).prop_map(Step::Compact),
        1 => Just(Step::Purge),
        1 => Just(Step::Restart),
    ]
}

fn name(key: u8) -> String {
    format!("key/{key:02}")
}

/// Revision, key, and value unless deleted.
type Happens = (i64, String, Option<String>);
type Happened = Vec<Happens>;

fn alive(happened: &Happened, at: i64) -> BTreeMap<&str, (&str, i64)> {
    let mut alive = BTreeMap::new();
    for (revision, key, value) in happened.iter().filter(|(revision, ..)| *revision <= at) {
        match value {
            Some(value) => alive.insert(key.as_str(), (value.as_str(), *revision)),
            None => alive.remove(key.as_str()),
        };
    }
    alive
}

/// A change of a key behind a revision, and what comes of it.
fn request(
    happened: &Happened,
    revision: i64,
    (key, value): (u8, Option<u8>),
) -> (Request, Option<Happens>) {
    let key = name(key);
    let value = value.map(|value| format!("value {value}"));
    let lives = alive(happened, revision).contains_key(key.as_str());
    let request = match &value {
        Some(value) => put(&key, value),
        None => delete(&key),
    };
    let happens = lives || value.is_some();
    (request, happens.then_some((revision + 1, key, value)))
}

fn txn(requests: Vec<Request>) -> Request {
    let ops = requests.into_iter().map(|request| match request {
        Request::Put(put) => Op::RequestPut(put),
        Request::DeleteRange(delete) => Op::RequestDeleteRange(delete),
        other => panic!("{other:?} is in no txn"),
    });
    let success = ops.map(|op| RequestOp { request: Some(op) }).collect();
    Request::Txn(TxnRequest { success, ..TxnRequest::default() })
}

fn check(fixture: &Fixture, happened: &Happened, revision: i64, compacted: i64) {
    let reader = fixture.store.reader();
    assert_eq!((reader.revision(), reader.compact_revision()), (revision, compacted));
    for at in compacted.max(1)..=revision {
        let expected = alive(happened, at);
        let request = RangeRequest { revision: at, limit: 5, ..everything() };
        let response = reader.range(&request).unwrap();
        assert_eq!(response.count, i64::try_from(expected.len()).unwrap(), "at {at}");
        assert_eq!(response.more, expected.len() > 5);
        let found = response.kvs.iter().map(|kv| {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            (text(&kv.key), (text(&kv.value), kv.mod_revision))
        });
        assert!(found.eq(expected.into_iter().take(5)), "at {at}");
    }
    let from = compacted.max(1);
    let range = KeyRange::new(&"\0".into(), &"\0".into());
    let history = reader.history(&range, Revision(from), usize::MAX).unwrap();
    let mut events = Vec::new();
    for changes in &history.changes {
        for event in &changes.events {
            let key = std::str::from_utf8(&event.kv.key).unwrap();
            events.push((changes.revision.0, key, event.deleted));
        }
    }
    let expected = happened.iter().filter(|(revision, ..)| *revision >= from);
    let expected =
        expected.map(|(revision, key, value)| (*revision, key.as_str(), value.is_none()));
    assert!(expected.eq(events));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_store_is_what_happened(
        steps in prop::collection::vec(step(), 1..40),
        cache_bytes in prop_oneof![Just(0usize), Just(150), Just(1 << 20)],
    ) {
        let options = Options { cache_bytes, ..Options::default() };
        let mut fixture = Fixture::new(&options);
        let (mut happened, mut revision, mut compacted) = (Happened::new(), 1, -1);
        for step in steps {
            match step {
                Step::Entry(changes) => {
                    let mut requests: Vec<Request> = Vec::new();
                    for change in changes {
                        let (request, happens) = request(&happened, revision, change);
                        requests.push(request);
                        revision += i64::from(happens.is_some());
                        happened.extend(happens);
                    }
                    fixture.apply(requests);
                }
                Step::Txn(changes) => {
                    let changes = changes.into_iter();
                    let (requests, happens): (Vec<_>, Vec<_>) =
                        changes.map(|change| request(&happened, revision, change)).unzip();
                    fixture.one(txn(requests)).unwrap();
                    revision += i64::from(happens.iter().any(Option::is_some));
                    happened.extend(happens.into_iter().flatten());
                }
                Step::Compact(back) => {
                    let to = revision - i64::from(back);
                    if fixture.one(compact(to)).is_ok() {
                        prop_assert!(to > compacted);
                        compacted = to;
                    } else {
                        prop_assert!(to <= compacted);
                    }
                }
                Step::Purge => while fixture.store.purge() {},
                Step::Restart => {
                    fixture.store = Store::open(fixture.engine.clone(), &options).unwrap();
                }
            }
            check(&fixture, &happened, revision, compacted);
        }
    }
}
