//! Our own in the place of an `etcd` binary: what its starters rely on.

mod logs;
mod refusals;
mod starts;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etcd_client::GetOptions;
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::agent::{Agent, Site, block_on, connect, value};
use super::process::{Server, free_ports, peer, until};

/// Where an etcd of these tests lives, and how it is started.
struct Place {
    site: Site,
    client: String,
    peer: String,
}

impl Place {
    fn new() -> Place {
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        Place { site: Site::new("unused"), client, peer }
    }

    /// A command with the flags that every starter gives.
    fn command(&self, more: &[&str]) -> Command {
        let Place { client, peer, .. } = self;
        let mut arguments = vec!["etcd", "-name", "wire", "--data-dir=data"];
        let (listen, advertise) =
            (format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}"));
        let (listen_peer, advertise_peer) =
            (format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}"));
        arguments.extend([&*listen, &advertise, &listen_peer, &advertise_peer]);
        arguments.extend(more);
        let mut command = self.site.command(&arguments);
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command
    }

    fn start(&self, more: &[&str]) -> Agent {
        self.site.start_command("etcd.log", &mut self.command(more))
    }

    fn ready(&self, more: &[&str]) -> Agent {
        let mut agent = self.start(more);
        agent.says("ready to serve client requests");
        agent
    }

    /// Runs it where it must fail: the exit code, and what it says.
    fn refused(&self, more: &[&str]) -> (i32, String) {
        let output = self.command(more).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }
}

