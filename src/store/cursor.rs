//! [`Cursor`]: a walk over a range in slices, none of which holds a lock for
//! long.

use bytes::Bytes;

use super::keyspace::{Pick, SLICE_KEYS_MAX, Wants};
use super::schema::signed;
use super::view::Source;
use super::watch::KeyRange;

/// How far a walk has come.
pub(super) struct Cursor {
    /// `None` at the end.
    from: Option<Bytes>,
    to: Option<Bytes>,
    wants: Wants,
}

impl Cursor {
    /// A walk over a range.
    pub(super) fn new(range: &KeyRange, wants: Wants) -> Cursor {
        let from = (!range.is_empty()).then(|| range.from.clone());
        Cursor { from, to: range.to.clone(), wants }
    }

    /// The next keys, at most so many; none only at the end.
    pub(super) fn slice(&mut self, source: Source<'_>, max: usize) -> Vec<Pick> {
        while let Some(from) = &self.from {
            let state = source.shared.state.read();
            let within = (&**from, self.to.as_deref());
            let (picks, next) = state.keyspace.slice(within, source.at, max, self.wants);
            drop(state);
            self.from = next;
            if !picks.is_empty() {
                return picks;
            }
        }
        Vec::new()
    }

    /// The next keys up to `max`, however many slices that takes.
    pub(super) fn collect(&mut self, source: Source<'_>, max: usize) -> Vec<Pick> {
        let mut all = self.slice(source, max);
        while self.from.is_some() && all.len() < max {
            all.append(&mut self.slice(source, max - all.len()));
        }
        all
    }

    /// How many keys are left.
    pub(super) fn count(mut self, source: Source<'_>) -> i64 {
        let mut count = 0;
        self.wants = Wants::default();
        while self.from.is_some() {
            count += signed(self.slice(source, SLICE_KEYS_MAX).len() as u64);
        }
        count
    }
}
