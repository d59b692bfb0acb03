//! The agent's contract with its store: what may be asked and what comes back.
//!
//! One trait with one implementation, which is unusual in this house: the trait
//! is the page on which the contract stands, and the suite that checks it runs
//! against every store that claims to keep it.

use async_trait::async_trait;

use super::election::Leadership;
use super::error::{Error, Result};
use super::observer::LeaderStream;
use super::watch::WatchStream;
use crate::ids::Revision;

/// The prefix under which the KAT Leader is elected; candidates' keys follow a slash.
pub const LEADER_ELECTION: &str = "/kat/leader_election";

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KV {
    /// The key, never empty.
    pub key: String,
    /// The value; an empty one is a value.
    pub value: Vec<u8>,
    /// The revision of the last change of the key.
    pub version: Revision,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted, or its lease ended.
    Delete,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// The key after it happened; of a deletion, the revision and no value.
    pub kv: KV,
    /// The key before: `None` for a first put, or when history has been compacted.
    pub prev_kv: Option<KV>,
}

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// The revision of its last change; 0 means that the key must not exist.
    pub expected_version: Revision,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpType {
    /// Writes the value, without a lease.
    Put,
    /// Deletes the key.
    Delete,
    /// Reads the key.
    Get,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// What to do.
    pub op_type: OpType,
    /// To which key.
    pub key: String,
    /// The value of a put; ignored otherwise.
    pub value: Vec<u8>,
}

impl Op {
    /// Writes `value` to `key`.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Op {
        Op { op_type: OpType::Put, key: key.into(), value: value.into() }
    }

    /// Deletes `key`.
    pub fn delete(key: impl Into<String>) -> Op {
        Op { op_type: OpType::Delete, key: key.into(), value: Vec::new() }
    }

    /// Reads `key`.
    pub fn get(key: impl Into<String>) -> Op {
        Op { op_type: OpType::Get, key: key.into(), value: Vec::new() }
    }
}

/// What one operation of a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The value was written.
    Put,
    /// The key is gone.
    Delete {
        /// Whether it was there before.
        existed: bool,
    },
    /// The key was read.
    Get(Option<KV>),
}

/// What a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether every check held, and so which branch ran.
    pub committed: bool,
    /// The store's revision afterwards.
    pub revision: Revision,
    /// One result for each operation of the branch that ran.
    pub results: Vec<OpResult>,
}

/// All keys under a prefix, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keys in ascending order.
    pub items: Vec<KV>,
    /// The revision that they were read at, also of an empty listing.
    pub revision: Revision,
}

/// A replicated, watchable store.
///
/// - Keys are non-empty UTF-8; a prefix may be empty, which means everything.
/// - All reads are linearizable.
/// - Every call but [`campaign`](StateStore::campaign) and an open watch ends
///   within the request timeout.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Stores a value without a lease and returns the revision of the write.
    async fn put(&self, key: &str, value: &[u8]) -> Result<Revision>;

    /// Reads a key; `None` if it does not exist.
    async fn get(&self, key: &str) -> Result<Option<KV>>;

    /// Deletes a key and tells whether it existed.
    async fn delete(&self, key: &str) -> Result<bool>;

    /// Reads all keys that start with the bytes of `prefix`, at one revision.
    async fn list(&self, prefix: &str) -> Result<Listing>;

    /// Watches a prefix if `key_or_prefix` ends with a slash, else one key.
    async fn watch(&self, key_or_prefix: &str, start: Revision) -> Result<WatchStream> {
        match key_or_prefix.ends_with('/') {
            true => self.watch_prefix(key_or_prefix, start).await,
            false => self.watch_key(key_or_prefix, start).await,
        }
    }

    /// Watches one key, from revision `start` on; 0 means from now on.
    ///
    /// Returns once the store confirmed the watch: a write made after the
    /// return is seen.
    async fn watch_key(&self, key: &str, start: Revision) -> Result<WatchStream>;

    /// Watches all keys that start with the bytes of `prefix`.
    async fn watch_prefix(&self, prefix: &str, start: Revision) -> Result<WatchStream>;

    /// Runs `on_success` if every check holds, else `on_failure`; atomic.
    async fn do_transaction(
        &self,
        checks: &[Compare],
        on_success: &[Op],
        on_failure: &[Op],
    ) -> Result<TxnResult>;

    /// Waits without limit until this candidate is the KAT Leader.
    ///
    /// One candidacy for each store; dropping the future withdraws it.
    async fn campaign(&self, leader_id: &str, lease_ttl_seconds: i64) -> Result<Leadership>;

    /// Gives up the candidacy or the leadership, if there is one.
    async fn resign(&self) -> Result<()>;

    /// Names the KAT Leader; `None` if nobody leads.
    async fn get_leader(&self) -> Result<Option<String>>;

    /// Follows who leads: first who does now, then every change.
    async fn observe(&self) -> Result<LeaderStream>;

    /// Resigns, ends all watches and closes the connections; idempotent.
    async fn close(&self) -> Result<()>;
}

