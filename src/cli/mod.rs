//! What a person types: one file per command.
//!
//! A command turns words into a request of `agent` and what comes of it into
//! text and an exit code; it decides nothing else. `kat-agent etcd`, and the
//! binary under the name `etcd`, leave clap aside: those words are Go's.
//!
//! - Results go to standard output, everything else to standard error.
//! - A flag that does nothing yet is not there.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this floor speaks to the person at the terminal"
)]

mod command;
mod config;
mod env;
mod etcd;
mod init;
mod run;
mod version;

pub use command::main;
