//! Whether a change of members would leave enough of them up.
//!
//! etcd's strict check: it judges by who has ever told its name, and by who is
//! connected to the member that is asked.

use super::status::{self, Refusal};
use crate::proto::etcdserverpb::Member;

/// The members, and which of them can be heard.
pub(super) struct Quorum<'a> {
    members: &'a [Member],
    is_connected: &'a dyn Fn(u64) -> bool,
}

impl<'a> Quorum<'a> {
    /// Of these members.
    pub(super) fn new(members: &'a [Member], is_connected: &'a dyn Fn(u64) -> bool) -> Quorum<'a> {
        Quorum { members, is_connected }
    }

    /// One more member.
    pub(super) fn may_add(&self, is_learner: bool) -> Result<(), Refusal> {
        let (voters, started) = self.voters_without(0);
        // A second member may come before it has started: how else would it?
        let is_second = voters == 1 && started == 1;
        if !is_learner && !is_second && started < majority(voters + 1) {
            return Err(status::NOT_ENOUGH_STARTED);
        }
        if voters > 1 && self.connected() < majority(voters + 1) {
            return Err(status::UNHEALTHY);
        }
        Ok(())
    }

    /// A member less; `me` is the one that is asked.
    pub(super) fn may_remove(&self, id: u64, me: u64) -> Result<(), Refusal> {
        if self.members.iter().any(|member| member.id == id && member.is_learner) {
            return Ok(());
        }
        let (left, started) = self.voters_without(id);
        if left == 0 || started < majority(left) {
            return Err(status::NOT_ENOUGH_STARTED);
        }
        // Who is down takes nothing away from those who are up.
        if id != me && !(self.is_connected)(id) {
            return Ok(());
        }
        let (voters, _) = self.voters_without(0);
        if self.connected().saturating_sub(1) < majority(voters - 1) {
            return Err(status::UNHEALTHY);
        }
        Ok(())
    }

    /// A learner becomes a voter; it counts as started, because it keeps up.
    pub(super) fn may_promote(&self, id: u64) -> Result<(), Refusal> {
        let (others, started) = self.voters_without(id);
        if started + 1 < majority(others + 1) {
            return Err(status::NOT_ENOUGH_STARTED);
        }
        Ok(())
    }

    /// The voters but for this one, and how many of them have started.
    fn voters_without(&self, id: u64) -> (usize, usize) {
        let voters = || self.members.iter().filter(|member| !member.is_learner && member.id != id);
        (voters().count(), voters().filter(|member| !member.name.is_empty()).count())
    }

    fn connected(&self) -> usize {
        let voters = self.members.iter().filter(|member| !member.is_learner);
        voters.filter(|member| (self.is_connected)(member.id)).count()
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members 1, 2, 3 …: `V` a voter, `v` one that never started, `l` a learner.
    fn members(kinds: &str) -> Vec<Member> {
        let member = |(id, kind): (u64, char)| Member {
            id,
            name: if kind == 'V' { format!("m{id}") } else { String::new() },
            is_learner: kind == 'l',
            ..Member::default()
        };
        (1..).zip(kinds.chars()).map(member).collect()
    }

    #[test]
    fn a_voter_comes_only_to_those_who_can_carry_it() {
        let add = |kinds: &str, up: u64, is_learner| {
            Quorum::new(&members(kinds), &|id| id <= up).may_add(is_learner)
        };
        assert_eq!(add("V", 1, false), Ok(()));
        assert_eq!(add("V", 1, true), Ok(()));
        assert_eq!(add("Vl", 1, false), Ok(()));
        assert_eq!(add("Vv", 1, false), Err(status::NOT_ENOUGH_STARTED));
        assert_eq!(add("Vv", 1, true), Err(status::UNHEALTHY));
        assert_eq!(add("VVV", 3, false), Ok(()));
        assert_eq!(add("VVV", 2, false), Err(status::UNHEALTHY));
        assert_eq!(add("VVVVV", 4, true), Ok(()));
        assert_eq!(add("VVVVV", 3, true), Err(status::UNHEALTHY));
    }

    #[test]
    fn a_voter_goes_only_if_the_others_agree_without_it() {
        let remove = |kinds: &str, up: u64, id| {
            Quorum::new(&members(kinds), &|id| id <= up).may_remove(id, 1)
        };
        assert_eq!(remove("V", 1, 1), Err(status::NOT_ENOUGH_STARTED));
        assert_eq!(remove("Vl", 1, 1), Err(status::NOT_ENOUGH_STARTED));
        assert_eq!(remove("Vl", 1, 2), Ok(()));
        assert_eq!(remove("Vv", 1, 2), Ok(()));
        assert_eq!(remove("Vv", 1, 1), Err(status::NOT_ENOUGH_STARTED));
        assert_eq!(remove("VVV", 2, 3), Ok(()), "it is down");
        assert_eq!(remove("VVV", 2, 2), Err(status::UNHEALTHY));
        assert_eq!(remove("VVV", 3, 2), Ok(()));
        assert_eq!(remove("V", 1, 9), Ok(()), "whether there is one is not judged here");
    }

    #[test]
    fn a_promoted_learner_counts_as_started() {
        let promote = |kinds: &str, id| Quorum::new(&members(kinds), &|_| true).may_promote(id);
        assert_eq!(promote("Vl", 2), Ok(()));
        assert_eq!(promote("Vvl", 3), Ok(()));
        assert_eq!(promote("Vvvl", 4), Err(status::NOT_ENOUGH_STARTED));
    }
}
