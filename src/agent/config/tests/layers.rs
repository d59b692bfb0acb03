//! Who wins: flag, environment, file, store, memory or default.

use std::collections::BTreeMap;

use serde_json::json;

use super::case::{file, read, sets};
use crate::agent::config::inputs::Inputs;
use crate::agent::config::load::parse;
use crate::agent::config::{
    Change, Config, EXAMPLE, Form, Origin, Override, Purpose, Spec, Stored, schema,
};

fn variables(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn stored(change: impl FnOnce(&mut Spec)) -> Option<Stored> {
    let mut spec = Spec::default();
    change(&mut spec);
    Some(Stored { name: "home".to_owned(), cluster_json: spec.cluster_json() })
}

#[test]
fn the_example_is_valid_and_says_what_the_defaults_are() {
    let config = read(&Inputs::default(), EXAMPLE).unwrap();
    assert_eq!(config.name, "home");
    assert_eq!(config.spec, Spec::default());
    assert_eq!(config.notes, [""; 0]);
    assert_eq!(*config.origins.of("agentPort"), Origin::File(10, 14));
}

#[test]
fn at_init_a_flag_wins_over_a_variable_over_the_file() {
    let mut inputs = sets(&["agentPort=1"]);
    inputs.environment = variables(&[
        ("KAT_AGENT_PORT", "2"),
        ("KAT_API_PORT", "3"),
        ("KAT_ETCD_PEER_PORT", ""),
        ("KAT_TLS_EXTRA_SANS", "[a,b]"),
    ]);
    let config = read(&inputs, &file("agentPort: 4\napiPort: 5\netcdPeerPort: 6")).unwrap();
    let spec = &config.spec;
    assert_eq!((spec.agent_port, spec.api_port, spec.etcd_peer_port), (1, 3, 6));
    assert_eq!(spec.tls.extra_sans, ["a", "b"]);
    for (field, origin) in [
        ("agentPort", "flag --set"),
        ("apiPort", "env KAT_API_PORT"),
        ("etcdPeerPort", "file:8:17"),
        ("etcdClientPort", "default"),
    ] {
        assert_eq!(config.origins.of(field).to_string(), origin);
    }
}

#[test]
fn a_layer_that_loses_is_checked_nonetheless() {
    let inputs = sets(&["agentPort=1"]);
    let invalid = read(&inputs, &file("agentPort: 0")).unwrap_err();
    assert_eq!(invalid.problems.len(), 1);
}

#[test]
fn a_running_cluster_takes_its_own_fields_from_the_store_only() {
    let inputs = Inputs {
        purpose: Purpose::Run,
        stored: stored(|spec| spec.agent_port = 7),
        environment: variables(&[("KAT_AGENT_PORT", "8"), ("KAT_LOG_LEVEL", "debug")]),
        ..Inputs::default()
    };
    let text =
        file("agentPort: 9\nclusterDomain: other\nadvertiseAddress: 192.0.2.1\napiPort: 9115");
    let config = read(&inputs, &text).unwrap();
    assert_eq!((config.name.as_str(), config.spec.agent_port), ("home", 7));
    assert_eq!(config.spec.logging.level, "debug");
    assert_eq!(config.spec.advertise_address.to_string(), "192.0.2.1");
    assert_eq!(*config.origins.of("agentPort"), Origin::Store);
    let differences: Vec<_> = config
        .differences
        .iter()
        .map(|difference| {
            (difference.field, &*difference.file, &*difference.stored, difference.change)
        })
        .collect();
    assert_eq!(
        differences,
        [
            ("clusterDomain", "\"other\"", "\"kat.cluster.local\"", Change::Fixed),
            ("agentPort", "9", "7", Change::Restart),
        ]
    );
}

#[test]
fn a_cluster_field_on_the_command_line_of_a_running_cluster_is_usage() {
    for (purpose, stored) in [(Purpose::Run, stored(|_| ())), (Purpose::Join, None)] {
        let inputs = Inputs { purpose, stored, ..sets(&["agentPort=1", "dataDir=/x"]) };
        let invalid = parse(&inputs, None).unwrap_err();
        assert_eq!((invalid.exit(), invalid.code()), (2, "KAT-E0901"));
        assert_eq!(
            invalid.to_string(),
            "error: agentPort cannot be set here: the whole cluster shares it\n  \
             from: --set agentPort=1\n  \
             fix:  change the file, then   kat-agent config apply\n  \
             code: KAT-E0901 (exit 2)"
        );
    }
}

#[test]
fn a_second_init_with_the_same_flags_goes_on_and_the_store_wins() {
    let inputs = Inputs { stored: stored(|_| ()), ..sets(&["agentPort=9116", "apiPort=1"]) };
    let config = read(&inputs, &file("apiPort: 2")).unwrap();
    assert_eq!((config.spec.agent_port, config.spec.api_port), (9116, 9115));
    let differences = config.differences;
    assert_eq!(differences.len(), 1);
    assert_eq!((differences[0].field, &*differences[0].file), ("apiPort", "1"));
}

#[test]
fn what_init_was_given_is_kept_for_the_node_and_yields_to_all_but_defaults() {
    let inputs = sets(&["dataDir=/a", "tls.extraSANs=x,y", "agentPort=1", "logging.level=debug"]);
    let first = read(&inputs, &file("telemetry: {sampleRatio: 0.5}")).unwrap();
    let remembered = first.remembered();
    assert_eq!(
        json!(remembered),
        json!({
            "dataDir": "/a",
            "tls.extraSANs": ["x", "y"],
            "logging.level": "debug",
            "telemetry.sampleRatio": 0.5,
        })
    );
    let mut again = Inputs { remembered, ..sets(&["logging.level=warn"]) };
    again.purpose = Purpose::Run;
    again.stored = stored(|_| ());
    let config = read(&again, &file("telemetry: {sampleRatio: 0.25}")).unwrap();
    assert_eq!(config.spec.data_dir.as_deref(), Some("/a".as_ref()));
    assert_eq!(config.spec.tls.extra_sans, ["x", "y"]);
    assert_eq!((&*config.spec.logging.level, config.spec.telemetry.sample_ratio), ("warn", 0.25));
    assert_eq!(*config.origins.of("dataDir"), Origin::Remembered);
}

#[test]
fn a_kept_value_that_became_illegal_is_a_note() {
    let mut inputs = sets(&[]);
    inputs.remembered.insert("dataDir".to_owned(), json!("relative"));
    inputs.remembered.insert("gone".to_owned(), json!(1));
    let config = read(&inputs, &file("")).unwrap();
    assert_eq!(config.spec.data_dir, None);
    assert_eq!(config.notes, ["note: dataDir, as kept from init, must be an absolute path"]);
}

#[test]
fn a_node_that_joins_needs_no_name_of_the_cluster() {
    let inputs = Inputs { purpose: Purpose::Join, ..Inputs::default() };
    assert_eq!(parse(&inputs, None).unwrap().name, "");
    assert!(parse(&Inputs { purpose: Purpose::Run, ..Inputs::default() }, None).is_ok());
    let named = sets(&["metadata.name=home"]);
    assert_eq!(parse(&named, None).unwrap().name, "home");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let full = "clusterCIDR: 10.0.0.0/16\nbackupS3: {endpoint: \"https://s3\", bucket: \"12\", \
                prefix: \"\", credentialsFile: /x}\ntls: {extraSANs: [\"::1\", a]}\n\
                etcdClientURLs: [\"http://[::1]:2379\"]\nlogging: {level: \"info,a=debug\"}\n\
                telemetry: {metricsListen: \"\"}\ndataDir: \"/a b/c: #d\"";
    for text in [EXAMPLE.to_owned(), file(full)] {
        let config = read(&Inputs::default(), &text).unwrap();
        for form in [Form::Yaml, Form::Json] {
            for show_origin in [false, true] {
                let printed = config.print(form, show_origin, &config.derived_urls());
                let again = read(&Inputs::default(), &frame_only(form, &printed)).unwrap();
                assert_eq!((&again.name, &again.spec), (&config.name, &config.spec), "{printed}");
            }
        }
    }
}

/// JSON says more than the file may: what it derived, and about the node.
fn frame_only(form: Form, printed: &str) -> String {
    if form == Form::Yaml {
        return printed.to_owned();
    }
    let mut json: serde_json::Value = serde_json::from_str(printed).unwrap();
    let root = json.as_object_mut().unwrap();
    for key in ["node", "derived", "origins"] {
        root.remove(key);
    }
    json.to_string()
}

#[test]
fn origins_stand_behind_their_values() {
    let mut inputs = sets(&["metadata.name=home"]);
    inputs.node_name = Some("node-a".to_owned());
    let config = read(&inputs, &file("agentPort: 1")).unwrap();
    let derived = [("dataDir".to_owned(), json!("/var/lib/kat-agent/etcd"))].into_iter().collect();
    let text = config.print(Form::Yaml, true, &derived);
    let line = |start: &str| text.lines().find(|line| line.trim().starts_with(start)).unwrap();
    assert_eq!(text.lines().next(), Some("# node: node-a"));
    assert_eq!(line("name:"), "  name: home                                 # flag --set");
    assert_eq!(line("agentPort"), "  agentPort: 1                               # file:6:14");
    assert_eq!(line("apiPort"), "  apiPort: 9115                              # default");
    assert_eq!(line("# dataDir"), "  # dataDir: /var/lib/kat-agent/etcd         # default");
    assert_eq!(line("keep"), "    keep: 48                                 # default");
}

#[test]
fn the_schema_knows_every_field_of_the_example() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    let printed = config_of_example().print(Form::Json, false, &serde_json::Map::new());
    let example: serde_json::Value = serde_json::from_str(&printed).unwrap();
    for (name, value) in example["spec"].as_object().unwrap() {
        match value.as_object() {
            None => assert_eq!(&spec[name]["default"], value, "{name}"),
            Some(group) => {
                for (field, value) in group {
                    assert_eq!(&spec[name]["properties"][field]["default"], value, "{field}");
                }
            }
        }
    }
    assert_eq!(schema["properties"]["metadata"]["required"], json!(["name"]));
    assert_eq!(spec["agentPort"]["maximum"], 65535);
    assert_eq!(spec["additionalProperties"], json!(null));
    assert_eq!(schema["properties"]["spec"]["additionalProperties"], false);
}

fn config_of_example() -> Config {
    read(&Inputs::default(), EXAMPLE).unwrap()
}

#[test]
fn a_flag_of_its_own_is_called_by_its_name() {
    let flags = vec![Override::of_flag("--log-level", "logging.level", "debug")];
    let config = read(&Inputs { flags, ..Inputs::default() }, &file("")).unwrap();
    assert_eq!(config.origins.of("logging.level").to_string(), "flag --log-level");
}
