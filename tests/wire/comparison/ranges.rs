//! Reading: ranges at any revision, sorted, limited, filtered, streamed.

use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kat::proto::etcdserverpb::{PutRequest, RangeRequest};

use super::wire::Wire;
use super::words::{ON, all, compact, delete, get, put, range};

const ORDERS: [SortOrder; 3] = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
const TARGETS: [SortTarget; 5] =
    [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];

/// More than fits between a server and a client that does not read.
const LARGE: usize = 24;

/// Five keys whose orders by key, value, version and revision all differ.
async fn some_keys(wire: &mut Wire) {
    for (key, value) in [
        ("b", "3"),
        ("a", "5"),
        ("d", "1"),
        ("c", "3"),
        ("a", "4"),
        ("e", "2"),
        ("b", "3"),
        ("b", "3"),
        ("gone", "x"),
    ] {
        wire.put(put(key, value)).await;
    }
    wire.delete_range(delete("gone")).await;
}

pub(super) async fn reading_one_key(wire: &mut Wire) {
    wire.range(get("a")).await;
    wire.range(get("")).await;
    wire.put(put("a", "1")).await;
    wire.range(get("a")).await;
    wire.range(get("b")).await;
    wire.put(put("a", "")).await;
    wire.range(get("a")).await;
    wire.range(RangeRequest { serializable: true, ..get("a") }).await;
    wire.range(RangeRequest { keys_only: true, ..get("a") }).await;
    wire.range(RangeRequest { count_only: true, ..get("a") }).await;
    wire.put(put("a\0", "a key may hold any byte")).await;
    let odd = b"\xff\xfe\x00\x01";
    let odd_put =
        PutRequest { key: odd.as_slice().into(), value: odd.as_slice().into(), ..put("", "") };
    wire.put(odd_put).await;
    wire.range(RangeRequest { key: odd.as_slice().into(), ..get("") }).await;
    wire.range(get("a")).await;
    wire.range(range("a", "a\0\0")).await;
    wire.range(all()).await;
    wire.delete_range(delete("a")).await;
    wire.range(get("a")).await;
    wire.put(put("a", "born again")).await;
    wire.range(get("a")).await;
}

pub(super) async fn reading_a_range(wire: &mut Wire) {
    some_keys(wire).await;
    for (key, end) in [
        ("a", "c"),
        ("a", "b"),
        ("a", "a"),
        ("c", "a"),
        ("b", ON),
        ("\0", ON),
        ("", ON),
        ("", "c"),
        ("\0", ""),
        ("\0", "b"),
        ("bb", "zz"),
        ("x", ON),
    ] {
        wire.range(range(key, end)).await;
        wire.range(RangeRequest { count_only: true, ..range(key, end) }).await;
        wire.range(RangeRequest { keys_only: true, limit: 2, ..range(key, end) }).await;
    }
    let both = RangeRequest { keys_only: true, count_only: true, limit: 1, ..all() };
    wire.range(both).await;
    wire.range(RangeRequest { serializable: true, ..all() }).await;
}

pub(super) async fn reading_the_past(wire: &mut Wire) {
    wire.range(RangeRequest { revision: 1, ..all() }).await;
    wire.range(RangeRequest { revision: 2, ..all() }).await;
    some_keys(wire).await;
    for revision in -1..14 {
        wire.range(RangeRequest { revision, ..all() }).await;
        wire.range(RangeRequest { revision, limit: 2, ..range("b", "e") }).await;
        wire.range(RangeRequest { revision, count_only: true, ..range("a", "d") }).await;
    }
    wire.compact(compact(6)).await;
    for revision in [-1, 0, 1, 5, 6, 7, 11, 12] {
        wire.range(RangeRequest { revision, ..all() }).await;
        wire.range(RangeRequest { revision, serializable: true, ..get("gone") }).await;
        wire.range(RangeRequest { revision, count_only: true, ..all() }).await;
    }
}

pub(super) async fn sorting_and_limiting(wire: &mut Wire) {
    some_keys(wire).await;
    for sort_order in ORDERS {
        for sort_target in TARGETS {
            let sorted = RangeRequest {
                sort_order: sort_order.into(),
                sort_target: sort_target.into(),
                ..all()
            };
            for limit in [-1, 0, 1, 3, 5, 6] {
                wire.range(RangeRequest { limit, ..sorted.clone() }).await;
            }
            wire.range(RangeRequest { limit: 2, keys_only: true, ..sorted.clone() }).await;
            wire.range(RangeRequest { limit: 2, revision: 7, ..sorted.clone() }).await;
            wire.range(RangeRequest { limit: 2, min_mod_revision: 5, ..sorted.clone() }).await;
            wire.range(RangeRequest { limit: 2, count_only: true, ..sorted }).await;
        }
    }
    for bad in [-1, 3, 99] {
        wire.range(RangeRequest { sort_order: bad, ..all() }).await;
        wire.range(RangeRequest { sort_target: bad + 2, ..all() }).await;
    }
    // What is checked first?
    wire.range(RangeRequest { sort_order: 99, ..get("") }).await;
    wire.range(RangeRequest { sort_order: 99, revision: 99, ..get("a") }).await;
}

