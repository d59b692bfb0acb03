//! `kat-agent env`: the variables with which etcdctl finds the store.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::command::{Form, Global};
use crate::agent::{Failure, endpoints};

const VARIABLE: &str = "ETCDCTL_ENDPOINTS";

/// `kat-agent env ...`
#[derive(Args, Debug)]
pub(super) struct EnvArgs {
    /// The shell that is to read it
    #[arg(long, value_enum, default_value = "bash")]
    shell: Shell,
    /// Remove the variables again
    #[arg(long)]
    unset: bool,
}

/// A shell, by how it sets a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// GNU bash, and any POSIX shell
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
    /// PowerShell
    Pwsh,
    /// Nushell
    Nu,
}

/// Prints what the shell is to evaluate.
pub(super) fn run(args: &EnvArgs, global: &Global) -> Result<(), Failure> {
    if args.unset {
        println!("{}", args.shell.unset());
        return Ok(());
    }
    let value = endpoints(global.inputs())?.join(",");
    match global.form() {
        Form::Text => println!("{}", args.shell.set(&value)),
        Form::Json => println!("{}", json!({ VARIABLE: value })),
    }
    Ok(())
}

impl Shell {
    /// A URL has nothing in it that a shell would read otherwise.
    fn set(self, value: &str) -> String {
        match self {
            Shell::Bash | Shell::Zsh => format!("export {VARIABLE}='{value}'"),
            Shell::Fish => format!("set -gx {VARIABLE} '{value}'"),
            Shell::Pwsh => format!("$Env:{VARIABLE} = '{value}'"),
            Shell::Nu => format!("$env.{VARIABLE} = '{value}'"),
        }
    }

    fn unset(self) -> String {
        match self {
            Shell::Bash | Shell::Zsh => format!("unset {VARIABLE}"),
            Shell::Fish => format!("set -e {VARIABLE}"),
            Shell::Pwsh => format!("Remove-Item Env:{VARIABLE}"),
            Shell::Nu => format!("hide-env {VARIABLE}"),
        }
    }
}
