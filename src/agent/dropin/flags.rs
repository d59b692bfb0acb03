//! Every flag of an etcd 3.7 server: its type, its default, and what comes of it
//! here.
//!
//! The help lists them all, each on a line that begins with its name: starters
//! look there for what they may pass.

use std::fmt::Write as _;

use self::Effect::{HasNone, Refused, Works};
use self::Kind::{Bool, Choice, Duration, Int, Text, Uint};

/// How the value of a flag is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bool,
    Int,
    Uint,
    /// As Go writes it: `1h0m0s`, `100ms`.
    Duration,
    /// One of a few words.
    Choice(&'static [&'static str]),
}

/// What comes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It means what it means to etcd.
    Works,
    /// It is accepted, and has no effect.
    HasNone,
    /// Whoever changes it cannot be served: doing less would be a lie.
    Refused,
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) effect: Effect,
    help: &'static str,
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    effect: Effect,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, effect, help }
}

const V2_STAGES: &[&str] = &["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// All of them.
#[rustfmt::skip]
pub(super) const FLAGS: &[Flag] = &[
    // The member.
    flag("name", Text, "default", Works, "Name of this member."),
    flag("data-dir", Text, "", Works, "Data directory; ${name}.etcd if empty."),
    flag("wal-dir", Text, "", HasNone, "Directory of the write-ahead log."),
    flag("snapshot-count", Uint, "10000", HasNone, "Entries between two snapshots to disk."),
    flag("snapshot-catchup-entries", Uint, "5000", HasNone, "Entries kept for a slow follower."),
    flag("heartbeat-interval", Uint, "100", Works, "Milliseconds between two heartbeats."),
    flag("election-timeout", Uint, "1000", Works,
        "Milliseconds without a leader before an election."),
    flag("initial-election-tick-advance", Bool, "true", HasNone, "Shorten the first election."),
    flag("listen-peer-urls", Text, "http://localhost:2380", Works,
        "URLs to listen on for members."),
    flag("listen-client-urls", Text, "http://localhost:2379", Works,
        "URLs to listen on for clients."),
    flag("listen-client-http-urls", Text, "", Works, "URLs to listen on for HTTP alone."),
    flag("listen-metrics-urls", Text, "", Works, "URLs to listen on for metrics and health."),
    flag("max-snapshots", Uint, "5", HasNone, "Snapshot files kept; deprecated."),
    flag("max-wals", Uint, "5", HasNone, "Files of the write-ahead log kept."),
    flag("quota-backend-bytes", Int, "0", Works,
        "Size at which the store refuses writes; 0 is 2 GiB."),
    flag("backend-bbolt-freelist-type", Text, "map", HasNone, "How bbolt keeps its free pages."),
    flag("backend-batch-interval", Duration, "0s", HasNone,
        "Time between two commits of the backend."),
    flag("backend-batch-limit", Int, "0", HasNone,
        "Operations between two commits of the backend."),
    flag("bootstrap-defrag-threshold-megabytes", Uint, "0", Works,
        "Defragment at start beyond this much waste."),
    flag("memory-mlock", Bool, "false", HasNone, "Keep memory from being swapped out."),
    flag("max-txn-ops", Uint, "128", Works, "Operations allowed in a transaction."),
    flag("max-request-bytes", Uint, "1572864", Works, "Size of a request."),
    flag("max-concurrent-streams", Uint, "4294967295", Works, "Streams of one client at a time."),
    flag("grpc-keepalive-min-time", Duration, "5s", HasNone,
        "Shortest interval at which a client may ping."),
    flag("grpc-keepalive-interval", Duration, "2h0m0s", Works,
        "Interval of pings to clients; 0 is off."),
    flag("grpc-keepalive-timeout", Duration, "20s", Works,
        "Time until a silent client is dropped."),
    flag("socket-reuse-port", Bool, "false", HasNone, "Listen with SO_REUSEPORT."),
    flag("socket-reuse-address", Bool, "false", HasNone, "Listen with SO_REUSEADDR."),
    flag("raft-read-timeout", Duration, "5s", HasNone,
        "Time a peer connection may be silent on reading."),
    flag("raft-write-timeout", Duration, "5s", HasNone,
        "Time a peer connection may be silent on writing."),
    // The cluster.
    flag("initial-advertise-peer-urls", Text, "http://localhost:2380", Works,
        "Peer URLs to tell the cluster."),
    flag("initial-cluster", Text, "default=http://localhost:2380", Works,
        "Members that found the cluster."),
    flag("initial-cluster-state", Choice(&["new", "existing"]), "new", Works, "new or existing."),
    flag("initial-cluster-token", Text, "etcd-cluster", Works, "Tells clusters apart."),
    flag("advertise-client-urls", Text, "http://localhost:2379", Works,
        "Client URLs to tell the cluster."),
    flag("discovery-token", Text, "", Refused, "V3 discovery: token."),
    flag("discovery-endpoints", Text, "", Refused, "V3 discovery: endpoints."),
    flag("discovery-dial-timeout", Duration, "2s", HasNone, "V3 discovery: dial timeout."),
    flag("discovery-request-timeout", Duration, "5s", HasNone, "V3 discovery: request timeout."),
    flag("discovery-keepalive-time", Duration, "2s", HasNone, "V3 discovery: keepalive time."),
    flag("discovery-keepalive-timeout", Duration, "6s", HasNone,
        "V3 discovery: keepalive timeout."),
    flag("discovery-insecure-transport", Bool, "true", HasNone,
        "V3 discovery: insecure transport."),
    flag("discovery-insecure-skip-tls-verify", Bool, "false", HasNone,
        "V3 discovery: insecure skip tls verify."),
    flag("discovery-cert", Text, "", HasNone, "V3 discovery: cert."),
    flag("discovery-key", Text, "", HasNone, "V3 discovery: key."),
    flag("discovery-cacert", Text, "", HasNone, "V3 discovery: cacert."),
    flag("discovery-user", Text, "", HasNone, "V3 discovery: user."),
    flag("discovery-password", Text, "", HasNone, "V3 discovery: password."),
    flag("discovery-srv", Text, "", Refused, "DNS domain with the members."),
    flag("discovery-srv-name", Text, "", Refused, "Suffix of the DNS service name."),
    flag("discovery-fallback", Choice(&["exit", "proxy"]), "exit", HasNone,
        "What to do when discovery fails."),
    flag("strict-reconfig-check", Bool, "true", Works,
        "Refuse changes of members that would cost quorum."),
    flag("pre-vote", Bool, "true", HasNone, "Ask before disturbing a leader."),
    flag("auto-compaction-retention", Text, "0", Works,
        "History kept by automatic compaction; 0 is all."),
    flag("auto-compaction-mode", Text, "periodic", Works, "periodic or revision."),
    flag("compaction-batch-limit", Int, "1000", HasNone, "Revisions removed at a time."),
    flag("compaction-sleep-interval", Duration, "10ms", HasNone,
        "Pause between two batches of a compaction."),
    flag("max-learners", Int, "1", Works, "Learners allowed at a time."),
    flag("watch-progress-notify-interval", Duration, "10m0s", Works,
        "Interval at which quiet watchers hear of progress."),
    flag("v2-deprecation", Choice(V2_STAGES), "write-only", HasNone,
        "Stage of the removal of v2; deprecated."),
    // Security.
    flag("cert-file", Text, "", Works, "Certificate of the client listener."),
    flag("key-file", Text, "", Works, "Key of the client listener."),
    flag("client-cert-auth", Bool, "false", Works,
        "Demand certificates on the client listener."),
    flag("client-cert-file", Text, "", Works, "Certificate for connecting as a client."),
    flag("client-key-file", Text, "", Works, "Key for connecting as a client."),
    flag("client-crl-file", Text, "", Works, "Revoked certificates of the client listener."),
    flag("client-cert-allowed-hostname", Text, "", Works,
        "Hosts that a client may have in its certificate."),
    flag("trusted-ca-file", Text, "", Works,
        "Authority behind certificates on the client listener."),
    flag("auto-tls", Bool, "false", Works, "Make certificates for the client listener."),
    flag("peer-cert-file", Text, "", Works, "Certificate of the peer listener."),
    flag("peer-key-file", Text, "", Works, "Key of the peer listener."),
    flag("peer-client-cert-auth", Bool, "false", Works,
        "Demand certificates on the peer listener."),
    flag("peer-client-cert-file", Text, "", Works, "Certificate for connecting as a peer."),
    flag("peer-client-key-file", Text, "", Works, "Key for connecting as a peer."),
    flag("peer-crl-file", Text, "", Works, "Revoked certificates of the peer listener."),
    flag("peer-cert-allowed-cn", Text, "", Works,
        "Names that peers may have in their certificates."),
    flag("peer-cert-allowed-hostname", Text, "", Works,
        "Hosts that a peer may have in its certificate."),
    flag("peer-trusted-ca-file", Text, "", Works,
        "Authority behind certificates on the peer listener."),
    flag("peer-auto-tls", Bool, "false", Works, "Make certificates for the peer listener."),
    flag("peer-skip-client-san-verification", Bool, "false", Works,
        "Do not compare a peer with its certificate."),
    flag("self-signed-cert-validity", Uint, "1", Works,
        "Years that certificates made here are valid."),
    flag("cipher-suites", Text, "", Works, "Cipher suites for TLS."),
    flag("tls-min-version", Text, "TLS1.2", Works, "Oldest version of TLS."),
    flag("tls-max-version", Text, "", Works, "Newest version of TLS."),
    flag("cors", Text, "*", Works, "Origins that browsers may come from."),
    flag("host-whitelist", Text, "*", Works, "Host names that plaintext HTTP may ask for."),
    flag("auth-token", Text, "simple", Works, "Kind of token for authenticated clients."),
    flag("auth-token-ttl", Uint, "300", Works, "Seconds that a simple token lives."),
    flag("bcrypt-cost", Uint, "10", Works, "Cost of hashing passwords."),
    // Services, logs and measurements.
    flag("enable-grpc-gateway", Bool, "true", Works, "Serve JSON over HTTP."),
    flag("enable-pprof", Bool, "false", Works, "Serve runtime profiles."),
    flag("metrics", Text, "basic", Works, "basic or extensive."),
    flag("logger", Text, "zap", Works, "The logger; only zap."),
    flag("log-outputs", Text, "default", Works,
        "default, stdout, stderr or files, separated by commas."),
    flag("log-level", Text, "info", Works, "debug, info, warn, error, panic or fatal."),
    flag("log-format", Text, "json", Works, "json or console."),
    flag("enable-log-rotation", Bool, "false", Works, "Begin log files anew."),
    flag("log-rotation-config-json", Text, "{}", Works,
        "When log files begin anew, and what stays."),
    flag("warning-apply-duration", Duration, "100ms", Works, "When applying is called slow."),
    flag("warning-unary-request-duration", Duration, "300ms", Works,
        "When a request is called slow."),
    flag("enable-distributed-tracing", Bool, "false", HasNone, "Send traces."),
    flag("distributed-tracing-address", Text, "localhost:4317", HasNone, "Where traces go."),
    flag("distributed-tracing-service-name", Text, "etcd", HasNone,
        "Name of the service in traces."),
    flag("distributed-tracing-instance-id", Text, "", HasNone, "Name of the instance in traces."),
    flag("distributed-tracing-sampling-rate", Int, "0", HasNone, "Traces kept per million."),
    flag("corrupt-check-time", Duration, "0s", HasNone, "Interval of comparing members."),
    flag("compact-hash-check-time", Duration, "1m0s", HasNone,
        "Interval of comparing hashes of compactions."),
    flag("downgrade-check-time", Duration, "5s", HasNone, "Interval of checking for a downgrade."),
    flag("feature-gates", Text, "", Works, "Features to switch, as Name=bool,..."),
    flag("force-new-cluster", Bool, "false", Works,
        "Turn this member into a cluster of its own."),
    flag("unsafe-no-fsync", Bool, "false", HasNone,
        "Do not wait for the disk; this store always waits."),
    flag("config-file", Text, "", Works, "File that replaces all other flags."),
    flag("version", Bool, "false", Works, "Print the version and exit."),
];

/// Names of long ago, accepted and ignored.
pub(super) const LEGACY: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
];

