//! What the data means: etcd's keyspace, leases, accounts, alarms and members,
//! as a function of the log.
//!
//! A store takes entries of the log in order, and nothing else changes it. It
//! has no clock, no dice, no thread and no socket, and has never heard of raft:
//! two stores that took the same entries are the same store.
//!
//! ```text
//!   entry ──▶ apply ──▶ gate ──▶ put · delete · txn · lease · compact · alarm
//!                                  │
//!                     keyspace  ◀──┴──▶  batch ──▶ engine
//!                  (index, cache)                    ▲
//!                         ▲                          │
//!                         └────────── view ──────────┘
//!                                      ▲
//!              range · txn · history · hash · snapshot · reader
//! ```
//!
//! Each change of a key is a row of its own, under the revision that made it;
//! the rows together are the history, from which everything else follows. In
//! memory there is an index of all keys, and of each key the revisions at which
//! it changed: a read asks the index which row it wants, and finds the newest
//! rows in the cache and the others in the engine.
//!
//! - One entry is one batch, with the place in the log in it: after a crash the
//!   store stands exactly at some entry.
//! - A reader sees whole entries. What it looks at is pinned, so that a read
//!   may go in slices, and neither a reader nor a writer waits for a long one.
//! - A refusal changes nothing, and is the same on all members. Nothing that
//!   can be decoded makes `apply` panic; a row that is missing does.
//! - A compaction is a number, effective at once. The space comes back in
//!   slices, between entries, and after a restart where it was left.
//! - What one member does for itself (purge, cache, quota) changes no answer.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod command;
mod rejection;
mod schema;

mod apply;
mod gate;
mod txn;
mod write;

mod body;
mod index;
mod keyspace;
mod tree;
mod view;

mod cursor;
mod hash;
mod history;
mod pieces;
mod range;
mod reader;
mod snapshot;
mod watch;

mod alarm;
mod auth;
mod compaction;
mod lease;
mod members;
mod open;
mod rights;
mod rows;
mod weight;

#[cfg(test)]
mod tests;

pub use apply::{Answer, Applied, LeaseChange, Options, Store};
pub use auth::TokenChange;
pub use command::{AccountChange, Caller, Reply, Request, append_command, begin_entry};
pub use compaction::Purged;
pub use members::{Genesis, Membership};
pub use pieces::RangeStream;
pub use reader::{Damaged, Hashed, LeaseView, Reader, Sizes};
pub use rejection::{Denied, Rejection};
pub use rights::Access;
pub use rows::RangeRows;
pub use schema::ENGINE;
pub use watch::{Changes, Event, History, KeyRange, Previous};
pub use weight::Weight;
