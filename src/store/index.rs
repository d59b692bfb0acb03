//! [`KeyIndex`]: what is kept in memory of one key.
//!
//! The newest version stands apart from the older ones, because nearly every
//! question is about it: a put writes it, a read at the newest revision finds
//! all it needs here, and most keys have no other.

use bytes::Bytes;

use super::schema::Version;

/// A key: where its versions stand, and what the newest one says.
///
/// - `older` ascends, and all of it is older than the newest version.
/// - A key whose newest version is a deletion has no body, no lease, and zero
///   for `create_revision` and `version`.
/// - There is one for every key there is, so no byte of it is wasted: what few
///   keys have stands elsewhere.
#[derive(Debug)]
pub(super) struct KeyIndex {
    main: i64,
    sub: u32,
    deleted: bool,
    /// Whether the cache's queue holds the key.
    pub(super) queued: bool,
    /// Whether it was written or read since it came to the end of that queue.
    pub(super) touched: bool,
    pub(super) create_revision: i64,
    pub(super) version: i64,
    /// The length of the row of the newest version.
    pub(super) row_len: u32,
    /// The row of the newest version, while the cache has room for it.
    pub(super) body: Option<Bytes>,
    rare: Option<Box<Rare>>,
}

/// What most keys do without.
#[derive(Debug, Default)]
struct Rare {
    lease: i64,
    older: Vec<Version>,
}

/// What becomes of a key when a version is behind it.
pub(super) enum Trimmed {
    /// Some of it stays.
    Kept,
    /// Nothing is left.
    Gone,
}

impl KeyIndex {
    /// A key of one version.
    pub(super) fn new(latest: Version) -> KeyIndex {
        KeyIndex {
            main: latest.main,
            sub: latest.sub,
            deleted: latest.deleted,
            queued: false,
            touched: false,
            create_revision: 0,
            version: 0,
            row_len: 0,
            body: None,
            rare: None,
        }
    }

    /// The newest version.
    pub(super) fn latest(&self) -> Version {
        Version { main: self.main, sub: self.sub, deleted: self.deleted }
    }

    /// The lease that the newest version is attached to, or 0.
    pub(super) fn lease(&self) -> i64 {
        self.rare.as_ref().map_or(0, |rare| rare.lease)
    }

    /// Attaches the newest version to a lease, or with 0 to none.
    pub(super) fn set_lease(&mut self, lease: i64) {
        if lease != self.lease() {
            self.rare.get_or_insert_default().lease = lease;
            self.tidy();
        }
    }

    fn older(&self) -> &[Version] {
        self.rare.as_ref().map_or(&[], |rare| &rare.older)
    }

    /// Takes a newer version.
    pub(super) fn push(&mut self, version: Version) {
        let latest = self.latest();
        assert!(latest < version, "versions ascend");
        let older = &mut self.rare.get_or_insert_default().older;
        if older.len() == older.capacity() {
            // Most keys have few versions; a vector would begin with four.
            older.reserve_exact(older.len().max(1));
        }
        older.push(latest);
        (self.main, self.sub, self.deleted) = (version.main, version.sub, version.deleted);
    }

    /// Lets go of what holds nothing.
    fn tidy(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.lease == 0 && rare.older.is_empty()) {
            self.rare = None;
        }
    }

    /// Whether the newest version is no deletion.
    pub(super) fn is_alive(&self) -> bool {
        !self.deleted
    }

    /// The newest version at a revision, deletions included.
    pub(super) fn newest(&self, at: i64) -> Option<Version> {
        if self.main <= at {
            return Some(self.latest());
        }
        let older = self.older();
        let count = older.partition_point(|version| version.main <= at);
        older[..count].last().copied()
    }

    /// The version that a read at a revision finds.
    pub(super) fn visible(&self, at: i64) -> Option<Version> {
        self.newest(at).filter(|version| !version.deleted)
    }

    /// The version at or below a compaction that survives it: a deletion does
    /// only at exactly that revision, so that a watcher which begins there is
    /// told of it.
    pub(super) fn survivor(&self, compacted: i64) -> Option<Version> {
        self.newest(compacted).filter(|version| !version.deleted || version.main == compacted)
    }

    /// Forgets what a compaction has made unreadable.
    pub(super) fn trim(&mut self, compacted: i64) -> Trimmed {
        let survives = self.survivor(compacted).is_some();
        let is_newest_old = self.main <= compacted;
        if let Some(rare) = &mut self.rare {
            if is_newest_old {
                rare.older = Vec::new();
            } else {
                let older = &mut rare.older;
                let count = older.partition_point(|version| version.main <= compacted);
                older.drain(..count - usize::from(survives));
                if older.capacity() > 2 * older.len() {
                    older.shrink_to_fit();
                }
            }
        }
        self.tidy();
        if is_newest_old && !survives { Trimmed::Gone } else { Trimmed::Kept }
    }

    /// The versions from a revision on.
    pub(super) fn since(&self, from: i64) -> impl Iterator<Item = Version> {
        let older = self.older();
        let first = older.partition_point(|version| version.main < from);
        let latest = Some(self.latest()).filter(|latest| latest.main >= from);
        older[first..].iter().copied().chain(latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Live versions are positive, deletions negative.
    fn key(versions: &[i64]) -> KeyIndex {
        let mut versions = versions.iter().map(|revision| Version {
            main: revision.abs(),
            sub: 0,
            deleted: *revision < 0,
        });
        let mut key = KeyIndex::new(versions.next().unwrap());
        versions.for_each(|version| key.push(version));
        key
    }

    fn seen(key: &KeyIndex, at: i64) -> Option<i64> {
        key.visible(at).map(|version| version.main)
    }

    #[test]
    fn a_read_finds_the_newest_version_unless_that_is_a_deletion() {
        let key = key(&[2, 4, -6, 8]);
        let expected = [None, Some(2), Some(2), Some(4), Some(4), None, None, Some(8), Some(8)];
        assert_eq!((1..10).map(|at| seen(&key, at)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_key_with_a_lease_keeps_it_through_compactions_and_overwrites() {
        let mut key = key(&[2, 4]);
        key.set_lease(7);
        assert!(matches!(key.trim(4), Trimmed::Kept));
        assert_eq!((key.lease(), key.older().len()), (7, 0));
        key.push(Version { main: 5, sub: 0, deleted: false });
        key.set_lease(0);
        assert_eq!((key.lease(), key.older().len()), (0, 1));
        assert!(matches!(key.trim(5), Trimmed::Kept));
        assert!(key.rare.is_none());
    }

    #[test]
    fn the_index_of_a_key_is_small() {
        assert!(size_of::<KeyIndex>() <= 80, "{}", size_of::<KeyIndex>());
    }

    #[test]
    fn a_compaction_leaves_what_can_still_be_read() {
        let left = |versions: &[i64], compacted| {
            let mut key = key(versions);
            match key.trim(compacted) {
                Trimmed::Kept => key.since(0).map(|version| version.main).collect(),
                Trimmed::Gone => vec![],
            }
        };
        assert_eq!(left(&[2, 4, 8], 1), [2, 4, 8]);
        assert_eq!(left(&[2, 4, 8], 5), [4, 8]);
        assert_eq!(left(&[2, 4, 8], 8), [8]);
        assert_eq!(left(&[2, -4, 8], 4), [4, 8]);
        assert_eq!(left(&[2, -4, 8], 5), [8]);
        assert_eq!(left(&[2, -4], 3), [2, 4]);
        assert_eq!(left(&[2, -4], 4), [4]);
        assert_eq!(left(&[2, -4], 5), [0; 0]);
    }
}
