//! Lists that are measured first and read later.

use prost::Message as _;

use super::corners::{Fixture, compact, delete, put};
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest,
};
use crate::store::{Options, RangeRows, Reader, Store, Weight};

fn all() -> RangeRequest {
    RangeRequest { key: "a".into(), range_end: "z".into(), ..RangeRequest::default() }
}

fn begin(reader: &Reader, request: &RangeRequest) -> RangeRows {
    reader.range_rows(request).unwrap().expect("it asks for whole rows in their order")
}

/// The whole answer, read in pieces of some size.
fn read(mut rows: RangeRows, bytes_target: usize) -> RangeResponse {
    let RangeResponse { header, more, count, .. } = rows.frame();
    let mut bytes = RangeResponse { header, ..RangeResponse::default() }.encode_to_vec();
    let head = bytes.len();
    while rows.read(&mut bytes, bytes_target) {}
    assert_eq!(bytes.len() - head, rows.bytes());
    RangeResponse { more, count, ..RangeResponse::default() }.encode(&mut bytes).unwrap();
    RangeResponse::decode(&bytes[..]).unwrap()
}

/// Three hundred keys, some of them with several versions, some deleted.
fn fill(fixture: &mut Fixture) {
    for round in 0..3 {
        for number in (0..300).filter(|number| number % (round + 1) == 0) {
            let value = "v".repeat(number * (round + 1));
            fixture.one(put(&format!("k{number:03}"), &value)).unwrap();
        }
    }
    for number in (0..300).step_by(7) {
        fixture.one(delete(&format!("k{number:03}"))).unwrap();
    }
}

fn compare(reader: &Reader) {
    let revision = reader.revision();
    for limit in [0, 1, 100, 256, 257, 258, 1000] {
        for back in [0, 1, 40, 150, 400] {
            let request = RangeRequest { limit, revision: revision - back, ..all() };
            let whole = reader.range(&request).unwrap();
            for bytes_target in [1, 5000, usize::MAX] {
                let list = read(begin(reader, &request), bytes_target);
                assert_eq!(list, whole, "limit {limit}, {back} back, {bytes_target}");
            }
        }
    }
}

#[test]
fn a_list_is_what_a_range_answers_wherever_its_rows_are() {
    for cache_bytes in [0, 10_000, 1 << 20] {
        let options = Options { cache_bytes, ..Options::default() };
        let mut fixture = Fixture::new(&options);
        fill(&mut fixture);
        compare(&fixture.store.reader());
        // What was loaded from rows knows their lengths, too.
        let again = Store::open(fixture.engine.clone(), &options).unwrap();
        compare(&again.reader());
    }
}

#[test]
fn a_list_stays_as_it_was_measured_while_its_keys_change() {
    let mut fixture = Fixture::new(&Options { cache_bytes: 3000, ..Options::default() });
    fill(&mut fixture);
    let whole = fixture.store.reader().range(&all()).unwrap();
    let rows = begin(&fixture.store.reader(), &all());
    for number in 0..300 {
        let key = format!("k{number:03}");
        let request = if number % 2 == 0 { delete(&key) } else { put(&key, "another") };
        fixture.one(request).unwrap();
    }
    let revision = fixture.store.reader().revision();
    fixture.one(compact(revision)).unwrap();
    assert!(fixture.store.purge(), "it waits for the list");
    assert_eq!(read(rows, 2000), whole);
    while fixture.store.purge() {}
    assert_eq!(fixture.store.reader().purged_revision(), revision);
}

#[test]
fn what_is_no_list_of_whole_rows_is_not_measured() {
    let fixture = Fixture::new(&Options::default());
    let reader = fixture.store.reader();
    for request in [
        RangeRequest { keys_only: true, ..all() },
        RangeRequest { count_only: true, ..all() },
        RangeRequest { sort_order: 2, ..all() },
        RangeRequest { sort_order: 1, sort_target: 4, ..all() },
        RangeRequest { min_mod_revision: 1, ..all() },
        RangeRequest { max_create_revision: 1, ..all() },
    ] {
        assert!(reader.range_rows(&request).unwrap().is_none(), "{request:?}");
    }
    assert_eq!(read(begin(&reader, &all()), 1), reader.range(&all()).unwrap());
    assert!(reader.range_rows(&RangeRequest { revision: 9, ..all() }).is_err());
    assert!(reader.range_rows(&RangeRequest { sort_order: 9, ..all() }).is_err());
}

