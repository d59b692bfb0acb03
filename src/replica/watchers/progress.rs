//! [`Progress`]: telling quiet watchers how far a stream is.
//!
//! Whoever asks, or whose round has come, is promised the store's revision of
//! that moment, and told once everything up to there was said. So progress never
//! overtakes an event, and never waits for one that is not due.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{Interval, MissedTickBehavior};

use super::watcher::{NO_ID, Watcher, response};
use crate::ids::Revision;
use crate::proto::etcdserverpb::WatchResponse;

/// No round comes sooner than this after the last.
const EVERY_MIN: Duration = Duration::from_millis(100);

type Watchers = BTreeMap<u64, Watcher>;

/// The progress that a stream is to tell of.
///
/// - What is told on one stream never goes back.
#[derive(Debug, Default)]
pub(super) struct Progress {
    promises: VecDeque<Promise>,
    /// The highest that was told.
    told: Revision,
    ticker: Option<Interval>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    at: Revision,
    /// One watcher, or all of the stream.
    whom: Option<u64>,
}

impl Progress {
    /// Promises progress to one watcher, or to all together; not if anybody
    /// concerned is behind, for nobody is told later what was not so when it was
    /// asked.
    pub(super) fn promise(&mut self, at: Revision, whom: Option<u64>, watchers: &Watchers) {
        let promise = Promise { at, whom };
        if promise.holds(watchers) {
            self.promises.push_back(promise);
        }
    }

    /// Promises progress to those who asked for it and heard nothing since the
    /// last round.
    pub(super) fn on_tick(&mut self, at: Revision, watchers: &mut Watchers) {
        for (number, watcher) in watchers {
            if watcher.notify {
                if watcher.quiet && watcher.is_synced_at(at) {
                    self.promises.push_back(Promise { at, whom: Some(*number) });
                }
                watcher.quiet = true;
            }
        }
    }

    /// Settles the first promise, if it is for a revision up to which everything
    /// was said. What is no longer true is not told at all.
    pub(super) fn keep(
        &mut self,
        said: Revision,
        watchers: &Watchers,
    ) -> Option<Option<WatchResponse>> {
        let promise = *self.promises.front().filter(|front| front.at <= said)?;
        self.promises.pop_front();
        if !promise.holds(watchers) {
            return Some(None);
        }
        let heard = promise.concerned(watchers).map(|watcher| Revision(watcher.next.0 - 1)).max();
        let at = promise.at.max(self.told).max(heard.unwrap_or_default());
        if at > said {
            // History went beyond the promise already.
            self.promises.push_front(Promise { at, ..promise });
            return Some(None);
        }
        self.told = at;
        let id = promise.whom.and_then(|number| watchers.get(&number)).map(|watcher| watcher.id);
        Some(Some(response(id.unwrap_or(NO_ID), at)))
    }

    /// The revision of the first promise.
    pub(super) fn waits_for(&self) -> Option<Revision> {
        self.promises.front().map(|promise| promise.at)
    }

    /// Begins the rounds, up to a tenth longer than asked, so that not all
    /// streams speak at once.
    pub(super) fn tick_every(&mut self, every: Duration) {
        self.ticker.get_or_insert_with(|| {
            let chance = u8::try_from(ahash::RandomState::new().hash_one(0) % 100).unwrap_or(0);
            let period = every.mul_f64(1.0 + f64::from(chance) / 1000.0).max(EVERY_MIN);
            let mut ticker = tokio::time::interval(period);
            ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // An interval begins with a tick, and progress with a wait.
            ticker.reset();
            ticker
        });
    }

    /// Whether a round has come.
    pub(super) fn is_due(&mut self) -> bool {
        self.due().now_or_never().is_some()
    }

    /// Returns when a round has come.
    pub(super) async fn due(&mut self) {
        match &mut self.ticker {
            Some(ticker) => drop(ticker.tick().await),
            None => std::future::pending().await,
        }
    }
}

impl Promise {
    /// Whether all whom it concerns, one at least, are synced there.
    fn holds(self, watchers: &Watchers) -> bool {
        self.concerned(watchers).next().is_some()
            && self.concerned(watchers).all(|watcher| watcher.is_synced_at(self.at))
    }

    fn concerned(self, watchers: &Watchers) -> impl Iterator<Item = &Watcher> {
        let span = self.whom.map_or(0..=u64::MAX, |number| number..=number);
        watchers.range(span).map(|(_, watcher)| watcher)
    }
}
