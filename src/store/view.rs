//! What the applier and all readers share, and the two ways to look at it.
//!
//! ```text
//!             revision 7       8    9   10   11
//!   readers ──────────▶│        applier ─────▶│
//!                published      entry in the making
//! ```
//!
//! The applier changes the index at once, command by command, under short
//! locks; readers look at the published revision and skip what is newer. A
//! [`View`] pins its revision: no compaction that comes later purges what the
//! view can see, so a read may let the lock go between slices. Rows that are
//! not yet in the engine are newer than anything published; only the applier
//! meets them, and it brings them along ([`Source::unwritten`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::alarm::Alarms;
use super::auth::Accounts;
use super::body;
use super::hash::Kept;
use super::keyspace::{Keyspace, Pick};
use super::lease::Leases;
use super::members::Members;
use super::rejection::Rejection;
use super::schema::{REVISIONS, Version};
use super::watch::KeyRange;
use crate::engine::Engine;
use crate::ids::LogIndex;
use crate::proto::mvccpb::KeyValue;

/// Rows fetched from the engine at once: bodies may be large, and a piece of a
/// range that is full leaves the rest where it is.
pub(super) const FETCH_MAX: usize = 128;

/// A store, as its applier and its readers hold it.
///
/// - Locks are taken in the order of the fields.
pub(super) struct Shared {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) quota: i64,
    /// Whether accounts are enforced: every call asks, so nobody waits for a lock.
    pub(super) is_auth_on: AtomicBool,
    pub(super) state: RwLock<State>,
    pub(super) hashes: Mutex<Kept>,
    pins: Mutex<BTreeMap<i64, usize>>,
}

/// All that is in memory.
pub(super) struct State {
    pub(super) keyspace: Keyspace,
    pub(super) leases: Leases,
    pub(super) alarms: Alarms,
    pub(super) accounts: Accounts,
    pub(super) members: Members,
    /// How far purged space was given back.
    pub(super) finished: i64,
    pub(super) published: Published,
    /// Bytes in use at their highest.
    pub(super) allocated: i64,
}

/// What readers see: as of the end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) applied: LogIndex,
    pub(super) revision: i64,
    pub(super) compacted: i64,
}

impl Published {
    /// The revision that a request means: zero or less is the newest.
    pub(super) fn resolve(&self, revision: i64) -> Result<i64, Rejection> {
        match revision {
            ..=0 => Ok(self.revision),
            _ if revision > self.revision => Err(Rejection::FutureRevision),
            _ if revision < self.compacted => Err(Rejection::Compacted { oldest: self.compacted }),
            _ => Ok(revision),
        }
    }
}

impl Shared {
    /// A new store's.
    pub(super) fn new(engine: Arc<dyn Engine>, quota: i64, state: State) -> Shared {
        Shared {
            engine,
            quota,
            is_auth_on: AtomicBool::new(state.accounts.is_on()),
            state: RwLock::new(state),
            hashes: Mutex::new(Kept::default()),
            pins: Mutex::new(BTreeMap::new()),
        }
    }

    /// Pins a revision, which must be published and readable; the caller holds
    /// a lock of the state, so that no compaction comes in between.
    pub(super) fn pin(self: &Arc<Shared>, published: Published, at: i64) -> View {
        *self.pins.lock().entry(at).or_default() += 1;
        View { shared: Arc::clone(self), published, at }
    }

    /// Pins the revision that a request means.
    pub(super) fn view(self: &Arc<Shared>, revision: i64) -> Result<View, Rejection> {
        let state = self.state.read();
        let at = state.published.resolve(revision)?;
        Ok(self.pin(state.published, at))
    }

    /// Whether somebody looks at what lies below a revision.
    pub(super) fn is_pinned_below(&self, revision: i64) -> bool {
        self.pins.lock().keys().next().is_some_and(|lowest| *lowest < revision)
    }
}

/// The store at a revision, for as long as this lives.
pub(super) struct View {
    shared: Arc<Shared>,
    pub(super) published: Published,
    pub(super) at: i64,
}

impl View {
    /// What it is a view of.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where its rows come from.
    pub(super) fn source(&self) -> Source<'_> {
        Source { shared: &self.shared, unwritten: &[], at: self.at }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut pins = self.shared.pins.lock();
        let count = pins.get_mut(&self.at).expect("it was pinned");
        *count -= 1;
        if *count == 0 {
            pins.remove(&self.at);
        }
    }
}

/// The newest state, which only the applier may ask for.
pub(super) const TIP: i64 = i64::MAX;

/// A revision to read at, and where its rows are.
///
/// - Whoever reads has it pinned, or is the applier.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) shared: &'a Shared,
    /// Rows on their way to the engine, ascending.
    pub(super) unwritten: &'a [(Version, Bytes)],
    pub(super) at: i64,
}

impl Source<'_> {
    /// One key.
    pub(super) fn pick(&self, key: &[u8]) -> Option<Pick> {
        self.shared.state.read().keyspace.pick(key, self.at)
    }

    /// How many keys live in a range; `None` if that takes a walk, because the
    /// revision is history.
    pub(super) fn count(&self, range: &KeyRange) -> Option<i64> {
        let state = self.shared.state.read();
        if self.at < state.published.revision {
            return None;
        }
        Some(if range.is_empty() { 0 } else { state.keyspace.count(range, self.at) })
    }

    /// What one key holds.
    pub(super) fn get(&self, key: &[u8]) -> Option<KeyValue> {
        let pick = self.pick(key)?;
        Some(body::decode(self.body(pick)))
    }

    /// The body of one pick.
    pub(super) fn body(&self, pick: Pick) -> Bytes {
        let mut picks = [pick];
        self.fetch(&mut picks);
        let [pick] = picks;
        pick.body.expect("it was fetched")
    }

    /// Fetches the bodies that were not in memory.
    pub(super) fn fetch(&self, picks: &mut [Pick]) {
        let mut absent = Vec::new();
        for (place, pick) in picks.iter_mut().enumerate().filter(|(_, pick)| pick.body.is_none()) {
            match self.unwritten.binary_search_by_key(&pick.version, |(version, _)| *version) {
                Ok(found) => pick.body = Some(self.unwritten[found].1.clone()),
                Err(_) => absent.push((place, pick.version.key())),
            }
        }
        for part in absent.chunks(FETCH_MAX) {
            let keys: Vec<&[u8]> = part.iter().map(|(_, key)| &**key).collect();
            let bodies = self.shared.engine.get_many(REVISIONS, &keys);
            for ((place, _), body) in part.iter().zip(bodies) {
                let version = picks[*place].version;
                picks[*place].body =
                    Some(body.unwrap_or_else(|| panic!("the row of {version:?} is gone")));
            }
        }
    }
}
