//! Lists that are measured first and read later.

use prost::Message as _;

use super::corners::{Fixture, compact, delete, put};
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};
use crate::store::{Options, RangeRows, Reader, Store};

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
