//! [`Applier`]: committed entries → store → answers, events.

use std::sync::Arc;
use std::time::Duration;

use super::compactor::Compactor;
use super::counters::Operations;
use super::failure::Failure;
use super::inbox::Input;
use super::shared::Shared;
use crate::consensus::Committed;
use crate::ids::Revision;
use crate::proto::etcdserverpb::TxnResponse;
use crate::proto::etcdserverpb::response_op::Response;
use crate::store::{Answer, Applied, LeaseChange, Reply, Store};

/// Bytes of committed entries that wait for the applier. Beyond, a raft leader
/// refuses proposals as too many requests, and a follower drops appends, which
/// its raft leader sends again.
pub(super) const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Bytes of applied entries behind which the state is flushed: a sixty-fourth of
/// the store, within bounds. It is what a crash makes a restart replay, what the
/// log holds in vain, and what stands in memory until it is written; but each
/// flush makes a file, and a large store should not consist of small ones.
const UNFLUSHED_BYTES_MIN: usize = 2 << 20;
const UNFLUSHED_BYTES_MAX: usize = 12 << 20;

/// The only owner of the store.
pub struct Applier {
    store: Store,
    operations: Operations,
    slow_after: Duration,
    shared: Arc<Shared>,
    compactor: Compactor,
    unflushed: usize,
}

/// What an entry takes in the queue, its bytes aside.
const ENTRY_OVERHEAD: usize = 64;

/// The weight of an entry on its way through the applier.
pub(super) fn weight(entry: &Committed) -> usize {
    entry.data.len() + ENTRY_OVERHEAD
}

impl Applier {
    /// An applier that tells of what takes longer than `slow_after`.
    pub(super) fn new(store: Store, shared: Arc<Shared>, slow_after: Duration) -> Applier {
        let compactor = Compactor::new(&shared.reader);
        let operations = Operations::new(&shared.counters);
        Applier { store, operations, slow_after, shared, compactor, unflushed: 0 }
    }

    /// Applies entries in order, completes the waiters, publishes events.
    pub fn turn(&mut self, entries: Vec<Committed>) {
        for entry in entries {
            self.apply(&entry);
            self.unflushed += weight(&entry);
            self.shared.progress.settle(weight(&entry));
        }
    }

    /// A slice of background compaction, if there is any; whether there is more.
    pub fn maybe_purge(&mut self) -> bool {
        if self.compactor.maybe_purge(&mut self.store, &self.shared) {
            self.shared.progress.ring();
        }
        let settling = std::mem::take(&mut *self.shared.settling.lock());
        if !settling.is_empty() {
            self.store.settle();
        }
        for waiter in settling {
            // Whoever gave up in the meantime does not mind.
            waiter.send(()).ok();
        }
        self.compactor.is_behind()
    }

    /// Whether a slice of compaction or a flush is due.
    pub(super) fn has_chores(&self) -> bool {
        self.compactor.is_behind() || self.is_flush_due()
    }

    /// Whether so much was applied that the state should be flushed; says so
    /// once.
    pub(super) fn take_flush_due(&mut self) -> bool {
        let is_due = self.is_flush_due();
        if is_due {
            self.unflushed = 0;
        }
        is_due
    }

    fn is_flush_due(&self) -> bool {
        self.unflushed >= UNFLUSHED_BYTES_MIN && {
            let rows = usize::try_from(self.shared.reader.sizes().in_use).unwrap_or(0);
            let share = (rows / 64).clamp(UNFLUSHED_BYTES_MIN, UNFLUSHED_BYTES_MAX);
            self.unflushed >= share
        }
    }

