//! How a cluster is born, goes on, and ends its runs.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Site, UID, block_on, candidates, value};

#[test]
fn init_makes_a_cluster_and_leads_it() {
    let site = Site::new("home");
    let begin = Instant::now();
    let mut agent = site.init();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let text = agent.text();
    let (store, leader) =
        (text.find("Successfully initialized etcd"), text.find("Became leader: node-a"));
    assert!(store < leader, "{text}");
    agent.says("leadership state: became leader node=node-a");

    let ready = agent.line("Successfully initialized etcd");
    assert_eq!((&ready["event"], &ready["level"]), (&"store_ready".into(), &"info".into()));
    let led = agent.line("Became leader: node-a");
    assert_eq!((&led["event"], &led["scope"]), (&"became_leader".into(), &"kat".into()));
    let key = led["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("/kat/leader_election/"), "{key}");

    block_on(async {
        let mut client = site.client().await;
        let uid = value(&mut client, UID).await;
        assert_eq!(uid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uid}");
        assert_eq!(uid, site.record()["uid"]);
        assert_eq!(value(&mut client, "/kat/config/cluster_name").await, "home");
        let config = value(&mut client, "/kat/config/cluster_config").await;
        for field in ["clusterCIDR", "serviceCIDR", "agentPort", "apiPort"] {
            assert!(config.contains(&format!("\"{field}\":")), "{config}");
        }
        assert_eq!(value(&mut client, &key).await, "node-a");
        assert_eq!(candidates(&mut client).await, ["node-a"]);
        let members = client.member_list().await.unwrap();
        let member = &members.members()[0];
        assert_eq!(member.name(), "node-a");
        assert!(member.client_urls().contains(&site.endpoint()), "{member:?}");
        assert_eq!(format!("{:x}", member.id()), site.record()["memberId"].as_str().unwrap());
    });
    agent.stop();
}

#[test]
fn a_second_init_goes_on_with_the_same_cluster() {
    let site = Site::new("home");
    let mut agent = site.init();
    let first = site.record();
    block_on(async { site.client().await.put("k", "v", None).await.unwrap() });
    agent.stop();
    let text = agent.text();
    let steps = ["resigning as KAT Leader", "2/4", "3/4", "4/4"].map(|step| text.find(step));
    assert!(steps.iter().all(Option::is_some) && steps.is_sorted(), "{text}");
    assert!(text.contains("Lost KAT leadership: resigned"), "{text}");

    let mut again = site.init();
    let member = first["memberId"].as_str().unwrap();
    again.says(&format!("Data directory already initialized; continuing as member {member}"));
    assert_eq!(
        (&site.record()["uid"], &site.record()["state"]),
        (&first["uid"], &"initialised".into())
    );
    block_on(async {
        let mut client = site.client().await;
        assert_eq!(value(&mut client, UID).await, first["uid"].as_str().unwrap());
        assert_eq!(value(&mut client, "k").await, "v");
        assert_eq!(candidates(&mut client).await, ["node-a"]);
    });
    again.stop();
}

#[test]
fn run_goes_on_where_init_began() {
    let site = Site::new("home");
    site.init().stop();
    // Without the file: what matters was remembered.
    std::fs::remove_file(site.path("cluster.kat")).unwrap();
    for _ in 0..3 {
        let mut agent = site.start("run.log", &["run"]);
        agent.says("Became leader: node-a");
        agent.stop();
    }
}

#[test]
fn init_completes_what_was_interrupted() {
    let site = Site::new("home");
    super::write_record(&site.data_dir(), "init.in-progress", "home");
    std::fs::create_dir_all(site.data_dir().join("member.new/log")).unwrap();
    let (exit, said) = site.refused(&["run"]);
    assert!(exit == 6 && said.contains("kat-agent init"), "{said}");
    let mut agent = site.init();
    assert_eq!(site.record()["uid"], "u", "the UID was settled before");
    block_on(async { assert_eq!(value(&mut site.client().await, UID).await, "u") });
    agent.stop();
}

#[test]
fn a_node_whose_system_paths_are_shut_uses_its_own() {
    let site = Site::new("home");
    std::fs::write(site.path("file"), "").unwrap();
    let mut command = site.command(&["init", "--node-name", "node-a"]);
    command.env("STATE_DIRECTORY", site.path("file"));
    let mut agent = site.start_command("own.log", &mut command);
    agent.says("Became leader: node-a");
    assert_eq!(agent.line("Using user paths")["event"], "xdg_paths");
    assert!(site.path("home/.local/share/kat/etcd/kat-state.json").exists());
    agent.stop();

    let mut command = site.command(&["run"]);
    command.env("STATE_DIRECTORY", site.path("file"));
    let mut agent = site.start_command("own.log", &mut command);
    agent.says("Became leader: node-a");
    agent.stop();
}

#[test]
fn an_interrupt_stops_the_agent_too() {
    let site = Site::new("home");
    let mut agent = site.init();
    agent.signal(Signal::INT);
    assert_eq!(agent.end().code(), Some(0));
}
