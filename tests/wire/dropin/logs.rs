//! Lines that operators and harnesses look for while a server runs: held beside
//! stock etcd, by level, text and fields.

use std::process::{Command, Stdio};

use etcd_client::{Compare, CompareOp, Txn, TxnOp};
use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, Site, block_on, connect};
use crate::process::{free_ports, peer};

/// A running server, and where it is reached.
struct Running {
    /// Where its log lies.
    _site: Site,
    agent: Agent,
    client: String,
}

/// Starts stock etcd and ours with the same flags.
fn both(flags: &[&str]) -> [Running; 2] {
    let kat = (env!("CARGO_BIN_EXE_kat-agent").into(), &["etcd"] as &[&str]);
    [(peer("etcd"), &[] as &[&str]), kat].map(|(program, first)| {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let mut command = Command::new(program);
        command.args(first).current_dir(site.path("")).env_clear().stdin(Stdio::null());
        command.args([
            "--name=logs",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            // The ids follow from it, and the sizes of answers from the ids.
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=logs=http://127.0.0.1:2380",
        ]);
        let mut agent = site.start_command("etcd.log", command.args(flags));
        agent.says("ready to serve client requests");
        Running { _site: site, agent, client }
    })
}

impl Running {
    /// All lines with a text, as JSON.
    fn lines(&self, text: &str) -> Vec<Value> {
        let whole = self.agent.text();
        let wanted = format!("\"msg\":\"{text}\"");
        let lines = whole.lines().filter(|line| line.contains(&wanted));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn work(&self) {
        block_on(async {
            let mut store = connect(&self.client).await;
            store.put("key", "value", None).await.unwrap();
            store.get("key", None).await.unwrap();
            let compare = Compare::version("key", CompareOp::Equal, 1);
            let put = TxnOp::put("key", "again", None);
            store.txn(Txn::new().when([compare]).and_then([put])).await.unwrap();
            store.delete("key", None).await.unwrap();
            store.member_list().await.unwrap();
            store.compact(3, None).await.unwrap();
        });
    }
}

/// A line without what differs from run to run.
fn plain(mut line: Value) -> Value {
    let fields = line.as_object_mut().unwrap();
    for name in ["ts", "caller", "start time", "time spent", "remote", "took", "response"] {
        assert!(fields.remove(name).is_none_or(|value| value.is_string()), "{name}");
    }
    line
}

#[test]
fn every_unary_call_is_told_where_debug_lines_are_wanted() {
    let [etcd, kat] = both(&["--log-level=debug"]);
    let told = |running: &Running| {
        running.work();
        let lines = running.lines("request stats").into_iter().map(plain);
        lines
            .map(|mut line| {
                // Go's text form of a request is spaced at random.
                let content = line["request content"].as_str().unwrap().replace(' ', "");
                line["request content"] = content.into();
                line
            })
            .filter(|line| line["response type"] != "/etcdserverpb.KV/Txn")
            .collect::<Vec<_>>()
    };
    let theirs = told(&etcd);
    assert_eq!(theirs.len(), 5, "{theirs:?}");
    assert_eq!(told(&kat), theirs);
    let txn = kat
        .lines("request stats")
        .into_iter()
        .map(plain)
        .find(|line| line["response type"] == "/etcdserverpb.KV/Txn");
    let txn = txn.expect("the txn is told");
    assert!(!txn.to_string().contains("again"), "a value is in the log: {txn}");
    let counts = ["request count", "request size", "response count", "response size"];
    let etcds = etcd
        .lines("request stats")
        .into_iter()
        .find(|line| line["response type"] == "/etcdserverpb.KV/Txn");
    let etcds = etcds.unwrap();
    for name in counts {
        assert_eq!(txn[name], etcds[name], "{name}");
    }
}

#[test]
fn what_is_slow_is_warned_of() {
    for running in both(&["--warning-unary-request-duration=1ns", "--warning-apply-duration=1ns"]) {
        running.work();
        let slow = running.lines("request stats");
        assert!(slow.len() >= 5 && slow.iter().all(|line| line["level"] == "warn"), "{slow:?}");
        let applied = running.lines("apply request took too long");
        for prefix in ["", "read-only range "] {
            let line = applied.iter().find(|line| line["prefix"] == prefix);
            let line = line.unwrap_or_else(|| panic!("{prefix:?}: {applied:?}"));
            assert_eq!(
                (&line["level"], &line["expected-duration"]),
                (&"warn".into(), &"1ns".into())
            );
        }
        assert!(!running.agent.text().contains("again"), "a value is in the log");
    }
    // Nothing is slow by etcd's own measure.
    for running in both(&["--warning-unary-request-duration=1h", "--warning-apply-duration=1h"]) {
        running.work();
        assert!(running.lines("request stats").is_empty());
        assert!(running.lines("apply request took too long").is_empty());
    }
}

#[test]
fn a_finished_compaction_is_told_with_its_hash() {
    let [mut etcd, mut kat] = both(&[]);
    let told = |running: &mut Running| {
        running.work();
        running.agent.says("finished scheduled compaction");
        let line = running.agent.line("finished scheduled compaction");
        let of = |name: &str| line[name].clone();
        ["level", "compact-revision", "number-of-keys-compacted", "hash"].map(of)
    };
    let theirs = told(&mut etcd);
    assert_eq!(told(&mut kat), theirs);
}

#[test]
fn a_defragmentation_that_is_not_worth_it_is_skipped() {
    for running in both(&["--bootstrap-defrag-threshold-megabytes=1000"]) {
        let line = &running.lines("Skipping defragmentation")[0];
        assert_eq!(line["level"], "info");
        assert_eq!(line["bootstrap-defrag-threshold-bytes"], 1000 << 20);
        assert!(line["current-db-size-bytes"].as_i64().unwrap() > 0, "{line}");
        assert!(line["current-db-size-in-use-bytes"].as_i64().unwrap() > 0, "{line}");
    }
}

/// What etcd warns of, and what operators alert on.
#[test]
fn deprecated_flags_are_warned_of_and_nothing_is_an_error() {
    for mut running in both(&["--max-snapshots=3", "--v2-deprecation=write-only"]) {
        running.work();
        for text in [
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input.",
        ] {
            assert_eq!(running.lines(text)[0]["level"], "warn", "{text}");
        }
        assert!(!running.agent.text().contains("\"level\":\"error\""));
        running.agent.signal(Signal::TERM);
        running.agent.end();
        assert_eq!(running.lines("received signal; shutting down")[0]["signal"], "terminated");
        let closed = &running.lines("closed etcd server")[0];
        assert_eq!((&closed["name"], &closed["data-dir"]), (&"logs".into(), &"logs.etcd".into()));
        assert!(closed["advertise-client-urls"].is_array(), "{closed}");
    }
}
