//! Arguments in, answers out.

use clap::Parser;

use super::{Answer, ConfigArgs, Given, answer};
use crate::agent::config::EXAMPLE;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    config: ConfigArgs,
}

/// A directory with a file, and the answer to a command that may name it.
fn ask(line: &str, file: &str, json: bool) -> Answer {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cluster.kat");
    std::fs::write(&path, file).unwrap();
    let here = dir.path().display().to_string();
    let words = line.split(' ').map(|word| word.replace("FILE", &path.display().to_string()));
    let args = Line::try_parse_from(["config".to_owned()].into_iter().chain(words)).unwrap();
    let variables = [("HOME", "/nowhere"), ("KAT_NODE_NAME", "node-a"), ("KAT_AGENT_PORT", "7")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let given =
        Given { config: Some(path), json, environment: environment.into(), ..Given::default() };
    let Answer { out, err, exit } = answer(&args.config, &given);
    Answer { out: out.replace(&here, "."), err: err.replace(&here, "."), exit }
}

#[test]
fn a_valid_file_is_called_valid_with_its_notes() {
    let answer = ask("validate FILE", EXAMPLE, false);
    assert_eq!(answer, Answer { out: "./cluster.kat: valid\n".to_owned(), ..Answer::default() });
    let file = EXAMPLE.replace("clusterCIDR", "clusterCidr");
    assert_eq!(
        ask("validate", &file, false).out,
        "./cluster.kat: valid\n\
         ./cluster.kat:6:3: note: clusterCidr is read as clusterCIDR\n"
    );
}

#[test]
fn a_wrong_file_is_reported_on_standard_error() {
    let file = EXAMPLE.replace("nodeSubnetBits", "nodeSubnetBit");
    let answer = ask("validate FILE", &file, false);
    assert_eq!((answer.out.as_str(), answer.exit), ("", 6));
    assert!(answer.err.starts_with("error: unknown field \"nodeSubnetBit\" in spec\n"));
    assert!(answer.err.ends_with("code: KAT-E0003 (exit 6)\n"));
    let answer = ask("validate FILE", &file, true);
    let json: serde_json::Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!(json["error"]["code"], "KAT-E0003");
    let answer = ask("validate FILE.gone", EXAMPLE, false);
    assert!(answer.err.contains("cannot read ./cluster.kat.gone"), "{}", answer.err);
    assert_eq!(answer.exit, 6);
}

#[test]
fn a_variable_counts_for_what_is_printed_and_not_for_the_file() {
    let wrong = EXAMPLE.replace("agentPort: 9116", "agentPort: 0");
    assert_eq!(ask("validate", &wrong, false).exit, 6);
    let answer = ask("print --show-origin --set apiPort=8", EXAMPLE, false);
    assert_eq!(answer.err, "");
    let line = |name: &str| answer.out.lines().find(|line| line.trim().starts_with(name)).unwrap();
    assert!(line("agentPort: 7 ").ends_with("# env KAT_AGENT_PORT"));
    assert!(line("apiPort: 8 ").ends_with("# flag --set"));
    assert!(line("etcdPeerPort: 2380 ").ends_with("# file:13:17"));
    assert!(line("# dataDir: /").ends_with("# default"));
    assert!(line("# etcdClientURLs: [\"http://127.0.0.1:2379\"").ends_with("# default"));
}

#[test]
fn json_is_printed_on_request() {
    let answer = ask("print --show-origin --port-offset 10", EXAMPLE, true);
    let json: serde_json::Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!(json["metadata"]["name"], "home");
    assert_eq!(json["node"]["name"], "node-a");
    assert_eq!(json["spec"]["agentPort"], 7);
    assert_eq!(json["origins"]["agentPort"], "env KAT_AGENT_PORT");
    assert_eq!(json["derived"]["etcdPeerURLs"][0], "http://127.0.0.1:2390");
}

#[test]
fn the_example_and_the_schema_are_printed() {
    assert_eq!(ask("example", "", false).out, EXAMPLE);
    let schema: serde_json::Value = serde_json::from_str(&ask("schema", "", false).out).unwrap();
    assert_eq!(schema["title"], "cluster.kat");
}

#[test]
fn what_is_not_there_yet_says_so() {
    for line in ["diff FILE", "apply FILE --dry-run"] {
        let answer = ask(line, EXAMPLE, false);
        assert_eq!(answer.exit, 1);
        assert!(answer.err.contains("is not there yet"), "{}", answer.err);
    }
    assert_eq!(ask("print --set agentPort", EXAMPLE, false).exit, 2);
}
