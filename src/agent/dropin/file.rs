//! The configuration file: YAML or JSON, in the place of flags and variables.
//!
//! Its keys are the names of the flags, but for a few that stand in groups.
//! Kinds are not mixed: a number is not a string, times are whole nanoseconds,
//! and a list is a list where etcd keeps one. An unknown key is passed over, and
//! one without a value leaves the default. YAML's anchors are refused.

use std::collections::BTreeMap;
use std::fs;

use super::flags::{Flag, Kind, find};
use super::value::{check, go_error};
use crate::agent::config::{Entry, Meaning, Value, parse};

/// Flags that have no key of their own.
const NO_KEYS: &[&str] = &[
    "config-file",
    "version",
    "discovery-fallback",
    "raft-read-timeout",
    "raft-write-timeout",
    "client-crl-file",
    "peer-crl-file",
];

/// What the names of flags begin with whose keys stand in a group.
const GROUPED: &[&str] = &["peer-", "discovery-", "socket-"];

/// Flags that begin so, and stand alone all the same.
const ALONE: &[&str] = &["discovery-srv", "discovery-srv-name"];

/// Flags of the client listener, whose keys stand in its group.
const CLIENT_TLS: &[&str] = &[
    "cert-file",
    "key-file",
    "client-cert-file",
    "client-key-file",
    "client-cert-auth",
    "trusted-ca-file",
    "auto-tls",
    "client-cert-allowed-hostname",
];

/// Flags that hold a list, which the file writes as one.
const LISTS: &[&str] = &[
    "log-outputs",
    "cipher-suites",
    "client-cert-allowed-hostname",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "discovery-endpoints",
];

/// Every key that stands in a group, and its flag.
const IN_GROUPS: &[(&str, &str)] = &[
    ("client-transport-security.cert-file", "cert-file"),
    ("client-transport-security.key-file", "key-file"),
    ("client-transport-security.client-cert-file", "client-cert-file"),
    ("client-transport-security.client-key-file", "client-key-file"),
    ("client-transport-security.client-cert-auth", "client-cert-auth"),
    ("client-transport-security.trusted-ca-file", "trusted-ca-file"),
    ("client-transport-security.auto-tls", "auto-tls"),
    ("client-transport-security.allowed-hostname", "client-cert-allowed-hostname"),
    ("peer-transport-security.cert-file", "peer-cert-file"),
    ("peer-transport-security.key-file", "peer-key-file"),
    ("peer-transport-security.client-cert-file", "peer-client-cert-file"),
    ("peer-transport-security.client-key-file", "peer-client-key-file"),
    ("peer-transport-security.client-cert-auth", "peer-client-cert-auth"),
    ("peer-transport-security.trusted-ca-file", "peer-trusted-ca-file"),
    ("peer-transport-security.auto-tls", "peer-auto-tls"),
    ("peer-transport-security.allowed-cn", "peer-cert-allowed-cn"),
    ("peer-transport-security.allowed-hostname", "peer-cert-allowed-hostname"),
    ("peer-transport-security.skip-client-san-verification", "peer-skip-client-san-verification"),
    ("socket-options.reuse-port", "socket-reuse-port"),
    ("socket-options.reuse-address", "socket-reuse-address"),
    ("discovery-config.token", "discovery-token"),
    ("discovery-config.client.endpoints", "discovery-endpoints"),
    ("discovery-config.client.dial-timeout", "discovery-dial-timeout"),
    ("discovery-config.client.request-timeout", "discovery-request-timeout"),
    ("discovery-config.client.keepalive-time", "discovery-keepalive-time"),
    ("discovery-config.client.keepalive-timeout", "discovery-keepalive-timeout"),
];

/// Keys whose text etcd reads in a second step.
const IN_TEXT: &[&str] = &[
    "listen-peer-urls",
    "listen-client-urls",
    "listen-client-http-urls",
    "listen-metrics-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "cors",
    "host-whitelist",
    "feature-gates",
    "client-transport-security",
    "peer-transport-security",
];

