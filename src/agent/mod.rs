//! The life of one member: how it is born, what it is built of, how it ends.
//!
//! A command of `cli` hands over a checked configuration; this floor gives it
//! effects. Two lives are led here:
//!
//! ```text
//!   init ─ bootstrap ─┐                              ┌─ election ─ observe
//!                     ├─ serve ─ member ─ replica    │            campaign
//!   run ──────────────┘            └─ api ─ channel ─┤
//!   run --endpoints ── visitor ───────── tcp ────────┘
//!   etcd ── dropin ────── member, and nothing of KAT
//! ```
//!
//! What it keeps:
//!
//! - A cluster is born by `init` alone. `run` never makes one, and a folder
//!   that belongs to something else is refused before it is touched.
//! - Whatever is half done is written down in `kat-state.json` before the next
//!   thing begins, so that the same command goes on where it was interrupted.
//! - What is built in order is stopped in reverse: leadership first, the disk
//!   last.
//! - The agent reaches its own store as any client would, through `state`; the
//!   one exception is what a member says of itself, which no client may say.
//! - Every failure names what happened, why, what to do, and its exit code.
//!
//! Deliberately not here: parsing arguments, which is `cli`, and what a
//! `cluster.kat` may say, which is [`config`].

mod bind;
mod bootstrap;
mod compaction;
pub mod config;
mod dropin;
mod election;
mod errors;
mod keys;
mod local;
mod lock;
mod logs;
mod member;
mod notify;
pub mod paths;
mod peer;
mod rotation;
mod serve;
mod signals;
mod state_file;
mod versions;
mod visitor;

pub use bootstrap::{init, plan};
pub use dropin::{
    Ended, Flags, Misread, Settings, help as etcd_help, refuse as refuse_etcd, serve as serve_etcd,
    start_log as start_etcd_log,
};
pub use errors::{Failure, Report};
pub use local::{endpoints, remember, watch_for_panics};
pub use peer::ETCD_VERSION;
pub use serve::{OnReady, Ready, run};
pub use visitor::{Visit, init_at, run_at};
