//! Compaction: a number that takes effect at once, and space that comes back
//! later in slices.
//!
//! A purge walks over the rows up to the compact revision, once, and removes
//! those that no read can find any more; on the way it makes the HashKV of that
//! revision, as etcd does. It waits while somebody still looks at a revision
//! below. After a restart it begins anew: what is gone is gone.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::hash::{Hasher, parse};
use super::rejection::Rejection;
use super::schema::{META, REVISIONS, meta, revision_start};
use super::view::Shared;
use crate::engine::Batch;

/// Rows in a slice of purge; etcd's batch.
const SLICE_ROWS_MAX: usize = 1000;
/// Bytes in a slice of purge: all of them are read, to be hashed.
const SLICE_BYTES_MAX: usize = 8 << 20;
/// Compactions that wait for their purge: the one under way and the newest. One
/// in between is covered by the newest.
const JOBS_MAX: usize = 2;

/// Compactions: how far, and what is still to be purged.
pub(super) struct Jobs {
    /// The compact revision; -1 if there was none.
    pub(super) scheduled: i64,
    queue: VecDeque<Job>,
    /// The last that was finished, until somebody asks.
    finished: Option<Purged>,
}

/// A compaction whose space has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purged {
    /// Its revision.
    pub revision: i64,
    /// The rows that are gone.
    pub rows: u64,
    /// The hash of what is left up to that revision.
    pub hash: u32,
}

struct Job {
    to: i64,
    /// Rows that it removed so far.
    removed: u64,
    /// The first row that was not looked at.
    next: Vec<u8>,
    hasher: Hasher,
    /// Whether the compaction before had finished when this one came: etcd
    /// keeps the hash only then.
    is_whole: bool,
}

impl Jobs {
    /// As a store left them.
    pub(super) fn new(scheduled: i64, finished: i64) -> Jobs {
        let mut queue = VecDeque::new();
        if scheduled != finished {
            queue.push_back(Job::new(finished, scheduled, false));
        }
        Jobs { scheduled, queue, finished: None }
    }

    /// A compaction, at a store of some revision.
    pub(super) fn schedule(
        &mut self,
        to: i64,
        revision: i64,
        batch: &mut Batch,
    ) -> Result<(), Rejection> {
        if to <= self.scheduled {
            return Err(Rejection::Compacted { oldest: self.scheduled });
        }
        if to > revision {
            return Err(Rejection::FutureRevision);
        }
        batch.put(META, meta::SCHEDULED, &to.to_be_bytes());
        self.queue.truncate(JOBS_MAX - 1);
        self.queue.push_back(Job::new(self.scheduled, to, self.queue.is_empty()));
        self.scheduled = to;
        Ok(())
    }

    /// Purges a slice; whether there is more to do.
    pub(super) fn purge(&mut self, shared: &Arc<Shared>) -> bool {
        let Some(job) = self.queue.front_mut() else { return false };
        // Whoever begins to look from now on looks at the compact revision or
        // above, so one look is enough.
        if shared.is_pinned_below(job.to) {
            return true;
        }
        let mut batch = Batch::default();
        let is_done = job.slice(shared, &mut batch);
        if is_done {
            batch.put(META, meta::FINISHED, &job.to.to_be_bytes());
        }
        shared.engine.write(batch);
        if is_done {
            let hashed = job.hasher.finish();
            let (revision, rows) = (job.to, job.removed);
            self.finished = Some(Purged { revision, rows, hash: hashed.hash });
            if job.is_whole {
                shared.hashes.lock().push(hashed);
            }
            shared.state.write().finished = job.to;
            self.queue.pop_front();
        }
        !self.queue.is_empty()
    }

    /// Keeps no hash of what waits for its purge.
    pub(super) fn forget_hashes(&mut self) {
        for job in &mut self.queue {
            job.is_whole = false;
        }
    }

    /// The compaction that was finished since the last time, if one was.
    pub(super) fn take_finished(&mut self) -> Option<Purged> {
        self.finished.take()
    }
}

impl Job {
    fn new(from: i64, to: i64, is_whole: bool) -> Job {
        Job { to, removed: 0, next: Vec::new(), hasher: Hasher::new(from, to), is_whole }
    }

    /// Looks at a slice of rows; whether those were the last.
    fn slice(&mut self, shared: &Shared, batch: &mut Batch) -> bool {
        let Job { to, removed, next, hasher, .. } = self;
        let (mut rows, mut bytes) = (0, 0);
        let mut is_done = true;
        let from = std::mem::take(next);
        shared.engine.scan(REVISIONS, &from, Some(&revision_start(*to + 1)), &mut |key, row| {
            if rows == SLICE_ROWS_MAX || bytes >= SLICE_BYTES_MAX {
                is_done = false;
                next.extend_from_slice(key);
                return ControlFlow::Break(());
            }
            rows += 1;
            bytes += row.len();
            let (version, body) = parse(key, row);
            let mut state = shared.state.write();
            let goes = state.keyspace.purge(version, body.key, row.len(), *to);
            drop(state);
            hasher.row(version, row, !goes);
            if goes {
                *removed += 1;
                batch.delete(REVISIONS, key);
            }
            ControlFlow::Continue(())
        });
        is_done
    }
}
