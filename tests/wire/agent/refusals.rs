//! What an agent refuses, each with its exit code, and with nothing touched.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use super::{Site, block_on, write_record};

/// Everything below a folder, by name.
fn listing(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        names.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            names.extend(listing(&entry.path()));
        }
    }
    names.sort();
    names
}

/// Checks that `init` and `run` are refused, and leave the directory alone.
fn check(site: &Site, init: i32, run: i32, words: &str) {
    let before = listing(&site.data_dir());
    for (command, expected) in [("init", init), ("run", run)] {
        let (exit, said) = site.refused(&[command, "--node-name", "node-a"]);
        assert_eq!(exit, expected, "{command}: {said}");
        assert!(said.contains("error: ") && said.contains("fix:  "), "{said}");
        assert!(said.contains(&format!("(exit {exit})")), "{said}");
        if command == "init" {
            assert!(said.contains(words), "{said}");
        }
    }
    assert_eq!(listing(&site.data_dir()), before);
}

#[test]
fn run_never_makes_a_cluster() {
    let site = Site::new("home");
    let (exit, said) = site.refused(&["run"]);
    assert!(exit == 6 && said.contains("kat-agent init"), "{said}");
    assert!(!site.data_dir().exists());
    let elsewhere = site.path("elsewhere");
    let (exit, said) = site.refused(&["run", "--data-dir", elsewhere.to_str().unwrap()]);
    assert!(exit == 6 && said.contains("kat-agent init"), "{said}");
    assert!(!elsewhere.exists());
}

#[test]
fn another_clusters_directory_is_refused() {
    let site = Site::new("home");
    write_record(&site.data_dir(), "initialised", "garden");
    let before = listing(&site.data_dir());
    let (exit, said) = site.refused(&["init"]);
    assert_eq!(exit, 8, "{said}");
    assert!(said.contains("\"garden\"") && said.contains("\"home\""), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
    assert_eq!(listing(&site.data_dir()), before);
}

#[test]
fn a_half_joined_or_removed_node_makes_no_cluster() {
    for (state, exit, words) in [
        ("join.in-progress", 8, "join --resume"),
        ("join.requested", 8, "join --resume"),
        ("removed", 13, "rejoin"),
    ] {
        let site = Site::new("home");
        write_record(&site.data_dir(), state, "home");
        check(&site, exit, exit, words);
    }
}

#[test]
fn the_store_of_a_dropin_etcd_is_refused() {
    let site = Site::new("home");
    fs::create_dir_all(site.data_dir().join("member/log")).unwrap();
    check(&site, 8, 8, "run --endpoints");
}

#[test]
fn foreign_files_are_named() {
    let site = Site::new("home");
    fs::create_dir_all(site.data_dir()).unwrap();
    for name in ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "f.txt"] {
        fs::write(site.data_dir().join(name), "").unwrap();
    }
    check(&site, 8, 6, "a.txt, b.txt, c.txt, d.txt, e.txt\n");
}

#[test]
fn a_record_that_makes_no_sense_is_left_alone() {
    let site = Site::new("home");
    fs::create_dir_all(site.data_dir()).unwrap();
    fs::write(site.data_dir().join("kat-state.json"), "{\"state\":").unwrap();
    check(&site, 11, 11, "kat-state.json");
}

#[test]
fn a_directory_in_use_names_its_process() {
    let site = Site::new("home");
    let mut agent = site.init();
    let process = agent.child.id().to_string();
    let (exit, said) = site.refused(&["init"]);
    assert!(exit == 8 && said.contains(&process), "{said}");
    let (exit, said) = site.refused(&["run"]);
    assert!(exit == 8 && said.contains(&process), "{said}");
    block_on(async { site.client().await.put("k", "v", None).await.unwrap() });
    agent.stop();
}

#[test]
fn a_taken_port_is_named_with_its_holder() {
    let site = Site::new("home");
    let taken = TcpListener::bind(("127.0.0.1", site.client_port)).unwrap();
    let (exit, said) = site.refused(&["init"]);
    assert_eq!(exit, 7, "{said}");
    assert!(said.contains(&format!("Port-{}-Free", site.client_port)), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    assert!(!site.data_dir().exists(), "nothing was begun");
    drop(taken);
    site.init().stop();
}

#[test]
fn a_wrong_configuration_creates_nothing() {
    let site = Site::new("home");
    let text = fs::read_to_string(site.path("cluster.kat")).unwrap();
    fs::write(site.path("cluster.kat"), text.replace("apiPort", "apiProt")).unwrap();
    let (exit, said) = site.refused(&["init"]);
    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("did you mean \"apiPort\"") && said.contains("^^^^"), "{said}");
    let (exit, said) = site.refused(&["init", "--json"]);
    assert_eq!(exit, 6);
    let json: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!(json["error"]["exit"], 6, "{json}");
    assert!(!site.data_dir().exists());
    let (exit, _) = site.refused(&["init", "--nonsense"]);
    assert_eq!(exit, 2);
}

#[test]
fn a_path_that_cannot_be_used_is_not_replaced() {
    let site = Site::new("home");
    fs::write(site.path("file"), "").unwrap();
    let wish = site.path("file/etcd");
    let (exit, said) = site.refused(&["init", "--data-dir", wish.to_str().unwrap()]);
    assert!(exit == 4 && said.contains("file"), "{said}");
}

#[test]
fn a_missing_part_of_the_store_is_not_made_anew() {
    let site = Site::new("home");
    site.init().stop();
    for part in ["log", "state"] {
        let (whole, away) = (site.data_dir().join("member").join(part), site.path(part));
        fs::rename(&whole, &away).unwrap();
        let (exit, said) = site.refused(&["run"]);
        assert!(exit == 11 && said.contains(part), "{said}");
        assert!(!whole.exists(), "nothing was made in its place");
        fs::rename(&away, &whole).unwrap();
    }
    let mut agent = site.start("run.log", &["run"]);
    agent.says("Became leader: node-a");
    agent.stop();
}
