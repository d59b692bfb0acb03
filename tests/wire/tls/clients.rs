//! Who may come in, and as whom.

use std::io::Read as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use rcgen::CertificateParams;

use super::talk::{Client, OLD, ask_plain, tcp, with};
use super::{Papers, Stage, compare};

const SERVER: [&str; 2] = ["--cert-file=server.pem", "--key-file=server.key"];
const MUTUAL: [&str; 4] = [
    "--cert-file=server.pem",
    "--key-file=server.key",
    "--client-cert-auth",
    "--trusted-ca-file=ca.pem",
];

const RANGE: &str = r#"{"key":"YQ=="}"#;

fn papers(papers: &Papers) {
    papers.server(7);
    papers.client("alice");
    papers.client("bob");
    papers.client("root");
}

#[test]
fn a_port_speaks_tls_in_every_combination() {
    compare(&SERVER, papers, |stage| {
        stage.ctl_as("", "put a 1");
        stage.ctl_as("", "get a");
        stage.ctl_in_vain("get a --cacert=other-ca.pem");
        stage.ctl_in_vain("get a --endpoints=http://127.0.0.1:CLIENT");
        stage.get("nobody", &Client::default(), "GET /version");
        stage.get("HTTP/1.1", &Client { speaks: &["http/1.1"], ..with("alice") }, "GET /health");
        let odd = Client { speaks: &["spdy/1"], ..Client::default() };
        stage.get("spdy", &odd, "GET /version");
        let both = Client { speaks: &["h2", "http/1.1"], ..Client::default() };
        let h2 = |stage: &mut Stage, path: &str, kind: &str, body: &str| {
            let answer = both.ask_h2(stage, path, kind, body);
            stage.note(&format!("h2 {path} {kind}"), answer);
        };
        h2(stage, "/v3/kv/range", "application/json", RANGE);
        h2(stage, "/v3/kv/range", "", RANGE);
        h2(stage, "/v3/kv/nothing", "application/json", "{}");
        h2(stage, "/nothing", "text/plain", "");
        h2(stage, "/etcdserverpb.KV/Range", "application/json", "");
        let plain = ask_plain(tcp(stage, 0), "GET /version", "");
        stage.note("plain", plain);
    });
}

#[test]
fn certificates_are_demanded_and_looked_at() {
    let prepare = |papers: &Papers| {
        self::papers(papers);
        papers.expired("expired");
        papers.servers_only("server-only");
        papers.powerful("powerful");
        papers.stranger("stranger");
        papers.own_root("own");
    };
    compare(&MUTUAL, prepare, |stage| {
        stage.ctl_as("alice", "put a 1");
        stage.ctl_as("powerful", "put a 2");
        stage.ctl_as("own", "put a 3");
        stage.ctl_in_vain("put a 4 --cacert=ca.pem");
        stage.ctl_in_vain("put a 5 --cacert=ca.pem --cert=stranger.pem --key=stranger.key");
        stage.get("nobody", &Client::default(), "GET /version");
        for name in ["alice", "powerful", "own", "expired", "server-only", "stranger"] {
            stage.get(name, &with(name), "GET /version");
            let told = |client: Client| client.hear(stage);
            if ["expired", "stranger"].contains(&name) {
                let old = told(Client { versions: OLD, ..with(name) });
                let new = told(with(name));
                stage.note(name, format!("{old}, {new}"));
            }
        }
        let told = Client::default().hear(stage);
        stage.note("nobody", told);
        stage.ctl_as("alice", "get a");
        stage.note_rejections(8);
    });
}

#[test]
fn an_authority_alone_demands_certificates_but_makes_nobody_a_user() {
    let flags = [&SERVER[..], &["--trusted-ca-file=ca.pem"]].concat();
    compare(&flags, papers, |stage| {
        stage.get("nobody", &Client::default(), "GET /version");
        stage.ctl_as("alice", "put a 1");
        set_up_accounts(stage, "alice");
        stage.ctl_as("alice", "get a");
        stage.ctl_as("alice", "get a --user=alice:secret");
        let answer = with("alice").ask(stage, "POST /v3/kv/range", RANGE);
        stage.note("gateway", answer);
    });
}

/// Accounts for root and alice, and authentication on.
fn set_up_accounts(stage: &mut Stage, who: &str) {
    for line in [
        "user add root --no-password",
        "user grant-role root root",
        "user add alice:secret",
        "role add reader",
        "role grant-permission reader read a",
        "user grant-role alice reader",
        "auth enable",
    ] {
        stage.ctl_as(who, line);
    }
}

