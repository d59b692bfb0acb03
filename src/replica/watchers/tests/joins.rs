//! From history to the present and back, compaction, and progress.

use super::world::{World, ask_progress, cancel, create, line, on, poll, put, said, txn};
use crate::ids::Revision;
use crate::proto::etcdserverpb::WatchCreateRequest;

const NOTHING: [&str; 0] = [];

fn since(start_revision: i64, key: &str, range_end: &str) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..on(key, range_end) }
}

#[test]
fn a_watcher_from_the_past_hears_history_and_then_the_present() {
    let mut world = World::new();
    for value in ["1", "2", "3"] {
        world.put("a", value);
    }
    world.put("x", "");
    let mut stream = world.stream();
    create(&mut stream, since(3, "a", ""));
    create(&mut stream, since(1, "a", "b"));
    create(&mut stream, since(5, "a", ""));
    assert_eq!(
        said(&mut stream),
        ["0@5 created", "1@5 created", "2@5 created", "0@5 a=2 a=3", "1@5 a=1 a=2 a=3",]
    );
    world.put("a", "4");
    assert_eq!(said(&mut stream), ["0@6 a=4", "2@6 a=4", "1@6 a=4"]);
}

#[test]
fn a_watcher_of_the_future_is_silent_until_then() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, since(4, "a", ""));
    world.put("a", "1");
    world.put("a", "2");
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["0@1 created"]);
    world.put("a", "3");
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["0@4 a=3", "-1@4"]);
}

#[test]
fn what_was_acknowledged_before_is_not_told_though_it_is_published_after() {
    let mut world = World::new();
    let mut stream = world.stream();
    let applied = world.apply(vec![put("a", "1")]);
    create(&mut stream, on("a", ""));
    create(&mut stream, since(2, "a", ""));
    create(&mut stream, since(3, "a", ""));
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["0@2 created", "1@2 created", "2@2 created"]);
    world.publish(applied);
    assert_eq!(said(&mut stream), ["1@2 a=1"]);
    world.put("a", "2");
    assert_eq!(said(&mut stream), ["0@3 a=2", "1@3 a=2", "2@3 a=2"]);
}

#[test]
fn history_comes_in_batches_that_split_no_revision() {
    let mut world = World::new();
    for _ in 0..1250 {
        world.write(vec![txn(&[("a", "1"), ("b", "1")])]);
    }
    let mut stream = world.stream();
    create(&mut stream, since(1, "a", "c"));
    let batches: Vec<usize> =
        std::iter::from_fn(|| poll(&mut stream)).map(|response| response.events.len()).collect();
    assert_eq!(batches, [0, 2000, 500]);
}

#[test]
fn a_compacted_start_is_created_first_and_then_canceled() {
    let mut world = World::new();
    for value in ["1", "2", "3", "4"] {
        world.put("a", value);
    }
    world.compact(4);
    let mut stream = world.stream();
    create(&mut stream, since(3, "a", ""));
    create(&mut stream, since(4, "a", ""));
    assert_eq!(
        said(&mut stream),
        ["0@5 created", "1@5 created", "0@0 canceled compact=4", "1@5 a=3 a=4"]
    );
    assert_eq!(world.hub.counts(), (1, 1));
    // Its id stays taken, and it counts as one that is not synced.
    create(&mut stream, WatchCreateRequest { watch_id: 0, ..on("a", "") });
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["2@5 created"]);
    cancel(&mut stream, 0);
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["0@5 canceled", "-1@5"]);
}

#[test]
fn a_synced_watcher_survives_any_compaction() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    for value in ["1", "2", "3", "4"] {
        world.put("b", value);
    }
    world.put("a", "1");
    world.compact(6);
    assert_eq!(said(&mut stream), ["0@1 created", "0@6 a=1"]);
}

#[test]
fn progress_is_told_when_all_are_synced_and_never_before_events() {
    let mut world = World::new();
    let mut stream = world.stream();
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), NOTHING);
    create(&mut stream, on("a", ""));
    create(&mut stream, on("b", ""));
    world.put("a", "1");
    world.put("b", "1");
    ask_progress(&mut stream);
    world.put("a", "2");
    assert_eq!(
        said(&mut stream),
        ["0@1 created", "1@1 created", "0@2 a=1", "1@3 b=1", "-1@3", "0@4 a=2"]
    );
    // Whoever still reads history keeps all silent, then and later.
    create(&mut stream, since(2, "a", ""));
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["2@4 created", "2@4 a=1 a=2"]);
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["-1@4"]);
}

#[test]
fn progress_waits_for_what_is_applied_and_not_yet_published() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    let first = world.apply(vec![put("a", "1")]);
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), ["0@1 created"]);
    world.publish(first);
    assert_eq!(said(&mut stream), ["0@2 a=1", "-1@2"]);
    let other = world.apply(vec![put("b", "1")]);
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), NOTHING);
    world.publish(other);
    assert_eq!(said(&mut stream), ["-1@3"]);
}

