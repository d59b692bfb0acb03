//! The store as a file that etcd reads: a bbolt database with etcd's buckets.
//!
//! ```text
//! alarm            encoded AlarmMember           empty
//! auth             authEnabled                   1 (1), if accounts are enforced
//!                  authRevision                  8 BE
//! authRoles        name                          authpb.Role
//! authUsers        name                          authpb.User
//! cluster          clusterVersion                as text
//!                  downgrade                     JSON, if it is put back
//! key              main (8 BE) · '_' · sub (8 BE), and 't' behind a deletion's
//!                                                KeyValue
//! lease            id (8 BE)                     leasepb.Lease
//! members          id in hex                     JSON
//! members_removed  id in hex                     "removed"
//! meta             confState                     JSON of raft's
//!                  consistent_index, term        8 BE each
//!                  finishedCompactRev, scheduledCompactRev
//!                                                a key of `key`
//!                  storageVersion                as text
//! ```
//!
//! All of it comes from one frozen engine, and an entry is one batch: the file
//! stands exactly at the entry that it names, and writes go on meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::ControlFlow;

use prost::Message;
use serde::Serialize;

use super::alarm::Alarms;
use super::members::Members;
use super::schema::{ALARMS, AUTH, LEASES, MEMBERS, META, REVISIONS, Version, meta, number, pair};
use super::view::Shared;
use crate::engine::bolt::{self, Writer};
use crate::engine::{Family, Frozen};

/// The revision of accounts in a store that never had any.
const AUTH_REVISION: i64 = 1;

/// What the names of users and roles begin with in [`AUTH`].
const USER: &[u8] = b"user/";
const ROLE: &[u8] = b"role/";

/// Writes a snapshot; `begin` learns its size, and makes what takes its bytes.
pub(super) fn write<W: Write>(shared: &Shared, begin: impl FnOnce(u64) -> W) -> io::Result<W> {
    let frozen = shared.engine.freeze();
    bolt::write(|file| fill(Rows(&*frozen), file), begin)
}

/// The names of buckets ascend.
fn fill(rows: Rows<'_>, file: &mut Writer<'_>) -> io::Result<()> {
    let members = rows.members()?;
    file.bucket(b"alarm", |file| rows.alarms(file))?;
    file.bucket(b"auth", |file| rows.auth(file))?;
    file.bucket(b"authRoles", |file| rows.accounts(ROLE, file))?;
    file.bucket(b"authUsers", |file| rows.accounts(USER, file))?;
    file.bucket(b"cluster", |file| write_versions(&members, file))?;
    file.bucket(b"key", |file| rows.revisions(file))?;
    file.bucket(b"lease", |file| rows.leases(file))?;
    file.bucket(b"members", |file| write_members(&members, file))?;
    file.bucket(b"members_removed", |file| write_removed(&members, file))?;
    file.bucket(b"meta", |file| rows.meta(&members, file))
}

/// The rows of a frozen store.
#[derive(Clone, Copy)]
struct Rows<'a>(&'a dyn Frozen);