pub(super) async fn filtering_by_revision(wire: &mut Wire) {
    some_keys(wire).await;
    for bound in [-1, 1, 3, 4, 6, 8, 99] {
        for limit in [0, 1, 2] {
            let limited = RangeRequest { limit, ..all() };
            for request in [
                RangeRequest { min_mod_revision: bound, ..limited.clone() },
                RangeRequest { max_mod_revision: bound, ..limited.clone() },
                RangeRequest { min_create_revision: bound, ..limited.clone() },
                RangeRequest { max_create_revision: bound, ..limited.clone() },
            ] {
                wire.range(request).await;
            }
        }
    }
    let band = RangeRequest { min_mod_revision: 4, max_mod_revision: 7, ..all() };
    wire.range(band.clone()).await;
    wire.range(RangeRequest { max_create_revision: 4, ..band.clone() }).await;
    wire.range(RangeRequest { count_only: true, ..band.clone() }).await;
    wire.range(RangeRequest { revision: 5, ..band.clone() }).await;
    wire.range(RangeRequest { min_mod_revision: 8, max_mod_revision: 2, ..all() }).await;
    let sorted = RangeRequest { limit: 1, sort_target: SortTarget::Value.into(), ..band };
    wire.range(sorted).await;
}

pub(super) async fn streaming_a_range(wire: &mut Wire) {
    wire.range_stream(all()).await;
    some_keys(wire).await;
    for request in [
        all(),
        get("a"),
        get("nothing"),
        get(""),
        range("b", "d"),
        range("d", "b"),
        RangeRequest { limit: 2, ..all() },
        RangeRequest { limit: 5, ..all() },
        RangeRequest { limit: -1, ..all() },
        RangeRequest { revision: 6, ..all() },
        RangeRequest { revision: 99, ..all() },
        RangeRequest { keys_only: true, ..all() },
        RangeRequest { count_only: true, ..all() },
        RangeRequest { serializable: true, ..all() },
        RangeRequest { min_mod_revision: 3, ..all() },
        RangeRequest { max_create_revision: 3, ..all() },
        RangeRequest { sort_order: SortOrder::Descend.into(), ..all() },
        RangeRequest { sort_order: SortOrder::Ascend.into(), ..all() },
        RangeRequest {
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Mod.into(),
            ..all()
        },
        RangeRequest { sort_order: 7, ..all() },
        RangeRequest { sort_order: 7, min_mod_revision: 3, ..get("") },
    ] {
        wire.range_stream(request).await;
    }
    for i in 0..200 {
        let key = format!("many/{i:03}");
        let many = PutRequest { key: key.into(), ..put("", "value") };
        wire.put(many).await;
    }
    for limit in [0, 9, 10, 11, 31, 150, 199, 200, 205, 206] {
        wire.range_stream(RangeRequest { limit, ..all() }).await;
        wire.range_stream(RangeRequest { limit, revision: 100, ..range("many/", ON) }).await;
    }
    wire.compact(compact(20)).await;
    wire.range_stream(RangeRequest { revision: 19, ..all() }).await;
    wire.range_stream(RangeRequest { revision: 20, ..all() }).await;
}

/// A stream whose revision is compacted while it is sent breaks off.
pub(super) async fn streaming_past_a_compaction(wire: &mut Wire) {
    let mut client = KvClient::new(wire.channel()).max_decoding_message_size(usize::MAX);
    for number in 0..LARGE {
        let key = format!("large/{number:02}").into();
        let value = vec![b'x'; 1 << 20].into();
        let answer = client.put(PutRequest { key, value, ..PutRequest::default() }).await;
        wire.note(format!("large put {number}"), answer);
    }
    // At the revision that is read, a compaction does no harm.
    for (revision, compacted) in [(20, 20), (20, 22), (0, 28)] {
        let request = RangeRequest { revision, ..all() };
        let mut stream = client.range_stream(request).await.expect("a stream").into_inner();
        let first = stream.message().await.expect("a piece").and_then(|piece| piece.range_response);
        let first = first.expect("a piece of a range");
        wire.write("the first piece has a header", first.header.is_some().to_string());
        wire.put(put("a", "1")).await;
        wire.compact(compact(compacted)).await;
        let end = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => break "the end".to_owned(),
                Err(status) => break format!("{:?} {:?}", status.code(), status.message()),
            }
        };
        wire.write("the stream goes on", end);
    }
}

/// A sort target without an order sorts each piece of a stream by itself. Where
/// many keys are equal, etcd's order is that of its sort, so no two are.
pub(super) async fn streaming_with_a_target(wire: &mut Wire) {
    for i in 0..60_u32 {
        let (key, value) = (format!("k{i:02}").into(), (i * 37 % 60).to_string().into());
        wire.put(PutRequest { key, value, ..put("", "") }).await;
    }
    for i in (0..60_u32).filter(|i| i * 7 % 5 == 0) {
        let (key, value) = (format!("k{:02}", i * 11 % 60).into(), format!("again {i}").into());
        wire.put(PutRequest { key, value, ..put("", "") }).await;
    }
    for target in [SortTarget::Create, SortTarget::Mod, SortTarget::Value] {
        let sorted = |limit| RangeRequest { sort_target: target.into(), limit, ..all() };
        for limit in [-2, 0, 1, 3, 10, 11, 30, 59, 60, 61] {
            wire.range_stream(sorted(limit)).await;
        }
        wire.range_stream(RangeRequest { keys_only: true, ..sorted(0) }).await;
        wire.range_stream(RangeRequest { count_only: true, ..sorted(0) }).await;
        wire.range_stream(RangeRequest { revision: 40, ..sorted(0) }).await;
        wire.range_stream(RangeRequest { range_end: "k13".into(), ..sorted(12) }).await;
    }
    let by_version = RangeRequest { sort_target: SortTarget::Version.into(), ..all() };
    wire.range_stream(RangeRequest { range_end: "k09".into(), ..by_version.clone() }).await;
    wire.range_stream(RangeRequest { limit: 8, ..by_version }).await;
}
