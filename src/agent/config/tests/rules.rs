//! Every rule of the table, with values on both sides of its edge.

use super::case::{file, problems, read, sets};
use crate::agent::config::inputs::Inputs;
use crate::agent::config::{Override, PROBLEMS_MAX, Purpose};

fn legal(specs: &[&str]) {
    for spec in specs {
        assert_eq!(problems(spec), [""; 0], "{spec}");
    }
}

/// Each `spec` has exactly this one problem.
fn illegal(cases: &[(&str, &str)]) {
    for (spec, expected) in cases {
        assert_eq!(problems(spec), [*expected], "{spec}");
    }
}

#[test]
fn the_name_is_a_dns_label() {
    let named = |name: &str| {
        let text = file("").replace("home", name);
        read(&Inputs::default(), &text).map(|config| config.name)
    };
    let longest = "a".repeat(63);
    for name in ["a", "home-2", "0", longest.as_str()] {
        let quoted = format!("\"{name}\"");
        assert_eq!(named(&quoted).unwrap(), name);
    }
    for name in ["-a", "a-", "A", "a.b", "a_b", "\"\"", &"a".repeat(64), "12", "~", "[a]", "é"] {
        assert!(named(name).is_err(), "{name}");
    }
}

#[test]
fn a_block_has_no_host_bits_and_a_prefix_of_8_to_24() {
    legal(&[
        "clusterCIDR: 11.0.0.0/8",
        "clusterCIDR: 10.100.1.0/24\nnodeSubnetBits: 6",
        "serviceCIDR: 0.0.0.0/8",
    ]);
    let shape = "must be an IPv4 CIDR such as 10.100.0.0/16";
    illegal(&[
        (
            "clusterCIDR: 10.100.3.0/16",
            "0007 6:16 clusterCIDR has host bits that are not zero | \
             did you mean \"10.100.0.0/16\"?",
        ),
        (
            "serviceCIDR: 10.0.0.0/7",
            "0007 6:16 serviceCIDR has a prefix length out of bounds | \
             the prefix length must be from 8 to 24",
        ),
        (
            "serviceCIDR: 10.0.0.0/25",
            "0007 6:16 serviceCIDR has a prefix length out of bounds | \
             the prefix length must be from 8 to 24",
        ),
        (
            "clusterCIDR: 10.0.0.0",
            &format!("0007 6:16 clusterCIDR {shape} | the prefix length is missing, such as /16"),
        ),
        (
            "clusterCIDR: fd00::/16",
            &format!("0007 6:16 clusterCIDR {shape} | \"fd00::\" is no IPv4 address"),
        ),
        (
            "clusterCIDR: 10",
            &format!("0005 6:16 clusterCIDR {shape}, and is an integer | put it in quotes"),
        ),
    ]);
}

#[test]
fn the_two_blocks_are_apart() {
    illegal(&[
        (
            "clusterCIDR: 10.0.0.0/8",
            "0009 6:16 clusterCIDR 10.0.0.0/8 and serviceCIDR 10.200.0.0/16 overlap | \
             they share addresses",
        ),
        (
            "clusterCIDR: 10.1.0.0/16\nserviceCIDR: 10.1.128.0/24",
            "0009 7:16 clusterCIDR 10.1.0.0/16 and serviceCIDR 10.1.128.0/24 overlap | \
             they share addresses",
        ),
    ]);
    legal(&["clusterCIDR: 10.0.0.0/8\nserviceCIDR: 11.0.0.0/8"]);
}

#[test]
fn subnet_bits_are_added_to_the_prefix() {
    legal(&[
        "nodeSubnetBits: 1",
        "nodeSubnetBits: 14",
        "clusterCIDR: 10.0.0.0/15\nnodeSubnetBits: 15",
    ]);
    let bounds = "nodeSubnetBits must be an integer from 1 to 15";
    let sentence = "bits added to the clusterCIDR prefix, not a prefix length: \
                    /16 and 7 bits make a /23 per node";
    illegal(&[
        ("nodeSubnetBits: 0", &format!("0007 6:19 {bounds} | out of bounds")),
        ("nodeSubnetBits: 16", &format!("0007 6:19 {bounds} | {sentence}")),
        ("nodeSubnetBits: 24", &format!("0007 6:19 {bounds} | {sentence}")),
        ("nodeSubnetBits: 7.0", &format!("0005 6:19 {bounds}, and is a number | ")),
        (
            "nodeSubnetBits: 15",
            "0009 6:19 nodeSubnetBits 15 leaves each node a /31 of clusterCIDR 10.100.0.0/16, \
             /30 is the smallest | at most 14 bits fit this clusterCIDR",
        ),
    ]);
}

