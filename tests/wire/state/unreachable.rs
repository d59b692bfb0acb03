//! Stores that do not answer, or not everywhere.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kat::ids::Revision;
use kat::state::{Error, EtcdStore, Obstacle, Options, StateStore};

use super::{Server, next, run};
use crate::process::free_ports;

fn nowhere() -> String {
    let [port] = free_ports();
    format!("http://127.0.0.1:{port}")
}

fn connect(endpoints: &[String], request_timeout: Duration) -> EtcdStore {
    let options = Options { request_timeout, ..Options::default() };
    EtcdStore::connect(endpoints, options).unwrap()
}

fn obstacle<T>(result: Result<T, Error>) -> (Obstacle, bool, String) {
    match result {
        Err(Error::Unavailable { why, maybe_applied, detail }) => (why, maybe_applied, detail),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was answered"),
    }
}

#[test]
fn nobody_there_is_told_at_once() {
    run(async {
        let endpoint = nowhere();
        let store = connect(std::slice::from_ref(&endpoint), Duration::from_secs(5));
        let begin = Instant::now();
        let (why, maybe_applied, detail) = obstacle(store.put("a", b"1").await);
        assert_eq!((why, maybe_applied), (Obstacle::Unreachable, false));
        assert!(detail.contains(&endpoint) && detail.contains("put \"a\""), "{detail}");
        assert_eq!(obstacle(store.get("a").await).0, Obstacle::Unreachable);
        let watch = store.watch("a", Revision(0)).await;
        assert_eq!(obstacle(watch).0, Obstacle::Unreachable);
        assert!(begin.elapsed() < Duration::from_secs(5), "nobody waited for the deadline");
    });
}

#[test]
fn a_silent_store_runs_into_the_deadline() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let store = connect(std::slice::from_ref(&endpoint), Duration::from_millis(300));
        let (why, maybe_applied, detail) = obstacle(store.put("a", b"1").await);
        assert_eq!((why, maybe_applied), (Obstacle::TimedOut, true), "the write is in doubt");
        assert!(detail.contains(&endpoint) && detail.contains("put \"a\""), "{detail}");
        let (why, maybe_applied, _) = obstacle(store.get("a").await);
        assert_eq!((why, maybe_applied), (Obstacle::TimedOut, false), "a read never is");
    });
}

#[test]
fn another_endpoint_answers_instead() {
    run(async {
        let server = Server::etcd();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("http://{}", silent.local_addr().unwrap());
        let store = connect(&[nowhere(), server.endpoint()], Duration::from_secs(5));
        store.put("a", b"1").await.expect("a write that was never sent goes elsewhere");

        let store = connect(&[silent, server.endpoint()], Duration::from_secs(2));
        let mut watch = store.watch("a", Revision(0)).await.unwrap();
        let put = store.put("a", b"2").await.unwrap();
        assert_eq!(next(&mut watch).await.kv.version, put);
        assert!(store.get("a").await.unwrap().is_some());
    });
}

#[test]
fn endpoints_must_be_urls() {
    run(async {
        for endpoints in [vec![], vec!["not a url".to_owned()], vec!["https://[::1]:1".to_owned()]]
        {
            let refused = EtcdStore::connect(&endpoints, Options::default());
            assert!(matches!(refused, Err(Error::Misuse { .. })), "{endpoints:?}");
        }
    });
}
