//! [`WatchStream`]: the watchers of one gRPC stream, and all that is said to
//! them, in order.
//!
//! Requests are answered at once into the queue of responses; events join it as
//! notes and history are worked off, one small step after another, only while
//! that queue is empty. So nothing is read before the client has room for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::batch::{Batch, FREE_BYTES, Share};
use super::fragments;
use super::hub::Watchers;
use super::index::Seat;
use super::mailbox::{Mailbox, Note};
use super::progress::Progress;
use super::watcher::{NO_ID, State, Watcher, response};
use crate::ids::Revision;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use crate::proto::mvccpb::Event;
use crate::store::KeyRange;

/// What one step reads from history: a few milliseconds of work.
const HISTORY_BYTES: usize = FREE_BYTES;
/// Notes that are worked off between two such steps, if there are as many.
const NOTES_PER_READ: usize = 64;

const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const NEGATIVE_REVISION: &str = "etcdserver: mvcc: required revision has been compacted";

/// How a stream behaves.
#[derive(Clone, Copy, Debug)]
pub struct WatchOptions {
    /// How often a quiet watcher that asked for it is told of progress.
    pub progress_every: Duration,
    /// An encoded response from this size on is split, for watchers that asked.
    pub fragment_bytes: usize,
}

/// The watchers of one gRPC stream, and the order of all that is said to them.
///
/// - Between two calls of `request` whoever owns the stream takes what `next`
///   has: that bounds the queue of answers.
pub struct WatchStream {
    hub: Arc<Watchers>,
    number: u64,
    mailbox: Arc<Mailbox>,
    options: WatchOptions,
    /// By their numbers in the hub, which are never used again.
    watchers: BTreeMap<u64, Watcher>,
    /// The numbers by the ids that the client knows.
    ids: BTreeMap<i64, u64>,
    next_id: i64,
    /// What is to be said next.
    responses: VecDeque<WatchResponse>,
    /// The room that they and the last one take.
    share: Share,
    /// Notes that were taken from the mailbox.
    notes: VecDeque<Note>,
    /// Watchers that read history, in turn.
    behind: VecDeque<u64>,
    /// Notes that may still be worked off before history has its turn.
    patience: usize,
    progress: Progress,
}

/// What a step came to.
enum Step {
    /// There may be more to do.
    Done,
    /// A slice of history was read: others may want the thread.
    Read,
    /// Nothing is to be done until somebody rings.
    Idle,
}

impl WatchStream {
    pub(super) fn new(
        hub: Arc<Watchers>,
        number: u64,
        mailbox: Arc<Mailbox>,
        options: WatchOptions,
    ) -> WatchStream {
        WatchStream {
            hub,
            number,
            mailbox,
            options,
            watchers: BTreeMap::new(),
            ids: BTreeMap::new(),
            next_id: 0,
            responses: VecDeque::new(),
            share: Share::default(),
            notes: VecDeque::new(),
            behind: VecDeque::new(),
            patience: NOTES_PER_READ,
            progress: Progress::default(),
        }
    }

    /// Takes a client's request.
    pub fn request(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request),
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress.promise(self.current(), None, &self.watchers);
            }
            None => {}
        }
    }

    /// Answers a create request that the api refuses (rights): `created` and
    /// `canceled` with this reason, in its turn.
    pub fn refuse(&mut self, reason: String) {
        let answer = response(NO_ID, self.current());
        self.responses.push_back(WatchResponse {
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..answer
        });
    }

    /// The next response, in order; headers have the revision alone. `None` when
    /// the member stops. Cancel-safe.
    pub async fn next(&mut self) -> Option<WatchResponse> {
        loop {
            if self.hub.is_closed() {
                return None;
            }
            if let Some(response) = self.responses.pop_front() {
                return Some(response);
            }
            // Whoever asks for more has sent the last one.
            self.share = Share::default();
            match self.step() {
                Step::Done => {}
                Step::Read => tokio::task::yield_now().await,
                Step::Idle => self.rest().await,
            }
        }
    }

    fn current(&self) -> Revision {
        Revision(self.hub.reader().revision())
    }
}

