//! [`Index`]: which watchers an event concerns.
//!
//! Single keys stand in a hash map. Ranges stand in one array, ordered by their
//! first keys and read as a balanced tree: each place knows the furthest end of
//! the subtree around it, so a search looks only where a range can still hold
//! the key. Watchers of the same range share one place. A new range costs a
//! pass over the array at the next event, which is right for thousands of
//! distinct ranges, and would be too slow for millions.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;

use super::mailbox::Mailbox;
use crate::ids::Revision;
use crate::store::{Changes, KeyRange};

/// Which kinds of events a watcher wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    /// Keys that are set.
    pub(super) puts: bool,
    /// Keys that are deleted.
    pub(super) deletes: bool,
}

impl Kinds {
    /// Whether an event of this kind is among them.
    pub(super) fn holds(self, deleted: bool) -> bool {
        if deleted { self.deletes } else { self.puts }
    }

    fn meets(self, other: Kinds) -> bool {
        (self.puts && other.puts) || (self.deletes && other.deletes)
    }

    fn add(&mut self, deleted: bool) {
        if deleted {
            self.deletes = true;
        } else {
            self.puts = true;
        }
    }
}

/// A watcher's place in the index.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    /// The watcher's number in the hub.
    pub(super) number: u64,
    /// What it wants to hear of.
    pub(super) wants: Kinds,
    /// Where its stream looks for notes.
    pub(super) mailbox: Arc<Mailbox>,
}

/// All synced watchers, by what they watch.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: AHashMap<Bytes, Seats>,
    ranges: Ranges,
    seated: usize,
}

impl Index {
    /// How many have a seat.
    pub(super) fn seated(&self) -> u64 {
        self.seated as u64
    }

    /// Whether nobody watches.
    pub(super) fn is_empty(&self) -> bool {
        self.seated == 0
    }

    /// Seats a watcher.
    pub(super) fn insert(&mut self, range: &KeyRange, seat: Seat) {
        self.seated += 1;
        match range.single() {
            Some(key) => self.keys.entry(key.clone()).or_default().insert(seat),
            None => self.ranges.at(range).insert(seat),
        }
    }

    /// Takes a watcher's seat away.
    pub(super) fn remove(&mut self, range: &KeyRange, number: u64) {
        self.seated -= 1;
        let Some(key) = range.single() else {
            return self.ranges.remove(range, number);
        };
        let seats = self.keys.get_mut(key).expect("whoever leaves was seated");
        seats.remove(number);
        if seats.seats.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Leaves one note for each watcher that changes concern; whether there was
    /// any. Adds the mailboxes whose streams are to be woken.
    pub(super) fn post(&mut self, changes: &Arc<Changes>, woken: &mut Vec<Arc<Mailbox>>) -> bool {
        let mut wanted = false;
        for event in &changes.events {
            let mut post = |seats: &mut Seats| wanted |= seats.post(event.deleted, changes, woken);
            if let Some(seats) = self.keys.get_mut(&event.kv.key) {
                post(seats);
            }
            self.ranges.around(&event.kv.key, &mut post);
        }
        wanted
    }

    /// Sends everybody to history.
    pub(super) fn lose(&self, from: Revision, woken: &mut Vec<Arc<Mailbox>>) {
        #[expect(clippy::iter_over_hash_type, reason = "each mailbox keeps its own order")]
        for seats in self.keys.values() {
            seats.lose(from, woken);
        }
        for (_, seats) in &self.ranges.places {
            seats.lose(from, woken);
        }
    }
}

/// Those who watch the same keys, by number.
#[derive(Debug, Default)]
struct Seats {
    seats: Vec<Seat>,
    /// The last revision of which they heard, and through which kinds of events.
    told: (Revision, Kinds),
}

impl Seats {
    fn insert(&mut self, seat: Seat) {
        // Almost always the newest, and so the last.
        let at = self.seats.partition_point(|other| other.number < seat.number);
        self.seats.insert(at, seat);
    }

