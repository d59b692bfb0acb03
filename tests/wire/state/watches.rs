//! Watches, and what they outlive.

use etcd_client::WatchOptions;
use futures::StreamExt;
use kat::ids::Revision;
use kat::state::{Error, EtcdStore, EventKind, KV, Op, StateStore};

use super::cable::Cable;
use super::{Server, next, run, soon, store, store_at, stranger, until};

fn kv(key: &str, value: &str, version: Revision) -> KV {
    KV { key: key.into(), value: value.into(), version }
}

/// Waits until a server that came back answers.
async fn answers(store: &EtcdStore) {
    until("the store answers", async || store.get("answers").await.ok()).await;
}

pub(super) async fn a_write_after_the_return_is_seen(server: &mut Server) {
    let store = store(server);
    let before = store.put("a", b"0").await.unwrap();
    let mut watch = store.watch_key("a", Revision(0)).await.unwrap();
    assert_eq!(watch.created_revision(), before);
    let first = store.put("a", b"1").await.unwrap();
    store.put("b", b"not watched").await.unwrap();
    assert!(store.delete("a").await.unwrap());
    let again = store.put("a", b"2").await.unwrap();

    let event = next(&mut watch).await;
    assert_eq!((event.kind, event.kv), (EventKind::Put, kv("a", "1", first)));
    assert_eq!(event.prev_kv, Some(kv("a", "0", before)));
    let event = next(&mut watch).await;
    let deleted = Revision(first.0 + 2);
    assert_eq!((event.kind, event.kv), (EventKind::Delete, kv("a", "", deleted)));
    assert_eq!(event.prev_kv, Some(kv("a", "1", first)));
    let event = next(&mut watch).await;
    assert_eq!((event.kind, event.kv), (EventKind::Put, kv("a", "2", again)));
    assert_eq!(event.prev_kv, None, "nothing was there before");
}

pub(super) async fn a_trailing_slash_means_a_prefix(server: &mut Server) {
    let store = store(server);
    let mut prefix = store.watch("a/", Revision(0)).await.unwrap();
    let mut key = store.watch("a", Revision(0)).await.unwrap();
    let mut bytes = store.watch_prefix("a", Revision(0)).await.unwrap();
    let mut all = store.watch_prefix("", Revision(0)).await.unwrap();
    for name in ["b", "ab", "a/b", "a"] {
        store.put(name, b"").await.unwrap();
    }
    assert_eq!(next(&mut prefix).await.kv.key, "a/b");
    assert_eq!(next(&mut key).await.kv.key, "a");
    for name in ["ab", "a/b", "a"] {
        assert_eq!(next(&mut bytes).await.kv.key, name);
    }
    for name in ["b", "ab", "a/b", "a"] {
        assert_eq!(next(&mut all).await.kv.key, name);
    }
}

pub(super) async fn history_is_replayed_from_a_revision(server: &mut Server) {
    let store = store(server);
    store.put("a/0", b"too early").await.unwrap();
    let start = store.put("a/1", b"").await.unwrap();
    let together = [Op::put("a/3", ""), Op::put("a/2", ""), Op::delete("a/0")];
    let second = store.do_transaction(&[], &together, &[]).await.unwrap().revision;
    let mut watch = store.watch_prefix("a/", start).await.unwrap();
    let third = store.put("a/4", b"").await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let event = next(&mut watch).await;
        seen.push((event.kv.key, event.kv.version));
    }
    let wanted =
        [("a/1", start), ("a/3", second), ("a/2", second), ("a/0", second), ("a/4", third)];
    assert_eq!(seen, wanted.map(|(key, revision)| (key.to_owned(), revision)));

    let mut future = store.watch_key("a/4", Revision(third.0 + 2)).await.unwrap();
    store.put("a/4", b"too early").await.unwrap();
    let wanted = store.put("a/4", b"in time").await.unwrap();
    assert_eq!(next(&mut future).await.kv.version, wanted);
}

pub(super) async fn a_compacted_start_ends_the_watch(server: &mut Server) {
    let (store, mut stranger) = (store(server), stranger(server).await);
    let first = store.put("a", b"1").await.unwrap();
    store.put("a", b"2").await.unwrap();
    let last = store.put("a", b"3").await.unwrap();
    stranger.compact(last.0, None).await.unwrap();

    let mut watch = store.watch_key("a", first).await.unwrap();
    let end = soon("the end", watch.next()).await;
    assert_eq!(end, Some(Err(Error::Compacted { compact_revision: last })));
    assert_eq!(soon("the end", watch.next()).await, None);

    let mut watch = store.watch_key("a", last).await.unwrap();
    let event = next(&mut watch).await;
    assert_eq!(event.kv, kv("a", "3", last));
    assert_eq!(event.prev_kv, None, "the old value is compacted");
}

