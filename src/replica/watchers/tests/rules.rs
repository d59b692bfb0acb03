//! What each request is answered, and who is told of which event.

use super::world::{World, ask_progress, cancel, create, delete, on, poll, put, said, txn};
use crate::proto::etcdserverpb::WatchCreateRequest;

const NOTHING: [&str; 0] = [];

#[test]
fn created_comes_first_and_live_events_at_their_own_revisions() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    world.put("a", "1");
    world.put("b", "1");
    world.put("a", "2");
    assert_eq!(said(&mut stream), ["0@1 created", "0@2 a=1", "0@4 a=2"]);
}

#[test]
fn a_txn_is_told_of_in_one_response_and_in_order() {
    let mut world = World::new();
    world.put("c", "0");
    let mut stream = world.stream();
    create(&mut stream, on("a", "z"));
    create(&mut stream, on("c", ""));
    world.write(vec![txn(&[("b", "1"), ("c", "-"), ("a", "2"), ("zz", "3")])]);
    create(&mut stream, WatchCreateRequest { start_revision: 3, ..on("a", "c") });
    assert_eq!(
        said(&mut stream),
        ["0@2 created", "1@2 created", "2@3 created", "0@3 b=1 -c a=2", "1@3 -c", "2@3 b=1 a=2"]
    );
}

#[test]
fn one_entry_may_bring_many_revisions() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", "b"));
    world.write(vec![put("a", "1"), put("x", "1"), delete("a", ""), delete("a", "")]);
    assert_eq!(said(&mut stream), ["0@1 created", "0@2 a=1", "0@4 -a"]);
}

#[test]
fn ids_count_up_around_those_that_clients_chose() {
    let world = World::new();
    let mut stream = world.stream();
    for watch_id in [0, 1, 0, 0, -7, 3, 1] {
        create(&mut stream, WatchCreateRequest { watch_id, ..on("a", "") });
    }
    cancel(&mut stream, 0);
    cancel(&mut stream, 99);
    create(&mut stream, on("a", ""));
    let duplicate = "-1@1 created canceled \
                     (mvcc: duplicate watch ID provided on the WatchStream)";
    assert_eq!(
        said(&mut stream),
        [
            "0@1 created",
            "1@1 created",
            "2@1 created",
            "3@1 created",
            "-7@1 created",
            duplicate,
            duplicate,
            "0@1 canceled",
            "4@1 created",
        ]
    );
}

#[test]
fn what_cannot_be_watched_is_refused_and_the_stream_lives() {
    let mut world = World::new();
    let mut stream = world.stream();
    let empty = "-1@1 created canceled (mvcc: watcher range is empty)";
    let negative = "-1@1 created canceled (etcdserver: mvcc: required revision has been compacted)";
    create(&mut stream, on("b", "a"));
    create(&mut stream, on("b", "b"));
    create(&mut stream, WatchCreateRequest { start_revision: -1, ..on("b", "a") });
    stream.refuse("no".to_owned());
    create(&mut stream, on("b", ""));
    world.put("b", "1");
    assert_eq!(
        said(&mut stream),
        [empty, empty, negative, "-1@1 created canceled (no)", "0@1 created", "0@2 b=1"]
    );
}

#[test]
fn an_empty_key_stands_for_the_first_key() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("", ""));
    create(&mut stream, on("", "\0"));
    create(&mut stream, on("b", "\0"));
    world.put("a", "1");
    world.put("\0", "2");
    world.put("c", "3");
    let mut lines = said(&mut stream);
    lines.drain(..3);
    assert_eq!(lines, ["1@2 a=1", "0@3 \0=2", "1@3 \0=2", "1@4 c=3", "2@4 c=3"]);
}

#[test]
fn filters_leave_what_was_asked_for() {
    let mut world = World::new();
    let mut stream = world.stream();
    let filtered = |filters: &[i32], start_revision| WatchCreateRequest {
        filters: filters.to_vec(),
        start_revision,
        ..on("a", "z")
    };
    for filters in [&[0][..], &[1], &[0, 1], &[9]] {
        create(&mut stream, filtered(filters, 0));
    }
    world.put("a", "1");
    world.write(vec![txn(&[("b", "1"), ("a", "-"), ("c", "1")])]);
    let mut lines = said(&mut stream);
    lines.drain(..4);
    assert_eq!(lines, ["1@2 a=1", "3@2 a=1", "1@3 b=1 c=1", "3@3 b=1 -a c=1", "0@3 -a"]);
    // The same from history; what is filtered away entirely is not sent.
    for filters in [&[0][..], &[1], &[0, 1]] {
        create(&mut stream, filtered(filters, 2));
    }
    let mut lines = said(&mut stream);
    lines.drain(..3);
    assert_eq!(lines, ["4@3 -a", "5@3 a=1 b=1 c=1"]);
}