    fn remove(&mut self, number: u64) {
        let at = self.seats.binary_search_by_key(&number, |seat| seat.number);
        self.seats.remove(at.expect("whoever leaves was seated"));
    }

    fn post(
        &mut self,
        deleted: bool,
        changes: &Arc<Changes>,
        woken: &mut Vec<Arc<Mailbox>>,
    ) -> bool {
        if self.told.0 != changes.revision {
            self.told = (changes.revision, Kinds::default());
        }
        let told = self.told.1;
        if told.holds(deleted) {
            return false;
        }
        self.told.1.add(deleted);
        let mut wanted = false;
        for seat in &self.seats {
            // A revision is noted once, however many of its events are wanted.
            if !seat.wants.holds(deleted) || seat.wants.meets(told) {
                continue;
            }
            wanted = true;
            if seat.mailbox.post(seat.number, changes) {
                woken.push(Arc::clone(&seat.mailbox));
            }
        }
        wanted
    }

    fn lose(&self, from: Revision, woken: &mut Vec<Arc<Mailbox>>) {
        for seat in &self.seats {
            if seat.mailbox.lose(seat.number, from) {
                woken.push(Arc::clone(&seat.mailbox));
            }
        }
    }
}

/// Ranges and who watches them.
///
/// - `places` is ordered, each range once, none without seats.
/// - `furthest` is empty after a change of the places; else `furthest[i]` is the
///   place with the furthest end in the subtree of which `i` is the middle.
#[derive(Debug, Default)]
struct Ranges {
    places: Vec<(KeyRange, Seats)>,
    furthest: Vec<usize>,
}

impl Ranges {
    fn at(&mut self, range: &KeyRange) -> &mut Seats {
        let at = self.places.binary_search_by(|(other, _)| other.cmp(range));
        let at = at.unwrap_or_else(|at| {
            self.places.insert(at, (range.clone(), Seats::default()));
            self.furthest.clear();
            at
        });
        &mut self.places[at].1
    }

    fn remove(&mut self, range: &KeyRange, number: u64) {
        let at = self.places.binary_search_by(|(other, _)| other.cmp(range));
        let at = at.expect("whoever leaves was seated");
        let seats = &mut self.places[at].1;
        seats.remove(number);
        if seats.seats.is_empty() {
            self.places.remove(at);
            self.furthest.clear();
        }
    }

    /// Visits the places whose ranges hold a key.
    fn around(&mut self, key: &[u8], visit: &mut impl FnMut(&mut Seats)) {
        let all = 0..self.places.len();
        if self.furthest.is_empty() {
            self.furthest = vec![0; self.places.len()];
            self.measure(all.clone());
        }
        self.search(all, key, visit);
    }

    fn search(&mut self, span: Range<usize>, key: &[u8], visit: &mut impl FnMut(&mut Seats)) {
        if span.is_empty() {
            return;
        }
        let middle = middle(&span);
        let end = self.places[self.furthest[middle]].0.to.as_deref();
        if end.is_some_and(|end| end <= key) {
            return;
        }
        self.search(span.start..middle, key, visit);
        let (range, seats) = &mut self.places[middle];
        if *range.from > *key {
            return;
        }
        if range.holds(key) {
            visit(seats);
        }
        self.search(middle + 1..span.end, key, visit);
    }

    /// Fills `furthest` for a subtree; the place with the furthest end in it.
    fn measure(&mut self, span: Range<usize>) -> Option<usize> {
        if span.is_empty() {
            return None;
        }
        let middle = middle(&span);
        let mut best = middle;
        for side in [span.start..middle, middle + 1..span.end] {
            if let Some(place) = self.measure(side)
                && self.compare_ends(place, best) == Ordering::Greater
            {
                best = place;
            }
        }
        self.furthest[middle] = best;
        Some(best)
    }

    fn compare_ends(&self, one: usize, other: usize) -> Ordering {
        match (&self.places[one].0.to, &self.places[other].0.to) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(one), Some(other)) => one.cmp(other),
        }
    }
}

