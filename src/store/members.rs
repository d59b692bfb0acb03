//! Who belongs to the cluster, and what it agreed to speak.
//!
//! What a change of members is refused for depends on nothing but the members:
//! whether enough of them are up to carry it through is judged by the member
//! that is asked, before it proposes.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::command::Request;
use super::reader::Damaged;
use super::rejection::Rejection;
use super::schema::{MEMBERS, META, meta};
use crate::engine::Batch;
use crate::ids::{ClusterId, LogIndex, MemberId, Term};
use crate::proto::etcdserverpb::Member;
use crate::proto::kat::log::{
    ClusterVersion, Downgrade, MemberAdd, MemberAttributes, MemberUpdate,
};

/// How a cluster begins: the same on every member that founds it.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// The cluster.
    pub cluster: ClusterId,
    /// All who have a vote from the beginning.
    pub members: Vec<Member>,
    /// Where the log begins.
    pub index: LogIndex,
    /// The term of that place.
    pub term: Term,
}

/// Who belongs to the cluster, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those who have a vote.
    pub voters: Vec<MemberId>,
    /// Those who only listen.
    pub learners: Vec<MemberId>,
}

/// All members, and the version that they agreed on.
#[derive(Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    /// Those who were members once; their ids never come back.
    removed: BTreeSet<MemberId>,
    version: Option<String>,
    downgrade: Option<String>,
}

/// The end of the key of a member that was removed.
const REMOVED: u8 = b'r';

