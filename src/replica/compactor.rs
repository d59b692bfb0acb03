//! [`Compactor`]: gives back the space of what was compacted, a slice at a time
//! between the applier's turns, so that nothing waits longer than for a slice.

use std::time::Duration;

use crate::store::{Reader, Store};

/// The pause behind each slice when there is nothing to apply: purging takes a
/// fraction of one core, whatever there is to purge.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// Whether there is something to purge.
pub(super) struct Compactor {
    is_behind: bool,
}

impl Compactor {
    /// Goes on where the last run of the member left off.
    pub(super) fn new(reader: &Reader) -> Compactor {
        Compactor { is_behind: reader.purged_revision() != reader.compact_revision() }
    }

    /// A compaction took effect.
    pub(super) fn on_compacted(&mut self) {
        self.is_behind = true;
    }

    /// Whether there is something to purge.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Purges a slice, if there is one; true if the last was purged just now.
    pub(super) fn maybe_purge(&mut self, store: &mut Store) -> bool {
        if !self.is_behind {
            return false;
        }
        self.is_behind = store.purge();
        !self.is_behind
    }
}
