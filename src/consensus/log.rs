//! The raft log: rows in the log engine, with the recent entries in memory.
//!
//! | family | key | value |
//! |---|---|---|
//! | `entries` | index, 8 bytes big-endian | `kat.peer.Entry` |
//! | `meta` | `hard_state` | `kat.peer.HardState` |
//! | `meta` | `cut` | index and term before the first entry, 8 bytes big-endian each |
//! | `meta` | `boot` | how often this log was opened, 8 bytes big-endian |
//! | `meta` | `identity` | cluster id and member id, 8 bytes big-endian each |
//!
//! raft reads through [`Log`] and never waits: what it appended in a turn is in
//! the tail at once. The rows are written by [`persist`], which the writer
//! calls; it is the only code here that waits for a disk.
//!
//! - Every entry above `persisted` is in the tail.
//! - `cut.0 < tail`'s first index `<= last + 1`.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::change::Change;
use super::codec;
use super::core::Committed;
use crate::engine::{Batch, Engine, Family};
use crate::ids::{ClusterId, LogIndex, MemberId, Term};
use crate::proto::kat::peer;

/// The families of a log engine, in the order of their numbers.
pub const FAMILIES: &[&str] = &["entries", "meta"];
const ENTRIES: Family = Family(0);
const META: Family = Family(1);

/// What the tail keeps in memory beyond the entries not yet on disk: enough
/// for a follower that is a few seconds behind; an older entry is read from
/// the engine.
const TAIL_BYTES_MAX: usize = 4 << 20;

/// Why a log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("raft log: {0}")]
pub struct Damaged(String);

/// Whose log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that the log belongs to.
    pub cluster: ClusterId,
    /// The member that wrote it.
    pub member: MemberId,
}

/// The raft log of one member.
pub struct Log {
    engine: Arc<dyn Engine>,
    identity: Identity,
    boot: u64,
    hard_state: HardState,
    voters: Vec<u64>,
    learners: Vec<u64>,
    /// Index and term of the entry before the first one kept.
    cut: (u64, u64),
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    last: (u64, u64),
    persisted: u64,
}

impl Log {
    /// Writes the rows of a new log that begins behind `index`, where the
    /// store's genesis stands.
    pub fn create(engine: &dyn Engine, identity: Identity, index: LogIndex, term: Term) {
        let hard_state = peer::HardState { term: term.0, vote: 0, commit: index.0 };
        let mut batch = Batch::default();
        batch.put(META, b"identity", &pair(identity.cluster.0, identity.member.0));
        batch.put(META, b"cut", &pair(index.0, term.0));
        batch.put(META, b"boot", &0u64.to_be_bytes());
        batch.put(META, b"hard_state", &hard_state.encode_to_vec());
        engine.write_synced(batch);
    }

    /// Whether `engine` holds a log at all.
    pub fn exists(engine: &dyn Engine) -> bool {
        engine.get(META, b"identity").is_some()
    }

    /// Opens the log of a member whose store stands at `applied`, and counts
    /// the boot.
    ///
    /// # Errors
    /// A missing row, a hole, or a store that is ahead of the log: nothing is
    /// repaired by forgetting.
    pub fn open(
        engine: Arc<dyn Engine>,
        voters: &[MemberId],
        applied: LogIndex,
    ) -> Result<Log, Damaged> {
        let (cluster, member) = read_pair(&*engine, b"identity")?;
        let cut = read_pair(&*engine, b"cut")?;
        let hard_state = read_hard_state(&*engine)?;
        let boot = read_boot(&*engine)? + 1;
        let mut log = Log {
            identity: Identity { cluster: ClusterId(cluster), member: MemberId(member) },
            boot,
            hard_state: codec::hard_state_to_raft(&hard_state),
            voters: voters.iter().map(|member| member.0).collect(),
            learners: Vec::new(),
            cut,
            tail: VecDeque::new(),
            tail_bytes: 0,
            last: cut,
            persisted: cut.0,
            engine,
        };
        log.load()?;
        log.check(applied)?;
        // The commit index is written lazily; what is applied was committed.
        log.hard_state.commit = log.hard_state.commit.max(applied.0);
        let mut batch = Batch::default();
        batch.put(META, b"boot", &boot.to_be_bytes());
        log.engine.write_synced(batch);
        Ok(log)
    }

