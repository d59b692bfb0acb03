//! Every row of the state engine.
//!
//! ```text
//! family     key                              value
//! revisions  main (8 BE) · sub (8 BE)         KeyValue, as on the wire
//!            main (8 BE) · sub (8 BE) · 't'   KeyValue with nothing but the key
//! leases     id (8 BE)                        TTL (8 BE) · remaining TTL (8 BE)
//! auth       on                               1 (1), if accounts are enforced
//!            revision                         of accounts (8 BE), if they ever changed
//!            user/ · name                     authpb.User
//!            role/ · name                     authpb.Role
//! members    id (8 BE)                        etcdserverpb.Member
//!            id (8 BE) · 'r'                  empty: it was removed
//! alarms     type (1) · member (8 BE)         empty
//!            0 · type (4 BE) · member (8 BE)  empty: a type that nobody knows
//! meta       format                           1 (4 BE)
//!            cluster                          cluster id (8 BE)
//!            applied                          index (8 BE) · term (8 BE)
//!            revision                         the revision of the keyspace (8 BE)
//!            scheduled                        the last compaction (8 BE)
//!            finished                         the last that gave its space back (8 BE)
//!            allocated                        bytes at their highest (8 BE)
//!            version                          the version the cluster speaks, as text
//!            downgrade                        the version it is put back to, as text
//! ```
//!
//! All but `applied`, `finished` and `allocated` are alike on all members at
//! the same index; so are the rows of `revisions`, apart from those that a
//! compaction has made unreadable and that are not purged yet.

use std::ops::Deref;

use crate::engine::{self, Family};

/// How the state engine is opened.
pub const ENGINE: engine::Options = engine::Options {
    families: &["revisions", "leases", "auth", "members", "alarms", "meta"],
    wal: false,
};

/// What happened to keys.
pub(super) const REVISIONS: Family = Family(0);
/// Leases, their keys aside.
pub(super) const LEASES: Family = Family(1);
/// Users and roles.
pub(super) const AUTH: Family = Family(2);
/// Who belongs to the cluster.
pub(super) const MEMBERS: Family = Family(3);
/// Active alarms.
pub(super) const ALARMS: Family = Family(4);
/// Single numbers.
pub(super) const META: Family = Family(5);

/// The format of all this.
pub(super) const FORMAT: u32 = 1;

/// Names of rows in [`META`].
pub(super) mod meta {
    pub(in crate::store) const FORMAT: &[u8] = b"format";
    pub(in crate::store) const CLUSTER: &[u8] = b"cluster";
    pub(in crate::store) const APPLIED: &[u8] = b"applied";
    pub(in crate::store) const REVISION: &[u8] = b"revision";
    pub(in crate::store) const SCHEDULED: &[u8] = b"scheduled";
    pub(in crate::store) const FINISHED: &[u8] = b"finished";
    pub(in crate::store) const ALLOCATED: &[u8] = b"allocated";
    pub(in crate::store) const VERSION: &[u8] = b"version";
    pub(in crate::store) const DOWNGRADE: &[u8] = b"downgrade";
}

/// One change of one key: the transaction's revision, the place within it, and
/// whether the key was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) main: i64,
    pub(super) sub: u32,
    pub(super) deleted: bool,
}

/// The end of the key of a deletion.
const TOMBSTONE: u8 = b't';

/// The key of a row of [`REVISIONS`].
#[derive(Clone, Copy)]
pub(super) struct RevisionKey {
    bytes: [u8; 17],
    len: usize,
}

impl Deref for RevisionKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Version {
    /// The key of its row.
    pub(super) fn key(self) -> RevisionKey {
        let mut bytes = [TOMBSTONE; 17];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8..16].copy_from_slice(&u64::from(self.sub).to_be_bytes());
        RevisionKey { bytes, len: if self.deleted { 17 } else { 16 } }
    }

    /// From the key of a row.
    pub(super) fn parse(key: &[u8]) -> Option<Version> {
        let deleted = match key.get(16..)? {
            [] => false,
            [TOMBSTONE] => true,
            _ => return None,
        };
        let sub = u32::try_from(number(&key[8..16])?).ok()?;
        Some(Version { main: number(&key[..8])?, sub, deleted })
    }
}

/// The first key of a revision.
pub(super) fn revision_start(main: i64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&main.max(0).to_be_bytes());
    key
}

/// A number of eight bytes.
pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

/// Two numbers of eight bytes.
pub(super) fn pair(bytes: &[u8]) -> Option<(i64, i64)> {
    Some((number(bytes.get(..8)?)?, number(&bytes[8..])?))
}

/// The row of two numbers.
pub(super) fn pair_row(first: i64, second: i64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&first.to_be_bytes());
    row[8..].copy_from_slice(&second.to_be_bytes());
    row
}

/// A length, as etcd counts.
pub(super) fn signed(len: u64) -> i64 {
    i64::try_from(len).expect("memory holds fewer")
}
