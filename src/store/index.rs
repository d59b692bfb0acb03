//! [`KeyIndex`]: what is kept in memory of one key.
//!
//! The newest version stands apart from the older ones, because nearly every
//! question is about it: a put writes it, a read at the newest revision finds
//! all it needs here, and most keys have no other.

use bytes::Bytes;

use super::schema::Version;

/// A key: where its versions stand, and what the newest one says.
///
/// - `older` ascends, and all of it is older than `latest`.
/// - A key whose newest version is a deletion has no body, no lease, and zero
///   for `create_revision` and `version`.
#[derive(Debug)]
pub(super) struct KeyIndex {
    pub(super) latest: Version,
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) lease: i64,
    /// The row of the newest version, while the cache has room for it.
    pub(super) body: Option<Bytes>,
    /// Whether the cache's queue holds the key.
    pub(super) queued: bool,
    /// Whether it was written or read since it came to the end of that queue.
    pub(super) touched: bool,
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
            latest,
            create_revision: 0,
            version: 0,
            lease: 0,
            body: None,
            queued: false,
            touched: false,
            older: Vec::new(),
        }
    }

    /// Takes a newer version.
    pub(super) fn push(&mut self, version: Version) {
        assert!(self.latest < version, "versions ascend");
        self.older.push(self.latest);
        self.latest = version;
    }

    /// Whether the newest version is no deletion.
    pub(super) fn is_alive(&self) -> bool {
        !self.latest.deleted
    }

    /// The newest version at a revision, deletions included.
    pub(super) fn newest(&self, at: i64) -> Option<Version> {
        if self.latest.main <= at {
            return Some(self.latest);
        }
        let count = self.older.partition_point(|version| version.main <= at);
        self.older[..count].last().copied()
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
        if self.latest.main <= compacted {
            self.older = Vec::new();
            let survives = self.survivor(compacted).is_some();
            return if survives { Trimmed::Kept } else { Trimmed::Gone };
        }
        let count = self.older.partition_point(|version| version.main <= compacted);
        let survives = self.survivor(compacted).is_some();
        self.older.drain(..count - usize::from(survives));
        if self.older.capacity() > 2 * self.older.len() {
            self.older.shrink_to_fit();
        }
        Trimmed::Kept
    }

    /// The versions from a revision on.
    pub(super) fn since(&self, from: i64) -> impl Iterator<Item = Version> {
        let first = self.older.partition_point(|version| version.main < from);
        let latest = Some(self.latest).filter(|latest| latest.main >= from);
        self.older[first..].iter().copied().chain(latest)
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
