//! What the flags of an etcd mean, checked as etcd checks them.
//!
//! Everything that would end the start for reasons of the command line ends it
//! here, before anything has been touched.

use std::path::PathBuf;
use std::time::Duration;

use super::flags::{Effect, GATES};
use super::go::{Flags, Misread, duration};
use super::listen::Listen;
use super::security::Security;
use super::tokens;
use crate::agent::compaction::History;
use crate::agent::serve::lease_ttl_min;
use crate::api::{self, TokenKind};
use crate::replica::{self, Timings};
use crate::store;

const HOUR: Duration = Duration::from_secs(3600);

/// The shortest time in which a stopped loop still answers, as in etcd.
const REQUEST_MARGIN: Duration = Duration::from_secs(5);
/// The most milliseconds without a leader.
const ELECTION_MILLIS_MAX: i64 = 50_000;

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) name: String,
    pub(super) data_dir: PathBuf,
    pub(super) listen_clients: Vec<Listen>,
    pub(super) listen_peers: Vec<Listen>,
    pub(super) listen_metrics: Vec<Listen>,
    /// For HTTP alone; then the others are for gRPC alone.
    pub(super) listen_http: Vec<Listen>,
    pub(super) security: Security,
    pub(super) advertise_clients: Vec<String>,
    pub(super) advertise_peers: Vec<String>,
    pub(super) initial_cluster: String,
    pub(super) token: String,
    pub(super) is_new: bool,
    pub(super) replica: replica::Options,
    pub(super) api: api::Options,
    pub(super) log_level: String,
    pub(super) log_outputs: Vec<String>,
    pub(super) log_console: bool,
    pub(super) history: History,
    pub(super) snapshot_count: i64,
    pub(super) catchup_entries: i64,
    /// Flags that were given and have no effect.
    pub(super) without_effect: Vec<&'static str>,
    pub(super) warnings: Vec<String>,
    /// What is to be said of tokens, at the time etcd says it.
    pub(super) token_warning: Option<String>,
}

impl Settings {
    /// Takes the flags for what they mean.
    ///
    /// # Errors
    /// Values that contradict each other, or cannot be served.
    pub fn of(flags: &Flags) -> Result<Settings, Misread> {
        if let Some(name) = flags.changed(Effect::Refused).first() {
            return Err(failed(format!("--{name} is not supported yet")));
        }
        let name = flags.text("name").to_owned();
        let listen_clients = listen(flags, "listen-client-urls")?;
        let listen_peers = listen(flags, "listen-peer-urls")?;
        let listen_metrics = listen(flags, "listen-metrics-urls")?;
        if flags.is_given("listen-client-urls") && !flags.is_given("advertise-client-urls") {
            let text = "--advertise-client-urls is required when --listen-client-urls is set \
                        explicitly";
            return Err(failed(text));
        }
        let advertise_peers = urls(flags, "initial-advertise-peer-urls")?;
        let initial_cluster = initial_cluster(flags, &name, &advertise_peers)?;
        check_gates(flags.text("feature-gates"))?;
        let (tokens, warning) = tokens::kind(flags)?;
        let data_dir = match flags.text("data-dir") {
            "" => format!("{name}.etcd"),
            given => given.to_owned(),
        };
        let mut warnings = flags.warnings.clone();
        for (flag, text) in DEPRECATED {
            if flags.is_given(flag) {
                warnings.push((*text).to_owned());
            }
        }
        Ok(Settings {
            data_dir: data_dir.into(),
            listen_clients,
            listen_peers,
            listen_metrics,
            listen_http: listen(flags, "listen-client-http-urls")?,
            security: Security::of(flags)?,
            advertise_clients: urls(flags, "advertise-client-urls")?,
            advertise_peers,
            initial_cluster,
            token: flags.text("initial-cluster-token").to_owned(),
            is_new: flags.text("initial-cluster-state") == "new",
            replica: replica_options(flags)?,
            api: api_options(flags, tokens),
            token_warning: warning,
            log_level: log_level(flags.text("log-level"))?,
            log_outputs: flags.text("log-outputs").split(',').map(str::to_owned).collect(),
            log_console: log_console(flags.text("log-format"))?,
            history: history(flags)?,
            snapshot_count: flags.number("snapshot-count"),
            catchup_entries: flags.number("snapshot-catchup-entries"),
            without_effect: flags.changed(Effect::HasNone),
            warnings,
            name,
        })
    }
}

