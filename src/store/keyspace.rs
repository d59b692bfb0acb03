//! [`Keyspace`]: the index of all keys, and the newest values as far as they
//! fit.
//!
//! It is the only place that knows which versions of a key there are; the rows
//! themselves are in the engine. A reader asks for versions at a revision, and
//! gets the bodies that happen to be in memory along with them.

use std::collections::VecDeque;

use bytes::Bytes;

use super::body::{self, Body};
use super::index::{KeyIndex, Trimmed};
use super::schema::{Version, signed};
use super::tree::{Key, Tree};
use super::watch::{KeyRange, Previous, successor};
use crate::proto::mvccpb::KeyValue;

/// Keys looked at under one lock.
pub(super) const SLICE_KEYS_MAX: usize = 1024;
/// What a row takes besides its body, in etcd's file and about so in ours.
const ROW_BYTES: usize = 33;

/// What the cache may take in any case. Beyond, it takes a quarter of what the
/// rows take, as far as the store's options let it.
const CACHE_BYTES_MIN: usize = 8 << 20;

/// All keys, with their versions.
///
/// - `flips` are the creations and deletions since the last entry that readers
///   see, so that the tree's count can be corrected to what it was then.
pub(super) struct Keyspace {
    tree: Tree<KeyIndex>,
    /// The revision of the newest version.
    pub(super) revision: i64,
    flips: Vec<Flip>,
    cache: Cache,
    bytes: usize,
}

struct Flip {
    main: i64,
    key: Key,
    is_alive: bool,
}

/// Bodies of newest versions, oldest out first, those written again later.
struct Cache {
    bytes: usize,
    bytes_max: usize,
    queue: VecDeque<Key>,
}

/// What a read wants to know besides versions: each costs a look at memory that
/// is far away.
#[derive(Clone, Copy, Default)]
pub(super) struct Wants {
    pub(super) keys: bool,
    pub(super) bodies: bool,
}

/// A version that a read found, and what memory knows of it, if that is wanted.
pub(super) struct Pick {
    /// Empty if it is not wanted.
    pub(super) key: Bytes,
    pub(super) version: Version,
    pub(super) head: Option<Head>,
    pub(super) body: Option<Bytes>,
}

/// What the index knows of a version that is the newest of its key.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) lease: i64,
    row_len: u32,
}

/// What a put did.
pub(super) struct Written {
    pub(super) kv: KeyValue,
    pub(super) body: Bytes,
    pub(super) previous: Previous,
    /// The lease that the key had.
    pub(super) lease: i64,
}

/// What a key was before a change.
struct Past {
    /// The key itself, if it is new.
    key: Option<Key>,
    previous: Previous,
    lease: i64,
    freed: usize,
    /// Whether it was alive before or after, and not both.
    flips: bool,
    /// Whether the cache has not heard of it.
    queues: bool,
}

impl Keyspace {
    /// A keyspace without keys.
    pub(super) fn new(revision: i64, cache_bytes: usize) -> Keyspace {
        let cache = Cache { bytes: 0, bytes_max: cache_bytes, queue: VecDeque::new() };
        Keyspace { tree: Tree::new(), revision, flips: Vec::new(), cache, bytes: 0 }
    }

    /// Bytes of all rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Readers now see everything.
    pub(super) fn settle(&mut self) {
        self.flips.clear();
    }

    /// Takes a row that the engine holds; rows come in ascending order. Returns
    /// the lease that the key had.
    pub(super) fn load(&mut self, version: Version, row: &Body<'_>, bytes: &[u8]) -> i64 {
        let kv = KeyValue {
            create_revision: row.create_revision,
            version: row.version,
            lease: row.lease,
            ..KeyValue::default()
        };
        let is_kept = !version.deleted && self.cache.bytes + bytes.len() <= self.cache.bytes_max;
        let mut body = is_kept.then(|| Bytes::copy_from_slice(bytes));
        self.cache.bytes += body.as_ref().map_or(0, Bytes::len);
        let found = self.tree.update(row.key, |index| {
            (index.overwrite(version, &kv, row_len(bytes), body.take()), !version.deleted)
        });
        let mut past = found
            .unwrap_or_else(|| self.create(version, row.key, &kv, row_len(bytes), body.take()));
        self.cache.bytes -= past.freed;
        // Readers have seen it before.
        past.flips = false;
        self.account(version, row.key, bytes.len(), &past);
        past.lease
    }

