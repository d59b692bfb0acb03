//! What stock etcd refuses to start with, we refuse alike: the same exit code and
//! the same words, on the command line, in the environment and in a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::peer;

/// How a program refuses: its exit code, and the words that say why.
type Refusal = (i32, String);

/// Where both are asked.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        let mut folder = tempfile::Builder::new();
        Desk(folder.prefix("refusals-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("etcd.conf.yml")
    }

    fn ask(&self, program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Refusal {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(variables.iter().copied());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let exit = output.status.code().unwrap_or(-1);
        if exit == 2 {
            return (exit, said.lines().next().unwrap_or_default().to_owned());
        }
        let last = said.lines().next_back().unwrap_or_default();
        let Ok(last) = serde_json::from_str::<Value>(last) else { return (exit, last.to_owned()) };
        let words = ["level", "msg", "error", "environment-variable"].map(|name| &last[name]);
        (exit, words.map(Value::to_string).join(" "))
    }

    /// Asks both, and compares.
    fn check(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Refusal {
        let kat = Path::new(env!("CARGO_BIN_EXE_kat-agent"));
        // Ours first: it does not start on what etcd leaves.
        let ours = self.ask(kat, &[&["etcd"], arguments].concat(), variables);
        let theirs = self.ask(&peer("etcd"), arguments, variables);
        assert_eq!(ours, theirs, "{arguments:?} {variables:?}");
        theirs
    }

    /// Puts a file into place that both must refuse.
    fn check_file(&self, text: &str) -> Refusal {
        fs::write(self.file(), text).unwrap();
        self.check(&["--config-file", "etcd.conf.yml"], &[])
    }
}

/// No file is rotated by such a plan.
const ROTATED_BY_TEXT: &str = "--log-rotation-config-json={\"maxsize\":\"x\"}";

/// Ends a start that is good otherwise.
const TOO_SOON: &str = "--heartbeat-interval=0";

#[test]
fn bad_flags_are_refused_in_etcds_words() {
    let desk = Desk::new();
    for flag in [
        "--nonsense",
        "--name",
        "---name",
        "--=3",
        "--max-txn-ops=x",
        "--max-txn-ops=-1",
        "--max-txn-ops=18446744073709551616",
        "--max-learners=9223372036854775808",
        "--max-concurrent-streams=4294967296",
        "--pre-vote=perhaps",
        "--warning-apply-duration=5",
        "--grpc-keepalive-min-time=",
        "--initial-cluster-state=foo",
        "--discovery-fallback=foo",
        "--v2-deprecation=not-yet",
        "--v2-deprecation=gone,foo",
        "--feature-gates=Nonsense=true",
        "--feature-gates=AllBeta",
        "--feature-gates=AllBeta=perhaps",
        "--listen-client-urls=foo",
        "--advertise-client-urls=http://a:1/",
        "--initial-advertise-peer-urls=http://a",
        "--cors=foo",
        "--cors=",
        "--cors=*,http://a.b:3",
        "--max-concurrent-streams=-1",
        "--max-concurrent-streams=x",
        "--listen-client-urls=http://127.0.0.1:1,",
        "--listen-client-urls=http://127.0.0.1:http",
        "--listen-client-urls=http://127.0.0.1",
        "--listen-client-urls=http://127.0.0.1:1/a",
    ] {
        assert_eq!(desk.check(&[flag], &[]).0, 2, "{flag}");
    }
    for arguments in [
        &["stray"] as &[&str],
        &["--", "stray"],
        &["--pre-vote", "false"],
        &["--snapshot", "3"],
        &[TOO_SOON],
        &["--config=x", "-v=3", "-vv", TOO_SOON],
        &["--election-timeout=400"],
        &["--election-timeout=60000"],
        &["--feature-gates=LeaseCheckpointPersist=true"],
        &["--feature-gates=AllAlpha=true,LeaseCheckpoint=false"],
        &["--discovery-fallback=proxy"],
        &["--compact-hash-check-time=0"],
        &["--auto-compaction-mode=often"],
        &["--auto-compaction-mode="],
        &["--logger=foo"],
        &["--logger=capnslog"],
        &["--log-format=foo"],
        &["--log-outputs=default,stderr"],
        &["--enable-log-rotation"],
        &["--max-txn-ops=1_000", "--max-wals=010", "--warning-apply-duration=.5s", TOO_SOON],
        &["--initial-cluster=x", TOO_SOON],
        &["--compact-hash-check-time=-1m"],
        &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=-1"],
        &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000001"],
        &["--log-outputs=nowhere/at.all"],
        &["--log-outputs="],
        &["--enable-log-rotation", "--log-outputs=a,b"],
        &["--enable-log-rotation", "--log-outputs=a", ROTATED_BY_TEXT],
    ] {
        assert_eq!(desk.check(arguments, &[]).0, 1, "{arguments:?}");
    }
}

/// These end a start that has begun, with one word for all of them.
#[test]
fn what_cannot_be_started_is_told_in_etcds_words() {
    let ports = [
        "--listen-peer-urls=http://127.0.0.1:0",
        "--listen-client-urls=http://127.0.0.1:0",
        "--advertise-client-urls=http://127.0.0.1:1",
    ];
    for arguments in [
        &["--initial-cluster=x"] as &[&str],
        &["--initial-cluster=default=http://127.0.0.1:1/"],
        &[
            "--initial-advertise-peer-urls=http://127.0.0.1:5",
            "--initial-cluster=default=http://127.0.0.1:6",
        ],
        &["--name="],
        &["--name=a", "--initial-cluster=b=http://127.0.0.1:1"],
        &["--auto-compaction-retention=-1"],
        &["--auto-compaction-retention=x"],
        &["--cipher-suites=X"],
        &["--auth-token=x"],
        &["--auth-token=jwt,pub-key=nowhere,priv-key=nowhere,sign-method=RS256"],
        &["--initial-cluster-state=existing"],
        &["--listen-client-urls=http://127.0.0.1:99999"],
        &["--listen-client-urls=https://127.0.0.1:0"],
        &["--listen-client-urls=unix://nowhere/at/all"],
        &["--listen-metrics-urls=https://127.0.0.1:0"],
        &["--peer-cert-file=nowhere"],
        &["--peer-cert-file=nowhere", "--peer-key-file=nowhere"],
        &["--peer-trusted-ca-file=nowhere"],
    ] {
        let (exit, words) = Desk::new().check(&[&ports[..], arguments].concat(), &[]);
        assert!(exit == 1 && words.starts_with("\"fatal\""), "{arguments:?}: {words}");
    }
    for arguments in
        [&["--listen-client-urls=http://:1"] as &[&str], &["--auth-token-ttl=1", TOO_SOON]]
    {
        let (exit, words) = Desk::new().check(&[&ports[..], arguments].concat(), &[]);
        assert!(exit == 1 && words.starts_with("\"warn\""), "{arguments:?}: {words}");
    }
}

/// The log is where it is wanted before anything else is looked at.
#[test]
fn a_refusal_goes_where_the_log_goes() {
    let desk = Desk::new();
    let kat = Path::new(env!("CARGO_BIN_EXE_kat-agent"));
    let say = |program: &Path, first: &[&str], arguments: &[&str]| {
        fs::remove_file(desk.0.path().join("own.log")).ok();
        let mut command = Command::new(program);
        command.args(first).args(arguments).arg(TOO_SOON).current_dir(desk.0.path()).env_clear();
        let output = command.stdin(Stdio::null()).output().unwrap();
        let file = fs::read(desk.0.path().join("own.log")).unwrap_or_default();
        let is_there = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            (text.contains("must be >0"), text.contains("\twarn\t"))
        };
        [&output.stdout, &output.stderr, &file].map(|bytes| is_there(bytes))
    };
    for (arguments, place) in [
        (&["--log-outputs=stdout"] as &[&str], Some(0)),
        (&["--log-outputs=stderr", "--log-format=console"], Some(1)),
        (&["--log-outputs=own.log"], Some(2)),
        (&["--log-outputs=own.log", "--enable-log-rotation"], Some(2)),
        (&["--log-level=error"], None),
    ] {
        let theirs = say(&peer("etcd"), &[], arguments);
        assert_eq!(say(kat, &["etcd"], arguments), theirs, "{arguments:?}");
        assert_eq!(theirs.iter().position(|(is_there, _)| *is_there), place, "{arguments:?}");
    }
}

#[test]
fn bad_variables_are_refused_in_etcds_words() {
    let desk = Desk::new();
    let conflict = desk.check(&["--name=a"], &[("ETCD_NAME", "b")]);
    assert!(conflict.1.contains("is shadowed by") && conflict.1.contains("ETCD_NAME"));
    desk.check(&["--name=a"], &[("ETCD_NAME", "")]);
    for (name, value) in [
        ("ETCD_MAX_TXN_OPS", "x"),
        ("ETCD_FEATURE_GATES", "Foo=true"),
        ("ETCD_INITIAL_CLUSTER_STATE", "foo"),
        ("ETCD_LISTEN_PEER_URLS", "foo"),
        ("ETCD_CONFIG_FILE", "nowhere.yml"),
    ] {
        let (exit, words) = desk.check(&[], &[(name, value)]);
        assert!(exit == 1 && words.contains("failed to verify flags"), "{words}");
    }
    for (name, value) in [
        ("ETCD_UNHEARD_OF", "x"),
        ("ETCD_VERSION", "3"),
        ("ETCD_FORCE", "true"),
        ("ETCD_PRE-VOTE", "x"),
        ("ETCD_pre_vote", "x"),
    ] {
        let words = desk.check(&[TOO_SOON], &[(name, value), ("ETCD_MAX_TXN_OPS", "")]).1;
        assert!(words.contains("must be >0"), "{name} is no reason: {words}");
    }
}

#[test]
fn bad_files_are_refused_in_etcds_words() {
    let desk = Desk::new();
    for text in [
        "max-txn-ops: '5'",
        "name: 5",
        "pre-vote: 1",
        "pre-vote: 'true'",
        "log-outputs: stderr",
        "watch-progress-notify-interval: 5s",
        "heartbeat-interval: 0",
        "pre-vote: yes\nHeartbeat-Interval: 0",
        "name: a\nname: b\nunheard-of: 5\nheartbeat-interval: 0",
        "{\n\t\"max-txn-ops\": 4,\n\t\"heartbeat-interval\": 0\n}",
        "initial-cluster-state: foo",
        "initial-cluster-state: ''\nelection-timeout: 60000",
        "feature-gates: Foo=true",
        "- a",
        "max-txn-ops: -1",
        "max-txn-ops: 1.5",
        "snapshot-count: -1",
        "max-concurrent-streams: 5000000000",
        "client-transport-security: 5",
        "client-transport-security: {cert-file: 5}",
        "peer-transport-security: {allowed-cn: a}",
        "socket-options: {reuse-port: x}",
        "cors: [a]",
        "listen-client-urls: [a]",
        "feature-gates: {a: true}",
        "listen-client-urls: foo",
        "listen-peer-urls: http://127.0.0.1",
        "advertise-client-urls: foo",
        "initial-advertise-peer-urls: foo",
        "auto-compaction-retention: x",
        "auto-compaction-mode: revision\nauto-compaction-retention: 5m\nheartbeat-interval: 0",
        "v2-deprecation: foo\nheartbeat-interval: 0",
        "heartbeat-interval: 0\nHEARTBEAT-INTERVAL: 100",
        "name: ''",
        "log-outputs: []\nheartbeat-interval: 0",
    ] {
        assert_eq!(desk.check_file(text).0, 1, "{text}");
    }
    // What it says of a file that is none at all comes from its YAML library.
    fs::write(desk.file(), "a: [").unwrap();
    let kat = Path::new(env!("CARGO_BIN_EXE_kat-agent"));
    let (exit, words) = desk.ask(kat, &["etcd", "--config-file=etcd.conf.yml"], &[]);
    assert!(exit == 1 && words.contains("error converting YAML to JSON: yaml: line"), "{words}");
}
