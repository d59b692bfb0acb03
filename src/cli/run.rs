//! `kat-agent run`: an existing node, or one without a store of its own.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::command::{Global, block_on};
use super::init::welcome;
use crate::agent::config::Override;
use crate::agent::{Failure, Report, Visit, run as run_node, run_at};

/// `kat-agent run ...`
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The name of this node; what `init` was given, else the host's name
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Where others reach this node: an address, a name or `auto`
    #[arg(long, value_name = "ADDRESS")]
    advertise_address: Option<String>,
    /// Set a field of this node, with dots for nesting; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Where a store is that is not this node's own.
#[derive(Args, Debug)]
pub(super) struct StoreArgs {
    /// Use the store at these URLs, and carry none
    #[arg(long, value_name = "URL", value_delimiter = ',', env = "KAT_ENDPOINTS")]
    endpoints: Vec<String>,
    /// Who asks, if that store keeps accounts
    #[arg(long, value_name = "NAME", requires = "password_file", requires = "endpoints")]
    user: Option<String>,
    /// The file with the password
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Accept plaintext over a network
    #[arg(long)]
    insecure_plaintext: bool,
}

impl StoreArgs {
    /// The store elsewhere, if one was named.
    pub(super) fn visit(&self) -> Result<Option<Visit>, Failure> {
        if self.endpoints.is_empty() {
            return Ok(None);
        }
        let user = match (&self.user, &self.password_file) {
            (Some(user), Some(file)) => {
                let password = fs::read_to_string(file).map_err(|why| {
                    let what = format!("cannot read {}: {why}", file.display());
                    Report::usage(what, "correct --password-file")
                })?;
                Some((user.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
            }
            _ => None,
        };
        Ok(Some(Visit {
            endpoints: self.endpoints.clone(),
            user,
            allow_plaintext: self.insecure_plaintext,
        }))
    }
}

/// Starts a node, and lives until asked to stop.
pub(super) fn run(args: &RunArgs, global: &Global) -> Result<(), Failure> {
    let mut inputs = global.inputs();
    inputs.node_name.clone_from(&args.node_name);
    if let Some(address) = &args.advertise_address {
        let flag = Override::of_flag("--advertise-address", "advertiseAddress", address);
        inputs.flags.push(flag);
    }
    inputs.flags.extend(set(&args.set)?);
    match args.store.visit()? {
        Some(visit) => block_on(run_at(inputs, visit, welcome()))?,
        None => block_on(run_node(inputs, welcome()))?,
    }
}

/// Reads what was given with `--set`.
pub(super) fn set(arguments: &[String]) -> Result<Vec<Override>, Failure> {
    arguments.iter().map(|argument| Override::set(argument).map_err(Failure::from)).collect()
}
