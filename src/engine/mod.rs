//! Ordered bytes on disk: families of sorted rows, written in batches.
//!
//! There are two engines in a member, each a folder of its own: the raft log's,
//! whose every batch is synced, and the state's, which has no write-ahead log
//! (the raft log is one) and becomes durable by flushes over all its families
//! at once. The trait has exactly two implementations, [`Rocks`] and its twin
//! [`Memory`], which can crash on demand.
//!
//! - A batch is atomic, and batches take effect in the order of their writing.
//! - After a crash an engine stands exactly at some batch: with a write-ahead
//!   log at or after the last synced one, without at or after the last flush.
//! - A disk that fails ends the process: only opening returns an error.
//!
//! Beside them [`bolt`] writes and reads another program's files.

pub mod bolt;
mod memory;
mod rocks;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use bytes::Bytes;

pub use self::memory::Memory;
pub use self::rocks::Rocks;

/// One of the families named when the engine was opened, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family(pub u8);

/// What kind of engine to open.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The names of the families; a name is never reused for other rows.
    pub families: &'static [&'static str],
    /// True: a write-ahead log, synced on demand. False: durable by flush only.
    pub wal: bool,
}

/// Why an engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    Locked(String),
    /// What is on disk is not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// The disk or its permissions refuse.
    #[error("{0}")]
    Io(String),
}

/// A row in order: visits may stop early.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Ordered bytes on disk. Methods end the process when the disk fails.
pub trait Engine: Send + Sync {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes>;

    /// The values of many keys, in their order.
    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Vec<Option<Bytes>>;

    /// Visits rows in ascending order from `from` up to, not including, `to`.
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>);

    /// Takes a batch; on return it is visible, not yet durable.
    fn write(&self, batch: Batch);

    /// Takes a batch; on return it and all before it are durable. Only for an
    /// engine with a write-ahead log.
    fn write_synced(&self, batch: Batch);

    /// Makes all that was written before the call durable, over all families at
    /// once.
    fn flush(&self);

    /// Gives the space of deleted rows back to the file system.
    fn compact(&self);

    /// All families as they stand now, between two batches; writes go on.
    fn freeze(&self) -> Box<dyn Frozen + '_>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// An engine as it was at some moment. What is deleted since takes space for as
/// long as this lives.
pub trait Frozen {
    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes>;

    /// Visits rows in ascending order from `from` up to, not including, `to`.
    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>);
}

/// One change of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Key and value.
    Put(&'a [u8], &'a [u8]),
    /// A key to remove, there or not.
    Delete(&'a [u8]),
    /// All keys from the first up to, not including, the second.
    DeleteRange(&'a [u8], &'a [u8]),
}

/// Changes that take effect together, in order.
///
/// All bytes stand in one buffer, so that a batch costs two allocations however
/// many rows it has.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Delete,
    DeleteRange,
}

/// Its bytes begin where the step before ends; the first part has `split`.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: Kind,
    family: Family,
    split: usize,
    end: usize,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.push(Kind::Put, family, key, value);
    }

    /// Removes a key, there or not.
    pub fn delete(&mut self, family: Family, key: &[u8]) {
        self.push(Kind::Delete, family, key, &[]);
    }

    /// Removes all keys from `from` up to, not including, `to`.
    pub fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.push(Kind::DeleteRange, family, from, to);
    }

    fn push(&mut self, kind: Kind, family: Family, first: &[u8], second: &[u8]) {
        self.bytes.extend_from_slice(first);
        let split = self.bytes.len();
        self.bytes.extend_from_slice(second);
        self.steps.push(Step { kind, family, split, end: self.bytes.len() });
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The changes in order.
    pub fn changes(&self) -> impl Iterator<Item = (Family, Change<'_>)> {
        let mut start = 0;
        self.steps.iter().map(move |step| {
            let (first, second) =
                (&self.bytes[start..step.split], &self.bytes[step.split..step.end]);
            start = step.end;
            let change = match step.kind {
                Kind::Put => Change::Put(first, second),
                Kind::Delete => Change::Delete(first),
                Kind::DeleteRange => Change::DeleteRange(first, second),
            };
            (step.family, change)
        })
    }
}