impl Members {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8], row: &[u8]) -> Result<(), Damaged> {
        let damaged = || Damaged(format!("bad row of a member: {key:?}"));
        let (id, rest) = key.split_first_chunk().ok_or_else(damaged)?;
        let id = MemberId(u64::from_be_bytes(*id));
        match rest {
            [] => {
                let member = Member::decode(row).ok().filter(|member| member.id == id.0);
                self.by_id.insert(id, member.ok_or_else(damaged)?);
            }
            [REMOVED] => {
                self.removed.insert(id);
            }
            _ => return Err(damaged()),
        }
        Ok(())
    }

    /// Takes the row of the version.
    pub(super) fn load_version(&mut self, row: &[u8]) {
        self.version = Some(String::from_utf8_lossy(row).into_owned());
    }

    /// Takes the row of the version to come.
    pub(super) fn load_downgrade(&mut self, row: &[u8]) {
        self.downgrade = Some(String::from_utf8_lossy(row).into_owned());
    }

    /// All, by id.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// Those who were members once, by id.
    pub(super) fn removed(&self) -> impl Iterator<Item = MemberId> {
        self.removed.iter().copied()
    }

    /// Whether this one was.
    pub(super) fn was_removed(&self, member: MemberId) -> bool {
        self.removed.contains(&member)
    }

    /// The version, once decided.
    pub(super) fn version(&self) -> Option<&String> {
        self.version.as_ref()
    }

    /// The version to which all will be put back.
    pub(super) fn downgrade(&self) -> Option<&String> {
        self.downgrade.as_ref()
    }

    /// Who has a vote, and who only listens.
    pub(super) fn membership(&self) -> Membership {
        let (learners, voters): (Vec<_>, Vec<_>) = self.all().partition(|one| one.is_learner);
        let ids = |members: Vec<&Member>| members.iter().map(|one| MemberId(one.id)).collect();
        Membership { voters: ids(voters), learners: ids(learners) }
    }

    /// Adds, removes, promotes, or moves a member.
    pub(super) fn change(&mut self, request: Request, batch: &mut Batch) -> Result<(), Rejection> {
        match request {
            Request::MemberAdd(add) => self.add(add, batch),
            Request::MemberRemove(remove) => self.remove(MemberId(remove.member), batch),
            Request::MemberPromote(promote) => self.promote(MemberId(promote.member), batch),
            Request::MemberUpdate(update) => self.update(update, batch),
            _ => Err(Rejection::Malformed),
        }
    }

    fn add(&mut self, add: MemberAdd, batch: &mut Batch) -> Result<(), Rejection> {
        let member = add.member.ok_or(Rejection::Malformed)?;
        let id = MemberId(member.id);
        if self.removed.contains(&id) || id.0 == 0 {
            return Err(Rejection::MemberNotFound);
        }
        if self.by_id.contains_key(&id) {
            return Err(Rejection::MemberExists);
        }
        self.are_free(&member.peer_ur_ls, id)?;
        let learners = self.all().filter(|member| member.is_learner).count();
        if member.is_learner && learners as u64 >= u64::from(add.learners_max) {
            return Err(Rejection::TooManyLearners);
        }
        write(&member, batch);
        self.by_id.insert(id, member);
        Ok(())
    }

    fn remove(&mut self, id: MemberId, batch: &mut Batch) -> Result<(), Rejection> {
        let leaving = self.by_id.get(&id).ok_or(Rejection::MemberNotFound)?;
        if !leaving.is_learner && self.membership().voters == [id] {
            return Err(Rejection::LastVoter);
        }
        self.by_id.remove(&id);
        self.removed.insert(id);
        batch.delete(MEMBERS, &id.0.to_be_bytes());
        batch.put(MEMBERS, &removed_key(id), &[]);
        Ok(())
    }

    fn promote(&mut self, id: MemberId, batch: &mut Batch) -> Result<(), Rejection> {
        let member = self.by_id.get_mut(&id).ok_or(Rejection::MemberNotFound)?;
        if !member.is_learner {
            return Err(Rejection::NotLearner);
        }
        member.is_learner = false;
        write(member, batch);
        Ok(())
    }

    fn update(&mut self, update: MemberUpdate, batch: &mut Batch) -> Result<(), Rejection> {
        let id = MemberId(update.member);
        if !self.by_id.contains_key(&id) {
            return Err(Rejection::MemberNotFound);
        }
        self.are_free(&update.peer_urls, id)?;
        let member = self.by_id.get_mut(&id).ok_or(Rejection::MemberNotFound)?;
        member.peer_ur_ls = update.peer_urls;
        write(member, batch);
        Ok(())
    }

    /// No two members have a URL in common; a member may keep its own.
    fn are_free(&self, urls: &[String], owner: MemberId) -> Result<(), Rejection> {
        let mut others = self.all().filter(|member| member.id != owner.0);
        if others.any(|other| other.peer_ur_ls.iter().any(|url| urls.contains(url))) {
            return Err(Rejection::PeerUrlExists);
        }
        Ok(())
    }

    /// What a member says of itself.
    pub(super) fn describe(
        &mut self,
        attributes: MemberAttributes,
        batch: &mut Batch,
    ) -> Result<(), Rejection> {
        let member = self.by_id.get_mut(&MemberId(attributes.member));
        let member = member.ok_or(Rejection::MemberNotFound)?;
        member.name = attributes.name;
        member.client_ur_ls = attributes.client_urls;
        write(member, batch);
        Ok(())
    }

    /// What all agree to speak from now on.
    pub(super) fn decide(&mut self, decision: ClusterVersion, batch: &mut Batch) {
        batch.put(META, meta::VERSION, decision.version.as_bytes());
        self.version = Some(decision.version);
    }

    /// What all will be put back to, or that they will not.
    pub(super) fn put_back(&mut self, downgrade: Downgrade, batch: &mut Batch) {
        self.downgrade = Some(downgrade.target).filter(|target| !target.is_empty());
        match &self.downgrade {
            Some(target) => batch.put(META, meta::DOWNGRADE, target.as_bytes()),
            None => batch.delete(META, meta::DOWNGRADE),
        }
    }
}

/// Writes the row of a member.
pub(super) fn write(member: &Member, batch: &mut Batch) {
    batch.put(MEMBERS, &member.id.to_be_bytes(), &member.encode_to_vec());
}

