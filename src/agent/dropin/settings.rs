//! What the flags of an etcd mean, checked as etcd checks them.
//!
//! Everything that would end the start for reasons of the command line ends it
//! here, before anything has been touched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::flags::{Effect, GATES, Gate, Stage};
use super::go::{Flags, Misread, Note, failed, unstartable};
use super::listen::Listen;
use super::security::Security;
use super::tokens;
use super::value::{check_url, duration, nanoseconds, no_duration, urls, written};
use crate::agent::compaction::History;
use crate::agent::member;
use crate::agent::serve::lease_ttl_min;
use crate::api::{self, Feature, TokenKind, Web};
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
    pub(super) history: History,
    /// Flags that were given and have no effect.
    pub(super) without_effect: Vec<&'static str>,
    /// What is to be said of tokens, at the time etcd says it.
    pub(super) token_warning: Option<String>,
    pub(super) notes: Vec<Note>,
    /// What was given, to be told.
    pub(super) flags: Flags,
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
        let replica = replica_options(flags)?;
        let listen_clients = listen(flags, "listen-client-urls")?;
        let listen_peers = listen(flags, "listen-peer-urls")?;
        let listen_metrics = listen(flags, "listen-metrics-urls")?;
        let is_silent = !flags.is_file && !flags.is_given("advertise-client-urls");
        if flags.is_given("listen-client-urls") && is_silent {
            let text = "--advertise-client-urls is required when --listen-client-urls is set \
                        explicitly";
            return Err(failed(text));
        }
        let advertise_peers = sorted(flags, "initial-advertise-peer-urls");
        check_gates(flags)?;
        check_odds(flags)?;
        let security = Security::of(flags)?;
        let members = match flags.is_given("initial-cluster") {
            true => initial_cluster(flags)?,
            false if name.is_empty() => return Err(lost(&name)),
            false => advertise_peers.iter().map(|url| (name.clone(), url.clone())).collect(),
        };
        let (tokens, token_warning) = tokens::kind(flags)?;
        let data_dir = match flags.text("data-dir") {
            "" => format!("{name}.etcd"),
            given => given.to_owned(),
        };
        let is_there = member::exists(Path::new(&data_dir)).unwrap_or(false);
        if !is_there {
            check_founding(&members, &name, &advertise_peers)?;
        }
        let initial_cluster = members.iter().map(|(member, url)| format!("{member}={url}"));
        let mut notes = flags.notes.clone();
        let deprecated = DEPRECATED.iter().filter(|(flag, _)| flags.is_given(flag));
        notes.extend(deprecated.map(|(_, text)| Note::Warning((*text).to_owned())));
        Ok(Settings {
            data_dir: data_dir.into(),
            listen_clients,
            listen_peers,
            listen_metrics,
            listen_http: listen(flags, "listen-client-http-urls")?,
            security,
            advertise_clients: sorted(flags, "advertise-client-urls"),
            advertise_peers,
            initial_cluster: initial_cluster.collect::<Vec<_>>().join(","),
            token: flags.text("initial-cluster-token").to_owned(),
            is_new: flags.text("initial-cluster-state") == "new",
            replica,
            api: api_options(flags, tokens),
            token_warning,
            history: history(flags)?,
            without_effect: flags.changed(Effect::HasNone),
            notes,
            flags: flags.clone(),
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

/// The URLs of a flag, sorted and each once, as etcd keeps them.
fn sorted(flags: &Flags, flag: &str) -> Vec<String> {
    let mut urls: Vec<_> = urls(flags.text(flag)).map(str::to_owned).collect();
    urls.sort_unstable();
    urls.dedup();
    urls
}

fn listen(flags: &Flags, flag: &str) -> Result<Vec<Listen>, Misread> {
    sorted(flags, flag).into_iter().map(Listen::read).collect()
}

/// The members that found a cluster, by name: what has no value is a name, whose
/// URL is none.
fn initial_cluster(flags: &Flags) -> Result<Vec<(String, String)>, Misread> {
    let parts = flags.text("initial-cluster").split(',').map(str::trim);
    let mut members = Vec::new();
    for part in parts.filter(|part| !part.is_empty()) {
        let (member, url) = part.split_once('=').unwrap_or((part, ""));
        check_url(url)
            .map_err(|why| unstartable(format!("error setting up initial cluster: {why}")))?;
        members.push((member.to_owned(), url.to_owned()));
    }
    Ok(members)
}

/// Says, if it is so, that a member cannot found its cluster: for now this one
/// does so alone. Whoever is there already is not asked.
fn check_founding(
    members: &[(String, String)],
    name: &str,
    advertise_peers: &[String],
) -> Result<(), Misread> {
    if members.iter().all(|(member, _)| member != name) {
        return Err(lost(name));
    }
    if members.iter().any(|(member, _)| member != name) {
        let text = "--initial-cluster names other members; only a cluster of one is supported yet";
        return Err(failed(text));
    }
    let mut own: Vec<_> = members.iter().map(|(_, url)| url.as_str()).collect();
    own.sort_unstable();
    own.dedup();
    if own == advertise_peers {
        return Ok(());
    }
    let text = format!(
        "--initial-cluster has {name}={} but missing from --initial-advertise-peer-urls={}",
        own.join(","),
        advertise_peers.join(",")
    );
    let found = advertise_peers.iter().zip(&own).find(|(advertised, own)| advertised != *own);
    let (advertised, own) = found.map_or(("", ""), |(one, other)| (one, other));
    Err(unstartable(format!("{text} (resolved urls: {advertised:?} != {own:?})")))
}

fn lost(name: &str) -> Misread {
    unstartable(format!("couldn't find local name {name:?} in the initial cluster configuration"))
}

/// How much history automatic compaction keeps; a bare number is one of hours.
fn history(flags: &Flags) -> Result<History, Misread> {
    let (mode, value) =
        (flags.text("auto-compaction-mode"), flags.text("auto-compaction-retention"));
    let number = value.parse::<u32>().ok();
    match (mode, number) {
        ("periodic" | "revision", Some(0)) => Ok(History::All),
        ("revision", Some(count)) => Ok(History::Revisions(count.into())),
        ("periodic", Some(hours)) => Ok(History::Period(HOUR * hours)),
        ("periodic" | "revision", None) => {
            let nanos = nanoseconds(value).ok_or_else(|| {
                let why = no_duration(value);
                unstartable(format!("error parsing CompactionRetention: {why}"))
            })?;
            let period = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
            Ok(match mode {
                _ if period.is_zero() => History::All,
                // A time is a number of nanoseconds, and so of revisions.
                "revision" => History::Revisions(nanos),
                _ => History::Period(period),
            })
        }
        ("", _) => Err(failed("undefined auto-compaction-mode")),
        _ => Err(failed(format!("unknown auto-compaction-mode {mode:?}"))),
    }
}

fn check_gates(flags: &Flags) -> Result<(), Misread> {
    let is_open = |name: &str| {
        GATES.iter().find(|gate| gate.name == name).is_some_and(|gate| flags.is_open(gate))
    };
    if is_open("LeaseCheckpointPersist") && !is_open("LeaseCheckpoint") {
        let text = "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
                    LeaseCheckpoint";
        return Err(failed(text));
    }
    Ok(())
}

/// What etcd refuses although it has no effect here.
fn check_odds(flags: &Flags) -> Result<(), Misread> {
    if flags.text("discovery-fallback") == "proxy" {
        let text = "v2 proxy is deprecated, and --discovery-fallback can't be configured as";
        return Err(failed(format!("{text} {:?}", "proxy")));
    }
    let every = flags.text("compact-hash-check-time");
    if nanoseconds(every).unwrap_or(0) <= 0 {
        let every = match every.strip_prefix('-').and_then(duration) {
            Some(below) if !below.is_zero() => format!("-{}", written(below)),
            _ => "0s".to_owned(),
        };
        return Err(failed(format!("--compact-hash-check-time must be >0 (set to {every})")));
    }
    check_tracing(flags)
}

fn check_tracing(flags: &Flags) -> Result<(), Misread> {
    const PER_MILLION: i64 = 1_000_000;
    let what = "distributed tracing configurition is not valid: (tracing sampling rate must be";
    match flags.number("distributed-tracing-sampling-rate") {
        _ if !flags.is_on("enable-distributed-tracing") => Ok(()),
        ..0 => Err(failed(format!("{what} positive)"))),
        rate if rate > PER_MILLION => Err(failed(format!("{what} less than {PER_MILLION})"))),
        _ => Ok(()),
    }
}

fn replica_options(flags: &Flags) -> Result<replica::Options, Misread> {
    let (heartbeat, election) =
        (flags.number("heartbeat-interval"), flags.number("election-timeout"));
    if heartbeat < 1 {
        return Err(failed("--heartbeat-interval must be >0 (set to 0ms)"));
    }
    if election < 1 {
        return Err(failed("--election-timeout must be >0 (set to 0ms)"));
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
        slow_apply: flags.duration("warning-apply-duration"),
        election_ticks_exact: None,
        force_new_cluster: flags.is_on("force-new-cluster"),
    })
}

fn api_options(flags: &Flags, tokens: TokenKind) -> api::Options {
    let millis = u64::try_from(flags.number("election-timeout")).unwrap_or(0);
    let election = Duration::from_millis(millis);
    api::Options {
        answers_bytes_max: api::Options::default().answers_bytes_max,
        request_bytes_max: size(flags, "max-request-bytes"),
        txn_ops_max: size(flags, "max-txn-ops"),
        progress_every: flags.duration("watch-progress-notify-interval"),
        streams_max: u32::try_from(flags.number("max-concurrent-streams")).unwrap_or(u32::MAX),
        lease_ttl_min: lease_ttl_min(election),
        tokens,
        bcrypt_cost: bcrypt_cost(flags.number("bcrypt-cost")),
        learners_max: u32::try_from(flags.number("max-learners")).unwrap_or(0),
        strict_reconfig: flags.is_on("strict-reconfig-check"),
        election_timeout: election,
        ping_every: flags.duration("grpc-keepalive-interval"),
        ping_timeout: flags.duration("grpc-keepalive-timeout"),
        slow_apply: flags.duration("warning-apply-duration"),
        slow_after: slow_after(flags.duration("warning-unary-request-duration")),
        is_extensive: flags.text("metrics") == "extensive",
        features: features(flags),
        web: Web {
            origins: flags.list("cors"),
            hosts: flags.list("host-whitelist"),
            has_gateway: flags.is_on("enable-grpc-gateway"),
            has_profiles: flags.is_on("enable-pprof") || flags.text("log-level") == "debug",
        },
    }
}

/// No time at all means the default, as in etcd.
fn slow_after(duration: Duration) -> Duration {
    if duration.is_zero() { api::Options::default().slow_after } else { duration }
}

/// Every gate, by name, stage, and whether it is open.
fn features(flags: &Flags) -> Vec<Feature> {
    let feature = |gate: &'static Gate| {
        let stage = match gate.stage {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        };
        Feature { name: gate.name, stage, is_on: flags.is_open(gate) }
    };
    GATES.iter().map(feature).collect()
}

