//! raft's log lines, carried from slog to `tracing`.
//!
//! Only the text and the level cross: raft's key-value pairs repeat what the
//! driver's own lines say with our names.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let text = record.msg();
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{text}"),
            Level::Warning => tracing::warn!(target: "raft", "{text}"),
            // Elections are reported by the driver, once, in our words.
            Level::Info | Level::Debug => tracing::debug!(target: "raft", "{text}"),
            Level::Trace => tracing::trace!(target: "raft", "{text}"),
        }
        Ok(())
    }
}

/// The logger that raft is given.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, o!())
}
