//! kat: a replicated store that speaks etcd's v3 API, and the agent that
//! carries it.

pub mod agent;
pub mod api;
pub mod cli;
pub mod consensus;
pub mod engine;
pub mod ids;
pub mod proto;
pub mod replica;
pub mod state;
pub mod store;