/// What bcrypt cannot do is the default, as in etcd.
fn bcrypt_cost(cost: i64) -> u32 {
    let wanted = u32::try_from(cost).ok().filter(|cost| (4..=31).contains(cost));
    wanted.unwrap_or(api::Options::default().bcrypt_cost)
}

fn size(flags: &Flags, name: &str) -> usize {
    usize::try_from(flags.number(name)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Settings::of(&Flags::read(&owned)?)
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
        let text = refused(&["--feature-gates=LeaseCheckpointPersist=true"]);
        assert!(text.starts_with("enabling feature gate LeaseCheckpointPersist"), "{text}");
        let text = refused(&["--discovery-fallback=proxy"]);
        assert!(text.starts_with("v2 proxy is deprecated"), "{text}");
        let tracing = ["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=-1"];
        assert!(refused(&tracing).ends_with("(tracing sampling rate must be positive)"));
        let text = refused(&["--compact-hash-check-time=0s"]);
        assert_eq!(text, "--compact-hash-check-time must be >0 (set to 0s)");
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
        check(&[mode, keep, "1us"], History::Revisions(1000));
        let none = refused(&[keep, "-1"]);
        assert!(none.ends_with("CompactionRetention: time: missing unit in duration \"-1\""));
        assert!(
            refused(&["--auto-compaction-mode=often"]).contains("unknown auto-compaction-mode")
        );
    }

    #[test]
    fn a_url_that_is_none_is_a_bad_value() {
        let bad = settings(&["--listen-peer-urls=localhost:1"]).unwrap_err();
        assert_eq!(bad.exit, 2);
        let name = settings(&["--listen-peer-urls=http://example.org:1"]).unwrap_err();
        assert!(name.exit == 1 && name.text.contains("expected IP"), "{name}");
    }
}
