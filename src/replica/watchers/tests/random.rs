//! Many streams, one writer, all at once: whatever the schedule, every watcher
//! hears of every revision once, in order, whole, and progress is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::world::{World, ask_progress, cancel, create, delete, on, poll, put, txn};
use crate::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use crate::proto::mvccpb::KeyValue;
use crate::replica::watchers::WatchStream;
use crate::store::{Applied, KeyRange, Request};

const KEYS: [&str; 8] = ["a", "b", "b1", "c", "d", "e", "f", "g"];
const RANGES: [(&str, &str); 7] =
    [("a", ""), ("b", ""), ("b", "c"), ("a", "\0"), ("c", "g"), ("e", "\0"), ("", "b1")];
const ENTRIES: usize = 2000;

/// Loaded dice (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// An event as a watcher should hear of it.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    deleted: bool,
    kv: KeyValue,
    previous: Option<KeyValue>,
}

/// What happened, by revision.
type Truth = Arc<Mutex<BTreeMap<i64, Vec<Told>>>>;

/// A watcher as its client sees it.
struct Seen {
    request: WatchCreateRequest,
    next: i64,
}

impl Seen {
    /// What it should hear of at a revision.
    fn wants(&self, told: &[Told]) -> Vec<Told> {
        let range = KeyRange::new(&self.request.key, &self.request.range_end);
        let wanted = |told: &&Told| {
            range.holds(&told.kv.key) && !self.request.filters.contains(&i32::from(told.deleted))
        };
        let mut wanted: Vec<Told> = told.iter().filter(wanted).cloned().collect();
        if !self.request.prev_kv {
            wanted.iter_mut().for_each(|told| told.previous = None);
        }
        wanted
    }

    /// Holds the truth from `next` to a revision against what was heard.
    fn check(&mut self, truth: &Truth, to: i64, mut heard: &[Told]) {
        assert!(to + 1 >= self.next, "{to} is behind {}: {heard:?} {:?}", self.next, self.request);
        for (revision, told) in truth.lock().range(self.next..to + 1) {
            let wanted = self.wants(told);
            let (now, rest) = heard.split_at(wanted.len().min(heard.len()));
            assert_eq!(now, wanted, "revision {revision} for {:?}", self.request);
            heard = rest;
        }
        assert!(heard.is_empty(), "out of nowhere: {heard:?}");
        self.next = self.next.max(to + 1);
    }
}

/// Sits at one stream and believes nothing.
struct Client {
    stream: WatchStream,
    dice: Dice,
    truth: Truth,
    asked: Vec<WatchCreateRequest>,
    seen: BTreeMap<i64, Seen>,
    progress: usize,
}

impl Client {
    fn ask(&mut self, highest: i64) {
        // Whoever watches nothing would wait for ever.
        let watches = !self.seen.is_empty() || !self.asked.is_empty();
        match if watches { self.dice.below(8) } else { 0 } {
            0..2 if self.seen.len() < 4 || self.dice.below(20) == 0 => {
                let (key, range_end) = self.dice.pick(&RANGES);
                let request = WatchCreateRequest {
                    start_revision: match self.dice.below(3) {
                        0 => 0,
                        1 => 1 + i64::try_from(self.dice.below(highest.unsigned_abs())).unwrap(),
                        _ => highest + i64::try_from(self.dice.below(5)).unwrap(),
                    },
                    prev_kv: self.dice.below(2) == 0,
                    filters: self.dice.pick(&[&[][..], &[], &[0], &[1]]).to_vec(),
                    ..on(key, range_end)
                };
                self.asked.push(request.clone());
                create(&mut self.stream, request);
            }
            2 if self.seen.len() > 2 => {
                let ids: Vec<i64> = self.seen.keys().copied().collect();
                cancel(&mut self.stream, self.dice.pick(&ids));
            }
            3..6 => ask_progress(&mut self.stream),
            _ => {}
        }
    }

    fn hear(&mut self, response: WatchResponse) {
        let (id, revision) = (response.watch_id, response.header.unwrap().revision);
        if response.created {
            let request = self.asked.remove(0);
            let next =
                if request.start_revision == 0 { revision + 1 } else { request.start_revision };
            assert!(self.seen.insert(id, Seen { request, next }).is_none());
        } else if response.canceled {
            assert_eq!(response.compact_revision, 0);
            assert!(self.seen.remove(&id).is_some());
        } else if response.events.is_empty() {
            assert_eq!(id, -1);
            self.progress += 1;
            for seen in self.seen.values_mut() {
                seen.check(&self.truth, revision, &[]);
            }
        } else {
            let told = |event: crate::proto::mvccpb::Event| Told {
                deleted: event.r#type == 1,
                kv: event.kv.unwrap(),
                previous: event.prev_kv,
            };
            let heard: Vec<Told> = response.events.into_iter().map(told).collect();
            let last = heard.last().unwrap().kv.mod_revision;
            assert!(revision >= last);
            self.seen.get_mut(&id).unwrap().check(&self.truth, last, &heard);
        }
    }