    fn apply(&mut self, entry: &Committed) {
        let shared = &self.shared;
        let began = shared.now();
        let applied = self.store.apply(entry.index, entry.term, &entry.data);
        let now = shared.now();
        let took = now.saturating_sub(began);
        shared.counters.applies.observe(took.as_secs_f64());
        for answer in &applied.answers {
            self.operations.observe(answer.operation, answer.outcome.is_ok(), took);
        }
        self.count(&applied);
        if took > self.slow_after && !applied.answers.is_empty() {
            self.tell_slow(entry, &applied, took);
        }
        if applied.compacted {
            self.compactor.on_compacted(now);
        }
        if !applied.leases.is_empty() {
            shared.lessor.on_applied(&applied.leases, now);
        }
        if !applied.tokens.is_empty() {
            shared.tokens.on_applied(applied.tokens, now);
        }
        if entry.change.is_some() {
            // Before anybody can see that it is applied: raft takes part in it.
            let is_done = applied.membership.is_some();
            shared.inbox.push(Input::Changed(entry.index, is_done));
        }
        if applied.membership.is_some() {
            shared.progress.ring();
        }
        if shared.progress.on_applied(entry.index, entry.term) {
            // Who leads since this term may now keep the clock of leases.
            shared.inbox.nudge();
        }
        if !applied.changes.is_empty() {
            // Before the writer is answered: clients stop to watch once it is, and
            // expect to have heard of it, though nobody promised.
            shared.watchers.publish(applied.changes, Revision(shared.reader.revision()));
        }
        if !applied.answers.is_empty() {
            let ours = applied.answers.into_iter().filter(|answer| self.is_ours(answer));
            shared.pending.complete(
                ours.map(|Answer { id, outcome, .. }| {
                    (id.count, outcome.map_err(Failure::Rejected))
                }),
            );
        }
    }

    /// Whether somebody may wait here for an answer: not if an earlier run of
    /// this member was asked.
    fn is_ours(&self, answer: &Answer) -> bool {
        answer.id.member == self.shared.identity.member && answer.id.boot == self.shared.boot
    }

    fn tell_slow(&self, entry: &Committed, applied: &Applied, took: Duration) {
        let (count, bytes) = (applied.answers.len(), entry.data.len());
        let first = applied.answers.first().map_or("", |answer| answer.operation);
        tracing::warn!(
            took = format!("{took:?}"),
            "expected-duration" = format!("{:?}", self.slow_after),
            prefix = "",
            request = format!("entry:{} commands:{count} first:{first} size:{bytes}", entry.index),
            response = "",
            "apply request took too long"
        );
        self.shared.counters.slow_applies.inc();
    }

    fn count(&self, applied: &Applied) {
        let counters = &self.shared.counters;
        let mut deleted = 0;
        for answer in &applied.answers {
            match &answer.outcome {
                Ok(Reply::DeleteRange(response)) => {
                    counters.deletes.inc();
                    deleted += response.deleted.unsigned_abs();
                }
                Ok(Reply::Txn(txn)) => {
                    let done = Done::of(txn);
                    counters.ranges.inc_by(done.ranges);
                    counters.deletes.inc_by(done.deletes);
                    counters.txns.inc_by(u64::from(done.ranges + done.deletes + done.puts > 1));
                    deleted += done.deleted;
                }
                _ => {}
            }
        }
        let (mut puts, mut gone, mut bytes) = (0, 0_u64, 0);
        for event in applied.changes.iter().flat_map(|changes| &changes.events) {
            if event.deleted {
                gone += 1;
            } else {
                puts += 1;
                bytes += event.kv.key.len() + event.kv.value.len();
            }
        }
        counters.puts.inc_by(puts);
        counters.put_bytes.inc_by(bytes as u64);
        // What nobody deleted went with its lease, key by key.
        let with_leases = gone.saturating_sub(deleted);
        counters.deletes.inc_by(with_leases);
        counters.txns.inc_by(u64::from(with_leases > 1));
        for change in &applied.leases {
            match change {
                LeaseChange::Granted(_, ttl) => {
                    counters.leases_granted.inc();
                    // No lease lives for longer than a float can tell.
                    counters
                        .lease_ttls
                        .observe(Duration::from_secs(ttl.unsigned_abs()).as_secs_f64());
                }
                LeaseChange::Ended(_) => counters.leases_revoked.inc(),
                LeaseChange::Checkpointed(..) => {}
            }
        }
    }
}

/// What a txn did, as etcd counts it: a txn is one that did more than one thing.
#[derive(Default)]
struct Done {
    ranges: u64,
    deletes: u64,
    puts: u64,
    /// Keys that the deletions found.
    deleted: u64,
}

impl Done {
    fn of(txn: &TxnResponse) -> Done {
        let mut done = Done::default();
        done.add(txn);
        done
    }

    fn add(&mut self, txn: &TxnResponse) {
        for op in &txn.responses {
            match &op.response {
                Some(Response::ResponseRange(_)) => self.ranges += 1,
                Some(Response::ResponseDeleteRange(response)) => {
                    self.deletes += 1;
                    self.deleted += response.deleted.unsigned_abs();
                }
                Some(Response::ResponsePut(_)) => self.puts += 1,
                // A txn holds others only so deep.
                Some(Response::ResponseTxn(inner)) => self.add(inner),
                None => {}
            }
        }
    }
}