// Requests.
impl WatchStream {
    fn create(&mut self, mut request: WatchCreateRequest) {
        if request.key.is_empty() {
            // The first key there is.
            request.key = vec![0].into();
        }
        if request.start_revision < 0 {
            return self.refuse(NEGATIVE_REVISION.into());
        }
        let range = KeyRange::new(&request.key, &request.range_end);
        if range.is_empty() {
            return self.refuse(EMPTY_RANGE.into());
        }
        let id = if request.watch_id == 0 { self.next_free_id() } else { request.watch_id };
        if self.ids.contains_key(&id) {
            return self.refuse(DUPLICATE_ID.into());
        }
        let number = self.hub.next_number();
        let mut watcher = Watcher::new(id, range, &request);
        let current = self.seat(number, &mut watcher);
        if watcher.state == State::Behind {
            self.behind.push_back(number);
        }
        if watcher.notify {
            self.progress.tick_every(self.options.progress_every);
        }
        self.responses.push_back(WatchResponse { created: true, ..watcher.response(current) });
        self.ids.insert(id, number);
        self.watchers.insert(number, watcher);
        self.hub.count(1, 0);
    }

    /// Ids go up from 0, around those that clients chose; none comes back.
    fn next_free_id(&mut self) -> i64 {
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Seats a new watcher if it needs no history; the store's revision, which
    /// is the one below its first if it watches from now on.
    fn seat(&self, number: u64, watcher: &mut Watcher) -> Revision {
        let from_now = watcher.start == Revision(0);
        if !from_now && watcher.start <= self.hub.published() {
            return self.current();
        }
        let entry = self.hub.enter(&watcher.range, self.seat_of(number, watcher));
        if from_now {
            watcher.next = Revision(entry.current.0 + 1);
        }
        if watcher.next > entry.published {
            watcher.state = State::Synced;
        } else {
            self.hub.leave(&watcher.range, number);
        }
        entry.current
    }

    fn seat_of(&self, number: u64, watcher: &Watcher) -> Seat {
        Seat { number, wants: watcher.wants, mailbox: Arc::clone(&self.mailbox) }
    }

    fn cancel(&mut self, id: i64) {
        let Some(number) = self.ids.remove(&id) else { return };
        let watcher = self.watchers.remove(&number).expect("an id names a watcher");
        match watcher.state {
            State::Synced => self.hub.leave(&watcher.range, number),
            State::Behind => self.behind.retain(|other| *other != number),
            State::Compacted => {}
        }
        self.hub.count(0, u64::from(watcher.state != State::Compacted));
        let answer = watcher.response(self.current());
        self.responses.push_back(WatchResponse { canceled: true, ..answer });
    }
}

// Events.
impl WatchStream {
    fn step(&mut self) -> Step {
        if self.patience == 0 {
            self.patience = NOTES_PER_READ;
            if let Some(number) = self.behind.pop_front() {
                self.catch_up(number);
                return Step::Read;
            }
        }
        let Some(first) = self.notes.front() else { return self.fetch() };
        // Notes come in order, so everything below the first was said.
        if self.maybe_keep(Revision(first.revision.0 - 1)) {
            return Step::Done;
        }
        if let Some(note) = self.notes.pop_front() {
            self.patience -= 1;
            self.deliver(&note);
        }
        Step::Done
    }

    /// Empties the mailbox; if that brings no notes, keeps what promises it can.
    fn fetch(&mut self) -> Step {
        if self.progress.is_due() {
            self.progress.on_tick(self.current(), &mut self.watchers);
        }
        // In this order: what was published before is in the mailbox now.
        let published = self.hub.published();
        self.mailbox.empty_into(&mut self.notes);
        if !self.notes.is_empty() || self.maybe_keep(published) {
            return Step::Done;
        }
        if !self.behind.is_empty() {
            self.patience = 0;
            return Step::Done;
        }
        // Whatever is published next may be what a promise waits for.
        let waits = self.progress.waits_for();
        match waits.is_some_and(|at| !self.hub.awaits(at, &self.mailbox)) {
            true => Step::Done,
            false => Step::Idle,
        }
    }

    /// Keeps the first promise if everything up to there was said; whether there
    /// was one.
    fn maybe_keep(&mut self, said: Revision) -> bool {
        let kept = self.progress.keep(said, &self.watchers);
        self.responses.extend(kept.iter().flatten().cloned());
        kept.is_some()
    }

    async fn rest(&mut self) {
        let is_due = tokio::select! {
            () = self.mailbox.heard() => false,
            () = self.progress.due() => true,
        };
        if is_due {
            self.progress.on_tick(self.current(), &mut self.watchers);
        }
    }

