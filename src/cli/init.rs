//! `kat-agent init`: a cluster is born, and its first node stays.

use std::io::{IsTerminal as _, stdout};

use clap::Args;

use super::command::{Global, block_on};
use super::run::{StoreArgs, set};
use crate::agent::config::{Inputs, Override};
use crate::agent::{Failure, OnReady, Ready, init, init_at, plan};

/// `kat-agent init ...`
#[derive(Args, Debug)]
pub(super) struct InitArgs {
    /// The name of this node; the host's name if not given
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Where others reach this node: an address, a name or `auto`
    #[arg(long, value_name = "ADDRESS")]
    advertise_address: Option<String>,
    /// Set a field of the file, with dots for nesting; may be repeated
    #[arg(long, value_name = "FIELD=VALUE")]
    set: Vec<String>,
    /// Added to every port: several members on one machine
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
    /// Say what would be done, and change nothing
    #[arg(long, short = 'n', conflicts_with = "endpoints")]
    dry_run: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Makes a cluster, or goes on with it, until asked to stop.
pub(super) fn run(args: &InitArgs, global: &Global) -> Result<(), Failure> {
    let inputs = inputs(args, global)?;
    if args.dry_run {
        let text = block_on(plan(inputs))??;
        print!("{text}");
        return Ok(());
    }
    match args.store.visit()? {
        Some(visit) => block_on(init_at(inputs, visit, welcome()))?,
        None => block_on(init(inputs, welcome()))?,
    }
}

fn inputs(args: &InitArgs, global: &Global) -> Result<Inputs, Failure> {
    let mut inputs = global.inputs();
    inputs.node_name.clone_from(&args.node_name);
    inputs.port_offset = args.port_offset;
    if let Some(address) = &args.advertise_address {
        let flag = Override::of_flag("--advertise-address", "advertiseAddress", address);
        inputs.flags.push(flag);
    }
    inputs.flags.extend(set(&args.set)?);
    Ok(inputs)
}

/// Tells a person at a terminal what there is now, and what to type next.
pub(super) fn welcome() -> OnReady {
    Box::new(|ready: &Ready| {
        if !stdout().is_terminal() {
            return;
        }
        let Ready { cluster, uid, node, client_urls } = ready;
        println!("\nCluster   {cluster}  (uid {uid})");
        println!("Node      {node}");
        if client_urls.is_empty() {
            return;
        }
        println!("Clients   {}", client_urls.join(", "));
        println!("\nNext      eval \"$(kat-agent env)\"");
        println!("          etcdctl get /kat --prefix");
        println!("          etcdctl elect -l /kat/leader_election\n");
    })
}
