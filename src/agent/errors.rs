//! What an operator is told when something cannot go on: what, why, the fix, a
//! stable code, and the exit code that tells a supervisor whether to try again.
//!
//! Codes never change; their first two digits are the area: 00 configuration,
//! 01 init and run, 02 preflight, 03 store, 08 TLS, 09 command line.

use std::fmt;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::config::Invalid;
use crate::engine::Damage;
use crate::state::{Denial, Error, Fault, Obstacle};

/// Why a command ends.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Config(Box<Invalid>),
    /// Anything else.
    Other(Box<Report>),
}

/// One failure, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub what: String,
    /// Why.
    pub why: Option<String>,
    /// What to do.
    pub fix: String,
    /// The stable code.
    pub code: &'static str,
    /// The exit code of the process.
    pub exit: u8,
}

/// The kinds of failure: code and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(&'static str, u8);

impl Kind {
    pub(super) const OTHER_CLUSTER: Kind = Kind("KAT-E0101", 8);
    pub(super) const DROPIN_STORE: Kind = Kind("KAT-E0102", 8);
    pub(super) const FOREIGN_FILES: Kind = Kind("KAT-E0103", 8);
    pub(super) const LOCKED: Kind = Kind("KAT-E0104", 8);
    pub(super) const JOINING: Kind = Kind("KAT-E0105", 8);
    pub(super) const REMOVED: Kind = Kind("KAT-E0106", 13);
    pub(super) const NO_CLUSTER: Kind = Kind("KAT-E0107", 6);
    pub(super) const BAD_RECORD: Kind = Kind("KAT-E0108", 11);
    pub(super) const NO_ACCESS: Kind = Kind("KAT-E0109", 4);
    pub(super) const NO_KEYS: Kind = Kind("KAT-E0110", 6);
    pub(super) const UNFINISHED: Kind = Kind("KAT-E0111", 6);
    pub(super) const PORT_TAKEN: Kind = Kind("KAT-E0201", 7);
    pub(super) const DAMAGED: Kind = Kind("KAT-E0301", 11);
    pub(super) const UNREACHABLE: Kind = Kind("KAT-E0302", 3);
    pub(super) const NO_QUORUM: Kind = Kind("KAT-E0303", 5);
    pub(super) const TIMED_OUT: Kind = Kind("KAT-E0304", 10);
    pub(super) const NO_SPACE: Kind = Kind("KAT-E0305", 11);
    pub(super) const STORE: Kind = Kind("KAT-E0306", 1);
    pub(super) const DENIED: Kind = Kind("KAT-E0307", 4);
    pub(super) const IDENTITY: Kind = Kind("KAT-E0308", 9);
    pub(super) const IO: Kind = Kind("KAT-E0309", 1);
    pub(super) const PLAINTEXT: Kind = Kind("KAT-E0801", 9);
    pub(super) const USAGE: Kind = Kind("KAT-E0901", 2);

    /// Makes a failure of this kind.
    pub(super) fn report(self, what: impl Into<String>, fix: impl Into<String>) -> Report {
        let Kind(code, exit) = self;
        Report { what: what.into(), why: None, fix: fix.into(), code, exit }
    }
}

impl Report {
    /// Makes a failure of the command line itself.
    pub fn usage(what: impl Into<String>, fix: impl Into<String>) -> Report {
        Kind::USAGE.report(what, fix)
    }

    /// Adds the reason.
    #[must_use]
    pub(super) fn because(self, why: impl fmt::Display) -> Report {
        Report { why: Some(why.to_string()), ..self }
    }
}

impl Failure {
    /// Returns the exit code of the process.
    pub fn exit(&self) -> u8 {
        match self {
            Failure::Config(invalid) => invalid.exit(),
            Failure::Other(report) => report.exit,
        }
    }