    /// Writes a key.
    pub(super) fn put(
        &mut self,
        version: Version,
        key: &[u8],
        value: Bytes,
        lease: i64,
    ) -> Written {
        let mut kv = KeyValue {
            key: Bytes::new(),
            create_revision: version.main,
            mod_revision: version.main,
            version: 1,
            value,
            lease,
        };
        let mut body = Bytes::new();
        let found = self.tree.update(key, |index| {
            if index.is_alive() {
                kv.create_revision = index.create_revision;
                kv.version = index.version + 1;
            }
            body = body::encode(&mut kv, key);
            (index.overwrite(version, &kv, row_len(&body), Some(body.clone())), true)
        });
        let past = found.unwrap_or_else(|| {
            body = body::encode(&mut kv, key);
            self.create(version, key, &kv, row_len(&body), Some(body.clone()))
        });
        self.cache.bytes = self.cache.bytes + body.len() - past.freed;
        self.account(version, key, body.len(), &past);
        Written { kv, body, previous: past.previous, lease: past.lease }
    }

    fn create(
        &mut self,
        version: Version,
        key: &[u8],
        kv: &KeyValue,
        row_len: u32,
        body: Option<Bytes>,
    ) -> Past {
        let mut index = KeyIndex::new(version);
        index.queued = body.is_some();
        index.fill(kv, row_len, body);
        let key = Key::from(key);
        let queues = index.queued;
        self.tree.insert(key.clone(), index, !version.deleted);
        Past { previous: Previous::None, lease: 0, freed: 0, flips: true, queues, key: Some(key) }
    }

    /// Deletes a key that lives: what it held, and its lease.
    pub(super) fn delete(&mut self, version: Version, key: &[u8]) -> (Previous, i64) {
        let past = self.tree.update(key, |index| {
            assert!(index.is_alive(), "only what lives is deleted");
            (index.overwrite(version, &KeyValue::default(), 0, None), false)
        });
        let past = past.expect("only what lives is deleted");
        self.cache.bytes -= past.freed;
        self.account(version, key, body::tombstone_len(key), &past);
        (past.previous, past.lease)
    }

    fn account(&mut self, version: Version, key: &[u8], row: usize, past: &Past) {
        self.bytes += ROW_BYTES + row;
        let key = || past.key.clone().unwrap_or_else(|| Key::from(key));
        if past.flips {
            self.flips.push(Flip { main: version.main, key: key(), is_alive: !version.deleted });
        }
        if past.queues {
            self.cache.queue.push_back(key());
        }
        self.evict();
    }

    /// Keeps a body that a reader had to fetch.
    pub(super) fn remember(&mut self, key: &[u8], version: Version, body: Bytes) {
        let Some(index) = self.tree.get_mut(key) else { return };
        if index.latest() != version || index.body.is_some() {
            return;
        }
        self.cache.bytes += body.len();
        index.body = Some(body);
        index.touched = true;
        if !index.queued {
            index.queued = true;
            self.cache.queue.push_back(Key::from(key));
        }
        self.evict();
    }

