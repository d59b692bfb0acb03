//! What an agent says without being started.

use super::Site;

fn said(site: &Site, arguments: &[&str]) -> String {
    let output = site.ask(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn env_names_the_endpoint_in_the_words_of_each_shell() {
    let site = Site::new("home");
    let text = said(&site, &["env"]);
    assert!(text.starts_with("export ETCDCTL_ENDPOINTS='http://127.0.0.1:"), "{text}");
    assert!(text.contains(&site.client_port.to_string()), "{text}");
    let fish = said(&site, &["env", "--shell", "fish"]);
    assert!(fish.starts_with("set -gx ETCDCTL_ENDPOINTS '"), "{fish}");
    assert_eq!(said(&site, &["env", "--unset"]), "unset ETCDCTL_ENDPOINTS\n");
}

#[test]
fn env_knows_the_ports_of_a_node_that_was_made() {
    let site = Site::new("home");
    site.init().stop();
    std::fs::remove_file(site.path("cluster.kat")).unwrap();
    let text = said(&site, &["env"]);
    assert!(text.contains(&site.endpoint()), "{text}");
}

#[test]
fn a_dry_run_tells_everything_and_changes_nothing() {
    let site = Site::new("home");
    let text = said(&site, &["init", "--dry-run", "--node-name", "node-a"]);
    for word in ["home", "node-a", "/kat/config/cluster_uid", &site.endpoint()] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.contains(&site.data_dir().display().to_string()), "{text}");
    assert!(!site.data_dir().exists());
    std::fs::create_dir_all(site.data_dir()).unwrap();
    std::fs::write(site.data_dir().join("x"), "").unwrap();
    assert_eq!(site.refused(&["init", "--dry-run"]).0, 8, "the code that init would end with");
}

#[test]
fn the_version_names_ours_and_that_of_the_api() {
    let site = Site::new("home");
    let text = said(&site, &["version"]);
    assert!(text.contains(env!("CARGO_PKG_VERSION")) && text.contains("3.7.1"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&said(&site, &["version", "--json"])).unwrap();
    assert_eq!(json["etcd"], "3.7.1");
}

#[test]
fn a_bare_command_shows_help_with_examples() {
    let site = Site::new("home");
    let output = site.ask(&[]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("Examples:") && text.contains("init"), "{text}");
}
