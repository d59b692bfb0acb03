//! Who belongs to the cluster, and what it agreed to speak.

use std::collections::BTreeMap;

use prost::Message as _;

use super::reader::Damaged;
use super::rejection::Rejection;
use super::schema::{MEMBERS, META, meta};
use crate::engine::Batch;
use crate::ids::{ClusterId, LogIndex, MemberId, Term};
use crate::proto::etcdserverpb::Member;
use crate::proto::kat::log::{ClusterVersion, Downgrade, MemberAttributes};

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

/// All members, and the version that they agreed on.
#[derive(Default)]
pub(super) struct Members {
    by_id: BTreeMap<MemberId, Member>,
    version: Option<String>,
    downgrade: Option<String>,
}

impl Members {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8], row: &[u8]) -> Result<(), Damaged> {
        let member = Member::decode(row).ok().filter(|member| member.id.to_be_bytes() == *key);
        let member = member.ok_or_else(|| Damaged(format!("bad row of a member: {key:?}")))?;
        self.by_id.insert(MemberId(member.id), member);
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

    /// The version, once decided.
    pub(super) fn version(&self) -> Option<&String> {
        self.version.as_ref()
    }

    /// The version to which all will be put back.
    pub(super) fn downgrade(&self) -> Option<&String> {
        self.downgrade.as_ref()
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
