//! [`Watchers`]: the hub between the applier and the streams.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::batch::Room;
use super::index::{Index, Seat};
use super::mailbox::Mailbox;
use super::stream::{WatchOptions, WatchStream};
use crate::ids::Revision;
use crate::store::{Changes, Event, KeyRange, Previous, Reader};

/// Changes that streams may still look up: half a second of the fastest writer.
/// What falls out is read from history by those who were too slow.
const RING_BYTES_MAX: usize = 32 << 20;

/// The hub: one ring of events for all streams.
pub struct Watchers {
    reader: Reader,
    /// Everything at or below was posted.
    published: AtomicI64,
    closed: AtomicBool,
    alive: AtomicU64,
    told: AtomicU64,
    last_number: AtomicU64,
    room: Room,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    index: Index,
    ring: Ring,
    streams: BTreeMap<u64, Arc<Mailbox>>,
    /// Streams that want to be woken by the next publication, whatever it is.
    awaiting: Vec<Arc<Mailbox>>,
}

/// Where the store and the hub stood when a watcher entered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// From the next revision on, the watcher will hear of everything.
    pub(super) published: Revision,
    /// The store's revision, the same or higher.
    pub(super) current: Revision,
}

impl Watchers {
    /// A hub without streams, on a store.
    pub fn new(reader: Reader) -> Arc<Watchers> {
        let published = AtomicI64::new(reader.revision());
        Arc::new(Watchers {
            reader,
            published,
            closed: AtomicBool::new(false),
            alive: AtomicU64::new(0),
            told: AtomicU64::new(0),
            last_number: AtomicU64::new(0),
            room: Room::default(),
            inner: Mutex::default(),
        })
    }

    /// Called by the applier after each entry, in order, once the reader shows it.
    ///
    /// - A revision that did not follow the last one (the store was replaced by
    ///   a snapshot) sends all watchers to history.
    pub fn publish(&self, changes: Vec<Changes>, revision: Revision) {
        let mut woken = Vec::new();
        let mut inner = self.inner.lock();
        let before = self.published.load(Ordering::Relaxed);
        assert!(before <= revision.0, "revision {revision} was published after {before}");
        if !inner.index.is_empty() {
            if follows(&changes, before, revision) {
                for changes in changes {
                    inner.post(changes, &mut woken);
                }
            } else {
                inner.index.lose(Revision(before + 1), &mut woken);
            }
        }
        // Who sees this has all notes up to here in its mailbox.
        self.published.store(revision.0, Ordering::Release);
        woken.append(&mut inner.awaiting);
        drop(inner);
        for mailbox in woken {
            mailbox.ring();
        }
    }

    /// A new stream.
    pub fn stream(self: &Arc<Watchers>, options: WatchOptions) -> WatchStream {
        let (number, mailbox) = (self.next_number(), Arc::<Mailbox>::default());
        self.inner.lock().streams.insert(number, Arc::clone(&mailbox));
        WatchStream::new(Arc::clone(self), number, mailbox, options)
    }

    /// Watchers alive, and streams.
    pub fn counts(&self) -> (u64, u64) {
        let streams = self.inner.lock().streams.len() as u64;
        (self.alive.load(Ordering::Relaxed), streams)
    }

    /// Watchers that read history, and notes that wait for a stream to tell them.
    pub fn lag(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        let behind = self.alive.load(Ordering::Relaxed).saturating_sub(inner.index.seated());
        (behind, inner.streams.values().map(|mailbox| mailbox.waiting()).sum())
    }

    /// Events that watchers were told.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Counts events that a watcher is told.
    pub(super) fn count_told(&self, events: usize) {
        self.told.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// The member stops: all streams end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for mailbox in self.inner.lock().streams.values() {
            mailbox.ring();
        }
    }

    /// Whether the member stops.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The store.
    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Where large batches of all streams have room.
    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// Everything at or below lies in the mailboxes by now.
    pub(super) fn published(&self) -> Revision {
        Revision(self.published.load(Ordering::Acquire))
    }

    /// A number that no other watcher or stream has.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts watchers that came to life or ended.
    pub(super) fn count(&self, born: u64, ended: u64) {
        self.alive.fetch_add(born, Ordering::Relaxed);
        self.alive.fetch_sub(ended, Ordering::Relaxed);
    }

    /// Seats a watcher: it hears of everything that is published from now on.
    pub(super) fn enter(&self, range: &KeyRange, seat: Seat) -> Entry {
        let mut inner = self.inner.lock();
        inner.index.insert(range, seat);
        let published = Revision(self.published.load(Ordering::Relaxed));
        Entry { published, current: Revision(self.reader.revision()) }
    }

    /// Takes a watcher's seat away.
    pub(super) fn leave(&self, range: &KeyRange, number: u64) {
        let dropped = self.inner.lock().leave(range, number);
        // Freed while nobody waits for the lock.
        drop(dropped);
    }

    /// Ends a stream, with the watchers that have seats.
    pub(super) fn end<'a>(&self, stream: u64, seated: impl Iterator<Item = (&'a KeyRange, u64)>) {
        let mut inner = self.inner.lock();
        let dropped: Vec<Ring> =
            seated.filter_map(|(range, number)| inner.leave(range, number)).collect();
        inner.streams.remove(&stream);
        drop(inner);
        drop(dropped);
    }

    /// Has a stream woken by the next publication; false if this one was made.
    pub(super) fn awaits(&self, revision: Revision, mailbox: &Arc<Mailbox>) -> bool {
        let mut inner = self.inner.lock();
        if self.published() >= revision {
            return false;
        }
        if !inner.awaiting.iter().any(|other| Arc::ptr_eq(other, mailbox)) {
            inner.awaiting.push(Arc::clone(mailbox));
        }
        true
    }
}

impl Inner {
    fn post(&mut self, changes: Changes, woken: &mut Vec<Arc<Mailbox>>) {
        let changes = Arc::new(changes);
        if self.index.post(&changes, woken) {
            self.ring.push(changes);
        }
    }

    /// Takes a seat away, and the ring with the last one.
    fn leave(&mut self, range: &KeyRange, number: u64) -> Option<Ring> {
        self.index.remove(range, number);
        self.index.is_empty().then(|| std::mem::take(&mut self.ring))
    }
}

/// Whether changes are all that lies between two revisions.
fn follows(changes: &[Changes], before: i64, revision: Revision) -> bool {
    let mut last = before;
    let mut is_next = |changes: &Changes| {
        last += 1;
        changes.revision.0 == last
    };
    changes.iter().all(&mut is_next) && last == revision.0
}

/// The newest changes that somebody wanted.
#[derive(Default)]
struct Ring {
    entries: VecDeque<(usize, Arc<Changes>)>,
    bytes: usize,
}

impl Ring {
    fn push(&mut self, changes: Arc<Changes>) {
        let bytes = changes.events.iter().map(event_bytes).sum();
        self.bytes += bytes;
        self.entries.push_back((bytes, changes));
        while self.bytes > RING_BYTES_MAX {
            let (bytes, _) = self.entries.pop_front().expect("bytes belong to an entry");
            self.bytes -= bytes;
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let previous = match &event.previous {
        Previous::Known(bytes) => bytes.len(),
        Previous::None | Previous::Unknown => 0,
    };
    // Twice the struct: allocations and counters around it.
    2 * size_of::<Event>() + event.kv.key.len() + event.kv.value.len() + previous
}