/// What units still pass although 3.7 dropped it: accepted with a warning.
pub(super) const DROPPED: &[&str] =
    &["enable-v2", "experimental-enable-v2v3", "experimental-wait-cluster-ready-timeout"];

/// How far a feature has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Off, unless it is asked for.
    Alpha,
    /// On, unless it is refused.
    Beta,
}

/// A feature that has a switch.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) name: &'static str,
    pub(super) stage: Stage,
}

const fn gate(name: &'static str, stage: Stage) -> Gate {
    Gate { name, stage }
}

/// Features that have a switch, and the two switches for all of a stage.
pub(super) const GATES: &[Gate] = &[
    gate(ALL_ALPHA, Stage::Alpha),
    gate(ALL_BETA, Stage::Beta),
    gate("CompactHashCheck", Stage::Alpha),
    gate("FastLeaseKeepAlive", Stage::Beta),
    gate("InitialCorruptCheck", Stage::Alpha),
    gate("LeaseCheckpoint", Stage::Alpha),
    gate("LeaseCheckpointPersist", Stage::Alpha),
    gate("PriorityRequest", Stage::Alpha),
    gate("SetMemberLocalAddr", Stage::Alpha),
    gate("StopGRPCServiceOnDefrag", Stage::Alpha),
    gate("TxnModeWriteWithSharedBuffer", Stage::Beta),
];

