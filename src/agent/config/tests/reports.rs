//! Whole reports, as an operator sees them.

use super::case::{file, read, report};
use crate::agent::config::inputs::Inputs;
use crate::agent::config::load::parse;
use crate::agent::config::{Override, Purpose, file as reading};

fn check(text: &str, expected: &str) {
    let report = report(text);
    assert_eq!(report, expected.trim_start_matches('\n'), "\n{report}\n");
}

#[test]
fn an_unknown_field_is_shown_with_what_was_meant() {
    let spec = "clusterCIDR: 10.100.0.0/16\n\n# a comment\nnodeSubnetBit: 7";
    check(
        &file(spec),
        r#"
error: unknown field "nodeSubnetBit" in spec
  --> cluster.kat:9:3
   |
 9 |   nodeSubnetBit: 7
   |   ^^^^^^^^^^^^^ did you mean "nodeSubnetBits"?
  fix:  kat-agent config schema   lists every field
  code: KAT-E0003 (exit 6)"#,
    );
}

#[test]
fn a_duplicate_key_names_both_lines() {
    check(
        &file("agentPort: 1\napiPort: 2\netcdPeerPort: 3\nclusterDomain: a\nagentPort: 4"),
        r#"
error: field "agentPort" in spec is given on line 6 and line 10
  --> cluster.kat:10:3
    |
  6 |   agentPort: 1
    |   --------- first given here
    .
 10 |   agentPort: 4
    |   ^^^^^^^^^ given again
  fix:  remove one of the two lines
  code: KAT-E0004 (exit 6)"#,
    );
}

#[test]
fn both_spellings_of_a_field_are_a_duplicate() {
    check(
        &file("clusterCidr: 10.100.0.0/16\nclusterCIDR: 10.100.0.0/16"),
        r#"
error: field "clusterCidr" on line 6 is given again as "clusterCIDR" on line 7
  --> cluster.kat:7:3
   |
 6 |   clusterCidr: 10.100.0.0/16
   |   ----------- first given here
 7 |   clusterCIDR: 10.100.0.0/16
   |   ^^^^^^^^^^^ given again
  fix:  remove one of the two lines
  code: KAT-E0004 (exit 6)"#,
    );
}

#[test]
fn a_quoted_number_is_the_wrong_type() {
    check(
        &file("agentPort: \"9116\""),
        r#"
error: agentPort must be an integer from 1 to 65535, and is a quoted number
  --> cluster.kat:6:14
   |
 6 |   agentPort: "9116"
   |              ^^^^^^ take off the quotes
  fix:  kat-agent config schema   says what every field accepts
  code: KAT-E0005 (exit 6)"#,
    );
}

#[test]
fn a_wrong_frame_names_what_is_accepted() {
    check(
        "apiVersion: v1\nkind: Cluster\nmetadata: {name: home}\n",
        r#"
error: apiVersion must be kat.dws.rip/v1alpha1, and is "v1"
  --> cluster.kat:1:13
   |
 1 | apiVersion: v1
   |             ^^ the accepted value is kat.dws.rip/v1alpha1
  fix:  kat-agent config example   prints a complete file
  code: KAT-E0006 (exit 6)

error: kind must be ClusterConfiguration, and is "Cluster"
  --> cluster.kat:2:7
   |
 2 | kind: Cluster
   |       ^^^^^^^ the accepted value is ClusterConfiguration
  fix:  kat-agent config example   prints a complete file
  code: KAT-E0006 (exit 6)"#,
    );
}

#[test]
fn two_fields_that_contradict_each_other_are_both_shown() {
    check(
        &file("agentPort: 2380\n# the peers\netcdPeerPort: 2380"),
        r#"
error: agentPort and etcdPeerPort are both 2380
  --> cluster.kat:8:17
   |
 6 |   agentPort: 2380
   |              ----
   .
 8 |   etcdPeerPort: 2380
   |                 ^^^^ every port must be another
  fix:  change one of them
  code: KAT-E0009 (exit 6)"#,
    );
}

#[test]
fn a_syntax_error_is_shown_where_the_reader_gave_up() {
    let report = report("apiVersion: [1\nkind: x\n");
    assert!(
        report.starts_with("error: the file is not valid YAML\n  --> cluster.kat:"),
        "{report}"
    );
    assert!(report.ends_with("code: KAT-E0002 (exit 6)"), "{report}");
}

#[test]
fn what_is_missing_has_the_line_to_add() {
    check(
        "metadata:\nspec:\n  # nothing yet\n",
        r#"
error: metadata.name, the name of the cluster, is missing
  --> cluster.kat:1:1
   |
 1 | metadata:
   | ^^^^^^^^ it belongs here
  fix:  add   metadata: {name: home}
  code: KAT-E0008 (exit 6)

error: apiVersion is missing
  fix:  add   apiVersion: kat.dws.rip/v1alpha1
  code: KAT-E0008 (exit 6)

error: kind is missing
  fix:  add   kind: ClusterConfiguration
  code: KAT-E0008 (exit 6)"#,
    );
}

