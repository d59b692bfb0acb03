//! Everything a configuration is made from, as it was given.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::diagnose::{Invalid, Kind, Problem};
use super::file::ConfigSource;

/// What the configuration is for, which decides what it must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Purpose {
    /// A cluster is made: cluster fields count, the name is required.
    #[default]
    Init,
    /// A node starts: cluster fields come from the store, or its last copy.
    Run,
    /// A node joins: cluster fields come from the cluster.
    Join,
    /// Somebody only looks: what is not there yet is noted, not refused.
    Look,
}

/// A field given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The field, with dots.
    pub field: String,
    /// Its value, as typed.
    pub value: String,
    /// How it was given, such as `--data-dir`.
    pub flag: String,
}

impl Override {
    /// Reads the argument of `--set`.
    pub fn set(argument: &str) -> Result<Self, Invalid> {
        match argument.split_once('=') {
            Some((field, value)) if !field.is_empty() => {
                Ok(Self::of_flag("--set", field.strip_prefix("spec.").unwrap_or(field), value))
            }
            _ => {
                let what = format!("--set needs field=value, and has \"{argument}\"");
                Err(Problem::new(Kind::Usage, what, "for example   --set agentPort=9116").into())
            }
        }
    }

    /// Makes an override of a flag that has a field of its own.
    pub fn of_flag(flag: &str, field: &str, value: &str) -> Self {
        Self { field: field.to_owned(), value: value.to_owned(), flag: flag.to_owned() }
    }

    /// How it is shown in a report.
    pub(super) fn shown(&self) -> String {
        let Self { field, value, flag } = self;
        match flag.as_str() {
            "--set" => format!("--set {field}={value}"),
            _ => format!("{flag} {value}"),
        }
    }
}

/// The cluster's fields as the store, or the last copy of it, has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `/kat/config/cluster_name`.
    pub name: String,
    /// `/kat/config/cluster_config`.
    pub cluster_json: String,
}

/// Everything a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// What it is for.
    pub purpose: Purpose,
    /// `--config`; without it `KAT_CONFIG` counts, then the usual places.
    pub config: Option<ConfigSource>,
    /// `--node-name`; without it `KAT_NODE_NAME` counts.
    pub node_name: Option<String>,
    /// `--set`, `--data-dir`, `--advertise-address`, `--log-level`, `--log-format`.
    pub flags: Vec<Override>,
    /// The whole environment of the process; an empty variable is none.
    pub environment: BTreeMap<String, String>,
    /// `--port-offset`.
    pub port_offset: u16,
    /// The cluster's fields, once there is a cluster.
    pub stored: Option<Stored>,
    /// [`remembered`](super::Config::remembered) of `init` or `join`, kept in `kat-state.json`.
    pub remembered: Map<String, Json>,
    /// The node name kept in `kat-state.json`, which outlives a new host name.
    pub remembered_node_name: Option<String>,
}
