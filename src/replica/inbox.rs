//! [`Inbox`]: everything that waits for the driver, and for the writer.
//!
//! Proposals of a lone voter are the hot path. Nothing can be done about them
//! while the disk is busy, so they wake nobody then: the writer turns the driver
//! when its sync is done, and that turn takes all that have gathered. With
//! other voters the driver is woken at once, because appends leave before our
//! own sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::failure::Unavailable;
use crate::consensus::{Change, LogWrite, Persisted};
use crate::ids::{LogIndex, MemberId};
use crate::proto::kat::peer;

/// Bytes of proposals that wait for a turn; one beyond is refused as too many
/// requests. A turn comes at least with every tick, and takes everything. As much
/// again may wait for a raft leader.
pub(super) const PROPOSAL_BYTES_MAX: usize = 64 << 20;
/// Reads that wait for a turn; one beyond is dropped, and its caller sees a
/// read that timed out.
const READS_MAX: usize = 1 << 17;

/// What the driver takes.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "messages are moved once; calls come as lists")]
pub enum Input {
    /// From another member.
    Message(peer::Message),
    /// The log's disk has done this.
    Persisted(Persisted),
    /// The store holds this durably.
    Durable(LogIndex),
    /// Callers want changes.
    Proposals(Vec<Proposal>),
    /// Callers want to read.
    Reads(Vec<oneshot::Sender<LogIndex>>),
    /// A caller wants a change of members, and raft has to know of this.
    Change(Option<Change>, Proposal),
    /// The store has carried out the change of members at this index, or has
    /// refused it.
    Changed(LogIndex, bool),
    /// Somebody wants to know how much of the log the members have.
    Matched(oneshot::Sender<Matched>),
    /// Raft leadership is to be handed over.
    Transfer(MemberId),
    /// The member is to stop.
    Stop,
}

/// What a raft leader knows the members to have of its log; nothing elsewhere.
pub(super) type Matched = Option<Vec<(MemberId, LogIndex)>>;

/// A change that a caller wants.
#[derive(Debug)]
pub struct Proposal {
    pub(super) count: u64,
    /// A command as an entry holds it.
    pub(super) command: Vec<u8>,
}

/// The queue of the driver; a clone is the same queue.
///
/// - Inputs other than proposals and reads are bounded by who makes them: a
///   peer's stream, one report per write, one per flush, one wish to stop, a
///   waiter that waits for a change of members.
/// - Writes are bounded by raft, which refuses proposals when too much is
///   uncommitted, and sends a bounded number of appends unacknowledged.
#[derive(Clone)]
pub struct Inbox {
    queue: Arc<Queue>,
}

struct Queue {
    /// Whether nobody else has a vote.
    is_alone: AtomicBool,
    waiting: Mutex<Waiting>,
    driver: Condvar,
    writer: Condvar,
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    proposals: Vec<Proposal>,
    proposal_bytes: usize,
    reads: Vec<oneshot::Sender<LogIndex>>,
    writes: Vec<LogWrite>,
    is_nudged: bool,
    is_closed: bool,
    has_ended: bool,
}

impl Waiting {
    fn take(&mut self) -> Vec<Input> {
        let mut inputs = std::mem::take(&mut self.inputs);
        if !self.reads.is_empty() {
            inputs.push(Input::Reads(std::mem::take(&mut self.reads)));
        }
        if !self.proposals.is_empty() {
            inputs.push(Input::Proposals(std::mem::take(&mut self.proposals)));
            self.proposal_bytes = 0;
        }
        inputs
    }
}

impl Inbox {
    pub(super) fn new(is_alone: bool) -> Inbox {
        let queue = Queue {
            is_alone: AtomicBool::new(is_alone),
            waiting: Mutex::default(),
            driver: Condvar::new(),
            writer: Condvar::new(),
        };
        Inbox { queue: Arc::new(queue) }
    }

    /// Whether nobody else has a vote from now on. Proposals that were left to
    /// the writer until then are taken with the next tick.
    pub(super) fn set_alone(&self, is_alone: bool) {
        self.queue.is_alone.store(is_alone, Ordering::Relaxed);
    }

    fn is_alone(&self) -> bool {
        self.queue.is_alone.load(Ordering::Relaxed)
    }

    /// Everything that waits, after at most `patience` if nothing does.
    pub fn take(&self, patience: Duration) -> Vec<Input> {
        self.wait(patience).take()
    }

    /// Waits, at most so long, for something that the driver should see now.
    pub(super) fn await_inputs(&self, patience: Duration) {
        drop(self.wait(patience));
    }

