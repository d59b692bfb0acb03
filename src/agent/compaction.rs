//! Automatic compaction: history is kept for a time, or for so many revisions.
//!
//! The paces are etcd's: revisions are noted ten times in each period, and no
//! less often than every six minutes; whoever keeps a number of revisions looks
//! every five minutes. Only the raft leader asks, and what it asks for goes
//! through the log like any client's compaction. Deliberately not here: giving
//! the space back, which is the store's.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::proto::etcdserverpb::CompactionRequest;
use crate::replica::Replica;
use crate::store::{Caller, Request};

/// A period is looked at as often as if it were no longer than this.
const PERIOD_MAX: Duration = Duration::from_secs(3600);
/// How often a period is sampled.
const SAMPLES_PER_PERIOD: u32 = 10;
/// How often the number of revisions is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// How much history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum History {
    /// All of it.
    All,
    /// What is younger than this.
    Period(Duration),
    /// So many revisions.
    Revisions(i64),
}

/// Compacts for as long as it is polled.
pub(super) async fn keep(replica: Replica, history: History) {
    let mut samples = Samples::default();
    let (pace, mode) = match history {
        History::All => return std::future::pending().await,
        History::Period(period) => (period.min(PERIOD_MAX) / SAMPLES_PER_PERIOD, "periodic"),
        History::Revisions(_) => (LOOK_EVERY, "revision"),
    };
    let begin = Instant::now();
    let mut glances = interval(pace.max(Duration::from_millis(1)));
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        glances.tick().await;
        let revision = replica.reader().revision();
        let target = match history {
            History::All => None,
            History::Period(period) => samples.take(begin.elapsed(), revision, period),
            History::Revisions(count) => Some(revision - count),
        };
        let Some(target) = target.filter(|target| *target > replica.reader().compact_revision())
        else {
            continue;
        };
        if target > 0 && replica.standing().is_leader {
            compact(&replica, target, mode).await;
        }
    }
}

async fn compact(replica: &Replica, revision: i64, mode: &str) {
    let request = CompactionRequest { revision, physical: false };
    match replica.propose(&Caller::default(), Request::Compact(request)).await {
        Ok(_) => {
            tracing::info!(event = "auto_compaction", revision, mode, "completed auto compaction");
        }
        Err(why) => tracing::warn!(event = "auto_compaction", %why, mode, "failed auto compaction"),
    }
}

/// Revisions, and when they were current; the oldest first.
#[derive(Default)]
struct Samples(VecDeque<(Duration, i64)>);

impl Samples {
    /// Notes a revision; the newest one that has become older than `period`.
    fn take(&mut self, now: Duration, revision: i64, period: Duration) -> Option<i64> {
        self.0.push_back((now, revision));
        let mut old = None;
        while let Some((since, revision)) = self.0.front().copied()
            && now.saturating_sub(since) >= period
        {
            old = Some(revision);
            self.0.pop_front();
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_younger_than_the_period_is_kept() {
        let mut samples = Samples::default();
        let mut take = |second: u64, revision: i64| {
            samples.take(Duration::from_secs(second), revision, Duration::from_secs(10))
        };
        assert_eq!(take(0, 5), None);
        assert_eq!(take(4, 7), None);
        assert_eq!(take(9, 9), None);
        assert_eq!(take(10, 11), Some(5));
        assert_eq!(take(11, 11), None, "it was told once");
        assert_eq!(take(30, 12), Some(11), "of several the newest");
    }
}
