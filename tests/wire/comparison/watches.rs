//! Watching: what is created, what is delivered, and when it ends.

use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::watch_create_request::FilterType;
use kat::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, WatchCreateRequest};

use super::wire::{Watching, Wire};
use super::words::{
    ON, Operation, cancel, compact, create, delete, delete_range, progress, put, txn, watch,
};

/// Creates a watcher, and hears the one answer.
async fn start(wire: &mut Wire, watching: &mut Watching, request: WatchCreateRequest) {
    wire.tell(watching, create(request)).await;
    wire.hear(watching, 1).await;
}

/// Two watchers of everything, one with what was before, and one per kind.
fn observers() -> [WatchCreateRequest; 5] {
    let everything = || watch("\0", ON);
    let filter = |filters: &[FilterType]| WatchCreateRequest {
        filters: filters.iter().map(|kind| (*kind).into()).collect(),
        ..everything()
    };
    [
        everything(),
        WatchCreateRequest { prev_kv: true, ..everything() },
        filter(&[FilterType::Noput]),
        filter(&[FilterType::Nodelete]),
        filter(&[FilterType::Noput, FilterType::Nodelete]),
    ]
}

pub(super) async fn creating_watchers(wire: &mut Wire) {
    let mut watching = wire.watching();
    for request in [
        watch("a", ""),
        watch("a", ""),
        watch("c", "a"),
        watch("a", "a"),
        watch("", ""),
        watch("", "b"),
        watch("", ON),
        watch("a", ON),
        WatchCreateRequest { watch_id: 3, ..watch("a", "") },
        WatchCreateRequest { watch_id: 77, ..watch("a", "") },
        WatchCreateRequest { watch_id: 77, ..watch("b", "") },
        WatchCreateRequest { watch_id: 77, ..watch("b", "a") },
        WatchCreateRequest { watch_id: -5, ..watch("a", "") },
        WatchCreateRequest { watch_id: -1, ..watch("a", "") },
        WatchCreateRequest { start_revision: -1, ..watch("a", "") },
        WatchCreateRequest { start_revision: -1, ..watch("c", "a") },
        WatchCreateRequest { start_revision: 1, ..watch("a", "") },
        WatchCreateRequest { start_revision: 1000, ..watch("a", "") },
        WatchCreateRequest { filters: vec![0, 1, 7], ..watch("a", "") },
        WatchCreateRequest { fragment: true, progress_notify: true, ..watch("a", "") },
    ] {
        start(wire, &mut watching, request).await;
    }
    for id in [1, 1, 999, 77, -5] {
        wire.tell(&watching, cancel(id)).await;
    }
    wire.hear(&mut watching, 3).await;
    start(wire, &mut watching, watch("fresh", "")).await;
    start(wire, &mut watching, WatchCreateRequest { watch_id: 77, ..watch("b", "") }).await;
    wire.put(put("fresh", "1")).await;
    wire.hear(&mut watching, 3).await;

    // The first watcher of a stream whose create was refused is still number 0.
    let mut other = wire.watching();
    start(wire, &mut other, watch("c", "a")).await;
    start(wire, &mut other, watch("c", "d")).await;
}

pub(super) async fn seeing_writes_live(wire: &mut Wire) {
    wire.put(put("before", "1")).await;
    wire.lease_grant(600, 5).await;
    let mut watching = wire.watching();
    for request in observers() {
        start(wire, &mut watching, request).await;
    }
    let put_heard = 3;
    wire.put(put("a", "1")).await;
    wire.hear(&mut watching, put_heard).await;
    wire.put(PutRequest { lease: 5, ..put("a", "1") }).await;
    wire.hear(&mut watching, put_heard).await;
    wire.put(PutRequest { ignore_value: true, ..put("a", "") }).await;
    wire.hear(&mut watching, put_heard).await;
    wire.delete_range(delete("nothing")).await;
    wire.put(PutRequest { lease: 5, ..put("b", "") }).await;
    wire.hear(&mut watching, put_heard).await;
    let delete_heard = 3;
    wire.delete_range(delete("a")).await;
    wire.hear(&mut watching, delete_heard).await;
    wire.put(put("a", "again")).await;
    wire.hear(&mut watching, put_heard).await;
    let mixed = [
        put("d", "1").op(),
        delete_range("a", "b").op(),
        put("c", "1").op(),
        txn([], [put("e", "nested").op()], []).op(),
    ];
    wire.txn(txn([], mixed, [])).await;
    wire.hear(&mut watching, 4).await;
    wire.delete_range(delete_range("a", ON)).await;
    wire.hear(&mut watching, delete_heard).await;
    wire.put(PutRequest { lease: 5, ..put("y", "") }).await;
    wire.hear(&mut watching, put_heard).await;
    wire.put(PutRequest { lease: 5, ..put("x", "") }).await;
    wire.hear(&mut watching, put_heard).await;
    wire.lease_revoke(kat::proto::etcdserverpb::LeaseRevokeRequest { id: 5 }).await;
    wire.hear(&mut watching, delete_heard).await;

    wire.tell(&watching, cancel(0)).await;
    wire.hear(&mut watching, 1).await;
    wire.put(put("z", "1")).await;
    wire.hear(&mut watching, put_heard - 1).await;
}

