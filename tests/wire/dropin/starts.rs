//! Starts that an operator did not write for us: a unit with its environment, a
//! static pod, a configuration file. Each is held beside stock etcd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::page;
use crate::agent::{Agent, Site, block_on, connect};
use crate::process::{free_ports, peer, until};

/// A program to start, by name.
struct Program {
    name: &'static str,
    path: PathBuf,
    first: &'static [&'static str],
}

fn programs() -> [Program; 2] {
    let kat = env!("CARGO_BIN_EXE_kat-agent").into();
    [
        Program { name: "etcd", path: peer("etcd"), first: &[] },
        Program { name: "kat", path: kat, first: &["etcd"] },
    ]
}

impl Program {
    /// Prepares a command in a place where there is nothing else.
    fn command(&self, site: &Site) -> Command {
        let mut command = Command::new(&self.path);
        command.args(self.first).current_dir(site.path("")).env_clear();
        command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command
    }

    fn start(&self, site: &Site, command: &mut Command) -> Agent {
        let mut agent = site.start_command(&format!("{}.log", self.name), command);
        agent.says("ready to serve client requests");
        agent
    }
}

/// The first member as the server tells it, without what depends on its ports.
fn member(client: &str) -> (String, Vec<String>, Vec<String>) {
    block_on(async {
        let mut store = connect(client).await;
        let members = store.member_list().await.unwrap();
        let member = &members.members()[0];
        (member.name().to_owned(), member.peer_urls().to_vec(), member.client_urls().to_vec())
    })
}

fn stop(mut agent: Agent) {
    agent.signal(Signal::TERM);
    agent.end();
}

#[test]
fn a_unit_with_an_environment_file_starts_unchanged() {
    for program in programs() {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let notify = UnixDatagram::bind(site.path("notify")).unwrap();
        notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = program.command(&site);
        command.envs([
            ("ETCD_NAME", "unit"),
            ("ETCD_DATA_DIR", "var/lib/etcd"),
            ("ETCD_LISTEN_CLIENT_URLS", &client),
            ("ETCD_ADVERTISE_CLIENT_URLS", &client),
            ("ETCD_LISTEN_PEER_URLS", &peer),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peer),
            ("ETCD_INITIAL_CLUSTER", &format!("unit={peer}")),
            ("ETCD_INITIAL_CLUSTER_STATE", "new"),
            ("ETCD_INITIAL_CLUSTER_TOKEN", "etcd-cluster-1"),
            ("ETCD_AUTO_COMPACTION_RETENTION", "1"),
            ("ETCD_QUOTA_BACKEND_BYTES", "8589934592"),
            ("ETCD_STRICT_RECONFIG_CHECK", "true"),
            ("ETCD_LOG_OUTPUTS", "stderr"),
            ("ETCD_DEBUG", "false"),
            ("ETCD_PROXY", ""),
        ]);
        command.env("NOTIFY_SOCKET", site.path("notify"));
        let agent = program.start(&site, &mut command);
        let used = agent.line("recognized and used environment variable");
        assert!(used["variable-name"].as_str().unwrap().starts_with("ETCD_"), "{used}");
        for name in ["ETCD_DEBUG=false", "ETCD_PROXY="] {
            let text = agent.text();
            let told = format!("\"environment-variable\":\"{name}\"");
            assert!(text.contains(&told), "{}: {name}: {text}", program.name);
        }
        assert!(site.path("var/lib/etcd/member").exists(), "{}", program.name);
        let urls = (vec![peer], vec![client.clone()]);
        assert_eq!(member(&client), ("unit".to_owned(), urls.0, urls.1), "{}", program.name);
        let mut told = String::new();
        while !told.contains("READY=1") {
            let mut buffer = [0; 256];
            let length = notify.recv(&mut buffer).expect("the service manager is told in time");
            told += &String::from_utf8_lossy(&buffer[..length]);
        }
        stop(agent);
    }
}

#[test]
fn a_static_pod_starts_unchanged() {
    for program in programs() {
        let [client, peer, metrics] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let mut command = program.command(&site);
        command.args([
            &format!("--advertise-client-urls={client}"),
            "--data-dir=etcd",
            "--feature-gates=InitialCorruptCheck=true",
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=pod={peer}"),
            &format!("--listen-client-urls={client}"),
            &format!("--listen-metrics-urls={metrics}"),
            &format!("--listen-peer-urls={peer}"),
            "--name=pod",
            "--snapshot-count=10000",
            "--watch-progress-notify-interval=5s",
        ]);
        let agent = program.start(&site, &mut command);
        assert_eq!(member(&client).0, "pod");
        for path in ["/livez", "/readyz", "/health?exclude=NOSPACE&serializable=true"] {
            assert!(page(&metrics, path).starts_with("HTTP/1.1 200"), "{}: {path}", program.name);
        }
        let start = agent.line("starting an etcd server");
        assert_eq!(start["feature-gates"], "InitialCorruptCheck=true");
        stop(agent);
    }
}

