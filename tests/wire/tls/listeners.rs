//! Where a server listens, and what it speaks there.

use std::fs;

use super::talk::{Client, ask_plain, socket, tcp, with};
use super::{Papers, Stage, compare};

const RANGE: &str = r#"{"key":"YQ=="}"#;

fn papers(papers: &Papers) {
    papers.server(7);
    papers.client("alice");
}

fn plain(stage: &mut Stage, port: usize, what: &str, body: &str) {
    let answer = ask_plain(tcp(stage, port), what, body);
    stage.note(&format!("plain {port} {what}"), answer);
}

#[test]
fn http_and_https_share_a_port() {
    let flags = [
        "--listen-client-urls=http://127.0.0.1:CLIENT,https://127.0.0.1:CLIENT",
        "--cert-file=server.pem",
        "--key-file=server.key",
    ];
    compare(&flags, papers, |stage| {
        stage.ctl_as("", "put a 1");
        stage.ctl("get a --endpoints=http://127.0.0.1:CLIENT");
        stage.get("secured", &Client::default(), "GET /version");
        plain(stage, 0, "GET /version", "");
        plain(stage, 0, "POST /v3/kv/range", RANGE);
        let h2 = Client::default().ask_h2(stage, "/v3/kv/range", "application/json", RANGE);
        stage.note("h2", h2);
    });
}

#[test]
fn several_urls_are_served_at_once() {
    let flags = [
        "--listen-client-urls=https://127.0.0.1:CLIENT,http://localhost:EXTRA",
        "--cert-file=server.pem",
        "--key-file=server.key",
    ];
    compare(&flags, papers, |stage| {
        stage.ctl_as("", "put a 1");
        stage.ctl("get a --endpoints=http://127.0.0.1:EXTRA");
        plain(stage, 1 + 1, "GET /version", "");
    });
}

#[test]
fn sockets_are_listened_on_and_tidied_up() {
    let flags = [
        "--listen-client-urls=unix://localhost:CLIENT,unixs://localhost:EXTRA,unix://sub/sock",
        "--cert-file=server.pem",
        "--key-file=server.key",
    ];
    let prepare = |papers: &Papers| {
        self::papers(papers);
        papers.folder("sub");
        papers.stale("sub/sock");
    };
    compare(&flags, prepare, |stage| {
        stage.ctl("put a 1 --endpoints=unix://localhost:CLIENT");
        stage.ctl("get a --endpoints=unixs://localhost:EXTRA --cacert=ca.pem");
        stage.ctl_in_vain("get a --endpoints=unixs://localhost:EXTRA --cacert=other-ca.pem");
        let files = [stage.ports[0], stage.ports[2]].map(|port| format!("localhost:{port}"));
        for (name, file) in [("first", files[0].as_str()), ("below", "sub/sock")] {
            let answer = ask_plain(socket(stage, file), "POST /v3/kv/range", RANGE);
            stage.note(name, answer);
        }
        let is_there = |stage: &Stage| {
            [files[0].as_str(), &files[1], "sub/sock"].map(|file| stage.file(file).exists())
        };
        let before = is_there(stage);
        stage.stop();
        let after = is_there(stage);
        stage.note("sockets", format!("{before:?} {after:?}"));
        fs::write(stage.file("sub/sock"), "stale").unwrap();
        stage.start_again();
        stage.ctl("get a --endpoints=unix://localhost:CLIENT");
    });
}

#[test]
fn http_may_have_ports_of_its_own() {
    let flags = [
        "--listen-client-urls=http://127.0.0.1:CLIENT",
        "--listen-client-http-urls=http://127.0.0.1:EXTRA",
    ];
    compare(&flags, papers, |stage| {
        stage.ctl("put a 1 --endpoints=http://127.0.0.1:CLIENT");
        stage.ctl_in_vain("get a --endpoints=http://127.0.0.1:EXTRA");
        plain(stage, 2, "GET /version", "");
        plain(stage, 2, "POST /v3/kv/range", RANGE);
        let answer = ask_plain(tcp(stage, 0), "GET /version", "");
        let is_refused = !answer.contains("200");
        stage.note("HTTP on the other port is refused", is_refused.to_string());
    });
}

#[test]
fn http_may_have_ports_of_its_own_over_tls() {
    let flags = [
        "--listen-client-http-urls=https://127.0.0.1:EXTRA",
        "--cert-file=server.pem",
        "--key-file=server.key",
        "--client-cert-auth",
        "--trusted-ca-file=ca.pem",
    ];
    compare(&flags, papers, |stage| {
        stage.ctl_as("alice", "put a 1");
        let elsewhere = "get a --endpoints=https://127.0.0.1:EXTRA --cacert=ca.pem";
        stage.ctl_in_vain(&format!("{elsewhere} --cert=alice.pem --key=alice.key"));
        let pages = || Client { port: 2, ..with("alice") };
        stage.get("alice", &pages(), "GET /version");
        stage.get("nobody", &Client { port: 2, ..Client::default() }, "GET /version");
        let h2 = pages().ask_h2(stage, "/v3/kv/range", "application/json", RANGE);
        stage.note("JSON over h2", h2);
        let grpc = pages().ask_h2(stage, "/etcdserverpb.KV/Range", "application/grpc", "");
        stage.note("gRPC over h2", grpc);
    });
}

#[test]
fn metrics_have_ports_of_their_own() {
    for scheme in ["http", "https"] {
        let metrics = format!("--listen-metrics-urls={scheme}://127.0.0.1:EXTRA");
        let flags = ["--cert-file=server.pem", "--key-file=server.key", &metrics];
        compare(&flags, papers, |stage| {
            for what in ["GET /metrics", "GET /health", "GET /livez", "GET /readyz", "GET /version"]
            {
                match scheme {
                    "http" => plain(stage, 2, what, ""),
                    _ => stage.get("", &Client { port: 2, ..Client::default() }, what),
                }
            }
        });
    }
}

#[test]
fn other_members_are_met_over_tls() {
    let flags = [
        "--listen-client-urls=http://127.0.0.1:CLIENT",
        "--listen-peer-urls=https://127.0.0.1:PEER",
        "--peer-cert-file=server.pem",
        "--peer-key-file=server.key",
        "--peer-client-cert-auth",
        "--peer-trusted-ca-file=ca.pem",
        "--peer-cert-allowed-cn=alice,friend",
    ];
    let prepare = |papers: &Papers| {
        self::papers(papers);
        papers.client("mallory");
    };
    compare(&flags, prepare, |stage| {
        for name in ["alice", "mallory"] {
            let client = Client { port: 1, ..with(name) };
            stage.get(name, &client, "GET /version");
        }
        stage.get("nobody", &Client { port: 1, ..Client::default() }, "GET /version");
    });
}