/// The switch of all features that are off as a rule.
pub(super) const ALL_ALPHA: &str = "AllAlpha";
/// The switch of all features that are on as a rule.
pub(super) const ALL_BETA: &str = "AllBeta";

/// Flags of 3.5 and 3.6 that became gates.
pub(super) const TURNED_GATES: &[(&str, &str)] = &[
    ("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    ("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    ("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    ("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    ("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    ("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
    ("experimental-set-member-localaddr", "SetMemberLocalAddr"),
];

/// Finds a flag by its name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Returns the page that `--help` prints.
pub fn help() -> String {
    let mut page = String::from(
        "Usage:\n\n  etcd [flags]\n    Start a server that speaks etcd's API.\n\n  \
         etcd --version\n    Show the version.\n\n  etcd --config-file FILE\n    Take all \
         settings from a file.\n\nFlags:\n\n",
    );
    for Flag { name, kind, default, effect, help } in FLAGS {
        let value = match kind {
            Bool if *default == "true" => "=true",
            Bool => "",
            Text => " ''",
            Int | Uint | Duration | Choice(_) => " ",
        };
        let value = match *default {
            "" => value.to_owned(),
            _ if *kind == Bool => value.to_owned(),
            _ => format!(" '{default}'"),
        };
        let effect = match effect {
            Works => "",
            HasNone => " (accepted, without effect)",
            Refused => " (not supported yet)",
        };
        writeln!(page, "  --{name}{value}\n    {help}{effect}").expect("memory takes any text");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_of_etcd_is_there_once() {
        let mut names: Vec<_> = FLAGS.iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), 113);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 113);
        let page = help();
        for name in names {
            let is_head = |line: &str| {
                line.split_whitespace()
                    .next()
                    .is_some_and(|word| word.split('=').next() == Some(&format!("--{name}")))
            };
            assert!(page.lines().any(is_head), "{name}");
        }
    }
}
