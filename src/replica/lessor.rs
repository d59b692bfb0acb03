//! [`Lessor`]: the raft leader's clock for leases.
//!
//! Leases themselves are in the store, alike on all members; how long each has
//! left is known only here, in the memory of whoever leads. Deadlines stand in
//! one ordered set, so that a renewal moves one of them and a crowd that expires
//! at once is handed out in portions. One short mutex guards it all. What is
//! not here: revoking, which is a command in the log, and checkpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;

use crate::ids::LeaseId;
use crate::store::LeaseChange;

/// When an expired lease that still exists is handed out again: its revocation
/// may have been lost, and one too many does no harm.
const HAND_OUT_AGAIN: Duration = Duration::from_secs(3);

/// What is left of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Seconds as granted.
    pub granted: i64,
    /// Time left; zero when it is up but the revocation is still under way.
    pub left: Duration,
}

/// Expiry of leases, in the memory of whoever leads. Shared by the applier
/// (changes), the driver (ticks, leadership) and callers (renewals).
///
/// - No lease is handed out before its deadline.
/// - A lease whose deadline has passed is never renewed, handed out or not, so
///   that a revocation under way cannot meet a lease that somebody renewed.
/// - `promote` must come after this member has applied the first entry of its
///   term: a revocation of an earlier leader may lie before it.
#[derive(Debug)]
pub struct Lessor {
    inner: Mutex<Inner>,
}

/// - `due` holds one entry for each lease while this member leads, and none
///   otherwise.
#[derive(Debug, Default)]
struct Inner {
    leads: bool,
    leases: AHashMap<LeaseId, Lease>,
    due: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    /// Seconds as granted.
    ttl: i64,
    /// Seconds that were left at the last checkpoint; 0 if there is none.
    recorded: i64,
    /// When its time is up; means nothing while another member leads.
    deadline: Duration,
    /// When it is to be handed out: at its deadline, and later again.
    due: Duration,
}

impl Lease {
    fn new(ttl: i64, recorded: i64) -> Lease {
        Lease { ttl, recorded, deadline: Duration::ZERO, due: Duration::ZERO }
    }

    /// What a new leader gives it.
    fn base(&self) -> Duration {
        seconds(if self.recorded > 0 { self.recorded } else { self.ttl })
    }
}

impl Lessor {
    /// With the leases that the store holds: id, TTL, remaining TTL or 0.
    pub fn new(leases: Vec<(LeaseId, i64, i64)>) -> Lessor {
        let lease = |(id, ttl, recorded)| (id, Lease::new(ttl, recorded));
        let leases = leases.into_iter().map(lease).collect();
        Lessor { inner: Mutex::new(Inner { leases, ..Inner::default() }) }
    }

    /// An entry was applied.
    pub fn on_applied(&self, changes: &[LeaseChange], now: Duration) {
        if changes.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        for change in changes {
            match *change {
                LeaseChange::Granted(id, ttl) => inner.grant(id, ttl, now),
                LeaseChange::Ended(id) => inner.end(id),
                LeaseChange::Checkpointed(id, left) => {
                    if let Some(lease) = inner.leases.get_mut(&id) {
                        lease.recorded = left;
                    }
                }
            }
        }
    }