    /// Lets bodies go until the rest fits. The queue may hold keys that are
    /// gone; they are dropped as they come up, and it is never longer than the
    /// index.
    fn evict(&mut self) {
        let Cache { bytes, bytes_max, queue } = &mut self.cache;
        let bytes_max = (self.bytes / 4).max(CACHE_BYTES_MIN).min(*bytes_max);
        while *bytes > bytes_max || queue.len() > self.tree.len() {
            let Some(key) = queue.pop_front() else { return };
            let Some(index) = self.tree.get_mut(&key) else { continue };
            let is_kept = index.body.is_some() && index.touched;
            if is_kept {
                index.touched = false;
                queue.push_back(key);
                continue;
            }
            index.queued = false;
            *bytes -= index.body.take().map_or(0, |body| body.len());
        }
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&KeyIndex> {
        self.tree.get(key)
    }

    /// What a key holds at a revision, or that it holds nothing; `None` if the
    /// engine must be asked.
    pub(super) fn in_memory(&self, key: &[u8], at: i64) -> Option<Option<Bytes>> {
        let Some(index) = self.tree.get(key) else { return Some(None) };
        match index.visible(at) {
            None => Some(None),
            Some(version) if version == index.latest() => index.body.clone().map(Some),
            Some(_) => None,
        }
    }

    /// One key at a revision, which whoever asks knows.
    pub(super) fn pick(&self, key: &[u8], at: i64) -> Option<Pick> {
        let index = self.tree.get(key)?;
        let version = index.visible(at)?;
        Some(Pick::new(Bytes::new(), index, version, true))
    }

    /// The keys from one on, at a revision; and where to go on.
    pub(super) fn slice(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        at: i64,
        max: usize,
        wants: Wants,
    ) -> (Vec<Pick>, Option<Bytes>) {
        let mut picks = Vec::new();
        let mut seen = 0;
        for (key, index) in self.tree.range(from, to) {
            if let Some(version) = index.visible(at) {
                let name = if wants.keys { Bytes::copy_from_slice(key) } else { Bytes::new() };
                picks.push(Pick::new(name, index, version, wants.bodies));
            }
            seen += 1;
            if picks.len() == max || seen == SLICE_KEYS_MAX {
                return (picks, Some(successor(key)));
            }
        }
        (picks, None)
    }

    /// How many keys live in a range at a revision that is no older than what
    /// readers see.
    pub(super) fn count(&self, range: &KeyRange, at: i64) -> i64 {
        let mut count = signed(self.tree.count(&range.from, range.to.as_deref()) as u64);
        for flip in self.flips.iter().filter(|flip| flip.main > at && range.holds(&flip.key)) {
            count += if flip.is_alive { -1 } else { 1 };
        }
        count
    }

    /// Keys alive.
    pub(super) fn len(&self) -> usize {
        self.tree.count(&[], None)
    }

    /// A row at or below a compaction: whether it goes. The first such row of
    /// a key takes all of them out of the index.
    pub(super) fn purge(&mut self, version: Version, key: &[u8], row: usize, to: i64) -> bool {
        let Some(index) = self.tree.get_mut(key) else {
            self.bytes -= ROW_BYTES + row;
            return true;
        };
        if index.survivor(to) == Some(version) {
            return false;
        }
        self.bytes -= ROW_BYTES + row;
        if let Trimmed::Gone = index.trim(to) {
            self.tree.remove(key);
        }
        true
    }
}

impl Pick {
    fn new(key: Bytes, index: &KeyIndex, version: Version, wants_body: bool) -> Pick {
        if index.latest() != version {
            return Pick { key, version, head: None, body: None };
        }
        let head = Head {
            create_revision: index.create_revision,
            version: index.version,
            lease: index.lease(),
            row_len: index.row_len,
        };
        let body = if wants_body { index.body.clone() } else { None };
        Pick { key, version, head: Some(head), body }
    }

    /// How long the row is, if that is known without reading it.
    pub(super) fn row_len(&self) -> Option<usize> {
        let known = || self.head.map(|head| head.row_len as usize);
        self.body.as_ref().map(Bytes::len).or_else(known)
    }
}

impl KeyIndex {
    fn fill(&mut self, kv: &KeyValue, row_len: u32, body: Option<Bytes>) {
        self.row_len = row_len;
        self.create_revision = kv.create_revision;
        self.version = kv.version;
        self.set_lease(kv.lease);
        self.body = body;
    }

