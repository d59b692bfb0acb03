//! [`Compactor`]: gives back the space of what was compacted, a slice at a time
//! between the applier's turns, so that nothing waits longer than for a slice.

use std::time::Duration;

use super::clock::unix_seconds;
use super::shared::Shared;
use crate::store::{Purged, Reader, Store};

/// The pause behind each slice when there is nothing to apply: purging takes a
/// fraction of one core, whatever there is to purge.
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// Whether there is something to purge.
pub(super) struct Compactor {
    is_behind: bool,
    /// When the compaction took effect that is purged.
    began: Option<Duration>,
}

impl Compactor {
    /// Goes on where the last run of the member left off.
    pub(super) fn new(reader: &Reader) -> Compactor {
        let is_behind = reader.purged_revision() != reader.compact_revision();
        Compactor { is_behind, began: None }
    }

    /// A compaction took effect.
    pub(super) fn on_compacted(&mut self, now: Duration) {
        self.is_behind = true;
        self.began.get_or_insert(now);
    }

    /// Whether there is something to purge.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Purges a slice, if there is one; true if the last was purged just now.
    pub(super) fn maybe_purge(&mut self, store: &mut Store, shared: &Shared) -> bool {
        if !self.is_behind {
            return false;
        }
        let began = shared.now();
        self.is_behind = store.purge();
        let now = shared.now();
        let took = now.saturating_sub(began);
        shared.counters.purge_slices.observe(took.as_secs_f64() * 1000.0);
        if let Some(purged) = store.take_purged() {
            let since = self.began.take().unwrap_or(began);
            self.began = self.is_behind.then_some(now);
            tell(purged, now.saturating_sub(since), shared);
        }
        !self.is_behind
    }
}

/// Counts a compaction whose space has come back, and says so.
fn tell(purged: Purged, took: Duration, shared: &Shared) {
    let Purged { revision, rows, hash } = purged;
    let counters = &shared.counters;
    counters.purged_rows.inc_by(rows);
    counters.purges.observe(took.as_secs_f64() * 1000.0);
    counters.last_purge.set(unix_seconds());
    let sizes = shared.reader.sizes();
    tracing::info!(
        "compact-revision" = revision,
        took = format!("{took:?}"),
        "number-of-keys-compacted" = rows,
        hash,
        "current-db-size-bytes" = sizes.total,
        "current-db-size-in-use-bytes" = sizes.in_use,
        "finished scheduled compaction"
    );
}
