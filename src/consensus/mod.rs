//! How members agree: raft, and the log that it writes.
//!
//! Pure: no clock, no dice (but raft's own election timeout, which the
//! simulator loads), no thread, no socket, and nothing of etcd. An entry is a
//! term, an index and bytes; what the bytes mean is the store's affair.
//!
//! ```text
//!   ticks, messages, proposals, reads        what the disk has done
//!                  │                                   │
//!                  ▼                                   ▼
//!               Core ── turn ──▶ messages · LogWrite · Committed · ReadReady
//!                  │                         │
//!                 Log ◀── reads ──           └─▶ persist(engine) ─▶ Persisted
//! ```
//!
//! - Nothing that depends on a write leaves before [`persist`] returned.
//! - Entries are readable by raft before they are on disk, and only then.
//! - The log is cut only behind what the store holds durably.
//! - The dependency `raft` and its types stop at this folder's door.
//!
//! Membership is what the store says that it is; it changes by entries of their
//! own kind, one at a time, each in force where the store has carried it out.
//! The log of a member that is not alone is never cut, because no snapshot can
//! be sent.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

mod change;
mod codec;
mod core;
mod log;
mod logger;

pub use self::change::Change;
pub use self::core::{Committed, Core, Options, ReadReady, Role, Turn};
pub use self::log::{Damaged, FAMILIES, Identity, Log, LogWrite, Persisted, identity, persist};
