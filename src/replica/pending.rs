//! [`Pending`]: who waits for the outcome of a proposal.
//!
//! Proposals are counted, and all may take equally long: so the waiters stand in
//! one ring in the order of their counts, which is also the order of their
//! deadlines. Finding one is an index, and those whose time is up are in front.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use super::failure::{Outcome, Unavailable};

/// Waiters at a time; a proposal beyond is refused as too many requests.
const WAITERS_MAX: usize = 1 << 16;

/// All proposals of this boot that wait for their outcome.
///
/// - Every waiter is answered once: by the applier, by a refusal of raft, or
///   because its time is up.
pub(super) struct Pending {
    ring: Mutex<Ring>,
}

/// Waiters at a time for a change of members; one beyond is refused as too many
/// requests.
const PATIENT_MAX: usize = 256;

struct Ring {
    /// The count of the first place.
    first: u64,
    places: VecDeque<Option<Waiter>>,
    waiting: usize,
    /// Those who wait for as long as their callers do.
    patient: BTreeMap<u64, Waiter>,
    is_closed: bool,
}

struct Waiter {
    answer: oneshot::Sender<Outcome>,
    deadline: Duration,
    /// The runtime that the waiting task lives in.
    home: Option<Handle>,
}

impl Pending {
    /// Nobody waits; counts begin at 1.
    pub(super) fn new() -> Pending {
        let ring = Ring {
            first: 1,
            places: VecDeque::new(),
            waiting: 0,
            patient: BTreeMap::new(),
            is_closed: false,
        };
        Pending { ring: Mutex::new(ring) }
    }

    /// Takes a waiter and gives it a count.
    pub(super) fn register(
        &self,
        answer: oneshot::Sender<Outcome>,
        deadline: Duration,
    ) -> Result<u64, Unavailable> {
        let home = Handle::try_current().ok();
        let mut ring = self.ring.lock();
        if ring.is_closed {
            return Err(Unavailable::Stopped);
        }
        if ring.waiting >= WAITERS_MAX {
            return Err(Unavailable::Overloaded);
        }
        let count = ring.first + ring.places.len() as u64;
        ring.places.push_back(Some(Waiter { answer, deadline, home }));
        ring.waiting += 1;
        Ok(count)
    }

    /// Takes a waiter that has all the time that its caller has.
    pub(super) fn register_patient(
        &self,
        answer: oneshot::Sender<Outcome>,
    ) -> Result<u64, Unavailable> {
        let home = Handle::try_current().ok();
        let mut ring = self.ring.lock();
        if ring.is_closed {
            return Err(Unavailable::Stopped);
        }
        ring.patient.retain(|_, waiter| !waiter.answer.is_closed());
        if ring.patient.len() >= PATIENT_MAX {
            return Err(Unavailable::Overloaded);
        }
        // It has a count of its own, and no place among those whose time runs.
        let count = ring.first + ring.places.len() as u64;
        ring.places.push_back(None);
        ring.trim();
        ring.patient.insert(count, Waiter { answer, deadline: Duration::MAX, home });
        Ok(count)
    }

    /// Whether a patient waiter of this count waits still.
    pub(super) fn is_patient(&self, count: u64) -> bool {
        let ring = self.ring.lock();
        ring.patient.get(&count).is_some_and(|waiter| !waiter.answer.is_closed())
    }

    /// Whether the waiter of this count waits, and its time is up.
    pub(super) fn is_due(&self, count: u64, now: Duration) -> bool {
        let ring = self.ring.lock();
        let at = count.checked_sub(ring.first).and_then(|at| usize::try_from(at).ok());
        let waiter = at.and_then(|at| ring.places.get(at)).and_then(Option::as_ref);
        waiter.is_none_or(|waiter| waiter.deadline <= now)
    }

    /// Drops a waiter whose proposal was never made.
    pub(super) fn forget(&self, count: u64) {
        let waiter = self.ring.lock().take(count);
        drop(waiter);
    }

    /// Answers the waiters of these counts; who waits no longer is passed over.
    pub(super) fn complete(&self, outcomes: impl Iterator<Item = (u64, Outcome)>) {
        let answered: Vec<_> = {
            let mut ring = self.ring.lock();
            outcomes.filter_map(|(count, outcome)| Some((ring.take(count)?, outcome))).collect()
        };
        // Waking a task takes longer than the lock should be held.
        deliver(answered);
    }

    /// Tells the waiters of these counts that nothing came of it.
    pub(super) fn fail(&self, counts: &[u64], why: Unavailable) {
        self.complete(counts.iter().map(|count| (*count, Err(why.into()))));
    }

    /// Answers those whose time is up; how many there were.
    pub(super) fn expire(&self, now: Duration) -> usize {
        let expired = self.ring.lock().take_expired(now);
        let count = expired.len();
        for waiter in expired {
            answer(waiter, Err(Unavailable::TimedOut.into()));
        }
        count
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.ring.lock().waiting
    }

    /// Takes nobody any more.
    pub(super) fn close(&self) {
        self.ring.lock().is_closed = true;
    }

