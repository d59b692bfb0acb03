//! What an etcd says while it starts: what was given, and why it does not start.

use serde_json::{Value, json};

use super::go::{Flags, Manner, Misread, Note};
use super::settings::Settings;
use super::value::written;
use crate::agent::compaction::History;
use crate::agent::logs::{self, FATAL, Form, Output};
use crate::agent::peer::ETCD_VERSION;

/// What the store may hold where nobody says.
const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;

/// With what etcd begins the line that says why it does not start, almost
/// whatever the reason is.
pub(super) const START_FAILED: &str = "discovery failed";

/// The same, if the reason is the certificate for its clients.
pub(super) const LISTENER_FAILED: &str = "listener failed";

/// Says why a command line is not obeyed.
pub fn refuse(misread: &Misread) {
    // It has no effect once the log is where the flags want it.
    logs::write_to(vec![Output::Stderr], Form::Etcd, logs::filter("info"));
    let error = misread.text.as_str();
    match &misread.manner {
        Manner::Conflict(variable) => {
            let variable = variable.as_str();
            tracing::error!(target: FATAL, { "environment-variable" = variable }, "{error}");
        }
        Manner::Start => tracing::error!(target: FATAL, error, "{START_FAILED}"),
        Manner::Plain | Manner::Bare => tracing::warn!(error, "failed to verify flags"),
    }
}

/// Says what is to be said of the command line.
pub(super) fn tell_notes(settings: &Settings) {
    for note in &settings.notes {
        match note {
            Note::Warning(text) => tracing::warn!("{text}"),
            Note::Used(name, value) => tracing::info!(
                "variable-name" = name.as_str(),
                "variable-value" = value.as_str(),
                "recognized and used environment variable"
            ),
            Note::Unrecognized(pair) => tracing::warn!(
                "environment-variable" = pair.as_str(),
                "unrecognized environment variable"
            ),
            Note::Special(value) => tracing::warn!(
                key = "ETCD_VERSION",
                value = value.as_str(),
                "cannot set special environment variable"
            ),
            Note::Loaded(path) => tracing::info!(
                path = path.as_str(),
                "loaded server configuration, other configuration command line flags and \
                 environment variables will be ignored if provided"
            ),
        }
    }
    if !settings.without_effect.is_empty() {
        let flags = settings.without_effect.join(",");
        tracing::warn!(flags, "accepted flags that have no effect here");
    }
    for flag in ["raft-read-timeout", "raft-write-timeout"] {
        if settings.flags.duration(flag).as_secs() < 5 {
            tracing::info!("{flag} increased to minimum value: 5s");
        }
    }
    if settings.name == "default" {
        let name = settings.name.as_str();
        tracing::warn!(
            name,
            "it isn't recommended to use default name, please set a value for --name. Note that \
             etcd might run into issue when multiple members have the same default name"
        );
    }
    if settings.flags.text("data-dir").is_empty() {
        let dir = settings.data_dir.display().to_string();
        tracing::warn!("data-dir" = dir, "'data-dir' was empty; using default");
    }
}

/// Says with what a member starts, under etcd's names.
pub(super) fn tell_start(settings: &Settings, is_there: bool) {
    let mut told = json!({
        "etcd-version": ETCD_VERSION,
        "git-sha": format!("kat-{}", env!("CARGO_PKG_VERSION")),
        "go-version": "none",
        "go-os": std::env::consts::OS,
        "go-arch": match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        "max-cpu-set": std::thread::available_parallelism().map_or(1, usize::from),
        "max-cpu-available": std::thread::available_parallelism().map_or(1, usize::from),
        "member-initialized": is_there,
        "name": settings.name,
        "data-dir": settings.data_dir.display().to_string(),
        "member-dir": settings.data_dir.join("member").display().to_string(),
        "initial-advertise-peer-urls": settings.advertise_peers,
        "advertise-client-urls": settings.advertise_clients,
        "initial-cluster": settings.initial_cluster,
        "initial-cluster-token": settings.token,
        "quota-backend-bytes": match settings.replica.store.quota_bytes {
            0 => DEFAULT_QUOTA_BYTES,
            bytes => bytes,
        },
        "v2-deprecation": "write-only",
    });
    let more = [given(&settings.flags), kept(settings)];
    if let Value::Object(told) = &mut told {
        told.extend(more.into_iter().flatten());
    }
    tracing::info!(fields = %told, "starting an etcd server");
}

/// Says that the end begins, or has come.
pub(super) fn tell_end(settings: &Settings, text: &str) {
    tracing::info!(
        name = settings.name.as_str(),
        "data-dir" = settings.data_dir.display().to_string(),
        "advertise-peer-urls" = ?settings.advertise_peers,
        "advertise-client-urls" = ?settings.advertise_clients,
        "{text}"
    );
}

/// What the flags say, in the form that etcd gives each of them.
fn given(flags: &Flags) -> Vec<(String, Value)> {
    const LISTS: &[&str] = &[
        "listen-peer-urls",
        "listen-client-urls",
        "listen-metrics-urls",
        "cors",
        "host-whitelist",
    ];
    const NUMBERS: &[&str] = &[
        "snapshot-count",
        "max-wals",
        "max-snapshots",
        "snapshot-catchup-entries",
        "max-request-bytes",
        "max-concurrent-streams",
        "max-learners",
    ];
    const SWITCHES: &[&str] = &["force-new-cluster", "initial-election-tick-advance", "pre-vote"];
    const TEXTS: &[&str] = &["wal-dir", "initial-cluster-state"];
    let times = [
        ("corrupt-check-time", "corrupt-check-time-interval"),
        ("compact-hash-check-time", "compact-check-time-interval"),
        ("downgrade-check-time", "downgrade-check-interval"),
    ];
    let own = |name: &&str| (*name).to_owned();
    let mut told = Vec::new();
    told.extend(LISTS.iter().map(|name| (own(name), json!(flags.list(name)))));
    told.extend(NUMBERS.iter().map(|name| (own(name), json!(flags.number(name)))));
    told.extend(SWITCHES.iter().map(|name| (own(name), json!(flags.is_on(name)))));
    told.extend(TEXTS.iter().map(|name| (own(name), json!(flags.text(name)))));
    told.extend(
        times.map(|(name, as_told)| (as_told.to_owned(), json!(written(flags.duration(name))))),
    );
    told.push(("feature-gates".to_owned(), json!(flags.switches())));
    // A member alone has nobody to compare with, whatever the gate says.
    told.push(("initial-corrupt-check".to_owned(), json!(false)));
    told
}

/// Times, and what is kept of history.
fn kept(settings: &Settings) -> Vec<(String, Value)> {
    let timings = settings.replica.timings;
    let ticks = u32::try_from(timings.election_ticks).unwrap_or(10);
    let retention = match settings.history {
        History::All => "0s".to_owned(),
        // A number of revisions is told as so many nanoseconds.
        History::Revisions(count) => {
            written(std::time::Duration::from_nanos(u64::try_from(count).unwrap_or(0)))
        }
        History::Period(period) => written(period),
    };
    [
        ("heartbeat-interval", json!(written(timings.heartbeat))),
        ("election-timeout", json!(written(timings.heartbeat * ticks))),
        ("auto-compaction-mode", json!(settings.flags.text("auto-compaction-mode"))),
        ("auto-compaction-interval", json!(retention)),
        ("auto-compaction-retention", json!(retention)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}