/// A key that restricts who may come in, and that no flag stands for.
const NOT_OFFERED: &str = "client-transport-security.allowed-cn";

/// URLs that etcd complains of before there is a log, in lines of their own, and
/// by which name.
const URLS: &[(&str, &str)] = &[
    ("listen-peer-urls", "listen-peer-urls"),
    ("listen-client-urls", "listen-client-urls"),
    ("listen-client-http-urls", "listen-client-http-urls"),
    ("listen-metrics-urls", "listen-metrics-urls"),
    ("initial-advertise-peer-urls", "initial-advertise-peer-urls"),
    ("advertise-client-urls", "advertise-peer-urls"),
];

/// Why a file is not obeyed, in a sentence for the operator.
#[derive(Debug, PartialEq)]
pub(super) enum Wrong {
    /// It cannot be read, or holds something of another kind.
    File(String),
    /// A URL in it is none.
    Url(String),
}

impl From<String> for Wrong {
    fn from(text: String) -> Wrong {
        Wrong::File(text)
    }
}

/// What the file gives, by flag.
type Given = BTreeMap<&'static str, String>;

/// Reads a file.
pub(super) fn read(path: &str) -> Result<Given, Wrong> {
    let text =
        fs::read_to_string(path).map_err(|why| format!("open {path}: {}", go_error(&why)))?;
    take(&text)
}

fn take(text: &str) -> Result<Given, Wrong> {
    let mut given = Given::new();
    let is_prose = |line: &str| line.is_empty() || line.starts_with('#') || line == "---";
    if text.lines().map(str::trim).all(is_prose) {
        return Ok(given);
    }
    // JSON may have tabs where YAML may not.
    let root = match serde_json::from_str(text) {
        Ok(json) => Value::of_json(&json),
        Err(_) => parse(text).map_err(|problem| {
            let line = problem.labels.first().map_or(1, |label| label.line);
            format!("error converting YAML to JSON: yaml: line {line}: {}", problem.what)
        })?,
    };
    match root.meaning() {
        Meaning::Map(entries) => take_all(entries, "", &mut given)?,
        Meaning::Nothing => {}
        other => return Err(mismatch(&other, "value", "embed.configYAML").into()),
    }
    Ok(given)
}

fn take_all(entries: &[Entry], prefix: &str, given: &mut Given) -> Result<(), Wrong> {
    // As in Go, which sorts them and minds no case: the last one counts.
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    for entry in entries {
        let key = format!("{prefix}{}", entry.key.to_ascii_lowercase());
        let meaning = entry.value.meaning();
        let group = format!("{key}.");
        if IN_GROUPS.iter().any(|(inside, _)| inside.starts_with(&group)) {
            match meaning {
                Meaning::Map(entries) => take_all(entries, &group, given)?,
                Meaning::Nothing => {}
                other => return Err(mismatch(&other, &field(&key), group_type(&key)).into()),
            }
            continue;
        }
        if key == NOT_OFFERED && meaning != Meaning::Nothing {
            return Err(format!("{key} is not supported").into());
        }
        let Some(flag) = flag_of(&key) else { continue };
        let Some(text) = written(flag, &key, &entry.value)? else { continue };
        // Whatever the stage is, it is the default one.
        if flag.name != "v2-deprecation" {
            check(flag, &text).map_err(|why| wrong_value(flag, &key, &text, &why))?;
        }
        given.insert(flag.name, text);
    }
    Ok(())
}

fn wrong_value(flag: &Flag, key: &str, text: &str, why: &str) -> Wrong {
    if let Some((_, told)) = URLS.iter().find(|(name, _)| *name == flag.name) {
        return Wrong::Url(format!("unexpected error setting up {told}: {why}"));
    }
    Wrong::File(match flag.name {
        "feature-gates" => why.to_owned(),
        "initial-cluster-state" => format!("unexpected clusterState {text:?}"),
        _ if matches!(flag.kind, Kind::Int | Kind::Uint) => {
            unfit(&format!("number {text}"), &field(key), number_type(flag))
        }
        name => format!("unexpected error setting up {name}: {why}"),
    })
}

