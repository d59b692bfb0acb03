//! What the agent knows: keys, watches and leadership, in a store that may be
//! anywhere.
//!
//! The agent sees its data through one trait, [`StateStore`], and the trait has
//! one implementation, [`EtcdStore`], which is an etcd client like any other.
//! Whether the store is embedded in this very process, runs in another member
//! or is stock etcd is a question of which connection it was given:
//!
//! ```text
//!   agent ── StateStore ── EtcdStore ─┬─ in-memory duplex ── our own api
//!                                     ├─ tcp ── another member
//!                                     └─ tcp ── stock etcd
//! ```
//!
//! So this floor imports nothing of ours but the ids. It keeps four promises
//! that a bare client does not:
//!
//! - Every call ends within the request timeout, and an error says who must act.
//! - A read is tried again elsewhere; a write that may have arrived is not sent
//!   twice, and its error says so.
//! - A watch survives reconnects without a gap and without a duplicate.
//! - Leadership ends in time: whoever holds a [`Leadership`] learns of its loss
//!   before the store can have given it to somebody else, unless the process
//!   itself was paused. That last case is what [`Leadership::fence`] is for.
//!
//! Deliberately not here: what is stored under `/kat/`. That is the agent's.

mod connection;
mod election;
mod error;
mod etcd;
mod observer;
mod session;
mod store;
mod watch;

pub use connection::{Credentials, Options};
pub use election::Leadership;
pub use error::{Denial, Error, Fault, Obstacle, Result};
pub use etcd::EtcdStore;
pub use observer::{Leader, LeaderStream};
pub use session::LostReason;
pub use store::{
    Compare, EventKind, KV, LEADER_ELECTION, Listing, Op, OpResult, OpType, StateStore, TxnResult,
    WatchEvent,
};
pub use watch::WatchStream;