#[test]
fn the_common_name_is_the_user() {
    let prepare = |papers: &Papers| {
        self::papers(papers);
        papers.client_with("nameless", "", |_| {});
    };
    compare(&MUTUAL, prepare, |stage| {
        stage.ctl_as("root", "put a 1");
        let ask = |stage: &mut Stage, who: &'static str| {
            let answer = with(who).ask(stage, "POST /v3/kv/range", RANGE);
            stage.note(&format!("gateway {who}"), answer);
            let old = with(who).ask(stage, "POST /v3beta/kv/range", RANGE);
            stage.note(&format!("old gateway {who}"), old);
            let h2 = with(who).ask_h2(stage, "/v3/kv/range", "application/json", RANGE);
            stage.note(&format!("h2 gateway {who}"), h2);
            stage.get(who, &with(who), "GET /health");
        };
        ask(stage, "alice");
        set_up_accounts(stage, "root");
        stage.ctl_as("root", "put a 2");
        stage.ctl_as("root", "user list");
        for line in ["get a", "put a 3", "get b", "user list", "user get alice", "auth status"] {
            stage.ctl_as("alice", line);
        }
        stage.ctl_as("bob", "get a");
        stage.ctl_as("nameless", "get a");
        stage.ctl_as("bob", "get a --user=alice:secret");
        stage.ctl_as("root", "put a 4 --user=alice:secret");
        stage.ctl_as("alice", "lease list");
        for who in ["alice", "nameless"] {
            ask(stage, who);
        }
        stage.ctl_as("root", "auth disable");
        ask(stage, "alice");
    });
}

#[test]
fn what_was_taken_back_is_turned_away() {
    let flags = [&MUTUAL[..], &["--client-crl-file=list.crl"]].concat();
    let prepare = |papers: &Papers| {
        self::papers(papers);
        let numbered =
            |number: u64| move |p: &mut CertificateParams| p.serial_number = Some(number.into());
        papers.client_with("good", "good", numbered(0x11));
        papers.client_with("bad", "bad", numbered(0x1234));
        papers.revoke("list.crl", &[0x12, 0x1234]);
    };
    compare(&flags, prepare, |stage| {
        stage.ctl_as("good", "put a 1");
        stage.get("good", &with("good"), "GET /version");
        stage.get("bad", &with("bad"), "GET /version");
        stage.papers.revoke("list.crl", &[0x11]);
        stage.get("good, now bad", &with("good"), "GET /version");
        stage.get("bad, now good", &with("bad"), "GET /version");
        std::fs::write(stage.file("list.crl"), "no list").unwrap();
        stage.get("good", &with("good"), "GET /version");
        std::fs::remove_file(stage.file("list.crl")).unwrap();
        stage.get("good", &with("good"), "GET /version");
    });
}

#[test]
fn a_certificate_may_have_to_stand_for_a_host() {
    let flags = [&MUTUAL[..], &["--client-cert-allowed-hostname=db.example.com,10.0.0.9"]].concat();
    let prepare = |papers: &Papers| {
        self::papers(papers);
        let host = |host: &str| {
            let params = CertificateParams::new([host.to_owned()]).unwrap();
            move |p: &mut CertificateParams| p.subject_alt_names = params.subject_alt_names.clone()
        };
        papers.client_with("star", "star", host("*.example.com"));
        papers.client_with("exact", "exact", host("DB.example.com"));
        papers.client_with("address", "address", host("10.0.0.9"));
        papers.client_with("elsewhere", "elsewhere", host("example.com"));
        papers.client_with("named", "db.example.com", |_| {});
    };
    compare(&flags, prepare, |stage| {
        for name in ["star", "exact", "address", "elsewhere", "named"] {
            stage.get(name, &with(name), "GET /version");
        }
        let told = with("named").hear(stage);
        stage.note("named", told);
        stage.ctl_as("exact", "put a 1");
        stage.note_rejections(2);
    });
}

#[test]
fn replaced_certificates_are_shown_from_the_next_connection_on() {
    compare(&SERVER, papers, |stage| {
        let note = |stage: &mut Stage, what: &str| {
            let serial = Client::default().serial(stage);
            stage.note(what, serial);
        };
        note(stage, "first");
        stage.papers.server(8);
        note(stage, "replaced");
        std::fs::write(stage.file("server.pem"), "no certificate").unwrap();
        note(stage, "broken");
        stage.papers.server(9);
        std::fs::rename(stage.file("server.key"), stage.file("aside")).unwrap();
        note(stage, "without its key");
        stage.papers.server(10);
        note(stage, "whole again");
    });
}

#[test]
fn clients_that_stall_are_cut_off_and_hold_up_nobody() {
    compare(&SERVER, papers, |stage| {
        let mut silent: Vec<_> = (0..20).map(|_| tcp(stage, 0)).collect();
        for stream in silent.iter_mut().skip(10) {
            // The beginning of a hello that does not come.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
        }
        let begin = Instant::now();
        stage.get("another", &Client::default(), "GET /version");
        stage.ctl_as("", "put a 1");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        for stream in &mut silent {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut rest = Vec::new();
            // Whether it is reset or closed, it ends.
            stream.read_to_end(&mut rest).ok();
            assert!(rest.len() < 16, "{rest:?}");
        }
        let took = begin.elapsed();
        assert!((8..16).contains(&took.as_secs()), "{took:?}");
        stage.note_rejections(20);
    });
}