/// Flags that etcd itself warns of.
const DEPRECATED: &[(&str, &str)] = &[
    ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    (
        "v2-deprecation",
        "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is \
         enforced, ignoring user input.",
    ),
];

pub(super) fn failed(text: impl Into<String>) -> Misread {
    Misread { text: text.into(), exit: 1 }
}

fn invalid(flag: &str, value: &str, why: &str) -> Misread {
    Misread { text: format!("invalid value {value:?} for flag -{flag}: {why}"), exit: 2 }
}

/// The URLs of a flag, sorted and each once, as etcd keeps them.
fn urls(flags: &Flags, flag: &str) -> Result<Vec<String>, Misread> {
    let value = flags.text(flag);
    let mut urls = Vec::new();
    for url in value.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        check_url(url).map_err(|why| invalid(flag, value, &why))?;
        urls.push(url.trim_end_matches('/').to_owned());
    }
    urls.sort_unstable();
    urls.dedup();
    Ok(urls)
}

fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = url
        .split_once("://")
        .ok_or_else(|| format!("URL scheme must be http, https, unix, or unixs: {url}"))?;
    if !["http", "https", "unix", "unixs"].contains(&scheme) {
        return Err(format!("URL scheme must be http, https, unix, or unixs: {url}"));
    }
    if scheme.starts_with("unix") {
        return Ok(());
    }
    let authority = rest.trim_end_matches('/');
    if authority.contains('/') {
        return Err(format!("URL must not contain a path: {url}"));
    }
    match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(format!("URL address does not have the form \"host:port\": {url}")),
    }
}

fn listen(flags: &Flags, flag: &str) -> Result<Vec<Listen>, Misread> {
    urls(flags, flag)?.into_iter().map(Listen::read).collect()
}

/// The members that found the cluster: for now this one, alone.
fn initial_cluster(
    flags: &Flags,
    name: &str,
    advertise_peers: &[String],
) -> Result<String, Misread> {
    if !flags.is_given("initial-cluster") {
        let own = advertise_peers.iter().map(|url| format!("{name}={url}"));
        return Ok(own.collect::<Vec<_>>().join(","));
    }
    let value = flags.text("initial-cluster");
    let mut own = Vec::new();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (member, url) = part
            .split_once('=')
            .ok_or_else(|| failed(format!("--initial-cluster: {part:?} is not name=url")))?;
        if member != name {
            let text = "--initial-cluster names other members; only a cluster of one is \
                        supported yet";
            return Err(failed(text));
        }
        check_url(url).map_err(failed)?;
        own.push(url.trim_end_matches('/').to_owned());
    }
    own.sort_unstable();
    own.dedup();
    if own.is_empty() {
        let text =
            format!("couldn't find local name {name:?} in the initial cluster configuration");
        return Err(failed(text));
    }
    if own != advertise_peers {
        let text = format!(
            "--initial-cluster has {name}={} but missing from --initial-advertise-peer-urls={}",
            own.join(","),
            advertise_peers.join(",")
        );
        return Err(failed(text));
    }
    Ok(value.to_owned())
}

/// How much history automatic compaction keeps; a bare number is one of hours.
fn history(flags: &Flags) -> Result<History, Misread> {
    let (mode, value) =
        (flags.text("auto-compaction-mode"), flags.text("auto-compaction-retention"));
    let wrong = || failed(format!("error parsing CompactionRetention: {value:?}"));
    let number = value.parse::<u32>().ok();
    match (mode, number) {
        ("periodic" | "revision", Some(0)) => Ok(History::All),
        ("revision", Some(count)) => Ok(History::Revisions(count.into())),
        ("periodic", Some(hours)) => Ok(History::Period(HOUR * hours)),
        ("periodic", None) => {
            let period = duration(value).ok_or_else(wrong)?;
            Ok(if period.is_zero() { History::All } else { History::Period(period) })
        }
        ("revision", None) => Err(wrong()),
        _ => Err(failed(format!("unsupported compaction mode {mode}"))),
    }
}

