//! Flags that do not go together, and certificates that a server makes itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::talk::Client;
use super::{Papers, Place, Stage, compare, prepared};

const SERVER: [&str; 2] = ["--cert-file=server.pem", "--key-file=server.key"];

/// The last reason that a server gives for not starting, and its exit code.
fn refused(is_stock: bool, flags: &[&str]) -> (Option<i32>, String) {
    let place = Place::new(is_stock, flags);
    place.papers.server(7);
    place.papers.client("alice");
    let mut command = prepared(&place.site, &place.program, &place.command);
    let mut server = place.site.start_command("etcd.log", &mut command);
    let code = server.end().code();
    let said = server.text();
    let mut why = said.trim().to_owned();
    for line in said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let Some(error) = line["error"].as_str() {
            error.clone_into(&mut why);
        }
    }
    for (name, port) in super::PORTS.iter().zip(place.ports) {
        why = why.replace(&port.to_string(), name);
    }
    (code, why)
}

#[test]
fn what_does_not_go_together_is_refused_at_the_start() {
    let aes_256 = "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let cases: &[&[&str]] = &[
        &[],
        &["--cert-file=nowhere.pem", "--key-file=server.key"],
        &["--cert-file=server.pem", "--key-file=nowhere.key"],
        &["--cert-file=server.pem"],
        &["--key-file=server.key"],
        &["--cert-file=server.pem", "--key-file=alice.key"],
        &[SERVER[0], SERVER[1], "--trusted-ca-file=nowhere.pem"],
        &[SERVER[0], SERVER[1], "--client-cert-file=alice.pem"],
        &[SERVER[0], SERVER[1], "--client-cert-file=alice.pem", "--client-key-file=nowhere.key"],
        &[SERVER[0], SERVER[1], "--tls-min-version=TLS1.1"],
        &[SERVER[0], SERVER[1], "--tls-max-version=SSL3"],
        &[SERVER[0], SERVER[1], "--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
        &[SERVER[0], SERVER[1], "--tls-min-version=TLS1.3", aes_256],
        &[SERVER[0], SERVER[1], "--cipher-suites=TLS_NONSENSE"],
        &[SERVER[0], SERVER[1], aes_256],
        &["--auto-tls", "--self-signed-cert-validity=0"],
        &[
            "--listen-client-urls=http://127.0.0.1:CLIENT",
            "--listen-metrics-urls=https://127.0.0.1:EXTRA",
        ],
        &[
            "--listen-client-urls=http://127.0.0.1:CLIENT",
            "--listen-client-http-urls=http://127.0.0.1:CLIENT",
        ],
        &[
            "--listen-client-urls=http://127.0.0.1:CLIENT",
            "--listen-peer-urls=https://127.0.0.1:PEER",
        ],
    ];
    let differing: Vec<_> = cases
        .iter()
        .filter_map(|flags| {
            let (stock, ours) = (refused(true, flags), refused(false, flags));
            assert_eq!(stock.0, Some(1), "{flags:?}: {}", stock.1);
            (stock != ours).then(|| format!("{flags:?}\n  etcd {stock:?}\n  ours {ours:?}"))
        })
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn a_server_makes_certificates_and_keeps_them() {
    let flags = ["--auto-tls", "--peer-auto-tls", "--listen-peer-urls=https://127.0.0.1:PEER"];
    compare(
        &flags,
        |_: &Papers| {},
        |stage| {
            let pair = "--cacert=data/fixtures/client/cert.pem";
            stage.ctl(&format!("put a 1 {pair}"));
            stage.ctl_in_vain("get a --cacert=ca.pem");
            stage.ctl("get a --insecure-skip-tls-verify");
            let files = |stage: &Stage| {
                let names = ["client/cert.pem", "client/key.pem", "peer/cert.pem", "peer/key.pem"];
                names.map(|name| {
                    let path = stage.file(&format!("data/fixtures/{name}"));
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    (fs::read(path).unwrap(), format!("{name} {mode:o}"))
                })
            };
            let before = files(stage);
            stage.note("files", before.each_ref().map(|(_, mode)| mode.as_str()).join(", "));
            let peer =
                Client { trusts: "data/fixtures/peer/cert.pem", port: 1, ..Client::default() };
            stage.note(
                "a pair for other members",
                peer.ask(stage, "GET /members", "").is_empty().to_string(),
            );
            stage.stop();
            stage.start_again();
            assert!(files(stage) == before, "they are made anew");
            stage.ctl(&format!("get a {pair}"));
        },
    );
}