/// A txn may put a key and then delete it, in two txns within. What was before is
/// then what was before both.
pub(super) async fn seeing_a_key_change_twice_at_once(wire: &mut Wire) {
    let inner = |op| txn([], [op], []).op();
    let twice = |key| {
        let deletion = DeleteRangeRequest { prev_kv: true, ..delete(key) };
        txn([], [inner(put(key, "2").op()), inner(deletion.op())], [])
    };
    wire.put(put("a", "1")).await;
    let mut watching = wire.watching();
    for request in observers() {
        start(wire, &mut watching, request).await;
    }
    for key in ["a", "new"] {
        wire.txn(twice(key)).await;
        wire.hear(&mut watching, 4).await;
    }
    let mut later = wire.watching();
    for request in observers() {
        let past = WatchCreateRequest { start_revision: 2, ..request };
        let is_deaf = past.filters.len() == 2;
        start(wire, &mut later, past).await;
        if !is_deaf {
            wire.hear(&mut later, 1).await;
        }
    }
}

pub(super) async fn catching_up(wire: &mut Wire) {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2")] {
        wire.put(put(key, value)).await;
    }
    wire.delete_range(delete("a")).await;
    wire.txn(txn([], [put("c", "1").op(), delete("b").op(), put("a", "3").op()], [])).await;
    wire.put(put("c", "2")).await;
    for request in observers() {
        for start_revision in [1, 2, 4, 6, 7] {
            let mut watching = wire.watching();
            let past = WatchCreateRequest { start_revision, ..request.clone() };
            start(wire, &mut watching, past).await;
            // The last kind never fires, and nothing is deleted from 7 on.
            let is_deaf = request.filters.len() == 2;
            let no_puts = request.filters == [0];
            if !(is_deaf || no_puts && start_revision == 7) {
                wire.hear(&mut watching, 1).await;
            }
        }
    }
    let mut watching = wire.watching();
    let future = WatchCreateRequest { start_revision: 10, prev_kv: true, ..watch("a", "") };
    start(wire, &mut watching, future).await;
    let one_key = WatchCreateRequest { start_revision: 3, prev_kv: true, ..watch("b", "") };
    start(wire, &mut watching, one_key).await;
    wire.hear(&mut watching, 1).await;
    for value in ["8", "9", "10", "11"] {
        wire.put(put("a", value)).await;
    }
    wire.hear(&mut watching, 2).await;
}

pub(super) async fn asking_for_progress(wire: &mut Wire) {
    let mut watching = wire.watching();
    // Nobody watches: no answer, so that the next thing heard is a create.
    wire.tell(&watching, progress()).await;
    start(wire, &mut watching, watch("a", "")).await;
    wire.tell(&watching, progress()).await;
    wire.hear(&mut watching, 1).await;
    wire.put(put("elsewhere", "1")).await;
    wire.tell(&watching, progress()).await;
    wire.hear(&mut watching, 1).await;
    start(wire, &mut watching, watch("b", "")).await;
    wire.put(put("a", "1")).await;
    wire.tell(&watching, progress()).await;
    wire.hear(&mut watching, 2).await;
    // One that waits for the future is not in step, and silences all.
    let future = WatchCreateRequest { start_revision: 6, watch_id: 50, ..watch("c", "") };
    start(wire, &mut watching, future).await;
    wire.tell(&watching, progress()).await;
    wire.put(put("b", "1")).await;
    wire.hear(&mut watching, 1).await;
    wire.put(put("c", "5")).await;
    wire.put(put("c", "6")).await;
    wire.hear(&mut watching, 1).await;
    wire.tell(&watching, progress()).await;
    wire.hear(&mut watching, 1).await;
}

pub(super) async fn watching_what_was_compacted(wire: &mut Wire) {
    for value in ["1", "2", "3", "4", "5"] {
        wire.put(put("a", value)).await;
    }
    wire.delete_range(delete("a")).await;
    wire.put(put("b", "1")).await;
    let mut synced = wire.watching();
    start(wire, &mut synced, watch("a", "")).await;
    wire.compact(compact(5)).await;
    let mut watching = wire.watching();
    for start_revision in [1, 4] {
        let past = WatchCreateRequest { start_revision, ..watch("a", "") };
        wire.tell(&watching, create(past)).await;
        wire.hear(&mut watching, 2).await;
    }
    for start_revision in [5, 6] {
        let past = WatchCreateRequest { start_revision, prev_kv: true, ..watch("a", "") };
        wire.tell(&watching, create(past)).await;
        wire.hear(&mut watching, 2).await;
    }
    wire.tell(&watching, cancel(0)).await;
    wire.hear(&mut watching, 1).await;
    // The tombstone at the compact revision is still delivered.
    wire.compact(compact(7)).await;
    let mut tombstone = wire.watching();
    let past = WatchCreateRequest { start_revision: 7, prev_kv: true, ..watch("a", "") };
    wire.tell(&tombstone, create(past)).await;
    wire.hear(&mut tombstone, 2).await;
    wire.put(put("a", "6")).await;
    wire.hear(&mut synced, 1).await;
    wire.hear(&mut tombstone, 1).await;
}

