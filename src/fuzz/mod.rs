//! What `make fuzz` throws bytes at: whatever a stranger may send or hand over.
//!
//! A target is a function that takes any bytes, panics when something is wrong,
//! and says nothing otherwise. It begins with seeds, which are made here, from
//! what the rest of kat writes; the fuzzer (`tests/fuzz/`) changes them and keeps
//! what leads to places where none was before.
//!
//! - Nothing here is in the program: this is compiled for tests and the fuzzer.
//! - What was learnt, and what once went wrong, stands in `tests/fuzz/corpus/`, and
//!   every test run throws it again (`tests.rs`).
//! - A target is a function of its bytes: no clock, no chance, no thread.

mod bolt;
mod json;
mod requests;
mod target;
#[cfg(test)]
mod tests;

pub use self::target::{TARGETS, Target, find};