#[test]
fn previous_values_are_exact_and_only_for_those_who_asked() {
    let mut world = World::new();
    let mut stream = world.stream();
    let with_previous =
        |start_revision| WatchCreateRequest { prev_kv: true, start_revision, ..on("a", "c") };
    create(&mut stream, with_previous(0));
    create(&mut stream, on("a", ""));
    world.put("a", "1");
    world.put("a", "2");
    world.write(vec![txn(&[("a", "3"), ("b", "1")]), delete("a", ""), put("a", "4")]);
    let mut lines = said(&mut stream);
    lines.drain(..2);
    let mut live = lines.clone();
    live.retain(|line| line.starts_with("0@"));
    assert_eq!(live, ["0@2 a=1", "0@3 a=2<1:2", "0@4 a=3<2:3 b=1", "0@5 -a<3:4", "0@6 a=4"]);
    lines.retain(|line| line.starts_with("1@"));
    assert_eq!(lines, ["1@2 a=1", "1@3 a=2", "1@4 a=3", "1@5 -a", "1@6 a=4"]);
    create(&mut stream, with_previous(2));
    assert_eq!(said(&mut stream), ["2@6 created", "2@6 a=1 a=2<1:2 a=3<2:3 b=1 -a<3:4 a=4"]);
}

#[test]
fn a_canceled_watcher_hears_no_more() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    create(&mut stream, on("a", "b"));
    assert_eq!(said(&mut stream).len(), 2);
    world.put("a", "1");
    cancel(&mut stream, 0);
    world.put("a", "2");
    create(&mut stream, WatchCreateRequest { watch_id: 0, ..on("a", "") });
    world.put("a", "3");
    assert_eq!(
        said(&mut stream),
        ["0@2 canceled", "2@3 created", "1@2 a=1", "1@3 a=2", "2@4 a=3", "1@4 a=3"]
    );
}

#[test]
fn large_responses_are_split_for_those_who_asked() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, WatchCreateRequest { fragment: true, ..on("a", "z") });
    create(&mut stream, on("a", "z"));
    let value = "v".repeat(400 << 10);
    world.write(vec![txn(&[("a", &value), ("b", &value), ("c", &value), ("d", &value)])]);
    let shapes = std::iter::from_fn(|| poll(&mut stream))
        .map(|response| (response.watch_id, response.events.len(), response.fragment));
    let shapes: Vec<_> = shapes.skip(2).collect();
    assert_eq!(shapes, [(0, 2, true), (0, 2, false), (1, 4, false)]);
}

#[test]
fn whoever_leaves_is_counted_no_more() {
    let mut world = World::new();
    world.put("a", "1");
    let mut streams = [world.stream(), world.stream()];
    for stream in &mut streams {
        create(stream, on("a", ""));
        create(stream, on("a", "c"));
        create(stream, WatchCreateRequest { start_revision: 1, ..on("a", "") });
        create(stream, on("c", "a"));
        ask_progress(stream);
    }
    assert_eq!(world.hub.counts(), (6, 2));
    cancel(&mut streams[0], 1);
    cancel(&mut streams[0], 1);
    assert_eq!(world.hub.counts(), (5, 2));
    drop(streams);
    assert_eq!(world.hub.counts(), (0, 0));
    world.put("a", "2");
}

#[tokio::test]
async fn a_member_that_stops_ends_its_streams() {
    let mut world = World::new();
    let mut stream = world.stream();
    create(&mut stream, on("a", ""));
    world.put("a", "1");
    let hub = world.hub.clone();
    let waiting = tokio::spawn(async move {
        let mut lines = 0;
        while stream.next().await.is_some() {
            lines += 1;
            if lines == 2 {
                hub.close();
            }
        }
        lines
    });
    assert_eq!(waiting.await.unwrap(), 2);
    assert_eq!(world.stream().next().await, None);
    assert_eq!(said(&mut world.stream()), NOTHING);
}