pub(super) async fn a_watch_survives_a_restart(server: &mut Server) {
    let store = store(server);
    let mut watch = store.watch_prefix("a/", Revision(0)).await.unwrap();
    let mut written = Vec::new();
    for round in 0..3 {
        for n in 0..10 {
            written.push(store.put(&format!("a/{n}"), b"").await.unwrap());
        }
        // Sometimes all was read before the crash, sometimes not.
        if round == 1 {
            for wanted in written.drain(..) {
                assert_eq!(next(&mut watch).await.kv.version, wanted);
            }
        }
        server.kill();
        server.start_again();
        answers(&store).await;
    }
    written.push(store.put("a/last", b"").await.unwrap());
    for wanted in written {
        assert_eq!(next(&mut watch).await.kv.version, wanted, "no gap and no duplicate");
    }
}

pub(super) async fn a_watch_survives_a_cut(server: &mut Server) {
    let (direct, cable) = (store(server), Cable::to(server).await);
    let store = store_at(&cable.endpoint);
    let mut watch = store.watch_key("a", Revision(0)).await.unwrap();
    for _ in 0..3 {
        let before = direct.put("a", b"before").await.unwrap();
        cable.cut();
        let after = direct.put("a", b"after").await.unwrap();
        cable.mend();
        for wanted in [before, after] {
            assert_eq!(next(&mut watch).await.kv.version, wanted, "no gap and no duplicate");
        }
    }
}

pub(super) async fn a_compacted_resume_point_ends_the_watch(server: &mut Server) {
    let (direct, cable) = (store(server), Cable::to(server).await);
    let store = store_at(&cable.endpoint);
    let mut watch = store.watch_key("a", Revision(0)).await.unwrap();
    let seen = direct.put("a", b"1").await.unwrap();
    assert_eq!(next(&mut watch).await.kv.version, seen);
    cable.cut();
    direct.put("a", b"2").await.unwrap();
    let last = direct.put("a", b"3").await.unwrap();
    stranger(server).await.compact(last.0, None).await.unwrap();
    cable.mend();
    let end = soon("the end", watch.next()).await;
    assert_eq!(end, Some(Err(Error::Compacted { compact_revision: last })));
}

pub(super) async fn a_slow_reader_misses_nothing(server: &mut Server) {
    let store = store(server);
    let mut watch = store.watch_prefix("a/", Revision(0)).await.unwrap();
    let value = "x".repeat(1_000);
    let mut last = watch.created_revision();
    for _ in 0..50 {
        let puts: Vec<Op> =
            (0..100).map(|n| Op::put(format!("a/{n:02}"), value.as_str())).collect();
        last = store.do_transaction(&[], &puts, &[]).await.unwrap().revision;
    }
    let first = watch.created_revision().0 + 1;
    for revision in first..=last.0 {
        for n in 0..100 {
            let event = next(&mut watch).await;
            assert_eq!((event.kv.version, event.kv.key), (Revision(revision), format!("a/{n:02}")));
        }
    }
}

pub(super) async fn closing_the_store_ends_the_watch(server: &mut Server) {
    let store = store(server);
    let mut watch = store.watch_key("a", Revision(0)).await.unwrap();
    store.put("a", b"1").await.unwrap();
    next(&mut watch).await;
    store.close().await.unwrap();
    assert_eq!(soon("the end", watch.next()).await, Some(Err(Error::Closed)));
    assert_eq!(soon("the end", watch.next()).await, None);
}

/// Stock etcd counts its watchers, and can be told to be chatty.
#[test]
fn a_dropped_watch_is_cancelled_in_the_store() {
    run(async {
        let server = Server::etcd();
        let store = store(&server);
        let watchers = || {
            let metrics = server.http_get("/metrics")?;
            let line =
                metrics.lines().find(|l| l.starts_with("etcd_debugging_mvcc_watcher_total"))?;
            line.rsplit(' ').next()?.parse::<u32>().ok()
        };
        let watch = store.watch_key("a", Revision(0)).await.unwrap();
        assert_eq!(watchers(), Some(1));
        drop(watch);
        until("nobody watches", async || watchers().filter(|count| *count == 0)).await;
    });
}

#[test]
fn a_quiet_watch_does_not_age_into_compacted_history() {
    run(async {
        let mut server = Server::etcd_with(&["--watch-progress-notify-interval=200ms"]);
        let store = store(&server);
        let mut watch = store.watch_key("quiet", Revision(0)).await.unwrap();
        let mut last = Revision(0);
        for _ in 0..10 {
            last = store.put("loud", b"").await.unwrap();
        }
        let mut stranger = stranger(&server).await;
        // Whoever began later has seen two notices: then the first watch has one.
        let options = WatchOptions::new().with_progress_notify();
        let mut other = stranger.watch("quiet", Some(options)).await.unwrap();
        let mut notices = 0;
        while notices < 3 {
            let answer = soon("a notice", other.message()).await.unwrap().unwrap();
            notices += u32::from(!answer.created());
        }
        stranger.compact(last.0, None).await.unwrap();
        server.kill();
        server.start_again();
        answers(&store).await;
        let seen = store.put("quiet", b"1").await.unwrap();
        assert_eq!(next(&mut watch).await.kv.version, seen);
    });
}