    fn load(&mut self) -> Result<(), Damaged> {
        let mut failure = None;
        let engine = self.engine.clone();
        engine.scan(ENTRIES, &(self.cut.0 + 1).to_be_bytes(), None, &mut |key, value| {
            let expected = self.last.0 + 1;
            match decode_entry(key, value) {
                Ok(entry) if entry.index == expected && entry.term < self.last.1 => {
                    let (before, term) = (self.last.1, entry.term);
                    let terms = format!("term {term} is behind one of term {before}");
                    failure = Some(format!("entry {expected} of {terms}"));
                }
                Ok(entry) if entry.index == expected => self.push(entry),
                Ok(entry) => {
                    failure = Some(format!("entry {expected} is missing before {}", entry.index));
                }
                Err(why) => failure = Some(format!("entry {expected} cannot be read: {why}")),
            }
            self.persisted = self.last.0;
            self.shrink_tail();
            if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        failure.map_or(Ok(()), |why| Err(Damaged(why)))
    }

    fn check(&self, applied: LogIndex) -> Result<(), Damaged> {
        let (commit, last) = (self.hard_state.commit, self.last.0);
        if applied.0 > last {
            return Err(Damaged(format!("it ends at {last}, the store stands at {applied}")));
        }
        if applied.0 < self.cut.0 {
            let cut = self.cut.0;
            return Err(Damaged(format!("it begins behind {cut}, the store stands at {applied}")));
        }
        if commit > last {
            return Err(Damaged(format!("it ends at {last}, but {commit} was committed")));
        }
        Ok(())
    }

    /// Visits the entries behind `applied` that are known to be committed, as
    /// they come from the disk: no more than one of them is in memory.
    ///
    /// # Errors
    /// An entry that cannot be read.
    pub fn replay(
        &self,
        applied: LogIndex,
        visit: &mut dyn FnMut(Committed),
    ) -> Result<(), Damaged> {
        let (from, to) = (applied.0 + 1, self.hard_state.commit + 1);
        let mut failure = None;
        if from < to {
            let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
            self.engine.scan(ENTRIES, &from, Some(&to), &mut |key, value| {
                match decode_entry(key, value) {
                    Ok(entry) => visit(Committed::from_raft(entry)),
                    Err(why) => failure = Some(Damaged(format!("an entry to replay: {why}"))),
                }
                if failure.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        failure.map_or(Ok(()), Err)
    }

    /// Takes everything for committed: so it is while this member votes alone.
    pub fn commit_all(&mut self) {
        self.hard_state.commit = self.last.0;
    }

    /// Puts changes of members behind what is committed, and in place of what is
    /// not, as if all had agreed on them: for a member whose operator wants it to
    /// be a cluster of its own. Waits for the disk.
    pub fn force(&mut self, changes: Vec<(Change, Vec<u8>)>) {
        let (begin, term) = (self.hard_state.commit + 1, self.hard_state.term);
        let entry = |(index, (change, data)): (u64, (Change, Vec<u8>))| Entry {
            entry_type: EntryType::EntryConfChangeV2,
            index,
            term,
            data: change.encode().into(),
            context: data.into(),
            ..Entry::default()
        };
        let entries: Vec<_> = (begin..).zip(changes).map(entry).collect();
        if begin <= self.last.0 {
            self.truncate(begin);
        }
        self.append(&entries);
        self.hard_state.commit = self.last.0;
        let mut batch = Batch::default();
        batch.delete_range(ENTRIES, &begin.to_be_bytes(), &u64::MAX.to_be_bytes());
        let mut value = Vec::new();
        for entry in &entries {
            value.clear();
            codec::encode_entry(entry, &mut value);
            batch.put(ENTRIES, &entry.index.to_be_bytes(), &value);
        }
        let row = codec::hard_state_from_raft(&self.hard_state);
        batch.put(META, b"hard_state", &row.encode_to_vec());
        self.engine.write_synced(batch);
        self.persisted = self.last.0;
    }

    /// Who takes part behind what was replayed: raft begins with them.
    pub fn set_members(&mut self, voters: &[MemberId], learners: &[MemberId]) {
        self.voters = voters.iter().map(|member| member.0).collect();
        self.learners = learners.iter().map(|member| member.0).collect();
    }

    /// The term of an entry that the log holds, or of the one where it is cut.
    ///
    /// # Errors
    /// An index that is not in the log.
    pub fn term_at(&self, index: LogIndex) -> Result<Term, Damaged> {
        let term = self.term(index.0);
        term.map(Term).map_err(|why| Damaged(format!("the term of entry {index}: {why}")))
    }

    /// Whose log this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// How often this log was opened, this time included.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The engine behind the rows, for the writer.
    pub fn engine(&self) -> Arc<dyn Engine> {
        self.engine.clone()
    }

    /// The last entry before the first one kept.
    pub(super) fn cut(&self) -> u64 {
        self.cut.0
    }

    /// Takes entries into the tail; true if they replace older ones.
    pub(super) fn append(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        assert!(first.index > self.cut.0, "raft appended below the cut");
        let replaces = first.index <= self.last.0;
        if replaces {
            self.truncate(first.index);
        }
        for entry in entries {
            assert_eq!(entry.index, self.last.0 + 1, "raft appended with a hole");
            self.push(entry.clone());
        }
        replaces
    }

    fn truncate(&mut self, from: u64) {
        let before = self.term(from - 1).expect("the entry before a conflict is in the log");
        while self.tail.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.tail.pop_back().expect("the tail has a last entry");
            self.tail_bytes -= size(&entry);
        }
        self.last = (from - 1, before);
        self.persisted = self.persisted.min(from - 1);
    }

    fn push(&mut self, entry: Entry) {
        self.last = (entry.index, entry.term);
        self.tail_bytes += size(&entry);
        self.tail.push_back(entry);
    }

    pub(super) fn set_hard_state(&mut self, hard_state: &HardState) {
        self.hard_state = hard_state.clone();
    }

    /// The rows up to `index` are on disk, unless they were replaced since.
    pub(super) fn on_persisted(&mut self, index: u64, term: u64) {
        if self.term(index).is_ok_and(|held| held == term) {
            self.persisted = self.persisted.max(index);
            self.shrink_tail();
        }
    }

    fn shrink_tail(&mut self) {
        while self.tail_bytes > TAIL_BYTES_MAX {
            match self.tail.front() {
                Some(entry) if entry.index <= self.persisted => {
                    self.tail_bytes -= size(entry);
                    self.tail.pop_front();
                }
                _ => return,
            }
        }
    }

    /// Forgets everything up to and including an entry, given by its index and
    /// term; answers what [`persist`] has to write.
    pub(super) fn cut_to(&mut self, (index, term): (u64, u64)) -> (u64, u64) {
        assert!(index <= self.persisted, "the log is cut only where it is on disk");
        self.cut = (index, term);
        while self.tail.front().is_some_and(|entry| entry.index <= index) {
            let entry = self.tail.pop_front().expect("the tail has a first entry");
            self.tail_bytes -= size(&entry);
        }
        self.cut
    }

    fn read(&self, index: u64) -> Entry {
        let key = index.to_be_bytes();
        let value = self.engine.get(ENTRIES, &key);
        let value = value.unwrap_or_else(|| panic!("raft log: entry {index} is gone from disk"));
        decode_entry(&key, &value).unwrap_or_else(|why| panic!("raft log: entry {index}: {why}"))
    }

    fn entry(&self, index: u64) -> Entry {
        let tail_first = self.tail.front().map_or(self.last.0 + 1, |entry| entry.index);
        match index.checked_sub(tail_first) {
            Some(at) => self.tail[usize::try_from(at).expect("the tail is in memory")].clone(),
            None => self.read(index),
        }
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (voters, learners) = (self.voters.clone(), self.learners.clone());
        let conf_state = ConfState { voters, learners, ..ConfState::default() };
        Ok(RaftState::new(self.hard_state.clone(), conf_state))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.cut.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last.0 + 1, "raft asked for entries that it never wrote");
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut bytes = 0u64;
        let mut entries = Vec::new();
        for index in low..high {
            let entry = self.entry(index);
            bytes = bytes.saturating_add(size(&entry) as u64);
            if bytes > max && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.last.0 {
            return Ok(self.last.1);
        }
        if index == self.cut.0 {
            return Ok(self.cut.1);
        }
        if index < self.cut.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if index > self.last.0 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        Ok(self.entry(index).term)
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.cut.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.0)
    }

    fn snapshot(&self, _: u64, _: u64) -> raft::Result<Snapshot> {
        // The log of a member that is not alone is never cut: nobody needs one.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

/// What one ready of raft leaves for the disk.
#[derive(Debug, Default)]
pub struct LogWrite {
    pub(super) number: u64,
    pub(super) entries: Vec<Entry>,
    /// Rows from the first of `entries` upwards are replaced.
    pub(super) replaces: bool,
    pub(super) hard_state: Option<HardState>,
    pub(super) cut: Option<(u64, u64)>,
    pub(super) sync: bool,
    pub(super) messages: Vec<peer::Message>,
}

impl LogWrite {
    /// The bytes that the entries take, for the writer's budget.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(size).sum()
    }
}

/// What the disk now holds, to be told to the core.
#[derive(Debug, Default)]
pub struct Persisted {
    pub(super) number: u64,
    pub(super) last: Option<(u64, u64)>,
    /// What may leave now that the writes are on disk.
    pub messages: Vec<peer::Message>,
    /// Whether the disk was waited for.
    pub synced: bool,
}

/// Writes everything in one batch and waits for the disk once, if any of it
/// must be durable.
pub fn persist(engine: &dyn Engine, writes: Vec<LogWrite>) -> Persisted {
    let mut batch = Batch::default();
    let mut persisted = Persisted::default();
    let mut hard_state = None;
    let mut value = Vec::new();
    for write in writes {
        persisted.number = write.number.max(persisted.number);
        persisted.synced |= write.sync;
        persisted.messages.extend(write.messages);
        hard_state = write.hard_state.or(hard_state);
        if let (true, Some(first)) = (write.replaces, write.entries.first()) {
            batch.delete_range(ENTRIES, &first.index.to_be_bytes(), &u64::MAX.to_be_bytes());
        }
        for entry in &write.entries {
            value.clear();
            codec::encode_entry(entry, &mut value);
            batch.put(ENTRIES, &entry.index.to_be_bytes(), &value);
            persisted.last = Some((entry.index, entry.term));
        }
        if let Some((index, term)) = write.cut {
            batch.delete_range(ENTRIES, &0u64.to_be_bytes(), &(index + 1).to_be_bytes());
            batch.put(META, b"cut", &pair(index, term));
        }
    }
    if let Some(hard_state) = hard_state {
        let row = codec::hard_state_from_raft(&hard_state);
        batch.put(META, b"hard_state", &row.encode_to_vec());
    }
    if persisted.synced {
        engine.write_synced(batch);
    } else if !batch.is_empty() {
        engine.write(batch);
    }
    persisted
}

/// The identity row of a log engine, if it has one.
pub fn identity(engine: &dyn Engine) -> Option<Identity> {
    let (cluster, member) = read_pair(engine, b"identity").ok()?;
    Some(Identity { cluster: ClusterId(cluster), member: MemberId(member) })
}

fn size(entry: &Entry) -> usize {
    // The payload plus what the struct and its row's key take.
    entry.data.len() + entry.context.len() + 48
}

fn pair(first: u64, second: u64) -> [u8; 16] {
    (u128::from(first) << 64 | u128::from(second)).to_be_bytes()
}

fn read_pair(engine: &dyn Engine, key: &[u8]) -> Result<(u64, u64), Damaged> {
    let row = engine.get(META, key).ok_or_else(|| missing(key))?;
    let Ok(bytes) = <[u8; 16]>::try_from(row.as_ref()) else {
        return Err(Damaged(format!("row {} has {} bytes, not 16", name(key), row.len())));
    };
    let (first, second) = bytes.split_at(8);
    let number = |half: &[u8]| u64::from_be_bytes(half.try_into().expect("half of 16 bytes is 8"));
    Ok((number(first), number(second)))
}

fn read_boot(engine: &dyn Engine) -> Result<u64, Damaged> {
    let row = engine.get(META, b"boot").ok_or_else(|| missing(b"boot"))?;
    let bytes: Result<[u8; 8], _> = row.as_ref().try_into();
    bytes.map(u64::from_be_bytes).map_err(|why| Damaged(format!("row boot: {why}")))
}

fn read_hard_state(engine: &dyn Engine) -> Result<peer::HardState, Damaged> {
    let row = engine.get(META, b"hard_state").ok_or_else(|| missing(b"hard_state"))?;
    peer::HardState::decode(row).map_err(|why| Damaged(format!("row hard_state: {why}")))
}

fn missing(key: &[u8]) -> Damaged {
    Damaged(format!("row {} is missing", name(key)))
}

fn name(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn decode_entry(key: &[u8], value: &[u8]) -> Result<Entry, String> {
    let Ok(index) = key.try_into().map(u64::from_be_bytes) else {
        return Err(format!("its key has {} bytes, not 8", key.len()));
    };
    let entry = peer::Entry::decode(bytes::Bytes::copy_from_slice(value));
    let entry = entry.map_err(|why| why.to_string())?;
    if entry.index != index {
        return Err(format!("it says that it is {}", entry.index));
    }
    codec::entry_to_raft(entry)
}

#[cfg(test)]
mod tests;