#[test]
fn the_domain_is_lower_case_and_short() {
    let longest = format!(
        "clusterDomain: {}.{}.{}.{}",
        "a".repeat(49),
        "b".repeat(49),
        "c".repeat(49),
        "d".repeat(50)
    );
    legal(&["clusterDomain: local", longest.as_str()]);
    for domain in ["Kat.local", "a..b", ".a", "a.", "a_b", "-a.b", &format!("{}a", &longest[15..])]
    {
        assert_eq!(problems(&format!("clusterDomain: {domain}")).len(), 1, "{domain}");
    }
}

#[test]
fn ports_are_ports_and_distinct() {
    legal(&["agentPort: 1\napiPort: 65535", "telemetry: {metricsListen: \"\"}\nagentPort: 2381"]);
    for field in ["agentPort", "apiPort", "etcdClientPort", "etcdPeerPort"] {
        for port in ["0", "65536", "-1", "99999999999999999999999999999999999999999999"] {
            let found = problems(&format!("{field}: {port}"));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains("must be an integer from 1 to 65535"), "{found:?}");
        }
    }
    let hint = "every port must be another";
    illegal(&[
        (
            "agentPort: 9115",
            "0009 6:14 apiPort and agentPort are both 9115 | every port must be another",
        ),
        (
            "etcdPeerPort: 2381",
            "0009 6:17 etcdPeerPort and telemetry.metricsListen are both 2381 | \
             every port must be another",
        ),
        (
            "etcdClientURLs: [\"http://127.0.0.1:9115\"]",
            &format!("0009 6:19 apiPort and etcdClientURLs are both 9115 | {hint}"),
        ),
    ]);
}

#[test]
fn an_offset_leaves_every_port_a_port() {
    let at = |port_offset| read(&Inputs { port_offset, ..Inputs::default() }, &file(""));
    assert!(at(65535 - 9116).is_ok());
    let invalid = at(56421).unwrap_err();
    let what: Vec<_> = invalid.problems.iter().map(|problem| problem.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "apiPort 9115 and --port-offset 56421 exceed 65535",
            "agentPort 9116 and --port-offset 56421 exceed 65535",
        ]
    );
}

#[test]
fn listen_urls_name_no_hosts_and_keep_plaintext_at_home() {
    legal(&[
        "etcdClientURLs: [\"http://127.0.0.1:2379\", \"http://[::1]\", \"http://localhost:2379\"]",
        "etcdClientURLs: [\"unix:///run/kat/etcd.sock\"]",
        "etcdClientURLs:\n- http://127.0.0.2:12379\n",
        "etcdPeerURLs: [\"http://127.0.0.1:12380\"]",
    ]);
    let shape = "etcdClientURLs must be a list of URLs";
    illegal(&[
        (
            "etcdClientURLs: http://127.0.0.1:2379",
            &format!("0005 6:19 {shape}, and is a string | "),
        ),
        (
            "etcdClientURLs: [1]",
            &format!("0005 6:20 {shape}, and an item is an integer | put it in quotes"),
        ),
        (
            "etcdClientURLs: [\"http://node-a:2379\"]",
            &format!("0007 6:20 {shape} | \"node-a\" is neither an IP address nor localhost"),
        ),
        (
            "etcdClientURLs: [\"ftp://127.0.0.1\"]",
            &format!("0007 6:20 {shape} | \"ftp\" is no scheme: http, https, unix or unixs"),
        ),
        (
            "etcdClientURLs: [\"http://127.0.0.1:0\"]",
            &format!("0007 6:20 {shape} | \"0\" is no port: 1-65535"),
        ),
        (
            "etcdClientURLs: [\"http://192.0.2.10:2379\"]",
            "0009 6:19 etcdClientURLs has http://192.0.2.10:2379, and plaintext is allowed on \
             loopback only | http off loopback",
        ),
        (
            "etcdPeerURLs: [\"http://0.0.0.0\"]",
            "0009 6:17 etcdPeerURLs has http://0.0.0.0, and plaintext is allowed on loopback \
             only | http off loopback",
        ),
        (
            "etcdClientPort: 2379\netcdClientURLs: [\"http://127.0.0.1:4000\"]",
            "0009 7:19 etcdClientURLs has port 4000, but etcdClientPort is 2379 | \
             contradicts the port",
        ),
        (
            "etcdPeerPort: 7\netcdPeerURLs: [\"http://127.0.0.1:8\"]",
            "0009 7:17 etcdPeerURLs has port 8, but etcdPeerPort is 7 | contradicts the port",
        ),
    ]);
}