#[test]
fn progress_does_not_fall_behind_what_history_told() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    world.put("a", "1");
    ask_progress(&mut stream);
    // It is sent to history with the promise open, and reads beyond it.
    world.hub.publish(Vec::new(), world.revision());
    let later = world.apply(vec![put("a", "2")]);
    let gap = world.apply(vec![put("a", "3")]);
    drop(later);
    world.publish(gap);
    let lines = said(&mut stream);
    assert_eq!(lines, ["0@1 created", "0@2 a=1", "-1@2", "0@4 a=2 a=3"]);
}

#[test]
fn a_full_mailbox_costs_its_own_stream_a_look_into_history() {
    let mut world = World::new();
    let (mut slow, mut fast) = (world.stream(), world.stream());
    create(&mut slow, on("a", ""));
    create(&mut fast, on("a", "b"));
    let (mut heard_fast, mut last) = (0, 1);
    for _ in 0..900 {
        last = world.write(vec![put("a", "x"); 10]);
        heard_fast += said(&mut fast).len();
    }
    assert_eq!(heard_fast, 1 + 9000);
    let mut heard = Vec::new();
    let mut batches = 0;
    while let Some(response) = poll(&mut slow) {
        batches += usize::from(response.events.len() > 1);
        heard.extend(response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
    }
    assert!(batches > 0, "it never had to look into history");
    assert!(heard.iter().copied().eq(2..=last), "a gap or a repetition");
    world.put("a", "last");
    assert_eq!(said(&mut slow), [format!("0@{} a=last", last + 1)]);
}

#[test]
fn what_fell_out_of_the_ring_is_read_from_history() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    create(&mut stream, on("b", "c"));
    let value = "v".repeat(1 << 20);
    let mut last = 1;
    for _ in 0..20 {
        world.put("a", &value);
        last = world.put("b", &value);
    }
    ask_progress(&mut stream);
    let mut heard = [Vec::new(), Vec::new()];
    let mut progress = Vec::new();
    while let Some(response) = poll(&mut stream) {
        if response.watch_id < 0 {
            progress.push(line(&response));
        }
        for event in response.events {
            let id = usize::try_from(response.watch_id).unwrap();
            heard[id].push(event.kv.unwrap().mod_revision);
        }
    }
    assert!(heard[0].iter().copied().eq((2..last).step_by(2)), "{:?}", heard[0]);
    assert!(heard[1].iter().copied().eq((3..=last).step_by(2)), "{:?}", heard[1]);
    // It was behind when its turn came, so progress was not told.
    assert_eq!(progress, NOTHING);
    ask_progress(&mut stream);
    assert_eq!(said(&mut stream), [format!("-1@{last}")]);
}

#[test]
fn a_store_that_jumps_ahead_sends_everybody_to_history() {
    let mut world = World::new();
    let (mut stream, mut other) = (world.stream(), world.stream());
    create(&mut stream, on("a", ""));
    create(&mut stream, since(5, "a", "b"));
    create(&mut other, since(20, "b", ""));
    world.put("a", "1");
    for value in ["2", "3", "4"] {
        world.apply(vec![put("a", value)]);
    }
    // As after a snapshot: nobody told of those revisions.
    world.hub.publish(Vec::new(), world.revision());
    world.put("a", "5");
    assert_eq!(
        said(&mut stream),
        ["0@1 created", "1@1 created", "0@2 a=1", "0@6 a=2 a=3 a=4 a=5", "1@6 a=4 a=5"]
    );
    world.put("a", "6");
    assert_eq!(said(&mut stream), ["0@7 a=6", "1@7 a=6"]);
    for _ in 8..=20 {
        world.apply(vec![put("b", "1")]);
    }
    world.hub.publish(Vec::new(), Revision(20));
    assert_eq!(said(&mut other), ["0@1 created", "0@20 b=1"]);
}

#[tokio::test]
async fn a_quiet_watcher_is_told_of_progress_now_and_then() {
    let mut world = World::new();
    let mut stream = world.stream();
    let notified = |key: &str| WatchCreateRequest { progress_notify: true, ..on(key, "") };
    create(&mut stream, notified("a"));
    create(&mut stream, on("b", ""));
    create(&mut stream, notified("c"));
    assert_eq!(said(&mut stream).len(), 3);
    world.put("b", "1");
    world.put("a", "1");
    assert_eq!(said(&mut stream), ["1@2 b=1", "0@3 a=1"]);
    // The first round passes over the one that had an event.
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(line(&stream.next().await.unwrap()));
    }
    assert_eq!(lines, ["2@3", "0@3", "2@3"]);
}
