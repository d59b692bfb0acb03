//! How a store begins, and how it is found again.
//!
//! The index is rebuilt by one scan over all rows. After a crash the rows stand
//! exactly at some entry, so nothing is ever repaired here: what makes no sense
//! is refused.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::alarm::Alarms;
use super::apply::{Options, Store};
use super::auth::Accounts;
use super::body::Body;
use super::compaction::Jobs;
use super::keyspace::Keyspace;
use super::lease::Leases;
use super::members::{self, Genesis, Members};
use super::reader::Damaged;
use super::schema::{
    ALARMS, AUTH, FORMAT, LEASES, MEMBERS, META, REVISIONS, Version, meta, number, pair, pair_row,
    signed,
};
use super::view::{Published, Shared, State};
use crate::engine::{Batch, Engine, Family};
use crate::ids::LogIndex;

/// The revision of a keyspace in which nothing has happened.
const FIRST_REVISION: i64 = 1;
/// The compact revision of a store that was never compacted, as etcd counts.
const NEVER: i64 = -1;
/// etcd's default, when the operator says nothing.
const QUOTA_DEFAULT: i64 = 2 << 30;

/// etcd's file grows by these.
const PAGE_BYTES: i64 = 4096;
/// What etcd's file takes with nothing in it.
const EMPTY_BYTES: i64 = 5 * PAGE_BYTES;
/// What a lease takes.
const LEASE_BYTES: i64 = 64;

impl State {
    /// Bytes in use, in whole pages: the same on all members once they have
    /// purged the same.
    pub(super) fn in_use(&self) -> i64 {
        let rows = signed(self.keyspace.bytes() as u64);
        let leases = signed(self.leases.len() as u64) * LEASE_BYTES;
        let bytes = EMPTY_BYTES + rows + leases;
        (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES
    }
}

impl Store {
    /// Whether the engine holds a store.
    pub fn exists(engine: &dyn Engine) -> bool {
        engine.get(META, meta::FORMAT).is_some()
    }

    /// Writes the rows of a new store, and makes them durable.
    pub fn found(engine: &dyn Engine, genesis: &Genesis) {
        assert!(!Store::exists(engine), "a store is founded once");
        let mut batch = Batch::default();
        batch.put(META, meta::FORMAT, &FORMAT.to_be_bytes());
        batch.put(META, meta::CLUSTER, &genesis.cluster.0.to_be_bytes());
        let place = pair_row(genesis.index.0.cast_signed(), genesis.term.0.cast_signed());
        batch.put(META, meta::APPLIED, &place);
        batch.put(META, meta::REVISION, &FIRST_REVISION.to_be_bytes());
        for member in &genesis.members {
            members::write(member, &mut batch);
        }
        engine.write(batch);
        engine.flush();
    }

    /// Opens a store, and reads its index into memory.
    ///
    /// # Errors
    /// Rows that are missing or make no sense.
    pub fn open(engine: Arc<dyn Engine>, options: &Options) -> Result<Store, Damaged> {
        let rows = Rows(&*engine);
        rows.check_format()?;
        let applied = rows.required(meta::APPLIED, |row| pair(row).map(|(index, _)| index))?;
        let revision = rows.required(meta::REVISION, number)?;
        let scheduled = rows.optional(meta::SCHEDULED, number)?.unwrap_or(NEVER);
        let finished = rows.optional(meta::FINISHED, number)?.unwrap_or(NEVER);
        let allocated = rows.optional(meta::ALLOCATED, number)?.unwrap_or(0);
        let (keyspace, leases) = rows.keyspace(revision, options.cache_bytes)?;
        let applied = LogIndex(applied.cast_unsigned());
        let mut state = State {
            keyspace,
            leases,
            alarms: rows.alarms()?,
            accounts: rows.accounts()?,
            members: rows.members()?,
            finished,
            published: Published { applied, revision, compacted: scheduled },
            allocated,
        };
        state.allocated = allocated.max(state.in_use());
        let quota = if options.quota_bytes == 0 { QUOTA_DEFAULT } else { options.quota_bytes };
        let shared = Arc::new(Shared::new(engine, quota, state));
        Ok(Store { shared, jobs: Jobs::new(scheduled, finished) })
    }
}

/// The rows of an engine.
struct Rows<'a>(&'a dyn Engine);

impl Rows<'_> {
    fn check_format(&self) -> Result<(), Damaged> {
        let format = self.required(meta::FORMAT, |row| Some(row.to_vec()))?;
        if format == FORMAT.to_be_bytes() {
            return Ok(());
        }
        Err(Damaged(format!("format {format:?} is not known here")))
    }

    fn optional<T>(
        &self,
        name: &[u8],
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Damaged> {
        let Some(row) = self.0.get(META, name) else { return Ok(None) };
        let value = read(&row);
        let bad = || Damaged(format!("bad row {:?}", String::from_utf8_lossy(name)));
        value.ok_or_else(bad).map(Some)
    }

    fn required<T>(&self, name: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Result<T, Damaged> {
        let gone = || Damaged(format!("no row {:?}", String::from_utf8_lossy(name)));
        self.optional(name, read)?.ok_or_else(gone)
    }

    /// Visits a family up to the first row that makes no sense.
    fn each(
        &self,
        family: Family,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let mut outcome = Ok(());
        self.0.scan(family, &[], None, &mut |key, row| {
            outcome = visit(key, row);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome
    }

    fn keyspace(&self, revision: i64, cache_bytes: usize) -> Result<(Keyspace, Leases), Damaged> {
        let mut leases = Leases::default();
        self.each(LEASES, |key, row| leases.load(key, row))?;
        let mut keyspace = Keyspace::new(revision, cache_bytes);
        self.each(REVISIONS, |key, row| {
            let bad = || Damaged(format!("bad row of a revision: {key:?}"));
            let version = Version::parse(key).ok_or_else(bad)?;
            let body = Body::parse(row).ok_or_else(bad)?;
            if version.main > revision {
                let main = version.main;
                return Err(Damaged(format!("revision {main} lies behind the last, {revision}")));
            }
            let before = keyspace.load(version, &body, row);
            leases.attach(body.key, before, body.lease);
            Ok(())
        })?;
        Ok((keyspace, leases))
    }

    fn alarms(&self) -> Result<Alarms, Damaged> {
        let mut alarms = Alarms::default();
        self.each(ALARMS, |key, _| alarms.load(key))?;
        Ok(alarms)
    }

    fn accounts(&self) -> Result<Accounts, Damaged> {
        let mut accounts = Accounts::default();
        self.each(AUTH, |key, row| accounts.load(key, row))?;
        accounts.refresh();
        Ok(accounts)
    }

    fn members(&self) -> Result<Members, Damaged> {
        let mut members = Members::default();
        self.each(MEMBERS, |key, row| members.load(key, row))?;
        if let Some(version) = self.0.get(META, meta::VERSION) {
            members.load_version(&version);
        }
        if let Some(target) = self.0.get(META, meta::DOWNGRADE) {
            members.load_downgrade(&target);
        }
        Ok(members)
    }
}