#[test]
fn a_range_weighs_what_has_to_be_looked_at() {
    let mut fixture = Fixture::new(&Options::default());
    for number in 0..100 {
        fixture.one(put(&format!("k{number:03}"), &"v".repeat(1000))).unwrap();
    }
    let reader = fixture.store.reader();
    let rows = begin(&reader, &all());
    let row = rows.bytes() / 100;
    let weigh = |request: &RangeRequest| {
        let Weight { keys, bytes } = reader.weigh_range(request, 1000);
        assert!(bytes <= keys * row && bytes + 10 * keys >= keys * row, "{keys}: {bytes}");
        keys
    };
    assert_eq!(weigh(&all()), 100);
    assert_eq!(weigh(&RangeRequest { limit: 7, ..all() }), 8, "one more tells that there is one");
    let sorted = RangeRequest {
        limit: 7,
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Value.into(),
        ..all()
    };
    assert_eq!(weigh(&sorted), 100);
    assert_eq!(weigh(&RangeRequest { limit: 7, min_mod_revision: 1, ..all() }), 100);
    assert_eq!(weigh(&RangeRequest { range_end: "".into(), key: "k005".into(), ..all() }), 1);
    assert_eq!(weigh(&RangeRequest { range_end: "".into(), key: "x".into(), ..all() }), 0);
    assert_eq!(weigh(&RangeRequest { count_only: true, ..all() }), 0);
    assert_eq!(weigh(&RangeRequest { revision: 1000, ..all() }), 0, "it is refused");
    assert_eq!(reader.weigh_range(&all(), 65).keys, 65);
    fixture.one(put("k000", "short")).unwrap();
    let earlier = RangeRequest { revision: 90, ..all() };
    let earlier = fixture.store.reader().weigh_range(&earlier, 1000);
    assert!(earlier.bytes > 32 << 10, "what was written since counts for a lot");
}

#[test]
fn a_txn_weighs_its_heavier_way() {
    let mut fixture = Fixture::new(&Options::default());
    for number in 0..100 {
        fixture.one(put(&format!("k{number:03}"), "v")).unwrap();
    }
    let reader = fixture.store.reader();
    let keys = |success: Vec<Op>, failure: Vec<Op>| {
        let ops = |ops: Vec<Op>| ops.into_iter().map(|op| RequestOp { request: Some(op) });
        let (success, failure) = (ops(success).collect(), ops(failure).collect());
        reader.weigh_txn(&TxnRequest { success, failure, ..TxnRequest::default() }).keys
    };
    let range = || Op::RequestRange(all());
    let plain = || PutRequest { key: "k001".into(), ..PutRequest::default() };
    let telling = || Op::RequestPut(PutRequest { prev_kv: true, ..plain() });
    let deletion = |prev_kv| {
        let (key, range_end) = ("a".into(), "z".into());
        Op::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
    };
    assert_eq!(keys(vec![range()], vec![telling()]), 100);
    assert_eq!(keys(vec![Op::RequestPut(plain())], vec![range(), telling()]), 101);
    assert_eq!(keys(vec![deletion(true), range()], vec![]), 200);
    assert_eq!(keys(vec![deletion(false)], vec![]), 0);
    let success = vec![RequestOp { request: Some(range()) }];
    let nested = TxnRequest { success, ..TxnRequest::default() };
    assert_eq!(keys(vec![Op::RequestTxn(nested)], vec![]), 100);
    let earlier = Op::RequestRange(RangeRequest { revision: 50, ..all() });
    assert_eq!(keys(vec![earlier], vec![]), 49);
    let deletion = DeleteRangeRequest { key: "a".into(), range_end: "z".into(), prev_kv: true };
    assert_eq!(reader.weigh_deletion(&deletion).keys, 100);
    assert_eq!(reader.weigh_deletion(&DeleteRangeRequest { prev_kv: false, ..deletion }).keys, 0);
}
