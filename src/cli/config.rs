//! `kat-agent config`: look at a configuration without starting anything.
//!
//! What a command answers is decided apart from printing it, so that tests can
//! ask. Deliberately not here: reading what this node keeps, which the caller
//! does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use crate::agent::config::{
    Config, ConfigSource, EXAMPLE, Form, Inputs, Invalid, Kind, Override, Problem, Purpose, Stored,
    load, schema,
};
use crate::agent::paths::{self, Paths};

/// The arguments of `kat-agent config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Check a file and show everything that is wrong with it
    Validate {
        /// The file, `-` for standard input; without it the usual places
        file: Option<PathBuf>,
    },
    /// Print the effective values
    Print {
        /// Say of each value whether flag, env, file, store or default won
        #[arg(long)]
        show_origin: bool,
        /// Override a field, as `init` does
        #[arg(long, value_name = "FIELD=VALUE")]
        set: Vec<String>,
        /// Add to every port, as `init` does
        #[arg(long, value_name = "N", default_value_t = 0)]
        port_offset: u16,
    },
    /// Print a complete file
    Example,
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Compare a file with the store
    Diff {
        /// The file; without it the usual places
        file: Option<PathBuf>,
    },
    /// Store what a file changes
    Apply {
        /// The file; without it the usual places
        file: Option<PathBuf>,
        /// Only say what would change
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
}

/// What the global flags, the environment and this node's memory give.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// `--config`.
    pub(crate) config: Option<PathBuf>,
    /// `--node-name`, where there is one.
    pub(crate) node_name: Option<String>,
    /// `--data-dir`, `--log-level` and `--log-format`, as overrides.
    pub(crate) flags: Vec<Override>,
    /// `--socket`.
    pub(crate) socket: Option<PathBuf>,
    /// `-o json` or `--json`.
    pub(crate) json: bool,
    /// The whole environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// The cluster's fields, if this node keeps a copy.
    pub(crate) stored: Option<Stored>,
    /// What `init` or `join` was given, from `kat-state.json`.
    pub(crate) remembered: Map<String, Json>,
    /// The node name in `kat-state.json`.
    pub(crate) remembered_node_name: Option<String>,
}

/// What a command says, and how it ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    out: String,
    err: String,
    exit: u8,
}

/// Runs a `config` command: results to standard output, the rest to standard error.
pub(crate) fn run(args: &ConfigArgs, given: &Given) -> ExitCode {
    let Answer { out, err, exit } = answer(args, given);
    let written = io::stdout().write_all(out.as_bytes());
    let told = io::stderr().write_all(err.as_bytes());
    match written.and(told) {
        Ok(()) => ExitCode::from(exit),
        Err(_) => ExitCode::from(exit.max(1)),
    }
}

fn answer(args: &ConfigArgs, given: &Given) -> Answer {
    let result = match &args.command {
        ConfigCommand::Validate { file } => validate(file.as_deref(), given),
        ConfigCommand::Print { show_origin, set, port_offset } => {
            print(*show_origin, set, *port_offset, given)
        }
        ConfigCommand::Example => Ok(out(EXAMPLE.to_owned())),
        ConfigCommand::Schema => Ok(out(format!("{:#}\n", schema()))),
        ConfigCommand::Diff { .. } => Err(later("config diff")),
        ConfigCommand::Apply { .. } => Err(later("config apply")),
    };
    result.unwrap_or_else(|invalid| {
        let err = match given.json {
            true => format!("{}\n", invalid.to_json()),
            false => format!("{invalid}\n"),
        };
        Answer { err, exit: invalid.exit(), ..Answer::default() }
    })
}

/// Checks the file alone: no variable and no memory of this node counts.
fn validate(file: Option<&Path>, given: &Given) -> Result<Answer, Invalid> {
    const FIND_THE_FILE: [&str; 4] =
        ["KAT_CONFIG", "CONFIGURATION_DIRECTORY", "XDG_CONFIG_HOME", "HOME"];
    let mut environment = given.environment.clone();
    environment.retain(|name, _| FIND_THE_FILE.contains(&name.as_str()));
    let inputs = Inputs {
        purpose: Purpose::Look,
        config: file.or(given.config.as_deref()).map(ConfigSource::of_flag),
        environment,
        ..Inputs::default()
    };
    let config = load(&inputs)?;
    let Some(source) = &config.source else {
        let fix = "kat-agent config example > cluster.kat   writes a file to start from";
        return Err(Problem::new(Kind::Nothing, "no cluster.kat was found", fix).into());
    };
    if given.json {
        let answer = json!({ "file": source, "valid": true, "notes": config.notes });
        return Ok(out(format!("{answer}\n")));
    }
    let name = if source == Path::new("-") { Path::new("<stdin>") } else { source };
    let mut text = format!("{}: valid\n", name.display());
    for note in &config.notes {
        writeln!(text, "{note}").expect("a string takes all that is written to it");
    }
    Ok(out(text))
}

fn print(
    show_origin: bool,
    sets: &[String],
    port_offset: u16,
    given: &Given,
) -> Result<Answer, Invalid> {
    let mut flags = given.flags.clone();
    for set in sets {
        flags.push(Override::set(set)?);
    }
    let inputs = Inputs {
        purpose: Purpose::Look,
        config: given.config.as_deref().map(ConfigSource::of_flag),
        node_name: given.node_name.clone(),
        flags,
        environment: given.environment.clone(),
        port_offset,
        stored: given.stored.clone(),
        remembered: given.remembered.clone(),
        remembered_node_name: given.remembered_node_name.clone(),
    };
    let config = load(&inputs)?;
    let paths = paths::settle(&config, Purpose::Look, given.socket.as_deref(), &given.environment)?;
    let mut derived = config.derived_urls();
    derived.extend(unset_paths(&config, &paths));
    let form = if given.json { Form::Json } else { Form::Yaml };
    let err = config.notes.iter().map(|note| format!("{note}\n")).collect();
    Ok(Answer { out: config.print(form, show_origin, &derived), err, exit: 0 })
}

/// The paths that nobody set, as they would be chosen.
fn unset_paths(config: &Config, paths: &Paths) -> Map<String, Json> {
    [
        ("dataDir", &paths.data_dir),
        ("volumeBasePath", &paths.volume_base_path),
        ("backupPath", &paths.backup_path),
        ("tls.pkiDir", &paths.pki_dir),
    ]
    .into_iter()
    .filter(|(field, _)| !config.origins.is_set(field))
    .map(|(field, path)| (field.to_owned(), json!(path.to_string_lossy())))
    .collect()
}

fn out(out: String) -> Answer {
    Answer { out, ..Answer::default() }
}

fn later(command: &str) -> Invalid {
    let what = format!("kat-agent {command} is not there yet");
    let fix = "kat-agent config print --show-origin   shows what is in effect";
    Problem::new(Kind::NoCommand, what, fix).into()
}

#[cfg(test)]
mod tests;
