//! Watchers: events on their way to those who wait for them.
//!
//! The hub ([`Watchers`]) hears of every revision from the applier and knows,
//! by key and by range, who waits for what. It keeps the changes that anybody
//! wants in one ring, and leaves a note (watcher, revision) in the mailbox of
//! each stream concerned. A [`WatchStream`] takes its notes on its own task and
//! makes responses of them.
//!
//! ```text
//!  applier ── publish ──▶ Index: who wants this key? ── note ──▶ Mailbox ─┐
//!                │                                                        ▼
//!                └─ changes ──▶ Ring (bounded in bytes) ◀── looks up ─ WatchStream ──▶ client
//!                                                                         │
//!                               Reader::history ◀── what is not there ────┘
//! ```
//!
//! - A note whose changes fell out of the ring, or that found its mailbox full,
//!   sends one watcher back to history; it costs nobody else anything.
//! - A watcher is *synced* when it is in the index and everything before was
//!   delivered, *behind* when it reads history. It enters the index first and
//!   closes the gap then, so nothing is missed; revisions that it already had
//!   are skipped by its own position, so nothing comes twice.
//! - One task says everything on a stream, in the order in which it is true:
//!   what a progress response speaks of has been said before it.
//! - The hub's lock is never held while anybody reads history or waits.

mod batch;
mod fragments;
mod hub;
mod index;
mod mailbox;
mod progress;
mod stream;
#[cfg(test)]
mod tests;
mod watcher;

pub use self::hub::Watchers;
pub use self::stream::{WatchOptions, WatchStream};
