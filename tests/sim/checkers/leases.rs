//! A lease lives as long as it was granted, on any member's clock, and no key
//! outlives its lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kat::ids::{LeaseId, MemberId};
use kat::proto::etcdserverpb::RangeRequest;
use kat::store::Reader;

use crate::plan::SKEW_MAX;

/// The leases that were asked for.
#[derive(Default)]
pub struct Leases {
    /// When each was asked for, and for how long.
    asked: BTreeMap<LeaseId, (Duration, Duration)>,
    /// What each member's store held when it was looked at last.
    held: BTreeMap<MemberId, BTreeSet<LeaseId>>,
}

impl Leases {
    /// Every key with a lease begins so.
    pub const PREFIX: &str = "lease/";

    /// A client asks for a lease.
    pub fn on_ask(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        self.asked.insert(id, (now, ttl));
    }

    /// A member is down and forgets what it last held.
    pub fn on_crash(&mut self, member: MemberId) {
        self.held.remove(&member);
    }

    /// A member's store has changed: what is gone had its time.
    pub fn on_applied(
        &mut self,
        member: MemberId,
        reader: &Reader,
        now: Duration,
    ) -> Result<(), String> {
        let holds: BTreeSet<_> = reader.leases().into_iter().map(|(id, ..)| id).collect();
        let held = self.held.insert(member, holds.clone()).unwrap_or_default();
        for id in held.difference(&holds) {
            let (asked, ttl) = self.asked[id];
            // On the fastest clock there is.
            let least = ttl * 1000 / u32::try_from(1000 + SKEW_MAX).expect("a small number");
            if now < asked + least {
                let lived = now.saturating_sub(asked);
                return Err(format!("lease {id} of {ttl:?} ended after {lived:?} on {member}"));
            }
        }
        Ok(())
    }

    /// The last lease is over by then, if none is granted from now on and the
    /// raft leader stays.
    pub fn over_by(&self, now: Duration) -> Duration {
        let longest = self.asked.values().map(|(_, ttl)| *ttl).max().unwrap_or_default();
        // A new raft leader starts leases over, an election timeout longer, on
        // the slowest clock there is.
        now + longest * 11 / 10 + Duration::from_secs(5)
    }

    /// Whether neither a lease nor a key of one is left.
    pub fn check_over(&self, member: MemberId, reader: &Reader) -> Result<(), String> {
        let leases = reader.leases();
        if !leases.is_empty() {
            return Err(format!("{member} still has the leases {leases:?}"));
        }
        let request = RangeRequest {
            key: Leases::PREFIX.into(),
            range_end: "lease0".into(),
            count_only: true,
            ..RangeRequest::default()
        };
        match reader.range(&request) {
            Ok(response) if response.count == 0 => Ok(()),
            other => Err(format!("{member} still has keys of ended leases: {other:?}")),
        }
    }
}