#[test]
fn a_flag_and_a_variable_are_named_where_there_is_no_line() {
    let inputs = Inputs {
        flags: vec![
            Override::set("nodeSubnetBits=16").unwrap(),
            Override::of_flag("--data-dir", "dataDir", "etcd"),
            Override::set("backupRetention={}").unwrap(),
        ],
        environment: [("KAT_AGENT_PORT".to_owned(), "x".to_owned())].into(),
        ..Inputs::default()
    };
    let invalid = read(&inputs, &file("")).unwrap_err();
    let expected = r#"
error: agentPort must be an integer from 1 to 65535, and is a string
  from: KAT_AGENT_PORT=x
  fix:  kat-agent config schema   says what every field accepts
  code: KAT-E0005 (exit 6)

error: nodeSubnetBits must be an integer from 1 to 15
  from: --set nodeSubnetBits=16
  why:  BITS
  fix:  kat-agent config schema   says what every field accepts
  code: KAT-E0007 (exit 6)

error: dataDir must be an absolute path
  from: --data-dir etcd
  why:  it does not begin with /
  fix:  kat-agent config schema   says what every field accepts
  code: KAT-E0007 (exit 6)

error: unknown field "backupRetention"
  from: --set backupRetention={}
  why:  it has fields of its own, such as backupRetention.keep
  fix:  kat-agent config schema   lists every field
  code: KAT-E0003 (exit 6)"#;
    let bits = "bits added to the clusterCIDR prefix, not a prefix length: \
                /16 and 7 bits make a /23 per node";
    assert_eq!(invalid.to_string(), expected.trim_start().replace("BITS", bits));
}

#[test]
fn no_file_at_all_says_how_to_get_one() {
    let invalid = parse(&Inputs::default(), None).unwrap_err();
    let expected = "\
error: metadata.name, the name of the cluster, is missing
  why:  no --config was given and no cluster.kat was found
  fix:  kat-agent config example > cluster.kat   writes a file to start from
  code: KAT-E0011 (exit 6)";
    assert_eq!(invalid.to_string(), expected);
}

#[test]
fn a_byte_that_is_no_text_is_shown_at_its_place() {
    let invalid = reading::text("cluster.kat", b"kind: x\nname: h\xffme\n").unwrap_err();
    let expected = "\
error: the file is not UTF-8 text
  --> cluster.kat:2:8
   |
 2 | name: h\u{fffd}me
   |        ^ this byte is not UTF-8
  fix:  save the file as UTF-8
  code: KAT-E0002 (exit 6)";
    assert_eq!(invalid.to_string(), expected);
}

#[test]
fn at_most_twenty_problems_are_shown_and_the_rest_counted() {
    let spec: String = (0..23).map(|number| format!("field{number}: 1\n")).collect();
    let report = report(&file(&spec));
    assert_eq!(report.matches("error: unknown field").count(), 20);
    assert!(report.ends_with("\n\nand 3 more problems"), "{report}");
}

#[test]
fn a_report_cannot_move_the_cursor_or_fill_the_screen() {
    let key = format!("\"\\e[2J\u{202e}{}\"", "x".repeat(2000));
    let report = report(&file(&format!("{key}: 1\nagentPort:\t'\u{9b}'")));
    let is_harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    assert!(report.chars().all(is_harmless), "{report:?}");
    assert!(report.lines().all(|line| line.chars().count() < 300), "{report}");
}

#[test]
fn the_json_form_has_the_first_problem_and_all_of_them() {
    let invalid = read(&Inputs::default(), &file("agentPort: 0\nx: 1")).unwrap_err();
    let json = invalid.to_json();
    let error = &json["error"];
    assert_eq!(error["code"], "KAT-E0007");
    assert_eq!(error["exit"], 6);
    assert_eq!(error["what"], "agentPort must be an integer from 1 to 65535");
    assert_eq!((&error["line"], &error["column"]), (&6.into(), &14.into()));
    assert_eq!(error["problems"].as_array().unwrap().len(), 2);
    assert_eq!(error["problems"][1]["code"], "KAT-E0003");
}

#[test]
fn both_spellings_are_read_with_a_note() {
    let text = file("\nclusterCidr: 10.0.0.0/16\nserviceCidr: 10.1.0.0/16");
    let config = read(&Inputs { purpose: Purpose::Look, ..Inputs::default() }, &text).unwrap();
    assert_eq!(
        config.notes,
        [
            "cluster.kat:7:3: note: clusterCidr is read as clusterCIDR",
            "cluster.kat:8:3: note: serviceCidr is read as serviceCIDR",
        ]
    );
    assert_eq!(config.spec.cluster_cidr.to_string(), "10.0.0.0/16");
    assert!(!config.spec.cluster_json().contains("Cidr"));
}
