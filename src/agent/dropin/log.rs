//! What the flags say of the log: how much, in which form, and where it goes.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::go::{Flags, Misread, failed, usage};
use super::value::go_error;
use crate::agent::logs::{self, Form, Output};
use crate::agent::rotation::{Plan, Rotating};

/// The output that is systemd's.
const JOURNAL: &str = "systemd/journal";

/// Outputs that are no files.
const STREAMS: [&str; 3] = ["default", "stderr", "stdout"];

/// Opens the log where it is wanted; whatever is wrong with the other flags is
/// said there already.
///
/// # Errors
/// Values that contradict each other, and outputs that cannot be opened.
pub fn start_log(flags: &Flags) -> Result<(), Misread> {
    let filter = logs::filter(level(flags.text("log-level"))?);
    let form = form(flags.text("log-format"))?;
    let names = outputs(flags)?;
    let plan = plan(flags, &names)?;
    let mut outputs = Vec::new();
    for name in &names {
        outputs.push(match name.as_str() {
            JOURNAL if logs::write_to_journal(filter.clone()) => return Ok(()),
            "default" | "stderr" | JOURNAL => Output::Stderr,
            "stdout" => Output::Stdout,
            path => {
                let opened = open(Path::new(path), plan.as_ref());
                opened.map_err(|why| {
                    let why = go_error(&why);
                    failed(format!("open sink {path:?}: open {path}: {why}"))
                })?
            }
        });
    }
    logs::write_to(outputs, form, filter);
    Ok(())
}

fn open(path: &Path, plan: Option<&Plan>) -> io::Result<Output> {
    if let Some(plan) = plan {
        let file = Rotating::open(path, plan.clone())?;
        return Ok(Output::Rotating(Arc::new(Mutex::new(file))));
    }
    let file = File::options().create(true).append(true).mode(0o600).open(path)?;
    Ok(Output::File(Arc::new(Mutex::new(file))))
}

fn level(level: &str) -> Result<&str, Misread> {
    match level {
        "debug" | "info" | "warn" | "error" => Ok(level),
        "dpanic" | "panic" | "fatal" => Ok("error"),
        _ => Err(usage(format!(
            "invalid value {level:?} for flag -log-level: unrecognized level: {level:?}"
        ))),
    }
}

fn form(format: &str) -> Result<Form, Misread> {
    match format {
        "json" => Ok(Form::Etcd),
        "console" => Ok(Form::EtcdConsole),
        _ => {
            let text = format!("unknown log format: {format}, supported values json, console");
            Err(failed(text))
        }
    }
}

fn outputs(flags: &Flags) -> Result<Vec<String>, Misread> {
    match flags.text("logger") {
        "zap" => {}
        "capnslog" => return Err(failed("--logger=capnslog is removed in v3.5")),
        other => return Err(failed(format!("unknown logger option {other:?}"))),
    }
    let given = match flags.text("log-outputs") {
        // A list without anything in a file.
        "" if flags.is_file => "default",
        given => given,
    };
    let mut outputs: Vec<_> = given.split(',').map(str::to_owned).collect();
    outputs.sort_unstable();
    outputs.dedup();
    if outputs.len() > 1 && outputs.iter().any(|output| output == "default") {
        return Err(failed("multi logoutput for \"default\" is not supported yet"));
    }
    if outputs.len() > 1 && outputs.iter().any(|output| output == JOURNAL) {
        let text = "running with systemd/journal but other '--log-outputs' values";
        return Err(failed(format!("{text} ({outputs:?}) are configured with 'default'")));
    }
    Ok(outputs)
}

/// How the one file among the outputs is rotated, if it is.
fn plan(flags: &Flags, outputs: &[String]) -> Result<Option<Plan>, Misread> {
    if !flags.is_on("enable-log-rotation") {
        return Ok(None);
    }
    if outputs.iter().filter(|output| !STREAMS.contains(&output.as_str())).count() != 1 {
        let text = "--log-outputs requires a single file path when --log-rotate-config-json is \
                    defined";
        return Err(failed(text));
    }
    Plan::read(flags.text("log-rotation-config-json")).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> String {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        start_log(&Flags::read(&owned).unwrap()).unwrap_err().text
    }

    #[test]
    fn what_cannot_be_a_log_is_refused() {
        for (arguments, why) in [
            (&["--log-outputs=default,stderr"] as &[&str], "multi logoutput"),
            (&["--log-outputs=nowhere/at/all"], "open sink \"nowhere/at/all\": open nowhere"),
            (&["--log-outputs="], "open sink \"\": open : no such file or directory"),
            (&["--log-format=x"], "unknown log format: x, supported values json, console"),
            (&["--log-level=x"], "invalid value \"x\" for flag -log-level"),
            (&["--logger=x"], "unknown logger option \"x\""),
            (&["--enable-log-rotation"], "--log-outputs requires a single file path"),
            (
                &["--enable-log-rotation", "--log-outputs=a", "--log-rotation-config-json={x"],
                "improperly formatted log rotation config",
            ),
        ] {
            let refused = refused(arguments);
            assert!(refused.starts_with(why), "{arguments:?}: {refused}");
        }
    }
}
