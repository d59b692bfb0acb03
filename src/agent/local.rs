//! What can be said of this machine without starting anything, and what is said
//! when it breaks.

use std::io::Write as _;
use std::panic;

use super::config::{Inputs, Purpose, Stored, Url, load};
use super::errors::Failure;
use super::logs::FATAL;
use super::paths::settle;
use super::state_file::{Found, Record, survey};

/// How the engine begins what it says of a disk that failed.
const DISK: &str = "disk failure";

/// The exit code of a process whose disk failed: starting again does not help.
const INTEGRITY: i32 = 11;

/// Completes what a configuration is made from with what this node remembers.
///
/// # Errors
/// The configuration is wrong.
pub fn remember(inputs: Inputs) -> Result<Inputs, Failure> {
    let look = load(&Inputs { purpose: Purpose::Look, ..inputs.clone() })?;
    let Ok(paths) = settle(&look, Purpose::Look, None, &inputs.environment) else {
        return Ok(inputs);
    };
    let Ok(Found::Node(record)) = survey(&paths.data_dir) else {
        return Ok(inputs);
    };
    Ok(recall(inputs, &record))
}

/// Adds what a node's record holds.
pub(super) fn recall(inputs: Inputs, record: &Record) -> Inputs {
    Inputs {
        stored: Some(Stored {
            name: record.cluster_name.clone(),
            cluster_json: record.cluster_config.clone(),
        }),
        remembered: record.remembered.clone(),
        remembered_node_name: Some(record.node_name.clone()),
        port_offset: if inputs.port_offset == 0 { record.port_offset } else { inputs.port_offset },
        ..inputs
    }
}

/// Returns where this node's store is reached from this machine.
///
/// # Errors
/// The configuration is wrong.
pub fn endpoints(inputs: Inputs) -> Result<Vec<String>, Failure> {
    let config = load(&Inputs { purpose: Purpose::Look, ..remember(inputs)? })?;
    Ok(config.client_urls().iter().map(Url::to_string).collect())
}

/// Ends the process at any panic: a machine that is broken, or a promise of the
/// code that is, must not be served from. The log supplies the rest at the next
/// start.
pub fn watch_for_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let said = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("no reason");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(target: FATAL, event = "panic", place, "{said}");
        if !tracing::dispatcher::has_been_set() {
            writeln!(std::io::stderr(), "kat-agent: {said} ({place})").ok();
        }
        if said.starts_with(DISK) {
            signal_hook::low_level::exit(INTEGRITY);
        }
        signal_hook::low_level::abort();
    }));
}