/// Every key that the file has which is handed out with etcd, and the values.
fn distributed(client: &str, peer: &str) -> String {
    format!(
        "# A member.\nname: 'file'\ndata-dir: data\nwal-dir:\nsnapshot-count: 10000\n\
         heartbeat-interval: 100\nelection-timeout: 1000\nquota-backend-bytes: 0\n\
         listen-peer-urls: {peer}\nlisten-client-urls: {client}\nmax-snapshots: 5\nmax-wals: 5\n\
         cors:\ninitial-advertise-peer-urls: {peer}\nadvertise-client-urls: {client}\n\
         discovery:\ndiscovery-fallback: 'proxy'\ndiscovery-proxy:\ndiscovery-srv:\n\
         initial-cluster:\ninitial-cluster-token: 'etcd-cluster'\ninitial-cluster-state: 'new'\n\
         strict-reconfig-check: false\nenable-pprof: true\nproxy: 'off'\n\
         proxy-failure-wait: 5000\nproxy-read-timeout: 0\nclient-transport-security:\n  \
         cert-file:\n  key-file:\n  client-cert-auth: false\n  trusted-ca-file:\n  \
         auto-tls: false\npeer-transport-security:\n  cert-file:\n  key-file:\n  \
         client-cert-auth: false\n  trusted-ca-file:\n  auto-tls: false\n  allowed-cn:\n  \
         allowed-hostname:\nself-signed-cert-validity: 1\nlog-level: debug\nlogger: zap\n\
         log-outputs: [stderr]\nforce-new-cluster: false\nauto-compaction-mode: periodic\n\
         auto-compaction-retention: \"1\"\nwatch-progress-notify-interval: 600000000000\n\
         tls-min-version: 'TLS1.2'\ntls-max-version: 'TLS1.3'\n"
    )
}

#[test]
fn the_file_that_is_handed_out_starts_unchanged() {
    for by_variable in [false, true] {
        for program in programs() {
            let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
            let site = Site::new("unused");
            fs::write(site.path("etcd.conf.yml"), distributed(&client, &peer)).unwrap();
            let mut command = program.command(&site);
            // Everything else is passed over, however wrong it is.
            command.arg("--name=flag").env("ETCD_MAX_TXN_OPS", "x").env("ETCD_NAME", "variable");
            if by_variable {
                command.env("ETCD_CONFIG_FILE", "etcd.conf.yml");
            } else {
                command.arg("--config-file=etcd.conf.yml");
            }
            let agent = program.start(&site, &mut command);
            let loaded = agent.line("loaded server configuration");
            assert_eq!(loaded["path"], "etcd.conf.yml", "{}", program.name);
            let deprecated = agent.line("--max-snapshots is deprecated in 3.6");
            assert_eq!(deprecated["level"], "warn", "{}", program.name);
            assert_eq!(member(&client).0, "file", "{}", program.name);
            stop(agent);
        }
    }
}

/// The fields with which both say what they start with.
#[test]
fn a_start_is_told_with_etcds_fields() {
    let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let site = Site::new("unused");
    let start = |program: &Program| {
        let mut command = program.command(&site);
        command.args([
            "--name=told",
            &format!("--data-dir={}-data", program.name),
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=told={peer}"),
            "--snapshot-catchup-entries=1000",
            "--auto-compaction-retention=90m",
            "--cors=http://a:1,http://b:2",
            "--feature-gates=AllBeta=true",
        ]);
        let agent = program.start(&site, &mut command);
        let told = agent.line("starting an etcd server");
        stop(agent);
        told
    };
    let [etcd, kat] = programs();
    let (theirs, ours) = (start(&etcd), start(&kat));
    // About the program itself, or about things that are not here.
    let own = ["ts", "caller", "git-sha", "go-version", "data-dir", "member-dir"];
    let absent = |name: &str| {
        name.starts_with("discovery-") || ["local-address", "wal-dir-dedicated"].contains(&name)
    };
    for (name, value) in theirs.as_object().unwrap() {
        if !own.contains(&name.as_str()) && !absent(name) {
            assert_eq!(&ours[name], value, "{name}");
        }
    }
    assert_eq!(ours["snapshot-catchup-entries"], 1000);
    let urls: Vec<Value> = vec![client.as_str().into()];
    assert_eq!(ours["advertise-client-urls"], Value::Array(urls));
}