    fn wait(&self, patience: Duration) -> MutexGuard<'_, Waiting> {
        let mut waiting = self.lock();
        let is_quiet = waiting.inputs.is_empty()
            && waiting.reads.is_empty()
            && (self.is_alone() || waiting.proposals.is_empty())
            && !(waiting.is_nudged || waiting.has_ended);
        if is_quiet && !patience.is_zero() {
            // Waking for nothing does no harm: the driver looks at its clock.
            let _ = self.queue.driver.wait_for(&mut waiting, patience);
        }
        waiting.is_nudged = false;
        waiting
    }

    /// Wakes the driver though there is nothing for it here: it should look
    /// around.
    pub(super) fn nudge(&self) {
        self.lock().is_nudged = true;
        self.queue.driver.notify_one();
    }

    /// Hands a proposal to the driver.
    pub(super) fn propose(&self, proposal: Proposal) -> Result<(), Unavailable> {
        let mut waiting = self.lock();
        if waiting.is_closed {
            return Err(Unavailable::Stopped);
        }
        if waiting.proposal_bytes + proposal.command.len() > PROPOSAL_BYTES_MAX {
            return Err(Unavailable::Overloaded);
        }
        waiting.proposal_bytes += proposal.command.len();
        waiting.proposals.push(proposal);
        // Nobody is woken who is awake: a condition without waiters costs a look.
        let whom = if self.is_alone() { &self.queue.writer } else { &self.queue.driver };
        drop(waiting);
        whom.notify_one();
        Ok(())
    }

    /// Hands a read to the driver; when nothing can be done it is dropped.
    pub(super) fn read(&self, answer: oneshot::Sender<LogIndex>) {
        let mut waiting = self.lock();
        if !waiting.is_closed && waiting.reads.len() < READS_MAX {
            waiting.reads.push(answer);
            drop(waiting);
            self.queue.driver.notify_one();
        }
    }

    /// Hands the driver anything else.
    pub(super) fn push(&self, input: Input) {
        self.lock().inputs.push(input);
        self.queue.driver.notify_one();
    }

    /// Hands the writer what a turn leaves to write.
    pub(super) fn write(&self, writes: Vec<LogWrite>) {
        if !writes.is_empty() {
            self.lock().writes.extend(writes);
            self.queue.writer.notify_one();
        }
    }

    /// Waits for something to write; nothing at all means that proposals wait
    /// and the driver should be turned. `None` when the end has come.
    pub(super) fn await_writes(&self) -> Option<Vec<LogWrite>> {
        let mut waiting = self.lock();
        loop {
            let has_proposals = self.is_alone() && !waiting.proposals.is_empty();
            if !waiting.writes.is_empty() || (has_proposals && !waiting.has_ended) {
                return Some(std::mem::take(&mut waiting.writes));
            }
            if waiting.has_ended {
                return None;
            }
            self.queue.writer.wait(&mut waiting);
        }
    }

    /// Takes no more proposals and reads.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// Whether it takes no more of them.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// The driver has turned for the last time: whoever waits goes home.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.has_ended = true;
        drop(waiting);
        self.queue.driver.notify_all();
        self.queue.writer.notify_all();
    }

    /// Whether the driver has turned for the last time.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// Whether neither the driver nor the writer has anything to take.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let waiting = self.lock();
        waiting.inputs.is_empty() && waiting.proposals.is_empty() && waiting.writes.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.queue.waiting.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(bytes: usize) -> Proposal {
        Proposal { count: 1, command: vec![0; bytes] }
    }

    #[test]
    fn a_full_inbox_refuses_until_it_is_emptied() {
        let inbox = Inbox::new(true);
        assert_eq!(inbox.propose(proposal(PROPOSAL_BYTES_MAX - 10)), Ok(()));
        assert_eq!(inbox.propose(proposal(11)), Err(Unavailable::Overloaded));
        assert_eq!(inbox.propose(proposal(10)), Ok(()));
        assert_eq!(inbox.take(Duration::ZERO).len(), 1, "proposals are taken together");
        assert_eq!(inbox.propose(proposal(11)), Ok(()));
        inbox.close();
        assert_eq!(inbox.propose(proposal(1)), Err(Unavailable::Stopped));
    }

    #[test]
    fn reads_beyond_the_bound_are_dropped() {
        let inbox = Inbox::new(false);
        let reads: Vec<_> = (0..=READS_MAX)
            .map(|_| {
                let (tx, rx) = oneshot::channel();
                inbox.read(tx);
                rx
            })
            .collect();
        let mut closed = reads
            .into_iter()
            .map(|mut read| matches!(read.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert_eq!(closed.next(), Some(false), "the first one waits");
        assert_eq!(closed.next_back(), Some(true), "the last one finds no place");
    }

    #[test]
    fn the_writer_of_a_lone_voter_is_told_of_proposals() {
        let alone = Inbox::new(true);
        alone.propose(proposal(1)).unwrap();
        assert_eq!(alone.await_writes().map(|writes| writes.len()), Some(0));
        alone.end();
        assert!(alone.await_writes().is_none(), "the end has come");
    }
}
