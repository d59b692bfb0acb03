//! [`Shared`]: what the handle, the driver and the applier all look at.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::clock::Clock;
use super::counters::Counters;
use super::driver::Timings;
use super::inbox::Inbox;
use super::lessor::Lessor;
use super::pending::Pending;
use super::progress::Progress;
use super::queue::Queue;
use super::replica::Standing;
use super::tokens::Tokens;
use super::watchers::Watchers;
use crate::consensus::{Committed, Identity};
use crate::engine::Engine;
use crate::ids::LogIndex;
use crate::store::Reader;

/// One member, seen by several threads. Every part has its own lock, and none is
/// held while another is taken.
pub(super) struct Shared {
    pub(super) identity: Identity,
    pub(super) boot: u64,
    pub(super) timings: Timings,
    pub(super) request_bytes_max: usize,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reader: Reader,
    pub(super) state: Arc<dyn Engine>,
    pub(super) inbox: Inbox,
    pub(super) committed: Queue<Committed>,
    pub(super) pending: Pending,
    pub(super) progress: Progress,
    pub(super) lessor: Lessor,
    pub(super) tokens: Tokens,
    pub(super) watchers: Arc<Watchers>,
    pub(super) counters: Counters,
    /// As the driver's last turn left it; what is applied stands in `progress`.
    pub(super) standing: Mutex<Standing>,
    /// Where a lone voter that leads may serve reads without asking anybody.
    pub(super) alone: Alone,
    /// Who waits for the store to settle after a defragmentation.
    pub(super) settling: Mutex<Vec<oneshot::Sender<()>>>,
}

/// Whether nobody else has a vote and this member leads: then whatever was
/// acknowledged was applied here, once the entry is applied with which it began
/// to lead.
pub(super) struct Alone(AtomicU64);

const NOT_ALONE: u64 = u64::MAX;

impl Alone {
    pub(super) fn new() -> Alone {
        Alone(AtomicU64::new(NOT_ALONE))
    }

    /// It leads alone since `floor`, or does not.
    pub(super) fn set(&self, floor: Option<LogIndex>) {
        self.0.store(floor.map_or(NOT_ALONE, |floor| floor.0), Ordering::SeqCst);
    }

    /// Whether a store that has applied so far has all that was acknowledged.
    pub(super) fn holds(&self, applied: LogIndex) -> bool {
        applied.0 >= self.0.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// The time.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Where the member stands.
    pub(super) fn standing(&self) -> Standing {
        Standing { applied: self.progress.applied(), ..*self.standing.lock() }
    }
}
