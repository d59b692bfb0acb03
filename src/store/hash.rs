//! Checksums: HashKV, which must be equal on all members and equal to etcd's,
//! and a plain one over everything.
//!
//! HashKV covers the rows up to a revision, as if whatever a compaction has
//! made unreadable were purged already. Of the rows at or below the compact
//! revision it takes those that are alive at the hashed revision; and if
//! nothing at all is alive there, it takes all of them. (etcd:
//! server/storage/mvcc/hash.go.)

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use crc32c::{crc32c, crc32c_append};

use super::body::Body;
use super::reader::Hashed;
use super::rejection::Rejection;
use super::schema::{
    ALARMS, AUTH, LEASES, MEMBERS, META, REVISIONS, Version, meta, revision_start,
};
use super::view::Shared;
use crate::engine::Family;

/// The name of etcd's bucket, with which every hash begins.
const BUCKET: &[u8] = b"key";
/// Hashes of compactions that are kept, as etcd keeps them.
const KEPT_MAX: usize = 10;

/// A HashKV in the making.
///
/// Whether anything is alive is known only at the end, so both sums are made.
pub(super) struct Hasher {
    compacted: i64,
    revision: i64,
    is_anything_alive: bool,
    sum: u32,
    sum_of_all: u32,
}

impl Hasher {
    /// Of the rows up to `revision`, under a compact revision.
    pub(super) fn new(compacted: i64, revision: i64) -> Hasher {
        let sum = crc32c(BUCKET);
        Hasher { compacted, revision, is_anything_alive: false, sum, sum_of_all: sum }
    }

    /// Takes the next row.
    pub(super) fn row(&mut self, version: Version, body: &[u8], is_alive: bool) {
        self.is_anything_alive |= is_alive;
        if version.deleted && version.main == self.compacted {
            return;
        }
        let mut key = [b't'; 18];
        key[..8].copy_from_slice(&version.main.to_be_bytes());
        key[8] = b'_';
        key[9..17].copy_from_slice(&u64::from(version.sub).to_be_bytes());
        let key = &key[..if version.deleted { 18 } else { 17 }];
        let add = |sum| crc32c_append(crc32c_append(sum, key), body);
        self.sum_of_all = add(self.sum_of_all);
        if version.main > self.compacted || is_alive {
            self.sum = add(self.sum);
        }
    }

    /// The hash.
    pub(super) fn finish(&self) -> Hashed {
        Hashed {
            hash: if self.is_anything_alive { self.sum } else { self.sum_of_all },
            compact_revision: self.compacted,
            revision: self.revision,
        }
    }
}

/// The hashes that compactions made, by revision; the oldest goes first.
#[derive(Default)]
pub(super) struct Kept(VecDeque<Hashed>);

impl Kept {
    /// Keeps one.
    pub(super) fn push(&mut self, hashed: Hashed) {
        self.0.push_back(hashed);
        if self.0.len() > KEPT_MAX {
            self.0.pop_front();
        }
    }

    fn get(&self, revision: i64) -> Option<Hashed> {
        self.0.iter().find(|hashed| hashed.revision == revision).copied()
    }
}

/// HashKV at a revision; 0 is the current one.
pub(super) fn hash_kv(shared: &Arc<Shared>, revision: i64) -> Result<Hashed, Rejection> {
    if let Some(kept) = shared.hashes.lock().get(revision) {
        return Ok(kept);
    }
    // A negative revision hashes nothing, but the store must stand still too.
    let view = shared.view(revision)?;
    let at = if revision < 0 { revision } else { view.at };
    let compacted = view.published.compacted;
    let mut hasher = Hasher::new(compacted, at);
    let end = revision_start(at.saturating_add(1));
    shared.engine.scan(REVISIONS, &[], Some(&end), &mut |key, row| {
        let (version, body) = parse(key, row);
        let state = shared.state.read();
        let index = state.keyspace.get(body.key);
        let is_doomed = version.main <= compacted
            && index.and_then(|index| index.survivor(compacted)) != Some(version);
        if !is_doomed {
            let is_alive = index.and_then(|index| index.visible(at)) == Some(version);
            hasher.row(version, row, is_alive);
        }
        ControlFlow::Continue(())
    });
    Ok(hasher.finish())
}

/// A row that this store has written.
pub(super) fn parse<'a>(key: &[u8], row: &'a [u8]) -> (Version, Body<'a>) {
    let version = Version::parse(key).unwrap_or_else(|| panic!("bad key of a row: {key:?}"));
    let body = Body::parse(row).unwrap_or_else(|| panic!("bad row of {version:?}"));
    (version, body)
}

/// A checksum over all rows that members must have alike. Entries that are
/// applied meanwhile may be in it in part.
pub(super) fn hash(shared: &Arc<Shared>) -> u32 {
    let Ok(view) = shared.view(0) else { return 0 };
    let compacted = view.published.compacted;
    let mut sum = 0;
    let end = revision_start(view.at + 1);
    shared.engine.scan(REVISIONS, &[], Some(&end), &mut |key, row| {
        let (version, body) = parse(key, row);
        let state = shared.state.read();
        let survivor = state.keyspace.get(body.key).and_then(|index| index.survivor(compacted));
        if version.main > compacted || survivor == Some(version) {
            sum = crc32c_append(crc32c_append(sum, key), row);
        }
        ControlFlow::Continue(())
    });
    for family in [LEASES, AUTH, MEMBERS, ALARMS] {
        sum = add_family(shared, family, sum);
    }
    for name in [meta::FORMAT, meta::CLUSTER, meta::REVISION, meta::SCHEDULED, meta::VERSION] {
        let row = shared.engine.get(META, name).unwrap_or_default();
        sum = crc32c_append(crc32c_append(sum, name), &row);
    }
    sum
}

fn add_family(shared: &Shared, family: Family, mut sum: u32) -> u32 {
    shared.engine.scan(family, &[], None, &mut |key, row| {
        sum = crc32c_append(crc32c_append(sum, key), row);
        ControlFlow::Continue(())
    });
    sum
}
