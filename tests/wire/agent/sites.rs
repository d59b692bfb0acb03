//! Several agents and one store that outlives any of them.

use std::time::{Duration, Instant};

use super::{Agent, Site, block_on, candidates, connect, value};
use crate::process::Server;

/// The lease that the tests' clusters give a KAT Leader.
const TTL: Duration = Duration::from_secs(5);

/// Starts an agent without a store of its own.
fn visit(site: &Site, node: &str, endpoint: &str) -> Agent {
    let log = format!("{node}.log");
    site.start(&log, &["run", "--endpoints", endpoint, "--node-name", node])
}

/// The first agent makes the cluster in the store, the second one observes, and
/// leads once the first is gone.
fn failover(site: &Site, endpoint: &str) {
    let mut first =
        site.start("a.log", &["init", "--endpoints", endpoint, "--node-name", "node-a"]);
    first.says("Became leader: node-a");
    let uid = block_on(async {
        let mut client = connect(endpoint).await;
        assert_eq!(value(&mut client, "/kat/config/cluster_name").await, "home");
        value(&mut client, super::UID).await
    });
    let mut second = visit(site, "node-b", endpoint);
    second.says("observing leader node-a");
    assert_eq!(second.line("observing leader node-a")["scope"], "kat");
    queue(endpoint, &["node-a", "node-b"]);
    assert!(!second.text().contains("Became leader"), "{}", second.text());

    let begin = Instant::now();
    first.stop();
    second.says("Became leader: node-b");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());

    let mut third = visit(site, "node-c", endpoint);
    third.says("observing leader node-b");
    queue(endpoint, &["node-b", "node-c"]);
    let begin = Instant::now();
    second.kill();
    third.says("Became leader: node-c");
    assert!(begin.elapsed() < TTL + Duration::from_secs(7), "{:?}", begin.elapsed());
    third.stop();
    block_on(async { assert_eq!(value(&mut connect(endpoint).await, super::UID).await, uid) });
}

/// Waits until exactly these stand in the election, in this order.
fn queue(endpoint: &str, names: &[&str]) {
    super::until("the queue is as it should be", || {
        let found = block_on(async { candidates(&mut connect(endpoint).await).await });
        (found == names).then_some(())
    });
}

#[test]
fn the_next_agent_leads_over_stock_etcd() {
    let server = Server::etcd();
    failover(&Site::new("home"), &server.endpoint());
}

#[test]
fn the_next_agent_leads_over_our_own_etcd() {
    let server = Server::kat();
    failover(&Site::new("home"), &server.endpoint());
}

#[test]
fn an_agent_observes_the_node_that_carries_the_store() {
    let site = Site::new("home");
    let mut first = site.init();
    let mut second = visit(&site, "node-b", &site.endpoint());
    second.says("observing leader node-a");
    first.stop();
    second.says("store unreachable");
    assert_eq!(second.line("store unreachable")["event"], "store_unreachable");

    // The store comes back, and whoever is first in it leads.
    let mut first = site.start("run.log", &["run"]);
    first.says("Successfully initialized etcd");
    super::until("one of them leads", || {
        let led = |agent: &Agent| agent.text().contains("Became leader: ");
        (led(&first) || led(&second)).then_some(())
    });
    second.stop();
    first.says("Became leader: node-a");
    first.stop();
}

#[test]
fn an_agent_waits_for_a_store_for_ever() {
    let site = Site::new("home");
    let [port] = crate::process::free_ports();
    let mut agent = visit(&site, "node-b", &format!("http://127.0.0.1:{port}"));
    agent.says("store unreachable");
    agent.stop();
}

#[test]
fn a_store_without_a_cluster_is_refused() {
    let server = Server::kat();
    let site = Site::new("home");
    let (exit, said) =
        site.refused(&["run", "--endpoints", &server.endpoint(), "--node-name", "node-b"]);
    assert!(exit == 6 && said.contains("init --endpoints"), "{said}");
    let (exit, said) = site.refused(&["run", "--endpoints", "http://192.0.2.1:2379"]);
    assert!(exit == 9 && said.contains("--insecure-plaintext"), "{said}");
}

#[test]
fn a_store_with_another_cluster_is_refused() {
    let server = Server::kat();
    let site = Site::new("home");
    let init = ["init", "--endpoints", &server.endpoint(), "--node-name", "node-a"];
    let mut first = site.start("a.log", &init);
    first.says("Became leader: node-a");
    let (exit, said) = Site::new("garden").refused(&init);
    assert!(exit == 8 && said.contains("\"home\"") && said.contains("\"garden\""), "{said}");
    first.stop();
}