/// What Go calls the type of a group.
fn group_type(key: &str) -> &'static str {
    match key {
        "socket-options" => "transport.SocketOpts",
        "client-transport-security" | "peer-transport-security" => "embed.securityConfig",
        _ => "struct",
    }
}

/// What Go calls the type of a number.
fn number_type(flag: &Flag) -> &'static str {
    match (flag.name, flag.kind) {
        ("snapshot-count" | "snapshot-catchup-entries", _) => "uint64",
        ("max-concurrent-streams", _) => "uint32",
        ("quota-backend-bytes", _) => "int64",
        (_, Kind::Uint) => "uint",
        _ => "int",
    }
}

/// The flag of a key.
fn flag_of(key: &str) -> Option<&'static Flag> {
    if let Some((_, name)) = IN_GROUPS.iter().find(|(inside, _)| *inside == key) {
        return find(name);
    }
    let is_grouped = GROUPED.iter().any(|prefix| key.starts_with(prefix)) && !ALONE.contains(&key);
    let has_none = is_grouped || CLIENT_TLS.contains(&key) || NO_KEYS.contains(&key);
    if has_none { None } else { find(key) }
}

/// What the flag would have said; nothing where the default stays.
fn written(flag: &Flag, key: &str, value: &Value) -> Result<Option<String>, String> {
    let meaning = value.meaning();
    let wanted = match flag.kind {
        _ if LISTS.contains(&flag.name) => "[]string",
        Kind::Text | Kind::Choice(_) => "string",
        Kind::Bool => "bool",
        Kind::Duration => "time.Duration",
        Kind::Uint | Kind::Int => number_type(flag),
    };
    let text = match (wanted, meaning) {
        (_, Meaning::Nothing) => return Ok(None),
        ("[]string", Meaning::List(list)) => {
            let word = |value: &Value| match value.meaning() {
                Meaning::Text(text) => Ok(text.to_owned()),
                other => Err(mismatch(&other, &field(key), "string")),
            };
            list.iter().map(word).collect::<Result<Vec<_>, _>>()?.join(",")
        }
        // A state that is empty is the default one.
        ("string", Meaning::Text("")) if matches!(flag.kind, Kind::Choice(_)) => return Ok(None),
        ("string", Meaning::Text(text)) => text.to_owned(),
        ("bool", Meaning::Bool) => value.plain_text().to_ascii_lowercase(),
        ("bool", Meaning::Text(text)) if value.is_plain() => match yes_or_no(text) {
            Some(yes) => yes.to_string(),
            None => return Err(mismatch(&Meaning::Text(text), &field(key), wanted)),
        },
        ("time.Duration", Meaning::Whole(nanos)) => format!("{nanos}ns"),
        ("uint" | "uint32" | "uint64" | "int" | "int64", Meaning::Whole(number)) => {
            number.to_string()
        }
        (_, other) => return Err(mismatch(&other, &field(key), wanted)),
    };
    Ok(Some(text))
}

/// What YAML 1.1 takes for a truth beside `true` and `false`.
fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" => Some(true),
        "n" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// How Go names the place of a key.
fn field(key: &str) -> String {
    let (within, group) = match key.split_once('.') {
        Some((group, _)) if group.ends_with("-transport-security") => {
            ("securityConfig", "configJSON")
        }
        Some(("socket-options", _)) => ("SocketOpts", "Config"),
        _ if IN_TEXT.contains(&key) => ("configYAML", "configJSON"),
        _ => ("configYAML", "Config"),
    };
    format!("struct field {within}.{group}.{key}")
}

fn mismatch(found: &Meaning<'_>, place: &str, wanted: &str) -> String {
    let is_number = wanted.contains("int") || wanted == "time.Duration";
    let found = match found {
        Meaning::Nothing => "null",
        Meaning::Bool => "bool",
        Meaning::Number(number) if is_number => &format!("number {number}"),
        Meaning::Whole(_) | Meaning::Number(_) => "number",
        Meaning::Text(_) => "string",
        Meaning::List(_) => "array",
        Meaning::Map(_) => "object",
    };
    unfit(found, place, wanted)
}