fn removed_key(id: MemberId) -> Vec<u8> {
    [&id.0.to_be_bytes()[..], &[REMOVED]].concat()
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::engine::{Engine as _, Memory};
    use crate::proto::kat::log::{MemberPromote, MemberRemove};
    use crate::store::ENGINE;

    /// Members on an engine, as a store keeps them.
    struct World {
        members: Members,
        engine: Memory,
    }

    impl World {
        /// Member 1 with a vote, at `http://a:1`.
        fn new() -> World {
            let mut world = World { members: Members::default(), engine: Memory::new(ENGINE) };
            assert_eq!(world.add(1, "http://a:1", false), Ok(()));
            world
        }

        fn change(&mut self, request: Request) -> Result<(), Rejection> {
            let mut batch = Batch::default();
            let outcome = self.members.change(request, &mut batch);
            assert!(outcome.is_ok() || batch.is_empty(), "a refusal changes nothing");
            self.engine.write(batch);
            outcome
        }

        fn add(&mut self, id: u64, url: &str, is_learner: bool) -> Result<(), Rejection> {
            let peer_ur_ls = vec![url.to_owned()];
            let member = Some(Member { id, peer_ur_ls, is_learner, ..Member::default() });
            self.change(Request::MemberAdd(MemberAdd { member, learners_max: 1 }))
        }

        fn remove(&mut self, member: u64) -> Result<(), Rejection> {
            self.change(Request::MemberRemove(MemberRemove { member }))
        }

        fn promote(&mut self, member: u64) -> Result<(), Rejection> {
            self.change(Request::MemberPromote(MemberPromote { member }))
        }

        fn update(&mut self, member: u64, url: &str) -> Result<(), Rejection> {
            let peer_urls = vec![url.to_owned()];
            self.change(Request::MemberUpdate(MemberUpdate { member, peer_urls }))
        }

        /// What a member finds that starts on the rows.
        fn read_back(&self) -> Members {
            let mut found = Members::default();
            self.engine.scan(MEMBERS, &[], None, &mut |key, row| {
                found.load(key, row).unwrap();
                ControlFlow::Continue(())
            });
            found
        }
    }

    #[test]
    fn a_removed_id_never_comes_back() {
        let mut world = World::new();
        world.add(2, "http://b:1", true).unwrap();
        world.remove(2).unwrap();
        assert_eq!(world.add(2, "http://c:1", true), Err(Rejection::MemberNotFound));
        assert_eq!(world.remove(2), Err(Rejection::MemberNotFound));
        assert_eq!(world.promote(2), Err(Rejection::MemberNotFound));
        assert_eq!(world.update(2, "http://c:1"), Err(Rejection::MemberNotFound));
        assert_eq!(world.add(3, "http://b:1", true), Ok(()), "its URL may");
        assert_eq!(world.add(3, "http://c:1", true), Err(Rejection::MemberExists));
    }

    #[test]
    fn no_two_members_have_a_url_in_common() {
        let mut world = World::new();
        assert_eq!(world.add(2, "http://a:1", false), Err(Rejection::PeerUrlExists));
        world.add(2, "http://b:1", false).unwrap();
        assert_eq!(world.update(2, "http://a:1"), Err(Rejection::PeerUrlExists));
        assert_eq!(world.update(2, "http://b:1"), Ok(()), "its own it may keep");
    }

    #[test]
    fn learners_are_few_and_become_voters_once() {
        let mut world = World::new();
        world.add(2, "http://b:1", true).unwrap();
        assert_eq!(world.add(3, "http://c:1", true), Err(Rejection::TooManyLearners));
        assert_eq!(world.promote(2), Ok(()));
        assert_eq!(world.promote(2), Err(Rejection::NotLearner));
        assert_eq!(world.add(3, "http://c:1", true), Ok(()));
    }

    #[test]
    fn the_last_voter_stays() {
        let mut world = World::new();
        world.add(2, "http://b:1", true).unwrap();
        assert_eq!(world.remove(1), Err(Rejection::LastVoter));
        world.promote(2).unwrap();
        assert_eq!(world.remove(1), Ok(()));
        assert_eq!(world.remove(2), Err(Rejection::LastVoter));
    }

    #[test]
    fn rows_tell_who_is_there_and_who_was() {
        let mut world = World::new();
        world.add(2, "http://b:1", true).unwrap();
        world.remove(2).unwrap();
        world.add(3, "http://b:1", true).unwrap();
        world.update(3, "http://c:1").unwrap();
        let found = world.read_back();
        assert!(found.all().eq(world.members.all()));
        assert_eq!(found.membership(), world.members.membership());
        assert!(found.removed().eq([MemberId(2)]));
    }
}