fn middle(span: &Range<usize>) -> usize {
    span.start + span.len() / 2
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::{any, prop};
    use proptest::{prop_assert_eq, proptest};

    use super::*;
    use crate::proto::mvccpb::KeyValue;
    use crate::store::{Event, Previous};

    const BOTH: Kinds = Kinds { puts: true, deletes: true };

    fn changes(revision: i64, events: &[(&[u8], bool)]) -> Arc<Changes> {
        let event = |(key, deleted): &(&[u8], bool)| Event {
            deleted: *deleted,
            kv: KeyValue { key: Bytes::copy_from_slice(key), ..KeyValue::default() },
            previous: Previous::None,
        };
        let events = events.iter().map(event).collect();
        Arc::new(Changes { revision: Revision(revision), events })
    }

    fn noted(mailbox: &Mailbox) -> Vec<u64> {
        let mut notes = VecDeque::new();
        mailbox.empty_into(&mut notes);
        notes.into_iter().map(|note| note.number).collect()
    }

    fn range(key: &[u8], end: &[u8]) -> KeyRange {
        KeyRange::new(&Bytes::copy_from_slice(key), &Bytes::copy_from_slice(end))
    }

    #[test]
    fn a_revision_is_noted_once_for_each_watcher() {
        let (mut index, mailbox) = (Index::default(), Arc::<Mailbox>::default());
        let puts = Kinds { puts: true, deletes: false };
        let deletes = Kinds { puts: false, deletes: true };
        for (number, wants) in [(1, BOTH), (2, puts), (3, deletes), (4, Kinds::default())] {
            let seat = Seat { number, wants, mailbox: Arc::clone(&mailbox) };
            index.insert(&range(b"a", b"z"), seat);
        }
        let mut woken = Vec::new();
        let events: [(&[u8], bool); 4] = [(b"b", false), (b"c", true), (b"d", false), (b"e", true)];
        assert!(index.post(&changes(2, &events), &mut woken));
        assert_eq!(woken.len(), 1, "one stream is woken once");
        assert_eq!(noted(&mailbox), [1, 2, 3]);
        assert!(index.post(&changes(3, &events[..1]), &mut woken));
        assert_eq!(noted(&mailbox), [1, 2]);
        index.remove(&range(b"a", b"z"), 3);
        assert!(index.post(&changes(4, &events), &mut woken));
        assert_eq!(noted(&mailbox), [1, 2]);
        assert!(!index.post(&changes(5, &[(b"z", false)]), &mut woken));
    }

    proptest! {
        /// Ranges come and go; each key finds exactly those that hold it.
        #[test]
        fn every_key_finds_all_who_watch_it(
            steps in prop::collection::vec((any::<bool>(), 0..30_u8, 0..32_u8), 1..120),
        ) {
            let (mut index, mailbox) = (Index::default(), Arc::<Mailbox>::default());
            let mut model = BTreeMap::new();
            let (mut woken, mut revision) = (Vec::new(), 1);
            for (number, (grows, from, length)) in (1..).zip(steps) {
                if !grows && let Some((number, range)) = model.pop_first() {
                    index.remove(&range, number);
                } else {
                    let end = if length > 30 { vec![0] } else { vec![from + length] };
                    let end = if length == 0 { Vec::new() } else { end };
                    let range = range(&[from], &end);
                    let seat = Seat { number, wants: BOTH, mailbox: Arc::clone(&mailbox) };
                    index.insert(&range, seat);
                    model.insert(number, range);
                }
                prop_assert_eq!(index.is_empty(), model.is_empty());
                for key in [from, from.saturating_sub(1), from + length, 61] {
                    revision += 1;
                    index.post(&changes(revision, &[(&[key], false)]), &mut woken);
                    let mut found = noted(&mailbox);
                    found.sort_unstable();
                    let holds = |(number, range): (&u64, &KeyRange)| {
                        range.holds(&[key]).then_some(*number)
                    };
                    let wanted: Vec<u64> = model.iter().filter_map(holds).collect();
                    prop_assert_eq!(found, wanted);
                }
            }
        }
    }
}