/// The most entries that each list of a transaction may have, as in etcd.
const TXN_ENTRIES_MAX: usize = 128;

/// Refuses an empty key.
pub(super) fn check_key(key: &str) -> Result<()> {
    match key.is_empty() {
        true => Err(Error::misuse("the key is empty")),
        false => Ok(()),
    }
}

/// Refuses a start that is no revision.
pub(super) fn check_start(start: Revision) -> Result<()> {
    match start.0 < 0 {
        true => Err(Error::misuse(format!("a watch cannot start at revision {start}"))),
        false => Ok(()),
    }
}

/// Refuses a transaction that the store would refuse, or that means nothing.
pub(super) fn check_transaction(checks: &[Compare], branches: [&[Op]; 2]) -> Result<()> {
    let longest = branches.map(<[Op]>::len).into_iter().max().unwrap_or(0).max(checks.len());
    if longest > TXN_ENTRIES_MAX {
        let what = format!("a transaction has {longest} entries, more than {TXN_ENTRIES_MAX}");
        return Err(Error::misuse(what));
    }
    for check in checks {
        check_key(&check.key)?;
        if check.expected_version.0 < 0 {
            let what = format!("{:?} cannot have version {}", check.key, check.expected_version);
            return Err(Error::misuse(what));
        }
    }
    branches.into_iter().try_for_each(check_branch)
}

fn check_branch(branch: &[Op]) -> Result<()> {
    branch.iter().try_for_each(|op| check_key(&op.key))?;
    let mut written: Vec<&str> =
        branch.iter().filter(|op| op.op_type != OpType::Get).map(|op| op.key.as_str()).collect();
    written.sort_unstable();
    match written.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::misuse(format!("{:?} is written twice in one branch", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(checks: &[Compare], branch: &[Op]) -> bool {
        let by_either = [[branch, &[]], [&[], branch]];
        let refusals = by_either.map(|branches| check_transaction(checks, branches).is_err());
        assert_eq!(refusals[0], refusals[1], "both branches obey the same rules");
        refusals[0]
    }

    #[test]
    fn a_branch_writes_a_key_at_most_once() {
        assert!(!refused(&[], &[Op::put("a", "1"), Op::get("a"), Op::get("a"), Op::delete("b")]));
        assert!(refused(&[], &[Op::put("a", "1"), Op::get("b"), Op::put("a", "2")]));
        assert!(refused(&[], &[Op::put("a", "1"), Op::delete("a")]));
        assert!(refused(&[], &[Op::delete("a"), Op::delete("a")]));
        assert!(refused(&[], &[Op::get("")]));
    }

    #[test]
    fn a_transaction_has_a_limited_length() {
        let gets = |count| vec![Op::get("a"); count];
        assert!(!refused(&[], &gets(128)));
        assert!(refused(&[], &gets(129)));
        let checks =
            |count| vec![Compare { key: "a".into(), expected_version: Revision(1) }; count];
        assert!(!refused(&checks(128), &[]));
        assert!(refused(&checks(129), &[]));
    }

    #[test]
    fn a_check_names_a_key_and_a_version() {
        let check =
            |key: &str, version| [Compare { key: key.into(), expected_version: Revision(version) }];
        assert!(!refused(&check("a", 0), &[]));
        assert!(refused(&check("a", -1), &[]));
        assert!(refused(&check("", 0), &[]));
    }
}