    /// Says what happened at one revision to one watcher.
    fn deliver(&mut self, note: &Note) {
        let Some(watcher) = self.watchers.get_mut(&note.number) else { return };
        if watcher.state != State::Synced {
            return;
        }
        let Some(changes) = note.changes.upgrade() else {
            self.hub.leave(&watcher.range, note.number);
            watcher.state = State::Behind;
            watcher.next = watcher.next.max(note.revision);
            return self.behind.push_back(note.number);
        };
        if note.revision < watcher.next {
            return;
        }
        watcher.next = Revision(note.revision.0 + 1);
        let mut events = Vec::new();
        watcher.collect(&changes, self.hub.reader(), &mut events);
        self.say(note.number, note.revision, events);
    }

    fn say(&mut self, number: u64, revision: Revision, events: Vec<Event>) {
        let Some(watcher) = self.watchers.get_mut(&number) else { return };
        if events.is_empty() {
            return;
        }
        watcher.quiet = false;
        self.hub.count_told(events.len());
        let response = WatchResponse { events, ..watcher.response(revision) };
        if watcher.fragment {
            self.responses.extend(fragments::split(response, self.options.fragment_bytes));
        } else {
            self.responses.push_back(response);
        }
    }

    /// Reads a slice of history for a watcher, and seats it at the end. Whoever has
    /// begun a batch ends it first: a stream has no more than one.
    fn catch_up(&mut self, number: u64) {
        let current = self.current();
        if !self.read(number, current) {
            return;
        }
        let watcher = self.watchers.get(&number).expect("it has just read");
        if watcher.next <= current {
            return match watcher.batch.is_empty() {
                true => self.behind.push_back(number),
                false => self.behind.push_front(number),
            };
        }
        // Whatever was published while it read lies between: a handful.
        let published = self.hub.enter(&watcher.range, self.seat_of(number, watcher)).published;
        let watcher = self.watchers.get_mut(&number).expect("it has just read");
        watcher.state = State::Synced;
        while self.watchers[&number].next <= published {
            if !self.read(number, published) {
                return;
            }
        }
        self.tell_batch(number);
    }

    /// Reads one slice of history up to a revision, if there is any; false if it
    /// was compacted, which ends the watcher.
    fn read(&mut self, number: u64, until: Revision) -> bool {
        let watcher = &self.watchers[&number];
        if watcher.next > until {
            return true;
        }
        let reader = self.hub.reader();
        let Ok(history) = reader.history(&watcher.range, watcher.next, HISTORY_BYTES) else {
            self.end_compacted(number, Revision(reader.compact_revision()));
            return false;
        };
        assert!(history.next > watcher.next, "history must go on");
        for changes in history.changes {
            let watcher = self.watchers.get_mut(&number).expect("it has just read");
            let mut events = Vec::new();
            watcher.collect(&changes, self.hub.reader(), &mut events);
            watcher.batch.add(events);
            if watcher.batch.is_full() {
                self.tell_batch(number);
            }
        }
        let watcher = self.watchers.get_mut(&number).expect("it has just read");
        watcher.next = history.next;
        if !watcher.batch.may_grow(self.hub.room()) {
            self.tell_batch(number);
        }
        true
    }

    /// Says what was read for a watcher, with a revision behind all of it.
    fn tell_batch(&mut self, number: u64) {
        let watcher = self.watchers.get_mut(&number).expect("it has just read");
        let Batch { events, share, .. } = std::mem::take(&mut watcher.batch);
        self.share.merge(share);
        self.say(number, self.current(), events);
    }

    fn end_compacted(&mut self, number: u64, compacted: Revision) {
        self.tell_batch(number);
        let watcher = self.watchers.get_mut(&number).expect("it has just read");
        if watcher.state == State::Synced {
            self.hub.leave(&watcher.range, number);
        }
        watcher.state = State::Compacted;
        self.hub.count(0, 1);
        self.responses.push_back(WatchResponse {
            canceled: true,
            compact_revision: compacted.0,
            ..watcher.response(Revision(0))
        });
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let synced = |watcher: &&Watcher| watcher.state == State::Synced;
        let seated = self.watchers.iter().filter(|(_, watcher)| synced(watcher));
        self.hub.end(self.number, seated.map(|(number, watcher)| (&watcher.range, *number)));
        let alive = self.watchers.values().filter(|watcher| watcher.state != State::Compacted);
        self.hub.count(0, alive.count() as u64);
    }
}