    /// This member now leads: every lease gets its remaining (or full) TTL and
    /// `extend` from now on.
    pub fn promote(&self, now: Duration, extend: Duration) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.leads = true;
        let from = now.saturating_add(extend);
        #[expect(clippy::iter_over_hash_type, reason = "the set orders them")]
        for lease in inner.leases.values_mut() {
            lease.deadline = from.saturating_add(lease.base());
            lease.due = lease.deadline;
        }
        inner.due = inner.leases.iter().map(|(id, lease)| (lease.due, *id)).collect();
    }

    /// This member leads no more: nothing expires here.
    pub fn demote(&self) {
        let mut inner = self.inner.lock();
        inner.leads = false;
        let due = std::mem::take(&mut inner.due);
        drop(inner);
        // Freed while nobody waits.
        drop(due);
    }

    /// Whether this member keeps the clock; a renewal that came to nothing means
    /// nothing if it does not.
    pub fn leads(&self) -> bool {
        self.inner.lock().leads
    }

    /// The next leases whose time is up and whose revocation was not handed out
    /// in the last seconds; at most `max`.
    pub fn take_expired(&self, now: Duration, max: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        while expired.len() < max
            && let Some((due, id)) = inner.due.first().copied()
            && due <= now
        {
            inner.due.pop_first();
            let again = now.saturating_add(HAND_OUT_AGAIN);
            inner.due.insert((again, id));
            inner.leases.get_mut(&id).expect("what is due exists").due = again;
            expired.push(id);
        }
        expired
    }

    /// Renews a lease; its TTL. `None`: unknown here, or its time is up.
    pub fn renew(&self, id: LeaseId, now: Duration) -> Option<i64> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let lease = inner.leases.get_mut(&id)?;
        if !inner.leads || lease.deadline <= now {
            return None;
        }
        inner.due.remove(&(lease.due, id));
        lease.deadline = now.saturating_add(seconds(lease.ttl));
        lease.due = lease.deadline;
        inner.due.insert((lease.due, id));
        Some(lease.ttl)
    }

    /// What is left of a lease; where another member leads, what a new leader
    /// would give it.
    pub fn remaining(&self, id: LeaseId, now: Duration) -> Option<Remaining> {
        let inner = self.inner.lock();
        let lease = inner.leases.get(&id)?;
        let left = match inner.leads {
            true => lease.deadline.saturating_sub(now),
            false => lease.base(),
        };
        Some(Remaining { granted: lease.ttl, left })
    }

    /// All leases, soonest expiry first when this member leads.
    pub fn ids(&self) -> Vec<LeaseId> {
        let inner = self.inner.lock();
        let leads = inner.leads;
        let key = |(id, lease): (&LeaseId, &Lease)| {
            (if leads { lease.deadline } else { Duration::ZERO }, *id)
        };
        let mut ids: Vec<_> = inner.leases.iter().map(key).collect();
        drop(inner);
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }
}

impl Inner {
    fn grant(&mut self, id: LeaseId, ttl: i64, now: Duration) {
        self.end(id);
        let mut lease = Lease::new(ttl, 0);
        if self.leads {
            lease.deadline = now.saturating_add(seconds(ttl));
            lease.due = lease.deadline;
            self.due.insert((lease.due, id));
        }
        self.leases.insert(id, lease);
    }

