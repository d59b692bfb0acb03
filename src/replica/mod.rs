//! The running member: threads, clock, and in time sockets.
//!
//! The only bridge between the two pure floors: `consensus`, how members agree,
//! and `store`, what the data means. A put on its way:
//!
//! ```text
//!  callers              driver                 writer               applier
//!  Replica::submit ──▶ Inbox ─ Driver::turn ─▶ writes, one sync
//!   a waiter in            │        ▲                │
//!   Pending                │        └── persisted ───┘
//!                          └─ committed ─────────────────────▶ Applier::turn
//!  answer ◀─────────────────────────────────────────────────── Pending, Progress,
//!                                                              Watchers, Lessor
//! ```
//!
//! - Driver, writer and applier are `turn` functions; [`start`] gives threads to
//!   them, the simulator calls them by itself.
//! - The driver never waits for a disk; the writer does for the log's, the
//!   flusher for the state's.
//! - Nothing is answered that is not applied here: whichever applier meets an id
//!   of its own member and boot completes the call.
//! - The log is cut behind what was flushed, and later than that by one flush.
//! - Time enters through [`Clock`], chance not at all but for raft's own.
//!
//! Deliberately not here yet: wires to other members and snapshots between them
//! (what a turn leaves for a peer is lost in `runtime.rs`, which tells raft, so
//! whoever is added never comes); a follower that passes renewals of leases on
//! to its raft leader (it answers that nobody leads); what a member says of
//! itself to the cluster, which the agent proposes.

mod applier;
mod clock;
mod compactor;
mod counters;
mod driver;
mod failure;
mod flusher;
mod inbox;
mod lessor;
mod open;
mod pending;
mod progress;
mod queue;
mod reads;
#[expect(clippy::module_inception, reason = "the handle is what the folder is for")]
mod replica;
mod runtime;
mod shared;
#[cfg(test)]
mod tests;
mod tokens;
mod watchers;
mod writer;

pub use self::applier::Applier;
pub use self::clock::{Clock, SystemClock};
pub use self::counters::Counters;
pub use self::driver::{Driver, Outbox, Timings};
pub use self::failure::{Failure, Outcome, Unavailable};
pub use self::inbox::{Inbox, Input, Proposal};
pub use self::lessor::{Lessor, Remaining};
pub use self::open::{Damaged, Engines, GENESIS, Options, Parts, found, open};
pub use self::replica::{Replica, Standing};
pub use self::runtime::{Running, start};
pub use self::watchers::{WatchOptions, WatchStream, Watchers};
pub use crate::consensus::{FAMILIES as LOG_FAMILIES, Identity};