/// Gets a page from a server over plain HTTP.
fn page(url: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: wire\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_starts_logs_and_ends_as_etcd_does() {
    let place = Place::new();
    let begin = Instant::now();
    let mut etcd = place.start(&[]);
    etcd.says("serving client traffic insecurely; this is strongly discouraged!");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let text = etcd.text();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("simple token is not cryptographically signed") < at("ready to serve client"));
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["level", "ts", "caller", "msg"] {
            assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {line}");
        }
        assert!(["info", "warn"].contains(&line["level"].as_str().unwrap()), "{line}");
    }
    let start = etcd.line("starting an etcd server");
    assert_eq!(start["v2-deprecation"], "write-only");
    assert_eq!(start["snapshot-catchup-entries"], 5000);

    assert!(page(&place.client, "/health").contains(r#""health":"true""#));
    assert!(
        page(&place.client, "/version")
            .contains(r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#)
    );
    assert!(page(&place.peer, "/version").contains(r#""etcdserver":"3.7.1""#));
    let mode =
        |below: &str| fs::metadata(place.site.path(below)).unwrap().permissions().mode() & 0o777;
    for folder in ["data", "data/member", "data/member/log", "data/member/state"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }

    let begin = Instant::now();
    etcd.signal(Signal::TERM);
    let status = etcd.end();
    assert_eq!(status.signal(), Some(15), "it dies of the signal");
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
}

#[test]
fn ids_are_those_of_stock_etcd() {
    let [client, port] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let flags = |data: &str| {
        [
            "--name=x".to_owned(),
            format!("--data-dir={data}"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={port}"),
            format!("--initial-advertise-peer-urls={port}"),
            format!("--initial-cluster=x={port}"),
            "--initial-cluster-token=tkn".to_owned(),
        ]
    };
    let site = Site::new("unused");
    let ask = |program: PathBuf, first: &[&str], data: &str| {
        let mut command = Command::new(program);
        command.args(first).args(flags(data)).current_dir(site.path("")).env_clear();
        command.stdin(Stdio::null());
        let mut etcd = site.start_command(&format!("{data}.log"), &mut command);
        etcd.says("ready to serve client requests");
        let ids = block_on(async {
            let mut store = connect(&client).await;
            let status = store.status().await.unwrap();
            let header = status.header().unwrap();
            let members = store.member_list().await.unwrap();
            let member = &members.members()[0];
            let urls = (member.peer_urls().to_vec(), member.client_urls().to_vec());
            let name = member.name().to_owned();
            (header.cluster_id(), header.member_id(), member.id(), name, urls)
        });
        etcd.signal(Signal::TERM);
        etcd.end();
        ids
    };
    let ours = ask(env!("CARGO_BIN_EXE_kat-agent").into(), &["etcd"], "ours");
    assert_eq!(ours, ask(peer("etcd"), &[], "theirs"));
}

#[test]
fn called_as_etcd_it_needs_no_command() {
    let place = Place::new();
    let etcd = place.site.path("etcd");
    symlink(env!("CARGO_BIN_EXE_kat-agent"), &etcd).unwrap();
    let output = Command::new(&etcd).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let starts: Vec<&str> = text.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(starts, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
    assert_eq!(text.lines().next(), Some("etcd Version: 3.7.1"));
    let output = Command::new(&etcd).arg("-help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.lines().any(|line| line.trim().starts_with("--unsafe-no-fsync")), "{help}");
}

#[test]
fn a_flag_that_is_not_understood_ends_it_with_2() {
    let place = Place::new();
    let (exit, said) = place.refused(&["--nonsense"]);
    assert_eq!((exit, said.lines().next()), (2, Some("flag provided but not defined: -nonsense")));
    let (exit, said) = place.refused(&["--v2-deprecation", "not-yet"]);
    assert_eq!(exit, 2);
    let words = r#"invalid value "not-yet" for flag -v2-deprecation: invalid value "not-yet""#;
    assert_eq!(said.lines().next(), Some(words));
    assert_eq!(place.refused(&["stray"]).0, 1);
    assert_eq!(place.refused(&["--feature-gates=Nonsense=true"]).0, 2);
    let mut command = place.command(&[]);
    let output = command.env("ETCD_NAME", "other").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.site.path("data").exists(), "nothing was begun");
}

#[test]
fn readiness_shows_even_where_only_warnings_do() {
    let place = Place::new();
    let mut etcd = place.start(&["-log-level", "warn", "--unsafe-no-fsync=true"]);
    etcd.says("simple token is not cryptographically signed");
    block_on(async {
        let mut client = connect(&place.client).await;
        client.put("k", "v", None).await.expect("who comes early waits, and is not refused");
    });
    let text = etcd.text();
    assert!(!text.contains("ready to serve"), "{text}");
    assert!(text.contains("unsafe-no-fsync"), "what has no effect is named: {text}");
}

#[test]
fn a_taken_port_is_said_in_the_words_of_go() {
    let place = Place::new();
    let address = place.client.trim_start_matches("http://");
    let taken = TcpListener::bind(address).unwrap();
    let (exit, said) = place.refused(&[]);
    assert_eq!(exit, 1);
    let last = said.lines().next_back().unwrap();
    assert!(
        last.contains(&format!("listen tcp {address}: bind: address already in use")),
        "{said}"
    );
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!(last["level"], "fatal");
    drop(taken);
}

#[test]
fn any_peer_port_will_do() {
    for url in ["http://localhost:0", "http://127.0.0.1:0"] {
        let place = Place::new();
        let mut etcd = place.ready(&["--listen-peer-urls", url]);
        etcd.kill();
    }
}

#[test]
fn data_survives_stops_and_crashes() {
    let place = Place::new();
    for round in 0..6 {
        let mut etcd = place.ready(&[]);
        block_on(async {
            let mut client = connect(&place.client).await;
            for earlier in 0..round {
                let key = format!("k{earlier}");
                assert_eq!(value(&mut client, &key).await, "v", "{key} in round {round}");
            }
            client.put(format!("k{round}"), "v", None).await.unwrap();
        });
        if round % 2 == 0 {
            etcd.kill();
        } else {
            etcd.signal(Signal::INT);
            assert_eq!(etcd.end().signal(), Some(2));
        }
    }
    // A harness that plays a lost disk finds no data afterwards.
    fs::remove_dir_all(place.site.path("data/member")).unwrap();
    let mut etcd = place.ready(&[]);
    block_on(async {
        let mut client = connect(&place.client).await;
        assert!(client.get("k0", None).await.unwrap().kvs().is_empty());
    });
    etcd.kill();
}

#[test]
fn a_second_process_waits_for_the_first_ones_data() {
    let place = Place::new();
    let mut first = place.ready(&[]);
    let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let second = Place { site: place.site.clone(), client, peer };
    let mut waiting = second.site.start_command("second.log", &mut second.command(&[]));
    waiting.says("another process holds the data directory");
    assert!(!waiting.text().contains("ready to serve"));
    first.signal(Signal::TERM);
    first.end();
    waiting.says("ready to serve client requests");
    waiting.signal(Signal::TERM);
    waiting.end();
}

#[test]
fn a_node_of_kat_is_not_served_without_its_agent() {
    let place = Place::new();
    fs::create_dir_all(place.site.path("data")).unwrap();
    fs::write(place.site.path("data/kat-state.json"), "{}").unwrap();
    let (exit, said) = place.refused(&[]);
    assert_eq!(exit, 8);
    assert!(said.contains("kat-state.json"), "{said}");
}

#[test]
fn the_data_of_stock_etcd_is_left_alone() {
    let place = Place::new();
    let db = place.site.path("data/member/snap/db");
    fs::create_dir_all(db.parent().unwrap()).unwrap();
    fs::write(&db, "pages").unwrap();
    let (exit, said) = place.refused(&[]);
    assert_eq!(exit, 1);
    assert!(said.contains("holds data of stock etcd"), "{said}");
    assert!(said.contains("make-mirror"), "{said}");
    assert_eq!(fs::read_to_string(&db).unwrap(), "pages");
    assert_eq!(fs::read_dir(place.site.path("data/member")).unwrap().count(), 1);
}

#[test]
fn history_goes_by_itself_when_it_is_old() {
    let place = Place::new();
    let mut etcd = place.ready(&["--auto-compaction-retention=1s"]);
    block_on(async {
        let mut client = connect(&place.client).await;
        for count in 0..5 {
            client.put("k", format!("v{count}"), None).await.unwrap();
        }
        until("the first revisions are gone", || {
            let old = GetOptions::new().with_revision(2);
            let asked = block_in_place(|| Handle::current().block_on(client.get("k", Some(old))));
            asked.is_err_and(|why| why.to_string().contains("compacted")).then_some(())
        });
        assert_eq!(value(&mut client, "k").await, "v4");
    });
    assert_eq!(etcd.line("completed auto compaction")["mode"], "periodic");
    etcd.kill();
}

#[test]
fn open_streams_do_not_hold_up_its_end() {
    let place = Place::new();
    let mut etcd = place.ready(&[]);
    block_on(async {
        let mut client = connect(&place.client).await;
        let mut watches = Vec::new();
        for count in 0..20 {
            watches.push(client.watch(format!("k{count}"), None).await.unwrap());
        }
        let begin = Instant::now();
        etcd.signal(Signal::TERM);
        let status = etcd.end();
        assert_eq!(status.signal(), Some(15));
        assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
        drop(watches);
    });
}

#[test]
fn stock_tools_find_it_healthy() {
    let server = Server::kat();
    let ctl = |arguments: &[&str]| {
        let output = Command::new(peer("etcdctl"))
            .args(["--endpoints", &server.endpoint()])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    ctl(&["endpoint", "health"]);
    assert_eq!(ctl(&["put", "k", "v"]), "OK\n");
    assert_eq!(ctl(&["get", "k"]), "k\nv\n");
    assert!(ctl(&["member", "list"]).contains("started, wire"));
}

/// What is neither HTTP nor gRPC costs whoever sent it the connection, and
/// nobody else anything.
#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let server = Server::kat();
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut garbage: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET /health\x00\xff HTTP/9.9\r\n\r\n".to_vec(),
        [preface.as_slice(), &[0xff; 64]].concat(),
        [preface.as_slice(), &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]].concat(),
        vec![0; 64 << 10],
    ];
    // Bytes of a fixed sequence that looks like none.
    let mut state = 1_u64;
    garbage.extend((0..50).map(|_| {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        (0..512).map(next).collect()
    }));
    for bytes in &garbage {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        // The server may have hung up already, which is what is wanted.
        stream.write_all(bytes).ok();
        stream.shutdown(Shutdown::Write).ok();
        let ended = stream.read_to_end(&mut Vec::new());
        let reset = |why: &std::io::Error| why.kind() == ErrorKind::ConnectionReset;
        assert!(ended.is_ok() || ended.as_ref().is_err_and(reset), "{ended:?}");
    }
    let answer = server.http_get("/health").unwrap();
    assert!(answer.contains(r#""health":"true""#), "{answer}");
}
