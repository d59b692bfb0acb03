//! Versions of TLS, and cipher suites.

use super::talk::{Client, NEW, OLD};
use super::{Papers, compare};

const SERVER: [&str; 2] = ["--cert-file=server.pem", "--key-file=server.key"];

fn papers(papers: &Papers) {
    papers.server(7);
}

/// Asks with each version alone.
fn ask(flags: &[&str]) {
    compare(&[&SERVER[..], flags].concat(), papers, |stage| {
        let old = Client { versions: OLD, ..Client::default() };
        stage.get("1.2", &old, "GET /version");
        let new = Client { versions: NEW, ..Client::default() };
        stage.get("1.3", &new, "GET /version");
        stage.ctl_as("", "put a 1");
    });
}

#[test]
fn both_versions_are_spoken() {
    ask(&[]);
    ask(&["--tls-min-version=TLS1.2", "--tls-max-version=TLS1.3"]);
}

#[test]
fn only_the_new_version_may_be_spoken() {
    ask(&["--tls-min-version=TLS1.3"]);
}

#[test]
fn only_the_old_version_may_be_spoken() {
    ask(&["--tls-max-version=TLS1.2"]);
}

#[test]
fn suites_are_those_that_the_operator_names() {
    let suites = "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,\
                  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_RSA_WITH_AES_128_CBC_SHA";
    compare(&[&SERVER[..], &[suites]].concat(), papers, |stage| {
        for suites in ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"] {
            let old = Client { versions: OLD, suites, ..Client::default() };
            stage.get(suites, &old, "GET /version");
        }
        stage.get("1.3", &Client::default(), "GET /version");
        stage.ctl_as("", "put a 1");
    });
}