fn check_gates(gates: &str) -> Result<(), Misread> {
    for gate in gates.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let (name, value) =
            gate.split_once('=').ok_or_else(|| failed(format!("missing bool value for {gate}")))?;
        if !GATES.contains(&name.trim()) {
            return Err(failed(format!("unrecognized feature gate: {name}")));
        }
        if !["true", "false", "1", "0", "t", "f", "True", "False"].contains(&value.trim()) {
            let text = format!("invalid value of {name}={value}, err: parse error");
            return Err(failed(text));
        }
    }
    let is_on = |name: &str| gates.split(',').any(|gate| gate.trim() == format!("{name}=true"));
    if is_on("LeaseCheckpointPersist") && !is_on("LeaseCheckpoint") {
        let text = "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
                    LeaseCheckpoint";
        return Err(failed(text));
    }
    Ok(())
}

fn replica_options(flags: &Flags) -> Result<replica::Options, Misread> {
    let (heartbeat, election) =
        (flags.number("heartbeat-interval"), flags.number("election-timeout"));
    if heartbeat < 1 {
        return Err(failed("--heartbeat-interval must be >0 (set to 0ms)"));
    }
    if election < 5 * heartbeat {
        let text = format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        );
        return Err(failed(text));
    }
    if election > ELECTION_MILLIS_MAX {
        let text = format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_MILLIS_MAX}ms"
        );
        return Err(failed(text));
    }
    let millis = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    Ok(replica::Options {
        timings: Timings {
            heartbeat: millis(heartbeat),
            election_ticks: usize::try_from(election / heartbeat).unwrap_or(10),
            request_timeout: REQUEST_MARGIN + 2 * millis(election),
        },
        request_bytes_max: size(flags, "max-request-bytes"),
        store: store::Options {
            quota_bytes: flags.number("quota-backend-bytes"),
            ..store::Options::default()
        },
        election_ticks_exact: None,
    })
}

fn api_options(flags: &Flags, tokens: TokenKind) -> api::Options {
    let millis = u64::try_from(flags.number("election-timeout")).unwrap_or(0);
    let election = Duration::from_millis(millis);
    api::Options {
        request_bytes_max: size(flags, "max-request-bytes"),
        txn_ops_max: size(flags, "max-txn-ops"),
        progress_every: flags.duration("watch-progress-notify-interval"),
        streams_max: u32::try_from(flags.number("max-concurrent-streams")).unwrap_or(u32::MAX),
        lease_ttl_min: lease_ttl_min(election),
        tokens,
        bcrypt_cost: bcrypt_cost(flags.number("bcrypt-cost")),
        election_timeout: election,
        ..api::Options::default()
    }
}

/// What bcrypt cannot do is the default, as in etcd.
fn bcrypt_cost(cost: i64) -> u32 {
    let wanted = u32::try_from(cost).ok().filter(|cost| (4..=31).contains(cost));
    wanted.unwrap_or(api::Options::default().bcrypt_cost)
}

fn size(flags: &Flags, name: &str) -> usize {
    usize::try_from(flags.number(name)).unwrap_or(usize::MAX)
}

fn log_level(level: &str) -> Result<String, Misread> {
    match level {
        "debug" | "info" | "warn" | "error" => Ok(level.to_owned()),
        "dpanic" | "panic" | "fatal" => Ok("error".to_owned()),
        _ => Err(failed(format!("unrecognized level: {level:?}"))),
    }
}