#[test]
fn tls_is_refused_as_long_as_nothing_speaks_it() {
    let hint = "nothing listens off loopback, or with TLS, in this version";
    illegal(&[
        (
            "etcdClientURLs: [\"https://192.0.2.10:2379\"]",
            &format!(
                "0010 6:19 etcdClientURLs has https://192.0.2.10:2379, and TLS is not there yet \
                 | {hint}"
            ),
        ),
        (
            "tls: {clientTLS: always}",
            &format!("0010 6:20 tls.clientTLS is always, and TLS is not there yet | {hint}"),
        ),
    ]);
    let look = Inputs { purpose: Purpose::Look, ..Inputs::default() };
    let config = read(&look, &file("tls: {clientTLS: always}")).unwrap();
    assert_eq!(
        config.notes,
        ["cluster.kat:6:20: note: tls.clientTLS is always, and TLS is not there yet: init will \
          refuse it"]
    );
}

#[test]
fn always_tls_contradicts_a_plaintext_url() {
    let spec = "tls: {clientTLS: always}\netcdClientURLs: [\"http://127.0.0.1:2379\"]";
    let found = problems(spec).join("\n");
    let expected = "etcdClientURLs has http://127.0.0.1:2379, but tls.clientTLS is always";
    assert!(found.contains(expected), "{found}");
}

#[test]
fn an_advertised_address_can_be_reached() {
    legal(&[
        "advertiseAddress: 192.0.2.10",
        "advertiseAddress: \"2001:db8::1\"",
        "advertiseAddress: node-a.example.org",
    ]);
    let shape = "0007 6:21 advertiseAddress must be an IP address, a DNS name or auto";
    illegal(&[
        ("advertiseAddress: 0.0.0.0", &format!("{shape} | others cannot reach this node there")),
        ("advertiseAddress: \"::\"", &format!("{shape} | others cannot reach this node there")),
        (
            "advertiseAddress: 10.0.0.256",
            &format!("{shape} | neither an IP address nor a DNS name"),
        ),
        ("advertiseAddress: a b", &format!("{shape} | neither an IP address nor a DNS name")),
    ]);
}

