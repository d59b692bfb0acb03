//! Streams over a hub and a real store.
//!
//! `world` is the store, the applier and the clients' words; `rules` holds what
//! each request is answered; `joins` is about history, compaction and progress;
//! `random` lets many streams and a writer run at once.

mod joins;
mod random;
mod rules;
mod world;