/// Requests that ask for nothing are let pass.
pub(super) async fn saying_nothing(wire: &mut Wire) {
    let mut watching = wire.watching();
    watching.send_nothing().await;
    start(wire, &mut watching, watch("a", "")).await;
    watching.send_nothing().await;
    wire.put(put("a", "1")).await;
    wire.hear(&mut watching, 1).await;
    start(wire, &mut watching, watch("b", "")).await;
}

/// A client that has nothing more to say still listens.
pub(super) async fn falling_silent(wire: &mut Wire) {
    let mut watching = wire.watching();
    wire.tell(&watching, create(watch("a", ""))).await;
    watching.fall_silent();
    wire.hear(&mut watching, 1).await;
    for value in ["1", "2"] {
        wire.put(put("a", value)).await;
        wire.hear(&mut watching, 1).await;
    }
}

/// One revision of more than two MiB, for what was before is told too. It is
/// cut only for those who agree.
pub(super) async fn fragmenting(wire: &mut Wire) {
    let mut client = KvClient::new(wire.channel());
    let mut watchers = Vec::new();
    let wanted = WatchCreateRequest { prev_kv: true, ..watch("big/", ON) };
    for fragment in [false, true] {
        let mut watching = wire.watching();
        start(wire, &mut watching, WatchCreateRequest { fragment, ..wanted.clone() }).await;
        watchers.push(watching);
    }
    for (round, pieces) in [(1, 1), (2, 2), (3, 2)] {
        let write = |key: &'static str, kib: usize| {
            PutRequest { value: vec![b'x'; kib * 1024].into(), ..put(key, "") }.op()
        };
        let writes = [write("big/1", 400), write("big/2", 600), write("big/3", 400 + round)];
        let answer = client.txn(txn([], writes, [])).await;
        wire.note(format!("round {round}"), answer);
        wire.hear(&mut watchers[0], 1).await;
        wire.hear(&mut watchers[1], pieces).await;
    }
    let mut late = wire.watching();
    let past = WatchCreateRequest { fragment: true, start_revision: 4, ..wanted };
    start(wire, &mut late, past).await;
    wire.hear(&mut late, 2).await;
}

/// History that no single read of ours brings: large values, and many rows. Who
/// takes one response of it gets as much as from etcd.
pub(super) async fn catching_up_on_much(wire: &mut Wire) {
    let mut client = KvClient::new(wire.channel());
    for number in 0..10 {
        let (key, value) = (format!("big/{number}").into(), vec![b'x'; 1 << 20].into());
        let answer = client.put(PutRequest { key, value, ..put("", "") }).await;
        wire.note(format!("big {number}"), answer);
    }
    for round in 0..50 {
        let write = |key: String| PutRequest { key: key.into(), ..put("", "1") }.op();
        let row = |number: usize| write(format!("row/{round:02}/{number:03}"));
        let many: [_; 120] = std::array::from_fn(row);
        let answer = client.txn(txn([], many, [])).await;
        wire.note(format!("round {round}"), answer);
        wire.put(put("big/9", "1")).await;
    }
    for (key, end, fragment, prev_kv, all) in [
        ("big/", "big0", false, false, 60),
        ("big/", "big0", true, false, 60),
        ("big/9", "", false, true, 51),
        ("row/", "row0", false, false, 6000),
        ("row/31/", "row/310", false, false, 120),
        ("big/", ON, false, true, 6060),
    ] {
        let past = WatchCreateRequest { start_revision: 2, fragment, prev_kv, ..watch(key, end) };
        let mut watching = wire.watching();
        watching.send(create(past)).await;
        let mut shapes = Vec::new();
        let mut events = 0;
        while events < all {
            let response = watching.next().await.expect("a response").expect("no end");
            events += response.events.len();
            shapes.push((response.created, response.events.len(), response.fragment));
        }
        wire.write(
            format!("the past of {key} {end:?} {fragment} {prev_kv}"),
            format!("{shapes:?}"),
        );
    }
}

/// Told every 300 ms, to those who want it.
pub(super) async fn hearing_progress(wire: &mut Wire) {
    wire.put(put("a", "1")).await;
    let mut watching = wire.watching();
    start(wire, &mut watching, watch("a", "")).await;
    let told = WatchCreateRequest { progress_notify: true, ..watch("b", "") };
    start(wire, &mut watching, told).await;
    wire.hear(&mut watching, 2).await;
}
