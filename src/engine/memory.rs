//! [`Memory`]: an engine without a disk, for tests and the simulator.
//!
//! It keeps what a disk would hold apart from what was only written, so that
//! [`Memory::crash`] can leave exactly what a power cut leaves.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use super::{Batch, Change, Engine, Family, Frozen, Options, Visit};

type Rows = Vec<BTreeMap<Vec<u8>, Bytes>>;

/// An engine in memory.
pub struct Memory {
    wal: bool,
    inner: Mutex<Inner>,
}

struct Inner {
    rows: Rows,
    /// What a crash leaves.
    durable: Rows,
    /// Written since, in order.
    unsynced: Vec<Batch>,
}

impl Memory {
    /// An empty engine.
    pub fn new(options: Options) -> Memory {
        let rows: Rows = options.families.iter().map(|_| BTreeMap::new()).collect();
        let inner = Inner { durable: rows.clone(), rows, unsynced: Vec::new() };
        Memory { wal: options.wal, inner: Mutex::new(inner) }
    }

    /// A power cut: what was not synced or flushed is gone.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.unsynced.clear();
        inner.rows = inner.durable.clone();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no engine method panics while it holds the lock")
    }
}

impl Inner {
    fn take(&mut self, batch: Batch) {
        change(&mut self.rows, &batch);
        self.unsynced.push(batch);
    }

    fn sync(&mut self) {
        for batch in self.unsynced.drain(..) {
            change(&mut self.durable, &batch);
        }
    }
}

fn change(rows: &mut Rows, batch: &Batch) {
    for (family, change) in batch.changes() {
        let rows = &mut rows[usize::from(family.0)];
        match change {
            Change::Put(key, value) => {
                rows.insert(key.to_vec(), Bytes::copy_from_slice(value));
            }
            Change::Delete(key) => {
                rows.remove(key);
            }
            Change::DeleteRange(from, to) => {
                let within = rows.range::<[u8], _>((Bound::Included(from), Bound::Excluded(to)));
                let keys: Vec<_> = within.map(|(key, _)| key.clone()).collect();
                for key in keys {
                    rows.remove(&key);
                }
            }
        }
    }
}

impl Engine for Memory {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.lock().rows[usize::from(family.0)].get(key).cloned()
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
        let inner = self.lock();
        let rows = &inner.rows[usize::from(family.0)];
        keys.iter().map(|key| rows.get(*key).cloned()).collect()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) {
        // A copy, so that a visit may use the engine.
        let rows: Vec<(Vec<u8>, Bytes)> = {
            let inner = self.lock();
            let within = within(&inner.rows[usize::from(family.0)], from, to);
            within.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        for (key, value) in rows {
            if visit(&key, &value) == ControlFlow::Break(()) {
                return;
            }
        }
    }

    fn write(&self, batch: Batch) {
        self.lock().take(batch);
    }

    fn write_synced(&self, batch: Batch) {
        assert!(self.wal, "an engine without a write-ahead log is flushed");
        let mut inner = self.lock();
        inner.take(batch);
        inner.sync();
    }

    fn flush(&self) {
        self.lock().sync();
    }

    fn compact(&self) {}

    fn freeze(&self) -> Box<dyn Frozen + '_> {
        Box::new(Copied(self.lock().rows.clone()))
    }

    fn disk_bytes(&self) -> u64 {
        let inner = self.lock();
        let sizes = inner.rows.iter().flatten().map(|(key, value)| key.len() + value.len());
        sizes.sum::<usize>() as u64
    }
}

/// All rows at some moment.
struct Copied(Rows);

impl Frozen for Copied {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.0[usize::from(family.0)].get(key).cloned()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) {
        for (key, value) in within(&self.0[usize::from(family.0)], from, to) {
            if visit(key, value) == ControlFlow::Break(()) {
                return;
            }
        }
    }
}

fn within<'a>(
    rows: &'a BTreeMap<Vec<u8>, Bytes>,
    from: &[u8],
    to: Option<&[u8]>,
) -> impl Iterator<Item = (&'a Vec<u8>, &'a Bytes)> {
    let to = to.map_or(Bound::Unbounded, Bound::Excluded);
    rows.range::<[u8], _>((Bound::Included(from), to))
}