impl Rows<'_> {
    fn each(
        self,
        family: Family,
        visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        self.each_from(family, &[], visit)
    }

    fn each_from(
        self,
        family: Family,
        from: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        self.0.scan(family, from, None, &mut |key, row| {
            outcome = visit(key, row);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome
    }

    fn members(self) -> io::Result<Members> {
        let mut members = Members::default();
        self.each(MEMBERS, |key, row| members.load(key, row).map_err(io::Error::other))?;
        if let Some(version) = self.0.get(META, meta::VERSION) {
            members.load_version(&version);
        }
        if let Some(target) = self.0.get(META, meta::DOWNGRADE) {
            members.load_downgrade(&target);
        }
        Ok(members)
    }

    fn alarms(self, file: &mut Writer<'_>) -> io::Result<()> {
        let mut alarms = Alarms::default();
        self.each(ALARMS, |key, _| alarms.load(key).map_err(io::Error::other))?;
        let keys: BTreeSet<_> = alarms.all().iter().map(Message::encode_to_vec).collect();
        keys.iter().try_for_each(|key| file.put(key, &[]))
    }

    fn auth(self, file: &mut Writer<'_>) -> io::Result<()> {
        if self.0.get(AUTH, b"on").is_some() {
            file.put(b"authEnabled", &[1])?;
        }
        let revision = self.0.get(AUTH, b"revision").and_then(|row| number(&row));
        file.put(b"authRevision", &revision.unwrap_or(AUTH_REVISION).to_be_bytes())
    }

    fn accounts(self, kind: &[u8], file: &mut Writer<'_>) -> io::Result<()> {
        self.each_from(AUTH, kind, |key, row| match key.strip_prefix(kind) {
            Some(name) => file.put(name, row),
            None => Ok(()),
        })
    }

    fn revisions(self, file: &mut Writer<'_>) -> io::Result<()> {
        self.each(REVISIONS, |key, row| {
            let version = Version::parse(key);
            let version = version.unwrap_or_else(|| panic!("bad key of a row: {key:?}"));
            let (bytes, len) = revision_key(version);
            file.put(&bytes[..len], row)
        })
    }

    fn leases(self, file: &mut Writer<'_>) -> io::Result<()> {
        self.each(LEASES, |key, row| {
            let (Some(id), Some((ttl, remaining_ttl))) = (number(key), pair(row)) else {
                panic!("bad row of a lease: {key:?}");
            };
            file.put(key, &Lease { id, ttl, remaining_ttl }.encode_to_vec())
        })
    }

    fn meta(self, members: &Members, file: &mut Writer<'_>) -> io::Result<()> {
        let place = self.0.get(META, meta::APPLIED).and_then(|row| pair(&row));
        let (index, term) = place.expect("every store stands somewhere");
        file.put(b"confState", &json(&ConfState::of(members)))?;
        file.put(b"consistent_index", &index.to_be_bytes())?;
        for (name, ours) in
            [("finishedCompactRev", meta::FINISHED), ("scheduledCompactRev", meta::SCHEDULED)]
        {
            if let Some(main) = self.0.get(META, ours).and_then(|row| number(&row)) {
                let (key, len) = revision_key(Version { main, sub: 0, deleted: false });
                file.put(name.as_bytes(), &key[..len])?;
            }
        }
        // That of the cluster, as soon as there is one: so it is with etcd.
        if let Some(version) = members.version() {
            file.put(b"storageVersion", version.as_bytes())?;
        }
        file.put(b"term", &term.to_be_bytes())
    }
}

/// The key of a revision, and its length.
fn revision_key(version: Version) -> ([u8; 18], usize) {
    let mut key = [b't'; 18];
    key[..8].copy_from_slice(&version.main.to_be_bytes());
    key[8] = b'_';
    key[9..17].copy_from_slice(&u64::from(version.sub).to_be_bytes());
    (key, if version.deleted { 18 } else { 17 })
}

/// Ids of a different number of digits sort otherwise than as numbers.
fn write_members(members: &Members, file: &mut Writer<'_>) -> io::Result<()> {
    let rows = members.all().map(|member| {
        let row = Member {
            id: member.id,
            peer_urls: &member.peer_ur_ls,
            is_learner: member.is_learner,
            name: &member.name,
            client_urls: &member.client_ur_ls,
        };
        (format!("{:x}", member.id), json(&row))
    });
    let rows: BTreeMap<_, _> = rows.collect();
    rows.iter().try_for_each(|(id, row)| file.put(id.as_bytes(), row))
}

fn write_removed(members: &Members, file: &mut Writer<'_>) -> io::Result<()> {
    let ids: BTreeSet<_> = members.removed().map(|id| format!("{:x}", id.0)).collect();
    ids.iter().try_for_each(|id| file.put(id.as_bytes(), b"removed"))
}

fn write_versions(members: &Members, file: &mut Writer<'_>) -> io::Result<()> {
    if let Some(version) = members.version() {
        file.put(b"clusterVersion", version.as_bytes())?;
    }
    match members.downgrade() {
        Some(target) => file.put(b"downgrade", &json(&Downgrade { target, enabled: true })),
        None => Ok(()),
    }
}

fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("numbers, lists and text are JSON")
}

/// leasepb.Lease.
#[derive(Clone, Copy, PartialEq, Message)]
struct Lease {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(int64, tag = "2")]
    ttl: i64,
    #[prost(int64, tag = "3")]
    remaining_ttl: i64,
}

/// A row of `members`.
#[derive(Serialize)]
struct Member<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