    fn end(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.due.remove(&(lease.due, id));
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTEND: Duration = Duration::from_secs(1);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A leader since second 100, with leases 1, 2, 3 of 10, 20, 30 seconds.
    fn leader() -> Lessor {
        let lessor =
            Lessor::new(vec![(LeaseId(1), 10, 0), (LeaseId(2), 20, 0), (LeaseId(3), 30, 0)]);
        lessor.promote(s(100), EXTEND);
        lessor
    }

    fn ids(lessor: &Lessor) -> Vec<i64> {
        lessor.ids().into_iter().map(|id| id.0).collect()
    }

    fn expired(lessor: &Lessor, now: Duration) -> Vec<i64> {
        lessor.take_expired(now, 10).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn nothing_expires_before_its_time() {
        let lessor = leader();
        let early = s(111) - Duration::from_nanos(1);
        assert_eq!(expired(&lessor, early), [0_i64; 0]);
        let left = Duration::from_nanos(1);
        assert_eq!(lessor.remaining(LeaseId(1), early), Some(Remaining { granted: 10, left }));
        assert_eq!(expired(&lessor, s(111)), [1]);
        assert_eq!(lessor.remaining(LeaseId(1), s(111)).unwrap().left, Duration::ZERO);
    }

    #[test]
    fn an_expired_lease_is_handed_out_again_until_it_has_ended() {
        let lessor = leader();
        assert_eq!(expired(&lessor, s(111)), [1]);
        assert_eq!(expired(&lessor, s(113)), [0_i64; 0]);
        assert_eq!(expired(&lessor, s(114)), [1]);
        lessor.on_applied(&[LeaseChange::Ended(LeaseId(1))], s(115));
        assert_eq!(expired(&lessor, s(120)), [0_i64; 0]);
        assert_eq!(lessor.remaining(LeaseId(1), s(120)), None);
        assert_eq!(ids(&lessor), [2, 3]);
    }

    #[test]
    fn a_lease_whose_time_is_up_cannot_be_renewed() {
        let lessor = leader();
        assert_eq!(lessor.renew(LeaseId(1), s(110)), Some(10));
        assert_eq!(expired(&lessor, s(119)), [0_i64; 0]);
        assert_eq!(lessor.renew(LeaseId(1), s(120)), None);
        assert_eq!(expired(&lessor, s(120)), [1]);
        assert_eq!(lessor.renew(LeaseId(1), s(120)), None);
        assert_eq!(lessor.renew(LeaseId(9), s(120)), None);
    }

    #[test]
    fn only_a_leader_keeps_time() {
        let lessor = Lessor::new(vec![(LeaseId(1), 10, 0)]);
        lessor.on_applied(&[LeaseChange::Granted(LeaseId(-2), 5)], s(1));
        assert!(!lessor.leads());
        assert_eq!(expired(&lessor, s(1000)), [0_i64; 0]);
        assert_eq!(lessor.renew(LeaseId(1), s(1000)), None);
        let left = s(5);
        let full = Some(Remaining { granted: 5, left });
        assert_eq!(lessor.remaining(LeaseId(-2), s(1000)), full);

        lessor.promote(s(1000), EXTEND);
        assert_eq!(ids(&lessor), [-2, 1]);
        assert_eq!(expired(&lessor, s(1006)), [-2]);
        lessor.demote();
        assert_eq!(expired(&lessor, s(2000)), [0_i64; 0]);

        // Back in office, even what was handed out begins anew.
        lessor.promote(s(2000), EXTEND);
        assert_eq!(lessor.renew(LeaseId(-2), s(2005)), Some(5));
        assert_eq!(expired(&lessor, s(2009)), [0_i64; 0]);
        assert_eq!(expired(&lessor, s(2011)), [-2, 1]);
    }

    #[test]
    fn a_new_leader_goes_on_from_the_checkpoint() {
        let lessor = Lessor::new(vec![(LeaseId(1), 600, 60), (LeaseId(2), 600, 0)]);
        lessor.on_applied(&[LeaseChange::Checkpointed(LeaseId(2), 30)], s(0));
        lessor.promote(s(100), EXTEND);
        assert_eq!(ids(&lessor), [2, 1]);
        assert_eq!(expired(&lessor, s(131)), [2]);
        lessor.on_applied(&[LeaseChange::Ended(LeaseId(2))], s(131));
        assert_eq!(expired(&lessor, s(160)), [0_i64; 0]);
        // A renewal gives all that was granted, and a checkpoint of 0 forgets.
        assert_eq!(lessor.renew(LeaseId(1), s(160)), Some(600));
        lessor.on_applied(&[LeaseChange::Checkpointed(LeaseId(1), 0)], s(160));
        lessor.promote(s(200), Duration::ZERO);
        assert_eq!(lessor.remaining(LeaseId(1), s(200)).unwrap().left, s(600));
    }

    #[test]
    fn leases_are_listed_by_expiry() {
        let lessor = leader();
        assert_eq!(ids(&lessor), [1, 2, 3]);
        lessor.renew(LeaseId(1), s(109));
        lessor.on_applied(&[LeaseChange::Granted(LeaseId(4), 11)], s(109));
        lessor.renew(LeaseId(2), s(115));
        assert_eq!(ids(&lessor), [1, 4, 3, 2]);
    }

    #[test]
    fn a_crowd_is_handed_out_in_portions_each_lease_once() {
        let count = 100_000;
        let lessor = Lessor::new((1..=count).map(|id| (LeaseId(id), 5, 0)).collect());
        lessor.promote(s(0), Duration::ZERO);
        let mut handed = BTreeSet::new();
        for _ in 0..100 {
            let portion = lessor.take_expired(s(5), 1000);
            assert_eq!(portion.len(), 1000);
            handed.extend(portion);
        }
        assert_eq!(handed.len(), 100_000);
        assert_eq!(lessor.take_expired(s(7), 1000), []);
        assert_eq!(lessor.take_expired(s(8), 1000).len(), 1000);
    }

    #[test]
    fn the_largest_ttl_is_no_trouble() {
        let lessor = Lessor::new(vec![(LeaseId(1), i64::MAX, 0), (LeaseId(2), -1, -1)]);
        lessor.promote(Duration::MAX, Duration::MAX);
        assert_eq!(lessor.remaining(LeaseId(1), s(0)).unwrap().left, Duration::MAX);
        assert_eq!(lessor.take_expired(s(0), 10), []);
    }
}
