//! In the place of an `etcd` binary: its command line, its log, its manners.
//!
//! Programs that start an etcd know it by its flags, by a few lines of its log
//! and by how it ends; all of that is here, over the same member that an agent
//! carries. Nothing of KAT is: no keys, no election, no record.
//!
//! ```text
//!   arguments, ETCD_* or a file ── Flags ── Settings ── serve ── Member
//!      go.rs, value.rs, file.rs             settings.rs, tokens.rs
//! ```
//!
//! Where its log goes is in `log.rs`. What the ports speak is in `ports.rs`,
//! for which `listen.rs` and `security.rs` read the flags, and `self_signed.rs`
//! makes certificates.
//!
//! - What an operator asks for and does not get ends the start; what has no
//!   meaning here is accepted, and named once in the log.

mod file;
mod flags;
mod go;
mod listen;
mod log;
mod ports;
mod security;
mod self_signed;
mod serve;
mod settings;
mod start;
mod tokens;
mod value;

pub use self::flags::help;
pub use self::go::{Flags, Misread};
pub use self::log::start_log;
pub use self::serve::{Ended, serve};
pub use self::settings::Settings;
pub use self::start::refuse;