    /// Returns the form of `-o json`.
    pub fn to_json(&self) -> Value {
        match self {
            Failure::Config(invalid) => invalid.to_json(),
            Failure::Other(report) => {
                let Report { what, why, fix, code, exit } = &**report;
                json!({"error": {
                    "code": code, "exit": exit, "what": what, "why": why, "fix": fix,
                }})
            }
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Failure {
        Failure::Config(Box::new(invalid))
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Failure {
        Failure::Other(Box::new(report))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Config(invalid) => invalid.fmt(f),
            Failure::Other(report) => report.fmt(f),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = |text: &str| text.replace('\n', "\n        ");
        writeln!(f, "error: {}", self.what)?;
        if let Some(why) = &self.why {
            writeln!(f, "  why:  {}", below(why))?;
        }
        writeln!(f, "  fix:  {}", below(&self.fix))?;
        write!(f, "  code: {} (exit {})", self.code, self.exit)
    }
}

/// The file system refuses something.
pub(super) fn disk(doing: &str, path: &Path, why: &io::Error) -> Report {
    let what = format!("cannot {doing} {}", path.display());
    let kind = match why.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Kind::NO_ACCESS,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::NO_SPACE,
        _ => Kind::IO,
    };
    let fix = match kind {
        Kind::NO_ACCESS => "give this user the right to write there, or name another --data-dir",
        Kind::NO_SPACE => "free space on that file system; nothing was overwritten",
        _ => "look at the file system, and start again",
    };
    kind.report(what, fix).because(why)
}

/// An engine does not open.
pub(super) fn damage(damage: &Damage) -> Report {
    match damage {
        Damage::Locked(path) => {
            let what = format!("{path} is in use by another process");
            Kind::LOCKED.report(what, "stop the process that uses it")
        }
        Damage::Io(text) if text.contains("No space left") => {
            let fix = "free space on that file system; nothing was overwritten";
            Kind::NO_SPACE.report("the store's disk is full", fix).because(text)
        }
        Damage::Io(text) if text.contains("Permission denied") => {
            let fix = "give this user the right to read and write there";
            Kind::NO_ACCESS.report("the store's files are out of reach", fix).because(text)
        }
        // A file that is missing or cut short shows as a failed read.
        Damage::Corrupt(text) | Damage::Io(text) => damaged(text),
    }
}

/// What is on disk is not what was written.
pub(super) fn damaged(why: impl fmt::Display) -> Report {
    let fix = "nothing was changed: put the files back from a copy, or restore a snapshot \
               into another --data-dir";
    Kind::DAMAGED.report("the store on disk is damaged", fix).because(why)
}

/// The store answers with an error, or not at all.
pub(super) fn store(doing: &str, error: &Error) -> Report {
    let kind = match error {
        Error::Unavailable { why: Obstacle::Unreachable, .. } => Kind::UNREACHABLE,
        Error::Unavailable { why: Obstacle::NoQuorum, .. } => Kind::NO_QUORUM,
        Error::Unavailable { .. } => Kind::TIMED_OUT,
        Error::Denied { why: Denial::Permission, .. } => Kind::DENIED,
        Error::Denied { why: Denial::Identity, .. } => Kind::IDENTITY,
        Error::Operator { why: Fault::Removed, .. } => Kind::REMOVED,
        Error::Operator { why: Fault::NoSpace, .. } => Kind::NO_SPACE,
        Error::Operator { .. } => Kind::DAMAGED,
        Error::Misuse { .. } | Error::Compacted { .. } | Error::Closed => Kind::STORE,
    };
    let fix = match kind {
        Kind::UNREACHABLE => "start the store, or correct --endpoints",
        Kind::NO_QUORUM => "start enough members for a quorum",
        Kind::TIMED_OUT => "try again",
        Kind::DENIED => "give the user the right to read and write under /kat/",
        Kind::IDENTITY => "check the user and the password",
        Kind::NO_SPACE => "compact the store, then disarm its alarm",
        Kind::REMOVED | Kind::DAMAGED => "look at the store's own log",
        _ => "read the reason above; nothing was left half done",
    };
    kind.report(format!("cannot {doing}"), fix).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_what_why_fix_and_code() {
        let report = Kind::LOCKED.report("in use", "stop it").because("process 7\nruns");
        let shown = Failure::from(report.clone()).to_string();
        let expected = "error: in use\n  why:  process 7\n        runs\n  fix:  stop it\n  \
                        code: KAT-E0104 (exit 8)";
        assert_eq!(shown, expected);
        let json = Failure::from(report).to_json();
        assert_eq!(json["error"]["exit"], 8);
        assert_eq!(json["error"]["why"], "process 7\nruns");
    }

    #[test]
    fn a_full_disk_is_not_a_damaged_store() {
        let full = damage(&Damage::Io("log: No space left on device".into()));
        assert_eq!((full.code, full.exit), ("KAT-E0305", 11));
        let torn = damage(&Damage::Corrupt("log: checksum".into()));
        assert_eq!((torn.code, torn.exit), ("KAT-E0301", 11));
        let shut = disk("write", Path::new("x"), &io::ErrorKind::PermissionDenied.into());
        assert_eq!(shut.exit, 4);
    }
}