fn log_console(format: &str) -> Result<bool, Misread> {
    match format {
        "json" => Ok(false),
        "console" => Ok(true),
        _ => Err(failed(format!("unknown log format: {format:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Settings::of(&Flags::read(&owned, &BTreeMap::new())?)
    }

    fn refused(arguments: &[&str]) -> String {
        settings(arguments).unwrap_err().text
    }

    #[test]
    fn without_flags_it_is_what_etcd_is_without_flags() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.name, "default");
        assert_eq!(settings.data_dir, PathBuf::from("default.etcd"));
        assert_eq!(settings.initial_cluster, "default=http://localhost:2380");
        assert_eq!(settings.listen_clients[0].address.to_string(), "127.0.0.1:2379");
        assert_eq!(settings.listen_peers[0].address.to_string(), "127.0.0.1:2380");
        assert_eq!(settings.replica.timings.election_ticks, 10);
        assert_eq!(settings.replica.timings.request_timeout, Duration::from_secs(7));
    }

    #[test]
    fn peers_may_listen_elsewhere_than_they_advertise() {
        let settings = settings(&["--listen-peer-urls=http://localhost:0", "--name=a"]).unwrap();
        assert_eq!(settings.listen_peers[0].address.to_string(), "127.0.0.1:0");
        assert_eq!(settings.initial_cluster, "a=http://localhost:2380");
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let text = refused(&["--listen-client-urls=http://127.0.0.1:1"]);
        assert!(text.starts_with("--advertise-client-urls is required"), "{text}");
        let text = refused(&["--initial-cluster=default=http://localhost:1"]);
        assert!(text.contains("missing from --initial-advertise-peer-urls"), "{text}");
        let text = refused(&["--election-timeout=100"]);
        assert!(text.contains("should be at least as 5 times"), "{text}");
        let text = refused(&["--feature-gates=Nonsense=true"]);
        assert_eq!(text, "unrecognized feature gate: Nonsense");
        let text = refused(&["--initial-cluster=default=http://localhost:2380,b=http://b:1"]);
        assert!(text.contains("only a cluster of one"), "{text}");
    }

    #[test]
    fn nothing_is_promised_that_is_not_kept() {
        let discovery = refused(&["--discovery-token=x"]);
        assert_eq!(discovery, "--discovery-token is not supported yet");
        assert_eq!(settings(&["--max-wals=9"]).unwrap().without_effect, ["max-wals"]);
    }

    #[test]
    fn tokens_and_passwords_are_as_the_operator_wants_them() {
        let api = |arguments: &[&str]| settings(arguments).unwrap().api;
        let set = api(&["--auth-token-ttl=7", "--bcrypt-cost=4"]);
        assert!(matches!(set.tokens, TokenKind::Simple(ttl) if ttl == Duration::from_secs(7)));
        assert_eq!(set.bcrypt_cost, 4);
        let odd = api(&["--auth-token-ttl=0", "--bcrypt-cost=32"]);
        assert!(matches!(odd.tokens, TokenKind::Simple(ttl) if ttl == Duration::from_secs(300)));
        assert_eq!(odd.bcrypt_cost, 10);
    }

    #[test]
    fn history_is_kept_for_hours_a_time_or_revisions() {
        let check = |arguments: &[&str], history: History| {
            assert_eq!(settings(arguments).unwrap().history, history, "{arguments:?}");
        };
        let (mode, keep) = ("--auto-compaction-mode=revision", "--auto-compaction-retention");
        check(&[], History::All);
        check(&[keep, "2"], History::Period(2 * HOUR));
        check(&[keep, "90m"], History::Period(HOUR * 3 / 2));
        check(&[keep, "0s"], History::All);
        check(&[mode, keep, "1000"], History::Revisions(1000));
        assert!(refused(&[mode, keep, "1h"]).contains("CompactionRetention"));
        assert!(refused(&["--auto-compaction-mode=often"]).contains("compaction mode often"));
    }

    #[test]
    fn a_url_that_is_none_is_a_bad_value() {
        let bad = settings(&["--listen-peer-urls=localhost:1"]).unwrap_err();
        assert_eq!(bad.exit, 2);
        let name = settings(&["--listen-peer-urls=http://example.org:1"]).unwrap_err();
        assert!(name.exit == 1 && name.text.contains("expected IP"), "{name}");
    }
}
