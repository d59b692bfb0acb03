//! Real processes, spoken to as anybody would speak to them.
//!
//! What is asked of ours is asked of stock etcd too, wherever etcd can answer:
//! a test that is wrong about etcd fails there. The stock programs come from
//! `make peers`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod agent;
mod clients;
mod comparison;
mod differences;
mod dropin;
mod metrics;
mod pages;
mod process;
mod rows;
mod state;
mod tls;
