//! The command line as a whole: what is global, which command it is, and how a
//! process ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::config::{self, ConfigArgs, Given};
use super::env::{self, EnvArgs};
use super::etcd;
use super::init::{self, InitArgs};
use super::run::{self, RunArgs};
use super::version;
use crate::agent::config::{ConfigSource, Inputs, Override};
use crate::agent::{Failure, Report, remember, watch_for_panics};

const EXAMPLES: &str = "Examples:
  kat-agent init --config cluster.kat           make a cluster, and stay as its first node
  kat-agent run                                 start this node again
  kat-agent run --endpoints http://HOST:2379    take part without a store of its own
  eval \"$(kat-agent env)\"                       let etcdctl find the store
";

/// A node of a KAT cluster, with the cluster's store inside.
#[derive(Parser, Debug)]
#[command(
    name = "kat-agent",
    version,
    before_help = EXAMPLES,
    arg_required_else_help = true,
    propagate_version = false,
    infer_subcommands = false
)]
struct Typed {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The flags that every command takes.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Global {
    /// The cluster's file, `-` for standard input
    #[arg(long, short, global = true, value_name = "FILE", env = "KAT_CONFIG")]
    config: Option<PathBuf>,
    /// Where the store is
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// The form of results and errors
    #[arg(long, short, global = true, value_enum, default_value = "text", env = "KAT_OUTPUT")]
    output: Form,
    /// The same as --output json
    #[arg(long, global = true)]
    json: bool,
    /// error, warn, info, debug, trace, or a list such as info,store=debug
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// auto, human, json or journald
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make a cluster on this node, and stay as the agent
    Init(Box<InitArgs>),
    /// Start an existing node, or take part in a store elsewhere
    Run(Box<RunArgs>),
    /// Look at a configuration without starting anything
    Config(Box<ConfigArgs>),
    /// Print the variables with which etcdctl finds the store
    Env(EnvArgs),
    /// Take the place of an etcd server; `kat-agent etcd --help` lists its flags
    #[command(disable_help_flag = true)]
    Etcd {
        /// etcd's own flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        flags: Vec<String>,
    },
    /// Print the version
    Version,
}

/// Runs the command line of this process, and returns its exit code.
pub fn main() -> ExitCode {
    watch_for_panics();
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let called = words.first().map_or("kat-agent", String::as_str);
    let is_etcd = Path::new(called).file_name().is_some_and(|name| name == "etcd");
    if is_etcd {
        return etcd::run(words.get(1..).unwrap_or_default());
    }
    // Go's words, dashes and all, never reach clap.
    if words.get(1).is_some_and(|word| word == "etcd") {
        return etcd::run(&words[2..]);
    }
    let typed = match Typed::try_parse_from(&words) {
        Ok(typed) => typed,
        Err(help) => {
            // A closed terminal is no reason to say anything else.
            help.print().ok();
            return ExitCode::from(u8::try_from(help.exit_code()).unwrap_or(2));
        }
    };
    let global = typed.global;
    let ended = match typed.command {
        Command::Init(args) => init::run(&args, &global),
        Command::Run(args) => run::run(&args, &global),
        Command::Config(args) => return config::run(&args, &global.given()),
        Command::Env(args) => env::run(&args, &global),
        Command::Etcd { flags } => return etcd::run(&flags),
        Command::Version => {
            version::run(global.form());
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, global.form()),
    }
}

fn fail(failure: &Failure, form: Form) -> ExitCode {
    match form {
        Form::Text => eprintln!("{failure}"),
        Form::Json => eprintln!("{}", failure.to_json()),
    }
    ExitCode::from(failure.exit())
}

/// Runs a life to its end, on a thread for each processor.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|why| {
        Report::usage(format!("no threads can be started: {why}"), "raise the limit of processes")
    })?;
    let done = runtime.block_on(work);
    // Whatever still runs was given its time, and is safe to lose.
    runtime.shutdown_background();
    Ok(done)
}

impl Global {
    /// The form of what is printed.
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { self.output }
    }

    /// What a configuration is made from, as far as it is global.
    pub(super) fn inputs(&self) -> Inputs {
        let named = |flag: &str, field: &str, value: &Option<String>| {
            value.as_ref().map(|value| Override::of_flag(flag, field, value))
        };
        let flags = [
            named("--data-dir", "dataDir", &self.data_dir),
            named("--log-level", "logging.level", &self.log_level),
            named("--log-format", "logging.format", &self.log_format),
        ];
        Inputs {
            config: self.config.as_deref().map(ConfigSource::of_flag),
            flags: flags.into_iter().flatten().collect(),
            environment: environment(),
            ..Inputs::default()
        }
    }

    /// The same for `config`, with what this node remembers; a file that is wrong
    /// is `config`'s own business.
    fn given(&self) -> Given {
        let inputs = self.inputs();
        let inputs = remember(inputs.clone()).unwrap_or(inputs);
        Given {
            config: self.config.clone(),
            node_name: inputs.node_name,
            flags: inputs.flags,
            socket: None,
            json: self.form() == Form::Json,
            environment: inputs.environment,
            stored: inputs.stored,
            remembered: inputs.remembered,
            remembered_node_name: inputs.remembered_node_name,
        }
    }
}

/// The environment, without what is no text.
pub(super) fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Typed::command().debug_assert();
    }

    #[test]
    fn a_global_flag_may_stand_behind_the_command() {
        let words = ["kat-agent", "init", "--config", "-", "--data-dir", "/d", "--json"];
        let typed = Typed::try_parse_from(words).unwrap();
        assert_eq!(typed.global.form(), Form::Json);
        let inputs = typed.global.inputs();
        assert_eq!(inputs.config, Some(ConfigSource::Stdin));
        assert_eq!(inputs.flags[0].field, "dataDir");
    }
}
