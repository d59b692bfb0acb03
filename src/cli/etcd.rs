//! `kat-agent etcd`, and the binary under the name `etcd`.

use std::process::ExitCode;

use super::command::{block_on, environment};
use super::version;
use crate::agent::{Ended, Flags, Misread, Settings, etcd_help, serve_etcd};

/// Takes etcd's arguments, and serves as etcd until asked to stop.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    let flags = match Flags::read(arguments, &environment()) {
        Ok(flags) => flags,
        Err(misread) => return refuse(&misread),
    };
    if flags.wants_help {
        print!("{}", etcd_help());
        return ExitCode::SUCCESS;
    }
    if flags.is_on("version") {
        print!("{}", version::as_etcd());
        return ExitCode::SUCCESS;
    }
    let settings = match Settings::of(&flags) {
        Ok(settings) => settings,
        Err(misread) => return refuse(&misread),
    };
    match block_on(serve_etcd(settings)) {
        Ok(Ended::Failed(exit)) => ExitCode::from(exit),
        Ok(Ended::Signal(signal)) => die_of(signal),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong in Go's words; whoever mistyped a flag sees the usage too.
fn refuse(misread: &Misread) -> ExitCode {
    eprintln!("{misread}");
    if misread.exit == 2 {
        eprintln!(
            "Usage:\n\n  etcd [flags]\n    Start an etcd server.\n\n  etcd --help\n    List \
                   the flags."
        );
    }
    ExitCode::from(misread.exit)
}

/// etcd dies of the signal that stopped it, and as the first process exits.
fn die_of(signal: i32) -> ExitCode {
    if std::process::id() == 1 {
        return ExitCode::SUCCESS;
    }
    // It does not come back from there, unless the signal is blocked.
    signal_hook::low_level::emulate_default_handler(signal).ok();
    ExitCode::from(u8::try_from(128 + signal).unwrap_or(1))
}