    fn overwrite(
        &mut self,
        version: Version,
        kv: &KeyValue,
        row_len: u32,
        body: Option<Bytes>,
    ) -> Past {
        let (was_alive, lease) = (self.is_alive(), self.lease());
        let is_creation = !version.deleted && kv.create_revision == version.main;
        // What a transaction changes twice had, before it, what it had before the first time.
        let is_first = self.latest().main < version.main;
        let queues = body.is_some() && !self.queued;
        let old = self.body.take();
        self.push(version);
        self.fill(kv, row_len, body);
        self.touched = true;
        self.queued |= queues;
        Past {
            key: None,
            freed: old.as_ref().map_or(0, Bytes::len),
            previous: match old {
                _ if is_creation => Previous::None,
                Some(body) if is_first => Previous::Known(body),
                _ => Previous::Unknown,
            },
            lease,
            flips: was_alive == version.deleted,
            queues,
        }
    }
}

/// A row came in one message, and those are shorter than that.
fn row_len(row: &[u8]) -> u32 {
    u32::try_from(row.len()).expect("a row fits into a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(main: i64, deleted: bool) -> Version {
        Version { main, sub: 0, deleted }
    }

    fn put(keyspace: &mut Keyspace, main: i64, key: &str) {
        keyspace.put(version(main, false), key.as_bytes(), "value".into(), 0);
    }

    #[test]
    fn a_count_is_that_of_the_entry_that_readers_see() {
        let mut keyspace = Keyspace::new(1, 0);
        let all = KeyRange::new(&"a".into(), &"z".into());
        put(&mut keyspace, 2, "a");
        put(&mut keyspace, 3, "b");
        keyspace.delete(version(4, true), b"a");
        put(&mut keyspace, 5, "a");
        keyspace.delete(version(6, true), b"b");
        let counts: Vec<_> = (1..8).map(|at| keyspace.count(&all, at)).collect();
        assert_eq!(counts, [0, 1, 2, 1, 2, 1, 1]);
        let other = KeyRange::new(&"b".into(), &Bytes::new());
        assert_eq!((keyspace.count(&other, 4), keyspace.count(&other, 6)), (1, 0));
        keyspace.settle();
        assert_eq!(keyspace.count(&all, 6), 1);
    }

    #[test]
    fn the_cache_keeps_what_fits_and_what_is_written_again() {
        let mut keyspace = Keyspace::new(1, 200);
        put(&mut keyspace, 2, "hot");
        for main in 3..100 {
            put(&mut keyspace, main, &format!("key {main}"));
            put(&mut keyspace, main + 100, &format!("key {main}"));
            keyspace.put(version(1000 + main, false), b"hot", "value".into(), 0);
            assert!(keyspace.cache.bytes <= 200);
            assert!(keyspace.cache.queue.len() <= keyspace.tree.len());
        }
        assert!(matches!(keyspace.in_memory(b"hot", 2000), Some(Some(_))));
        assert!(keyspace.in_memory(b"key 3", 2000).is_none());
        let held = keyspace.tree.range(b"", None).filter_map(|(_, index)| index.body.as_ref());
        assert_eq!(held.map(Bytes::len).sum::<usize>(), keyspace.cache.bytes);
    }

    #[test]
    fn keys_that_come_and_go_leave_nothing_behind() {
        let mut keyspace = Keyspace::new(1, 1 << 20);
        let mut main = 2;
        for _ in 0..100 {
            put(&mut keyspace, main, "lock");
            keyspace.delete(version(main + 1, true), b"lock");
            let (value, tombstone) = (version(main, false), version(main + 1, true));
            let row = body::encode(&mut KeyValue::default(), b"lock").len();
            assert!(keyspace.purge(value, b"lock", 20, main + 2));
            assert!(keyspace.purge(tombstone, b"lock", row, main + 2));
            main += 2;
        }
        keyspace.settle();
        assert_eq!((keyspace.len(), keyspace.tree.len(), keyspace.cache.bytes), (0, 0, 0));
        assert!(keyspace.cache.queue.len() <= 1 && keyspace.flips.is_empty());
    }
}