#[test]
fn old_spellings_start_with_a_warning() {
    let [etcd, kat] = programs();
    let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let site = Site::new("unused");
    let arguments = [
        "--enable-v2=true",
        "--experimental-initial-corrupt-check=true",
        "--experimental-watch-progress-notify-interval=5s",
        "--name=old",
    ];
    let output = etcd.command(&site).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "etcd itself has dropped them");
    let mut command = kat.command(&site);
    command.args(arguments).args([
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
    ]);
    let agent = kat.start(&site, &mut command);
    for warning in [
        "--enable-v2 has no effect any more",
        "--experimental-initial-corrupt-check is now --feature-gates=InitialCorruptCheck=true",
        "--experimental-watch-progress-notify-interval is now --watch-progress-notify-interval",
    ] {
        assert_eq!(agent.line(warning)["level"], "warn");
    }
    stop(agent);
}

/// Whoever has founded its cluster is not asked how it would.
#[test]
fn what_founds_a_cluster_is_passed_over_later() {
    for program in programs() {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let start = |founding: [&str; 3]| {
            let mut command = program.command(&site);
            command.args([
                "--name=first",
                "--data-dir=data",
                &format!("--listen-client-urls={client}"),
                &format!("--advertise-client-urls={client}"),
                &format!("--listen-peer-urls={peer}"),
            ]);
            let agent = program.start(&site, command.args(founding));
            let urls = member(&client).1;
            stop(agent);
            urls
        };
        let first = start([
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=first=http://127.0.0.1:2380",
            "--initial-cluster-state=new",
        ]);
        let later = start([
            "--initial-advertise-peer-urls=http://127.0.0.1:2381",
            "--initial-cluster=other=http://127.0.0.1:1,another=http://127.0.0.1:2",
            "--initial-cluster-state=existing",
        ]);
        assert_eq!(first, later, "{}", program.name);
    }
}

/// Folders are made for a file that is rotated, and for others not.
#[test]
fn a_log_that_is_rotated_lies_where_it_is_wanted() {
    for program in programs() {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let mut command = program.command(&site);
        command.args([
            "--name=log",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=log={peer}"),
            "--log-outputs=stderr,var/log/own.log",
            "--enable-log-rotation",
            "--log-rotation-config-json={\"maxsize\":1,\"maxbackups\":2}",
        ]);
        let agent = program.start(&site, &mut command);
        until("the file has it too", || {
            let text = fs::read_to_string(site.path("var/log/own.log")).ok()?;
            text.contains("ready to serve client requests").then_some(())
        });
        stop(agent);
    }
}

/// Go's programs live on after signals that nobody listens to.
#[test]
fn signals_that_mean_nothing_end_nothing() {
    for program in programs() {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let mut command = program.command(&site);
        command.args([
            "--name=deaf",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=deaf={peer}"),
        ]);
        let mut agent = program.start(&site, &mut command);
        for signal in [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::IO, Signal::PIPE] {
            agent.signal(signal);
        }
        assert_eq!(member(&client).0, "deaf", "{}", program.name);
        agent.signal(Signal::TERM);
        let status = agent.end();
        assert_eq!(status.signal(), Some(15), "{}", program.name);
    }
}

#[test]
fn logs_go_where_and_as_they_are_wanted() {
    for program in programs() {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let site = Site::new("unused");
        let mut command = program.command(&site);
        command.args([
            "--name=log",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=log={peer}"),
            "--log-outputs=stderr,own.log",
            "--log-format=console",
            "--enable-log-rotation=false",
        ]);
        let agent = program.start(&site, &mut command);
        let own = until("the file has it too", || {
            let text = fs::read_to_string(site.path("own.log")).ok()?;
            text.contains("ready to serve client requests").then_some(text)
        });
        let line = own.lines().find(|line| line.contains("ready to serve")).unwrap();
        let parts: Vec<&str> = line.split('\t').collect();
        // A time, a level, a place, a text.
        assert_eq!(parts[1..2], ["info"], "{line}");
        assert_eq!(parts[3..], ["ready to serve client requests"], "{line}");
        let start = own.lines().find(|line| line.contains("starting an etcd server")).unwrap();
        assert!(start.split('\t').nth(4).unwrap().starts_with('{'), "{start}");
        stop(agent);
    }
}
