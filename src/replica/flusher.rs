//! [`Flusher`]: makes the state durable from time to time, on a thread of its
//! own, and tells the driver, which may then cut the log.
//!
//! A flush is due behind so many bytes of applied entries (the applier counts
//! them), or after a while with anything applied at all.

use std::sync::Arc;
use std::time::Duration;

use super::inbox::Input;
use super::shared::Shared;
use crate::ids::LogIndex;

/// The longest that something applied stays undurable: bounds what a restart
/// replays where writes are rare, at a cost that nobody notices.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(30);

/// Knows how far the state is durable.
pub(super) struct Flusher {
    shared: Arc<Shared>,
    durable: LogIndex,
}

impl Flusher {
    /// What the store held when it was opened came from its disk, up to `durable`.
    pub(super) fn new(shared: Arc<Shared>, durable: LogIndex) -> Flusher {
        Flusher { shared, durable }
    }

    /// Makes everything durable that is applied, if it is not.
    pub(super) fn turn(&mut self) {
        let applied = self.shared.progress.applied();
        if applied > self.durable {
            self.shared.state.flush();
            self.durable = applied;
            self.shared.inbox.push(Input::Durable(applied));
        }
    }
}
