//! Revisions follow the order of time: whoever calls after an answer was given
//! gets no older revision, and a change gets a newer one of its own.

use std::collections::BTreeSet;

/// The revisions that were answered.
#[derive(Default)]
pub struct Order {
    newest: i64,
    changes: BTreeSet<i64>,
}

impl Order {
    /// What a call that is made now must reach.
    pub fn floor(&self) -> i64 {
        self.newest
    }

    /// An answer to a call made at `floor`.
    pub fn on_answer(&mut self, floor: i64, revision: i64, changed: bool) -> Result<(), String> {
        self.newest = self.newest.max(revision);
        if revision < floor {
            return Err(format!("an answer at revision {revision} after one at {floor}"));
        }
        if changed && (revision == floor || !self.changes.insert(revision)) {
            return Err(format!("two changes at revision {revision}"));
        }
        Ok(())
    }
}