/// A row of `cluster`.
#[derive(Serialize)]
struct Downgrade<'a> {
    #[serde(rename = "target-version")]
    target: &'a str,
    enabled: bool,
}

/// Who votes, as raft's messages say it.
#[derive(Serialize)]
struct ConfState {
    voters: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    learners: Vec<u64>,
    auto_leave: bool,
}

impl ConfState {
    fn of(members: &Members) -> ConfState {
        let ids = |is_learner| {
            let those = members.all().filter(|member| member.is_learner == is_learner);
            those.map(|member| member.id).collect()
        };
        ConfState { voters: ids(false), learners: ids(true), auto_leave: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Batch, Engine as _, Memory};
    use crate::proto::etcdserverpb as pb;
    use crate::store::ENGINE;

    fn members() -> Members {
        let mut members = Members::default();
        for (id, is_learner) in [(0x9, true), (0x10, false)] {
            let peer_ur_ls = vec!["http://h:1".to_owned()];
            let row = pb::Member { id, is_learner, peer_ur_ls, ..pb::Member::default() };
            members.load(&id.to_be_bytes(), &row.encode_to_vec()).unwrap();
        }
        members
    }

    #[test]
    fn members_stand_in_the_order_of_their_names() {
        let members = members();
        let fill = |file: &mut Writer<'_>| write_members(&members, file);
        let file = bolt::write(fill, |_| Vec::new()).unwrap();
        let text = String::from_utf8_lossy(&file);
        let first = r#"10{"id":16,"peerURLs":["http://h:1"]}"#;
        let second = r#"9{"id":9,"peerURLs":["http://h:1"],"isLearner":true}"#;
        assert!(text.contains(&format!("{first}{second}")), "{text}");
    }

    #[test]
    fn learners_are_told_from_voters() {
        let told = String::from_utf8(json(&ConfState::of(&members()))).unwrap();
        assert_eq!(told, r#"{"voters":[16],"learners":[9],"auto_leave":false}"#);
    }

    #[test]
    fn accounts_are_parted_into_users_and_roles() {
        let engine = Memory::new(ENGINE);
        let mut batch = Batch::default();
        let accounts: [(&[u8], &[u8]); 5] = [
            (b"on", &[1]),
            (b"revision", &[0, 0, 0, 0, 0, 0, 0, 9]),
            (b"role/r", b"ROLE"),
            (b"user/a", b"FIRST"),
            (b"user/b", b"SECOND"),
        ];
        for (key, row) in accounts {
            batch.put(AUTH, key, row);
        }
        engine.write(batch);
        let frozen = engine.freeze();
        let fill = |file: &mut Writer<'_>| {
            let rows = Rows(&*frozen);
            file.bucket(b"auth", |file| rows.auth(file))?;
            file.bucket(b"authRoles", |file| rows.accounts(ROLE, file))?;
            file.bucket(b"authUsers", |file| rows.accounts(USER, file))
        };
        let file = bolt::write(fill, |_| Vec::new()).unwrap();
        // A leaf each, behind the head of the file.
        let leaves = file.chunks(4096).skip(3).map(|page| {
            String::from_utf8_lossy(&page[16..]).replace(|c: char| !c.is_alphanumeric(), "")
        });
        let leaves: Vec<_> = leaves.collect();
        assert!(leaves[0].ends_with("authEnabledauthRevision"), "{leaves:?}");
        assert!(leaves[1].ends_with("rROLE"), "{leaves:?}");
        assert!(leaves[2].ends_with("aFIRSTbSECOND"), "{leaves:?}");
    }

    #[test]
    fn alarms_are_keys_in_the_order_of_their_bytes() {
        let engine = Memory::new(ENGINE);
        let mut batch = Batch::default();
        // Corrupt sorts before no space among ours, and behind it in bytes.
        for key in [[2, 0, 0, 0, 0, 0, 0, 0, 7], [1, 0, 0, 0, 0, 0, 0, 0, 7]] {
            batch.put(ALARMS, &key, &[]);
        }
        engine.write(batch);
        let frozen = engine.freeze();
        let file = bolt::write(|file| Rows(&*frozen).alarms(file), |_| Vec::new()).unwrap();
        let keys = [8, 7, 16, 1, 8, 7, 16, 2];
        assert!(file.windows(keys.len()).any(|bytes| bytes == keys));
    }
}
