//! kat: a replicated store that speaks etcd's v3 API, and the agent that
//! carries it.
//!
//! **The request is the command, the log is the truth, the store is a function
//! of the log, and every file sits on the floor where a stranger would look
//! for it.** This page says where that is.
//!
//! # The floors
//!
//! ```text
//!  6  main · cli            what a person types, one file per command
//!  5  agent                 the life of one member: configure, found, serve, elect, stop
//!  4  api ∥ state           etcd's face, one file per gRPC service ∥ what the agent knows
//!  3  replica               the running member: threads, clock, watchers, leases
//!  2  consensus ∥ store     how members agree ∥ what the data means; both pure
//!  1  engine                ordered bytes on disk
//!  0  proto · ids           messages as generated, and the numbers that name things
//! ```
//!
//! Imports go down, never up or sideways; `replica` is the only bridge between
//! `consensus` and `store`. Each large dependency has one door: raft's is
//! `consensus`, RocksDB's `engine/rocks.rs`, clap's `cli`, etcd-client's
//! `state`. `tests/tidy.rs` holds both tables and fails on a breach.
//!
//! # A put, from the socket to the answer
//!
//! ```text
//!  tokio tasks          driver (thread)       writer (thread)      applier (thread)
//!  api: check, propose ▶ takes the whole inbox
//!                        one entry for all ───▶ one batch, one sync
//!                        ◀──── persisted ──────┘
//!                        committed ─────────────────────────────▶ store.apply: one batch
//!  answer ◀──────────────────────────────────────────────────────  wake the caller,
//!                                                                  tell the watchers
//! ```
//!
//! Whoever has news for the driver turns it, the writer most of all; and a
//! small batch the writer applies itself, so that a lone put changes threads
//! twice (`replica/runtime.rs`). Connections have threads of their own, each
//! with all requests that came over it (`api/shards.rs`).
//!
//! A read never enters the log: it waits until what was acknowledged before it
//! is applied (for a sole voter it is), then reads at a pinned revision, in
//! slices, on its own task.
//!
//! # The laws
//!
//! 1. State changes nowhere but in [`store::Store::apply`]. Lease expiry,
//!    compaction, alarms, membership: all are commands in the log.
//! 2. `store` and `consensus` have no clock, no randomness, no thread, no
//!    socket, no unordered iteration.
//! 3. `store` has never heard of raft; `consensus` has never heard of etcd.
//! 4. raft's, RocksDB's and tonic's types stop at their door.
//! 5. Nothing is sent that depends on a write not yet synced; nothing is
//!    answered that is not committed *and* applied here.
//! 6. The member that was asked answers: a command carries its
//!    [`ids::ProposalId`], and whichever member's applier meets its own id
//!    completes the call. No reply travels between members.
//! 7. One entry, one engine batch, applied index included: after a crash the
//!    store is exactly at some index, and the log supplies the rest.
//! 8. In simulation even raft's dice are loaded.
//! 9. Every queue is bounded, and the constant that bounds it says what
//!    happens when it is full.
//! 10. A disk that fails ends the process.
//!
//! # Where a change goes
//!
//! | to change | go to |
//! |---|---|
//! | what a request means | `store/` (`txn.rs`, `range.rs` …), a script in `store/testscripts/` |
//! | what is refused at the door, or an error's text | `api/check.rs`, `api/status.rs` |
//! | a field or a service on the wire | `proto/etcd/`, then `api/` |
//! | a row on disk | `store/schema.rs`, `consensus/log.rs` |
//! | what an entry of the log may hold | `proto/kat/log.proto`, `store/command.rs` |
//! | threads, batching, timeouts | `replica/` |
//! | a flag, a command, its help | `cli/` |
//! | a field of `cluster.kat` | `agent/config/` |
//! | what `init` and `run` do, in which order | `agent/bootstrap.rs`, `agent/serve.rs` |
//! | a rule of the house | `tests/tidy.rs` |
//!
//! # What is proved, and how
//!
//! Scripts beside the store; `tests/sim`, a cluster in one thread under one
//! seed; `tests/wire`, real processes beside stock etcd, each answer compared,
//! and other people's clients (`tests/clients`) driving both; `make fuzz`,
//! bytes of strangers taken as far as the store (`fuzz/`); `make bench`,
//! speed as a ratio to stock etcd in the same run.

pub mod cli;
#[cfg(any(test, fuzzing))]
pub mod fuzz;

pub mod agent;

pub mod api;
pub mod state;

pub mod replica;

pub mod consensus;
pub mod store;

pub mod engine;

pub mod ids;
pub mod proto;