    /// Tells everybody that the member has stopped.
    pub(super) fn abandon(&self) {
        self.close();
        let (all, patient) = {
            let mut ring = self.ring.lock();
            (std::mem::take(&mut ring.places), std::mem::take(&mut ring.patient))
        };
        for waiter in all.into_iter().flatten().chain(patient.into_values()) {
            answer(waiter, Err(Unavailable::Stopped.into()));
        }
        self.ring.lock().waiting = 0;
    }
}

impl Ring {
    fn take(&mut self, count: u64) -> Option<Waiter> {
        self.take_timed(count).or_else(|| self.patient.remove(&count))
    }

    fn take_timed(&mut self, count: u64) -> Option<Waiter> {
        let at = usize::try_from(count.checked_sub(self.first)?).ok()?;
        let waiter = self.places.get_mut(at)?.take()?;
        self.waiting -= 1;
        self.trim();
        Some(waiter)
    }

    fn trim(&mut self) {
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.first += 1;
        }
    }

    fn take_expired(&mut self, now: Duration) -> Vec<Waiter> {
        let mut expired = Vec::new();
        while let Some(Some(waiter)) = self.places.front()
            && waiter.deadline <= now
        {
            expired.extend(self.places.pop_front().flatten());
            self.first += 1;
            self.trim();
        }
        self.waiting -= expired.len();
        expired
    }
}

type Answer = (oneshot::Sender<Outcome>, Outcome);

/// Answers many waiters, those of one runtime in one task of that runtime: it
/// is woken once, from outside, and wakes its tasks itself, which costs it next
/// to nothing, and their answers leave together.
fn deliver(answered: Vec<(Waiter, Outcome)>) {
    let mut homes: Vec<(Id, Handle, Vec<Answer>)> = Vec::new();
    for (waiter, outcome) in answered {
        let Some(home) = waiter.home else {
            drop(waiter.answer.send(outcome));
            continue;
        };
        let id = home.id();
        match homes.iter_mut().find(|(one, _, _)| *one == id) {
            Some((_, _, answers)) => answers.push((waiter.answer, outcome)),
            None => homes.push((id, home, vec![(waiter.answer, outcome)])),
        }
    }
    for (_, home, mut answers) in homes {
        if answers.len() == 1
            && let Some((answer, outcome)) = answers.pop()
        {
            drop(answer.send(outcome));
            continue;
        }
        home.spawn(async move {
            for (answer, outcome) in answers {
                // A caller who has gone away is no loss.
                drop(answer.send(outcome));
            }
        });
    }
}

fn answer(waiter: Waiter, outcome: Outcome) {
    // A caller who has gone away is no loss.
    drop(waiter.answer.send(outcome));
}

#[cfg(test)]
mod tests {
    use super::super::failure::Failure;
    use super::*;
    use crate::store::Reply;

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(pending: &Pending, deadline: Duration) -> (u64, oneshot::Receiver<Outcome>) {
        let (tx, rx) = oneshot::channel();
        (pending.register(tx, deadline).expect("there is room"), rx)
    }

    fn timed_out(rx: &mut oneshot::Receiver<Outcome>) -> bool {
        matches!(rx.try_recv(), Ok(Err(Failure::Unavailable(Unavailable::TimedOut))))
    }

    #[test]
    fn every_waiter_gets_its_own_answer_in_any_order() {
        let pending = Pending::new();
        let mut waiters: Vec<_> = (0..5).map(|_| wait(&pending, SECOND)).collect();
        assert_eq!(waiters.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        pending.complete([3, 1, 2].into_iter().map(|count| (count, Ok(Reply::Done))));
        for (at, (_, rx)) in waiters.iter_mut().enumerate() {
            assert_eq!(rx.try_recv().is_ok(), at < 3, "waiter {at}");
        }
        assert_eq!(pending.len(), 2);
        // Nobody is answered twice, and strangers do no harm.
        pending.complete([1, 3, 99, 0].into_iter().map(|count| (count, Ok(Reply::Done))));
        assert_eq!(pending.len(), 2);
    }

    #[test]
    fn only_those_whose_time_is_up_time_out() {
        let pending = Pending::new();
        let (first, mut early) = wait(&pending, SECOND);
        let (second, _) = wait(&pending, SECOND);
        let (_, mut late) = wait(&pending, 2 * SECOND);
        pending.complete([(second, Ok(Reply::Done))].into_iter());
        assert_eq!(pending.expire(SECOND / 2), 0);
        assert_eq!(pending.expire(SECOND), 1);
        assert!(timed_out(&mut early) && !timed_out(&mut late));
        pending.complete([(first, Ok(Reply::Done))].into_iter());
        assert_eq!(pending.expire(2 * SECOND), 1);
        assert!(timed_out(&mut late));
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn a_full_ring_refuses_and_a_closed_one_too() {
        let pending = Pending::new();
        let waiters: Vec<_> = (0..WAITERS_MAX).map(|_| wait(&pending, SECOND)).collect();
        let (tx, _rx) = oneshot::channel();
        assert_eq!(pending.register(tx, SECOND), Err(Unavailable::Overloaded));
        pending.forget(waiters[7].0);
        wait(&pending, SECOND);
        pending.abandon();
        assert_eq!(pending.len(), 0);
        let (tx, _rx) = oneshot::channel();
        assert_eq!(pending.register(tx, SECOND), Err(Unavailable::Stopped));
    }
}