fn unfit(found: &str, place: &str, wanted: &str) -> String {
    format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go \
         {place} of type {wanted}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Vec<(&'static str, String)> {
        take(text).unwrap().into_iter().collect()
    }

    #[test]
    fn keys_are_flags_alone_or_in_groups() {
        let text = "name: a\nunknown: [1]\nwatch-progress-notify-interval: 5000000000\n\
                    log-outputs: [stderr, f]\nPre-Vote: no\ncert-file: passed over\n\
                    client-transport-security: {cert-file: c, client-cert-auth: true}\n\
                    peer-transport-security:\n  allowed-cn: [x, y]\n  key-file:\n\
                    socket-options: {reuse-port: true}\nmax-txn-ops: 7\nname: b\nNAME: c\n\
                    v2-deprecation: whatever\n";
        let wanted = [
            ("cert-file", "c"),
            ("client-cert-auth", "true"),
            ("log-outputs", "stderr,f"),
            ("max-txn-ops", "7"),
            ("name", "b"),
            ("peer-cert-allowed-cn", "x,y"),
            ("pre-vote", "false"),
            ("socket-reuse-port", "true"),
            ("v2-deprecation", "whatever"),
            ("watch-progress-notify-interval", "5000000000ns"),
        ];
        let wanted: Vec<_> = wanted.map(|(name, text)| (name, text.to_owned())).into();
        assert_eq!(given(text), wanted);
    }

    #[test]
    fn json_is_read_too_and_nothing_is_nothing() {
        assert_eq!(given("{\n\t\"MAX-TXN-OPS\": 4\n}"), [("max-txn-ops", "4".to_owned())]);
        for text in ["", "# prose\n", "---\n", "null", "name:\ninitial-cluster-state: ''\n"] {
            assert_eq!(given(text), [], "{text}");
        }
    }

    #[test]
    fn kinds_are_not_mixed() {
        for (text, why) in [
            ("name: 5", "cannot unmarshal number into Go struct field configYAML.Config.name of"),
            ("max-txn-ops: '5'", "cannot unmarshal string into"),
            (
                "max-txn-ops: -1",
                "cannot unmarshal number -1 into Go struct field configYAML.Config.max-txn-ops of \
                 type uint",
            ),
            ("max-txn-ops: 1.5", "cannot unmarshal number 1.5 into"),
            (
                "client-transport-security: {cert-file: 5}",
                "number into Go struct field securityConfig.configJSON.client-transport-security.",
            ),
            ("cors: [a]", "array into Go struct field configYAML.configJSON.cors of type string"),
            ("watch-progress-notify-interval: 5s", "of type time.Duration"),
            ("log-outputs: stderr", "of type []string"),
            ("pre-vote: 1", "cannot unmarshal number into"),
            ("pre-vote: 'true'", "cannot unmarshal string into"),
            ("client-transport-security: 5", "client-transport-security of type"),
            ("client-transport-security: {allowed-cn: [x]}", "is not supported"),
            ("- a", "cannot unmarshal array into Go value"),
            ("a: [", "error converting YAML to JSON: yaml: line"),
            ("feature-gates: Foo=true", "unrecognized feature gate: Foo"),
            ("initial-cluster-state: foo", "unexpected clusterState \"foo\""),
            ("listen-peer-urls: foo", "unexpected error setting up listen-peer-urls: URL scheme"),
            ("advertise-client-urls: foo", "unexpected error setting up advertise-peer-urls: "),
        ] {
            let refused = take(text).unwrap_err();
            let (Wrong::File(said) | Wrong::Url(said)) = &refused;
            assert!(said.contains(why), "{text}: {refused:?}");
            assert_eq!(matches!(refused, Wrong::Url(_)), text.contains("-urls: foo"), "{text}");
        }
    }
}
