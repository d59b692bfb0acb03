//! [`Progress`]: how far this member has come, and who waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::ids::{LogIndex, Term};

/// The applied index, the bytes on their way to it, and the reads that wait for
/// it. The applier moves it; everybody looks.
pub(super) struct Progress {
    applied: AtomicU64,
    /// The term of the last entry applied.
    term: AtomicU64,
    /// Bytes of committed entries that are not applied yet.
    backlog: AtomicUsize,
    /// How many wait, so that the applier need not lock to see that nobody does.
    waiting: AtomicUsize,
    waiters: Mutex<BTreeMap<LogIndex, Vec<oneshot::Sender<()>>>>,
    /// Rung when the term moves, the member's standing changes, or a purge ends.
    bell: Notify,
}

impl Progress {
    /// A member that has applied so far.
    pub(super) fn new(applied: LogIndex, term: Term) -> Progress {
        Progress {
            applied: AtomicU64::new(applied.0),
            term: AtomicU64::new(term.0),
            backlog: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiters: Mutex::default(),
            bell: Notify::new(),
        }
    }

    /// The last entry applied.
    pub(super) fn applied(&self) -> LogIndex {
        LogIndex(self.applied.load(Ordering::SeqCst))
    }

    /// The term of that entry.
    pub(super) fn term(&self) -> Term {
        Term(self.term.load(Ordering::SeqCst))
    }

    /// An entry was applied: whoever waits for it goes on. Whether it is the
    /// first of its term.
    pub(super) fn on_applied(&self, index: LogIndex, term: Term) -> bool {
        self.applied.store(index.0, Ordering::SeqCst);
        let is_first = self.term.swap(term.0, Ordering::SeqCst) != term.0;
        if is_first {
            self.ring();
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let reached = {
                let mut waiters = self.waiters.lock();
                let later = waiters.split_off(&LogIndex(index.0 + 1));
                std::mem::replace(&mut *waiters, later)
            };
            for waiter in reached.into_values().flatten() {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                // Whoever gave up in the meantime does not mind.
                waiter.send(()).ok();
            }
        }
        is_first
    }

    /// Returns when the applied index has reached `index`.
    pub(super) async fn reach(&self, index: LogIndex) {
        if self.applied() >= index {
            return;
        }
        let reached = {
            let mut waiters = self.waiters.lock();
            let (tx, rx) = oneshot::channel();
            waiters.entry(index).or_default().push(tx);
            self.waiting.fetch_add(1, Ordering::SeqCst);
            rx
        };
        // It may have been applied before the applier could see who waits.
        if self.applied() < index && reached.await.is_err() {
            tracing::debug!(%index, "the member ended before it was applied");
        }
    }

    /// The member has stopped: nobody waits any longer.
    pub(super) fn abandon(&self) {
        self.waiters.lock().clear();
        self.ring();
    }

    /// Committed entries are on their way to the applier.
    pub(super) fn expect(&self, bytes: usize) {
        self.backlog.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of those bytes were applied.
    pub(super) fn settle(&self, bytes: usize) {
        self.backlog.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of committed entries that are not applied yet.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Something rare has changed.
    pub(super) fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Returns when `is_so`, looking again whenever something rare has changed.
    pub(super) async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            // Made before the look, so that no ring in between is missed.
            let rung = self.bell.notified();
            if is_so() {
                return;
            }
            rung.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_wait_ends_when_its_entry_is_applied() {
        let progress = Arc::new(Progress::new(LogIndex(1), Term(1)));
        progress.reach(LogIndex(1)).await;
        let waits = |index| {
            let progress = progress.clone();
            tokio::spawn(async move { progress.reach(LogIndex(index)).await })
        };
        let (near, far) = (waits(3), waits(5));
        while progress.waiting.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        progress.on_applied(LogIndex(4), Term(1));
        near.await.unwrap();
        assert!(!far.is_finished());
        progress.on_applied(LogIndex(5), Term(1));
        far.await.unwrap();
    }
}