    /// Listens until every watcher that can has heard all up to `end`.
    async fn listen(mut self, mut end: tokio::sync::watch::Receiver<Option<i64>>) {
        loop {
            let finished = *end.borrow();
            if let Some(end) = finished {
                let heard_all = |seen: &Seen| seen.next > end || seen.request.start_revision > end;
                if self.asked.is_empty() && self.seen.values().all(heard_all) {
                    return self.part(end);
                }
            } else if self.seen.is_empty() || self.dice.below(2) == 0 {
                let highest = self.truth.lock().last_key_value().map_or(1, |(last, _)| *last);
                self.ask(highest);
            }
            let response = tokio::select! {
                response = self.stream.next() => response,
                _ = end.changed(), if finished.is_none() => None,
            };
            if let Some(response) = response {
                self.hear(response);
            }
            if self.dice.below(64) == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// With nobody behind or in the future, progress must be told.
    fn part(mut self, end: i64) {
        for (id, seen) in &self.seen {
            if seen.request.start_revision > end {
                cancel(&mut self.stream, *id);
            }
        }
        while let Some(response) = poll(&mut self.stream) {
            self.hear(response);
        }
        let before = self.progress;
        ask_progress(&mut self.stream);
        if let Some(response) = poll(&mut self.stream) {
            self.hear(response);
        }
        let owed = usize::from(!self.seen.is_empty());
        assert_eq!(self.progress, before + owed);
    }
}

fn random_request(dice: &mut Dice) -> Request {
    let value = dice.below(1000).to_string();
    match dice.below(8) {
        0 => delete(dice.pick(&KEYS), ""),
        1 => delete("b", "d"),
        2 | 3 => {
            let keys: BTreeSet<&str> = (0..4).map(|_| dice.pick(&KEYS)).collect();
            let mut op = |key| (key, if dice.below(4) == 0 { "-" } else { value.as_str() });
            txn(&keys.into_iter().map(&mut op).collect::<Vec<_>>())
        }
        _ => put(dice.pick(&KEYS), &value),
    }
}

/// Writes down what an entry did, with previous values from a model of its own.
fn write_down(
    truth: &mut BTreeMap<i64, Vec<Told>>,
    model: &mut BTreeMap<Bytes, KeyValue>,
    applied: &Applied,
) {
    for changes in &applied.changes {
        let mut told = Vec::new();
        for event in &changes.events {
            let (deleted, kv) = (event.deleted, event.kv.clone());
            let previous = match deleted {
                true => model.remove(&kv.key),
                false => model.insert(kv.key.clone(), kv.clone()),
            };
            assert_eq!(kv.mod_revision, changes.revision.0);
            told.push(Told { deleted, kv, previous });
        }
        truth.insert(changes.revision.0, told);
    }
}

async fn run(seed: u64) {
    let mut world = World::new();
    let truth = Truth::default();
    let (ends, end) = tokio::sync::watch::channel(None);
    let clients = (1..=6).map(|number| {
        let client = Client {
            stream: world.stream(),
            dice: Dice(seed * 100 + number),
            truth: Arc::clone(&truth),
            asked: Vec::new(),
            seen: BTreeMap::new(),
            progress: 0,
        };
        tokio::spawn(client.listen(end.clone()))
    });
    let clients: Vec<_> = clients.collect();
    let hub = Arc::clone(&world.hub);
    let writer = tokio::task::spawn_blocking(move || {
        let (mut dice, mut model) = (Dice(seed), BTreeMap::new());
        let mut write = |requests, is_swallowed| {
            // Nobody reads history here before the truth of it is written down.
            let mut known = truth.lock();
            let applied = world.apply(requests);
            write_down(&mut known, &mut model, &applied);
            drop(known);
            // A snapshot swallows what it brings.
            if is_swallowed {
                world.hub.publish(Vec::new(), world.revision());
            } else {
                world.publish(applied);
            }
            world.revision().0
        };
        for _ in 0..ENTRIES {
            let requests = (0..=dice.below(4)).map(|_| random_request(&mut dice)).collect();
            write(requests, dice.below(200) == 0);
            std::thread::yield_now();
        }
        // Every watcher wants one of these, whatever it filters.
        let last = write(vec![txn(&KEYS.map(|key| (key, "last")))], false);
        write(vec![delete("a", "z")], false);
        last
    });
    ends.send_replace(Some(writer.await.unwrap()));
    for client in clients {
        client.await.unwrap_or_else(|failure| panic!("SEED={seed}: {failure}"));
    }
    assert_eq!(hub.counts(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn whatever_the_schedule_every_watcher_hears_all_once_and_in_order() {
    for seed in 1..=4 {
        run(seed).await;
    }
}
