//! [`Reads`]: linearizable reads on their way to an index.
//!
//! One round is in flight on behalf of all reads that had come before it, one
//! is forming (raft thesis §6.4). raft drops a round without a word when there
//! is no raft leader, or one that has not committed in its term: a timer of ours
//! asks again.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::ids::LogIndex;

/// A round without an answer is asked for again after this long; etcd's number.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Reads that wait, in the hands of the driver.
///
/// - A round that is asked for again gets a new number; an answer to any of its
///   numbers holds for all its reads, which came before the first.
pub(super) struct Reads {
    patience: Duration,
    last_round: u64,
    flying: Option<Round>,
    forming: Vec<Read>,
    /// Rounds that were asked for again because nobody answered.
    slow: u64,
    /// Reads that were dropped.
    failed: u64,
}

struct Round {
    first: u64,
    asked: Duration,
    asks_again: bool,
    reads: Vec<Read>,
}

struct Read {
    answer: oneshot::Sender<LogIndex>,
    deadline: Duration,
}

impl Reads {
    /// No reads; one that waits longer than `patience` is dropped.
    pub(super) fn new(patience: Duration) -> Reads {
        Reads { patience, last_round: 0, flying: None, forming: Vec::new(), slow: 0, failed: 0 }
    }

    /// A read wants an index.
    pub(super) fn ask(&mut self, answer: oneshot::Sender<LogIndex>, now: Duration) {
        self.forming.push(Read { answer, deadline: now + self.patience });
    }

    /// The number of a round to ask raft for now, if there is one.
    pub(super) fn next_round(&mut self, now: Duration) -> Option<u64> {
        match &mut self.flying {
            Some(round) if now < round.asked + RETRY_AFTER && !round.asks_again => return None,
            Some(round) => {
                self.slow += u64::from(now >= round.asked + RETRY_AFTER);
                (round.asked, round.asks_again) = (now, false);
            }
            None if self.forming.is_empty() => return None,
            None => {
                let reads = std::mem::take(&mut self.forming);
                let first = self.last_round + 1;
                self.flying = Some(Round { first, asked: now, asks_again: false, reads });
            }
        }
        self.last_round += 1;
        Some(self.last_round)
    }

    /// Something has changed that may have cost the round in flight.
    pub(super) fn ask_again(&mut self) {
        if let Some(round) = &mut self.flying {
            round.asks_again = true;
        }
    }

    /// raft says where the reads of a round stand.
    pub(super) fn on_ready(&mut self, round: u64, index: LogIndex) {
        let Some(flown) = self.flying.take_if(|flying| flying.first <= round) else { return };
        for read in flown.reads {
            // A caller who has gone away is no loss.
            read.answer.send(index).ok();
        }
    }

    /// Drops the reads whose time is up, or whose callers have gone.
    pub(super) fn expire(&mut self, now: Duration) {
        let mut failed = 0;
        let mut waits = |read: &Read| {
            let is_gone = read.answer.is_closed();
            failed += u64::from(!is_gone && read.deadline <= now);
            read.deadline > now && !is_gone
        };
        self.forming.retain(&mut waits);
        if let Some(round) = &mut self.flying {
            round.reads.retain(&mut waits);
        }
        self.failed += failed;
        self.flying.take_if(|round| round.reads.is_empty());
    }

    /// Rounds that were slow and reads that failed since the last time.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.slow), std::mem::take(&mut self.failed))
    }

    /// Drops all reads: the member stops.
    pub(super) fn abandon(&mut self) {
        self.forming.clear();
        self.flying = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn ask(reads: &mut Reads, now: Duration) -> oneshot::Receiver<LogIndex> {
        let (tx, rx) = oneshot::channel();
        reads.ask(tx, now);
        rx
    }

    #[test]
    fn one_round_is_in_flight_and_one_is_forming() {
        let mut reads = Reads::new(PATIENCE);
        let mut first = ask(&mut reads, Duration::ZERO);
        assert_eq!(reads.next_round(Duration::ZERO), Some(1));
        let mut second = ask(&mut reads, Duration::ZERO);
        assert_eq!(reads.next_round(Duration::ZERO), None);
        reads.on_ready(1, LogIndex(7));
        assert_eq!(first.try_recv(), Ok(LogIndex(7)));
        assert!(second.try_recv().is_err(), "it came after the round had left");
        assert_eq!(reads.next_round(Duration::ZERO), Some(2));
        reads.on_ready(1, LogIndex(7));
        assert!(second.try_recv().is_err(), "an old answer says nothing of it");
        reads.on_ready(2, LogIndex(8));
        assert_eq!(second.try_recv(), Ok(LogIndex(8)));
    }

    #[test]
    fn a_round_that_raft_dropped_is_asked_for_again() {
        let mut reads = Reads::new(PATIENCE);
        let mut read = ask(&mut reads, Duration::ZERO);
        assert_eq!(reads.next_round(Duration::ZERO), Some(1));
        assert_eq!(reads.next_round(RETRY_AFTER - Duration::from_millis(1)), None);
        assert_eq!(reads.next_round(RETRY_AFTER), Some(2));
        // The first may have been on its way all the time.
        reads.on_ready(1, LogIndex(3));
        assert_eq!(read.try_recv(), Ok(LogIndex(3)));
        assert_eq!(reads.next_round(RETRY_AFTER * 3), None);
        assert_eq!(reads.take_counts(), (1, 0));
    }

    #[test]
    fn a_read_whose_time_is_up_is_dropped() {
        let mut reads = Reads::new(PATIENCE);
        let mut flying = ask(&mut reads, Duration::ZERO);
        reads.next_round(Duration::ZERO);
        let mut forming = ask(&mut reads, Duration::from_secs(1));
        reads.expire(PATIENCE);
        assert_eq!(flying.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(forming.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(reads.next_round(PATIENCE), Some(2));
        assert_eq!(reads.take_counts(), (0, 1));
    }
}