#[test]
fn paths_are_absolute_and_backups_apart_from_the_store() {
    for field in ["dataDir", "volumeBasePath", "backupPath"] {
        legal(&[&format!("{field}: /srv/kat")]);
        for (path, hint) in
            [("srv/kat", "it does not begin with /"), ("/srv/../kat", "write it without ..")]
        {
            let column = field.len() + 5;
            let expected = format!("0007 6:{column} {field} must be an absolute path | {hint}");
            illegal(&[(&format!("{field}: {path}"), &expected)]);
        }
    }
    let apart = "backups must outlive the store";
    for (data, backups) in [("/a", "/a/b"), ("/a/b", "/a"), ("/a", "/a"), ("/a/./b", "/a//b/c")] {
        let found = problems(&format!("dataDir: {data}\nbackupPath: {backups}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("0009 7:15") && found[0].ends_with(apart), "{found:?}");
    }
    legal(&["dataDir: /a/b\nbackupPath: /a/bc"]);
}

#[test]
fn numbers_have_their_bounds() {
    for (field, least, most) in [
        ("backupIntervalMinutes", 0, 10080),
        ("backupCopies", 1, 5),
        ("agentTickSeconds", 1, 300),
        ("leaderLeaseTTLSeconds", 5, 300),
        ("storeQuotaMiB", 16, 65536),
        ("storeCompactionHours", 0, 168),
        ("tls.certLifetimeDays", 1, 825),
        ("backupRetention.keep", 1, 100_000),
        ("backupRetention.daily", 0, 100_000),
        ("backupRetention.weekly", 0, 100_000),
    ] {
        let spec = |number: i64| match field.split_once('.') {
            Some((group, name)) => {
                format!("{group}: {{{name}: {number}}}\nnodeLossTimeoutSeconds: 86400")
            }
            None => format!("{field}: {number}\nnodeLossTimeoutSeconds: 86400"),
        };
        legal(&[&spec(least), &spec(most)]);
        for number in [least - 1, most + 1] {
            let found = problems(&spec(number));
            assert_eq!(found.len(), 1, "{found:?}");
            let expected = format!("{field} must be an integer from {least} to {most} |");
            assert!(found[0].contains(&expected), "{found:?}");
        }
    }
}

#[test]
fn a_node_is_lost_after_two_ticks_at_the_earliest() {
    legal(&["agentTickSeconds: 30", "nodeLossTimeoutSeconds: 30", "nodeLossTimeoutSeconds: 86400"]);
    illegal(&[
        (
            "agentTickSeconds: 31",
            "0009 6:21 nodeLossTimeoutSeconds 60 is less than twice agentTickSeconds 31 | \
             the timeout must be at least 62 with this tick",
        ),
        (
            "agentTickSeconds: 10\nnodeLossTimeoutSeconds: 19",
            "0009 7:27 nodeLossTimeoutSeconds 19 is less than twice agentTickSeconds 10 | \
             the timeout must be at least 20 with this tick",
        ),
    ]);
    assert_eq!(problems("nodeLossTimeoutSeconds: 86401").len(), 1);
}

#[test]
fn a_lease_outlives_an_election() {
    legal(&["leaderLeaseTTLSeconds: 5", "leaderLeaseTTLSeconds: 8\nstoreProfile: wan"]);
    illegal(&[(
        "leaderLeaseTTLSeconds: 7\nstoreProfile: wan",
        "0009 6:26 leaderLeaseTTLSeconds 7 is less than 1.5 election timeouts (5000 ms) of \
         storeProfile wan | the lease must be at least 8 with this profile",
    )]);
}

#[test]
fn words_are_words_of_the_list() {
    legal(&[
        "storeProfile: slow-disk",
        "logging: {format: journald, level: \"info,store=debug\"}",
        "telemetry: {metrics: extensive}",
    ]);
    illegal(&[
        (
            "storeProfile: slowdisk",
            "0007 6:17 storeProfile must be one of default, slow-disk, wan | \
             did you mean \"slow-disk\"?",
        ),
        (
            "storeProfile: fast",
            "0007 6:17 storeProfile must be one of default, slow-disk, wan | no such value",
        ),
        (
            "logging: {format: JSON}",
            "0007 6:21 logging.format must be one of auto, human, json, journald | \
             did you mean \"json\"?",
        ),
        (
            "tls: {clientTLS: true}",
            "0005 6:20 tls.clientTLS must be one of auto, always, and is a boolean | \
             put it in quotes",
        ),
    ]);
    let level = |level: &str| problems(&format!("logging: {{level: \"{level}\"}}")).len();
    for good in ["error", "warn", "info", "debug", "trace", "store=trace", "info,kat::store=debug"]
    {
        assert_eq!(level(good), 0, "{good}");
    }
    for bad in ["", "loud", "info,debug", "info,=debug", "store=loud", "a b=info", "info,"] {
        assert_eq!(level(bad), 1, "{bad}");
    }
}

#[test]
fn a_bucket_needs_its_three_fields_and_https() {
    legal(&[
        "backupS3: {endpoint: \"https://s3.example.org\", bucket: kat, prefix: home, \
         region: eu-1, credentialsFile: /etc/kat/s3}",
        "backupS3: {endpoint: \"http://[::1]:9000/x\", bucket: kat, credentialsFile: /etc/kat/s3}",
    ]);
    let needed = "needs it";
    illegal(&[
        (
            "backupS3: {endpoint: \"https://s3\", credentialsFile: /x}",
            &format!("0008 6:24 backupS3.bucket is missing | {needed}"),
        ),
        (
            "backupS3: {bucket: kat, credentialsFile: /x}",
            &format!("0008 6:22 backupS3.endpoint is missing | {needed}"),
        ),
        (
            "backupS3: {endpoint: \"http://s3.example.org\", bucket: kat, credentialsFile: /x}",
            "0009 6:24 backupS3.endpoint http://s3.example.org is plaintext off loopback | \
             backups hold everything the store holds",
        ),
        (
            "backupS3: {endpoint: \"s3\", bucket: kat, credentialsFile: /x}",
            "0007 6:24 backupS3.endpoint must be an http or https URL | \
             it begins with neither http:// nor https://",
        ),
        (
            "backupS3: {endpoint: \"https://me:secret@s3\", bucket: kat, credentialsFile: /x}",
            "0007 6:24 backupS3.endpoint must be an http or https URL | \
             a password does not belong in it",
        ),
    ]);
}

#[test]
fn further_names_are_names_or_addresses() {
    legal(&[
        "tls: {extraSANs: [a.example.org, 192.0.2.1, \"2001:db8::1\"]}",
        "tls: {extraSANs: []}",
    ]);
    let shape = "tls.extraSANs must be a list of DNS names or IP addresses";
    illegal(&[
        (
            "tls: {extraSANs: [a, \"b c\"]}",
            &format!("0007 6:24 {shape} | neither a DNS name nor an IP address"),
        ),
        ("tls: {extraSANs: a}", &format!("0005 6:20 {shape}, and is a string | ")),
    ]);
}

#[test]
fn telemetry_is_at_home_or_off() {
    legal(&[
        "telemetry: {metricsListen: \"\"}",
        "telemetry: {otlpEndpoint: \"http://collector.example.org:4317\"}",
        "telemetry: {sampleRatio: 0}",
        "telemetry: {sampleRatio: 1}",
        "telemetry: {sampleRatio: 1e-3}",
    ]);
    let ratio = "0007 6:28 telemetry.sampleRatio must be a number from 0 to 1 | out of bounds";
    illegal(&[
        (
            "telemetry: {metricsListen: \"http://192.0.2.1:2381\"}",
            "0009 6:30 telemetry.metricsListen has http://192.0.2.1:2381, and plaintext is \
             allowed on loopback only | http off loopback",
        ),
        (
            "telemetry: {metricsListen: \"unix:///x\"}",
            "0007 6:30 telemetry.metricsListen must be an http or https URL | no unix socket",
        ),
        (
            "telemetry: {otlpEndpoint: collector}",
            "0007 6:29 telemetry.otlpEndpoint must be an http or https URL, or \"\" for none | \
             it begins with neither http:// nor https://",
        ),
        ("telemetry: {sampleRatio: 1.1}", ratio),
        ("telemetry: {sampleRatio: -0.1}", ratio),
        ("telemetry: {sampleRatio: .nan}", ratio),
        (
            "telemetry: {sampleRatio: \"0.5\"}",
            "0005 6:28 telemetry.sampleRatio must be a number from 0 to 1, and is a quoted number \
             | take off the quotes",
        ),
    ]);
}

#[test]
fn a_group_is_a_mapping_and_an_empty_one_is_none() {
    legal(&["tls:\nlogging: {}\nbackupS3:"]);
    illegal(&[
        ("tls: auto", "0005 6:8 spec.tls must be a mapping, and is a string | "),
        ("agentPort:", "0005 6:3 agentPort must be an integer from 1 to 65535, and is empty | "),
        (
            "tls: {clientTls: auto}",
            "0003 6:9 unknown field \"clientTls\" in spec.tls | \
             did you mean \"clientTLS\"?",
        ),
        (
            "clientTLS: auto",
            "0003 6:3 unknown field \"clientTLS\" in spec | it belongs in spec.tls",
        ),
        ("name: x", "0003 6:3 unknown field \"name\" in spec | it belongs in metadata"),
        (
            "AGENTPORT: 1",
            "0003 6:3 unknown field \"AGENTPORT\" in spec | did you mean \"agentPort\"?",
        ),
        ("colour: red", "0003 6:3 unknown field \"colour\" in spec | no such field"),
    ]);
}

#[test]
fn a_large_quota_is_worth_a_warning() {
    let config = read(&Inputs::default(), &file("storeQuotaMiB: 8193")).unwrap();
    assert_eq!(
        config.notes,
        ["cluster.kat:6:18: warning: storeQuotaMiB 8193 is above 8192: restarts and snapshots \
          become slow"]
    );
    assert!(read(&Inputs::default(), &file("storeQuotaMiB: 8192")).unwrap().notes.is_empty());
}

#[test]
fn all_mistakes_come_in_one_pass_and_each_once() {
    let found = problems(
        "clusterCIDR: 10.100.0.1/16\nserviceCIDR: 10.100.0.0/16\nnodeSubnetBits: 99\n\
         agentPort: x\napiPort: 9116\nnodeLossTimeoutSeconds: 3",
    );
    let codes: Vec<_> = found.iter().map(|line| &line[..4]).collect();
    assert_eq!(codes, ["0007", "0007", "0005", "0009"], "{found:#?}");
    assert!(found.len() <= PROBLEMS_MAX);
}

#[test]
fn an_override_needs_a_field_and_a_value() {
    for argument in ["agentPort", "=1", ""] {
        let invalid = Override::set(argument).unwrap_err();
        assert_eq!((invalid.exit(), invalid.code()), (2, "KAT-E0901"));
    }
    let config =
        read(&sets(&["spec.agentPort=1", "tls.extraSANs=a, b", "clusterDomain=x"]), &file(""));
    let spec = config.unwrap().spec;
    assert_eq!((spec.agent_port, spec.cluster_domain.as_str()), (1, "x"));
    assert_eq!(spec.tls.extra_sans, ["a", "b"]);
}
