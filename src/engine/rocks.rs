//! [`Rocks`]: the engine on RocksDB, and the only file that knows it.

use std::fs::DirBuilder;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRawIterator, DBRecoveryMode, Error, ErrorKind, FlushOptions, LogLevel, ReadOptions, Snapshot,
    WriteBatch, WriteOptions,
};

use super::{Batch, Change, Damage, Engine, Family, Frozen, Options, Visit};

/// One memtable of a family in an engine with a write-ahead log. Rows wait here
/// before they are written out, and of those that were deleted meanwhile nothing
/// is: a raft log is cut often enough that most of it never leaves.
const LOG_MEMTABLE_BYTES: usize = 4 << 20;
/// The same without one: larger than what is written between two flushes.
const STATE_MEMTABLE_BYTES: usize = 16 << 20;
/// Blocks of rows read back. The store has a cache of its own for live values.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Files kept open; one holds 64 MiB.
const OPEN_FILES_MAX: i32 = 256;

/// An engine on RocksDB.
pub struct Rocks {
    db: DB,
    families: &'static [&'static str],
    wal: bool,
    path: String,
    buffered: WriteOptions,
    synced: WriteOptions,
}

impl Rocks {
    /// Opens the engine in `path`, making it (with mode 0700) if there is none.
    ///
    /// # Errors
    /// [`Damage`]; nothing is repaired and nothing is overwritten.
    pub fn open(path: &Path, options: Options) -> Result<Rocks, Damage> {
        let name = path.display().to_string();
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700);
        folder.create(path).map_err(|why| Damage::Io(format!("{name}: {why}")))?;
        let families = options
            .families
            .iter()
            .map(|family| ColumnFamilyDescriptor::new(*family, family_options(options.wal)));
        let db = DB::open_cf_descriptors(&db_options(options.wal), path, families)
            .map_err(|why| damage(&name, &why))?;
        let mut buffered = WriteOptions::default();
        buffered.disable_wal(!options.wal);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Rocks { db, families: options.families, wal: options.wal, path: name, buffered, synced })
    }

    fn family(&self, family: Family) -> &ColumnFamily {
        let name = self.families[usize::from(family.0)];
        self.db.cf_handle(name).expect("every family was opened with the engine")
    }

    fn take(&self, batch: &Batch, options: &WriteOptions) {
        let families: Vec<&ColumnFamily> =
            (0u8..).zip(self.families).map(|(number, _)| self.family(Family(number))).collect();
        let mut rows = WriteBatch::with_capacity_bytes(batch.bytes() + 64);
        for (family, change) in batch.changes() {
            let family = families[usize::from(family.0)];
            match change {
                Change::Put(key, value) => rows.put_cf(family, key, value),
                Change::Delete(key) => rows.delete_cf(family, key),
                Change::DeleteRange(from, to) => rows.delete_range_cf(family, from, to),
            }
        }
        self.survive(self.db.write_opt(rows, options));
    }

    /// Nothing that was promised can be kept on a disk that fails, and what it
    /// holds is unknown: the process ends, and the log supplies the rest.
    fn survive<T>(&self, outcome: Result<T, Error>) -> T {
        outcome.unwrap_or_else(|why| panic!("disk failure in {}: {why}", self.path))
    }

    fn walk(&self, mut rows: DBRawIterator<'_>, from: &[u8], visit: &mut Visit<'_>) {
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if visit(key, value) == ControlFlow::Break(()) {
                return;
            }
            rows.next();
        }
        self.survive(rows.status());
    }

    fn sum(&self, property: &str) -> u64 {
        let of = |name: &&str| {
            let family = self.db.cf_handle(name)?;
            self.db.property_int_value_cf(family, property).ok().flatten()
        };
        self.families.iter().filter_map(of).sum()
    }
}

impl Engine for Rocks {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        let value = self.survive(self.db.get_pinned_cf(self.family(family), key));
        value.map(|value| Bytes::copy_from_slice(&value))
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
        let values = self.db.batched_multi_get_cf(self.family(family), keys.iter(), false);
        let owned = |value: Option<_>| {
            value.map(|value: rocksdb::DBPinnableSlice<'_>| Bytes::copy_from_slice(&value))
        };
        values.into_iter().map(|value| owned(self.survive(value))).collect()
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) {
        let rows = self.db.raw_iterator_cf_opt(self.family(family), scan_options(to));
        self.walk(rows, from, visit);
    }

    fn write(&self, batch: Batch) {
        self.take(&batch, &self.buffered);
    }

    fn write_synced(&self, batch: Batch) {
        assert!(self.wal, "an engine without a write-ahead log is flushed");
        self.take(&batch, &self.synced);
    }

    fn flush(&self) {
        if self.wal {
            return self.survive(self.db.flush_wal(true));
        }
        let families: Vec<&ColumnFamily> =
            (0u8..).zip(self.families).map(|(number, _)| self.family(Family(number))).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.survive(self.db.flush_cfs_opt(&families, &options));
    }

    fn compact(&self) {
        for family in (0u8..).zip(self.families).map(|(number, _)| Family(number)) {
            self.db.compact_range_cf(self.family(family), None::<&[u8]>, None::<&[u8]>);
        }
    }

    fn freeze(&self) -> Box<dyn Frozen + '_> {
        Box::new(Still { rocks: self, snapshot: self.db.snapshot() })
    }

    fn disk_bytes(&self) -> u64 {
        self.sum("rocksdb.total-sst-files-size") + self.sum("rocksdb.cur-size-all-mem-tables")
    }
}

/// All families at one sequence number.
struct Still<'a> {
    rocks: &'a Rocks,
    snapshot: Snapshot<'a>,
}

impl Frozen for Still<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        let value = self.snapshot.get_cf(self.rocks.family(family), key);
        self.rocks.survive(value).map(Bytes::from)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) {
        let family = self.rocks.family(family);
        let rows = self.snapshot.raw_iterator_cf_opt(family, scan_options(to));
        self.rocks.walk(rows, from, visit);
    }
}

/// A scan passes by what others may want in the cache.
fn scan_options(to: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    if let Some(to) = to {
        options.set_iterate_upper_bound(to);
    }
    options
}

fn db_options(wal: bool) -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_atomic_flush(!wal);
    // A record that was being written when the power went is dropped; a bad one
    // with good ones after it is refused. RocksDB offers this mode only without
    // recycled files: a stale record behind a fresh one looks like a bad one.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_recycle_log_file_num(0);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    options.set_allow_concurrent_memtable_write(false);
    options.set_stats_dump_period_sec(0);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options
}

fn family_options(wal: bool) -> rocksdb::Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    let mut options = rocksdb::Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(if wal { LOG_MEMTABLE_BYTES } else { STATE_MEMTABLE_BYTES });
    options.set_max_write_buffer_number(3);
    options.set_arena_block_size(256 << 10);
    options
}

fn damage(path: &str, why: &Error) -> Damage {
    let text = format!("{path}: {why}");
    match why.kind() {
        ErrorKind::IOError if is_lock(&text) => Damage::Locked(path.to_owned()),
        ErrorKind::IOError => Damage::Io(text),
        _ => Damage::Corrupt(text),
    }
}

/// Whether another process, or this one, holds the engine's lock.
fn is_lock(text: &str) -> bool {
    text.contains("While lock file") || text.contains("lock hold by current process")
}
