//! `kat-agent etcd`, and the binary under the name `etcd`.

use std::process::ExitCode;

use super::command::{block_on, environment};
use super::version;
use crate::agent::{
    Ended, Flags, Misread, Settings, etcd_help, refuse_etcd, serve_etcd, start_etcd_log,
};

/// Takes etcd's arguments, and serves as etcd until asked to stop.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    let flags = match Flags::read(arguments) {
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
    let flags = flags.complete(&environment());
    let settings = flags.and_then(|flags| {
        start_etcd_log(&flags)?;
        Settings::of(&flags)
    });
    let settings = match settings {
        Ok(settings) => settings,
        Err(misread) => return refuse(&misread),
    };
    match block_on(serve_etcd(settings)) {
        Ok(Ended::Failed(exit)) => ExitCode::from(exit),
        Ok(Ended::Signal(signal)) => die_of(signal),
        Ok(Ended::Removed) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong: whoever mistyped a flag sees it in Go's words, with the
/// usage; anything else is a line of the log.
fn refuse(misread: &Misread) -> ExitCode {
    if misread.is_bare() {
        eprintln!("{misread}");
    } else if misread.exit == 2 {
        eprintln!(
            "{misread}\nUsage:\n\n  etcd [flags]\n    Start an etcd server.\n\n  etcd --help\n    \
             List the flags."
        );
    } else {
        refuse_etcd(misread);
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
