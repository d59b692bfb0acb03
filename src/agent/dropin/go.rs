//! Arguments and variables, read as Go's flag package and etcd read them.
//!
//! One dash or two, `--flag value` or `--flag=value`; a switch is `--flag` or
//! `--flag=false`; of repeated flags the last one counts. A flag and its
//! variable together are refused. Deliberately not here: what the flags mean.

use std::collections::BTreeMap;
use std::time::Duration;

use super::flags::{DROPPED, Effect, FLAGS, Flag, Kind, LEGACY, TURNED_GATES, find};

/// What variables begin with.
const PREFIX: &str = "ETCD_";

/// Variables that are not flags, and that nobody is warned of.
const OTHER_VARIABLES: &[&str] = &["ETCD_UNSUPPORTED_ARCH", "ETCD_DAEMON_ARGS", "ETCD_VERSION"];

/// A command line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Misread {
    /// What is wrong with it, in Go's words.
    pub text: String,
    /// The exit code: 2 for a flag or its value, 1 for anything else.
    pub exit: u8,
}

/// Every flag with its value.
#[derive(Clone, Debug)]
pub struct Flags {
    given: BTreeMap<&'static str, String>,
    /// What is to be warned of, once there is a log.
    pub(super) warnings: Vec<String>,
    /// Whether the help was asked for.
    pub wants_help: bool,
}

impl Flags {
    /// Reads arguments, without the program's name, and the environment.
    ///
    /// # Errors
    /// An unknown flag, a value that cannot be read, a stray word.
    pub fn read(
        arguments: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<Flags, Misread> {
        let mut flags = Flags { given: BTreeMap::new(), warnings: Vec::new(), wants_help: false };
        flags.read_arguments(arguments)?;
        flags.read_environment(environment)?;
        Ok(flags)
    }

    fn read_arguments(&mut self, arguments: &[String]) -> Result<(), Misread> {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let dashes = argument.chars().take_while(|c| *c == '-').take(2).count();
            let body = &argument[dashes..];
            if argument == "--" || dashes == 0 || body.is_empty() {
                let stray = if argument == "--" { rest.next() } else { Some(argument) };
                return stray.map_or(Ok(()), |word| Err(stray_word(word)));
            }
            if body.starts_with(['-', '=']) {
                return Err(usage(format!("bad flag syntax: {argument}")));
            }
            let (name, inline) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (body, None),
            };
            if ["help", "h"].contains(&name) {
                self.wants_help = true;
                return Ok(());
            }
            self.take(name, inline, &mut rest)?;
        }
        Ok(())
    }

    fn take(
        &mut self,
        name: &str,
        inline: Option<String>,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), Misread> {
        if LEGACY.contains(&name) || DROPPED.contains(&name) {
            let is_switch = ["force", "snapshot", "v", "vv"].contains(&name);
            if inline.is_none() && !is_switch && LEGACY.contains(&name) {
                rest.next();
            }
            self.warnings.push(format!("--{name} has no effect any more"));
            return Ok(());
        }
        if let Some((_, gate)) = TURNED_GATES.iter().find(|(old, _)| *old == name) {
            let value = inline.unwrap_or_else(|| "true".to_owned());
            self.warnings.push(format!("--{name} is now --feature-gates={gate}={value}"));
            let gates = self.given.entry("feature-gates").or_default();
            *gates = format!("{gates}{}{gate}={value}", if gates.is_empty() { "" } else { "," });
            return Ok(());
        }
        let current = name.strip_prefix("experimental-").filter(|_| find(name).is_none());
        let Some(flag) = find(current.unwrap_or(name)) else {
            return Err(usage(format!("flag provided but not defined: -{name}")));
        };
        if current.is_some() {
            self.warnings.push(format!("--{name} is now --{}", flag.name));
        }
        let value = match (inline, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Bool) => "true".to_owned(),
            (None, _) => rest
                .next()
                .cloned()
                .ok_or_else(|| usage(format!("flag needs an argument: -{name}")))?,
        };
        check(flag, &value).map_err(|why| {
            let word = if flag.kind == Kind::Bool { "boolean value" } else { "value" };
            let joint = if flag.kind == Kind::Bool { "for" } else { "for flag" };
            usage(format!("invalid {word} {value:?} {joint} -{name}: {why}"))
        })?;
        self.given.insert(flag.name, value);
        Ok(())
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Misread> {
        let set = environment
            .iter()
            .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty());
        for (variable, value) in set {
            let name = variable[PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
            let Some(flag) = find(&name) else {
                if !OTHER_VARIABLES.contains(&variable.as_str()) {
                    self.warnings.push(format!("unrecognized environment variable {variable}"));
                }
                continue;
            };
            if self.given.contains_key(flag.name) {
                let text = format!(
                    "conflicting environment variable {variable:?} is shadowed by corresponding \
                     command-line flag (either unset environment variable or disable flag)"
                );
                return Err(Misread { text, exit: 1 });
            }
            check(flag, value).map_err(|why| Misread {
                text: format!("invalid value {value:?} for {variable}: {why}"),
                exit: 1,
            })?;
            self.given.insert(flag.name, value.clone());
        }
        Ok(())
    }

    /// Tells whether a flag was given, by argument or variable.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of a flag, or its default.
    pub(super) fn text(&self, name: &str) -> &str {
        let flag = find(name).expect("only flags of the table are asked for");
        self.given.get(name).map_or(flag.default, String::as_str)
    }

    /// Tells whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        truth(self.text(name)) == Some(true)
    }

    /// The value of a flag that is a number.
    pub(super) fn number(&self, name: &str) -> i64 {
        integer(self.text(name)).expect("its value was checked when it was read")
    }

    /// The value of a flag that is a time; nothing is shorter than zero.
    pub(super) fn duration(&self, name: &str) -> Duration {
        duration(self.text(name)).expect("its value was checked when it was read")
    }

    /// Names the flags that were given and have a certain effect, unless they
    /// were given their default.
    pub(super) fn changed(&self, effect: Effect) -> Vec<&'static str> {
        let changed =
            |flag: &&Flag| self.given.get(flag.name).is_some_and(|value| value != flag.default);
        FLAGS.iter().filter(|flag| flag.effect == effect).filter(changed).map(|f| f.name).collect()
    }
}

fn usage(text: String) -> Misread {
    Misread { text, exit: 2 }
}

fn stray_word(word: &str) -> Misread {
    let text = match word {
        "gateway" | "grpc-proxy" => format!("'{word}' is not offered by this etcd"),
        _ => format!("'{word}' is not a valid flag"),
    };
    Misread { text, exit: if ["gateway", "grpc-proxy"].contains(&word) { 2 } else { 1 } }
}

/// Says what is wrong with a value, as Go does.
fn check(flag: &Flag, value: &str) -> Result<(), String> {
    let read = match flag.kind {
        Kind::Text => true,
        Kind::Bool => truth(value).is_some(),
        Kind::Int => integer(value).is_some(),
        Kind::Uint => integer(value).is_some_and(|number| number >= 0),
        Kind::Duration => nanoseconds(value).is_some(),
        Kind::Choice(words) if words.contains(&value) => true,
        Kind::Choice(_) => return Err(format!("invalid value {value:?}")),
    };
    if read { Ok(()) } else { Err("parse error".to_owned()) }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a number as Go does, with any base its prefix names.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.to_ascii_lowercase();
    let magnitude = match plain.get(..2) {
        Some("0x") => i64::from_str_radix(&plain[2..], 16),
        Some("0b") => i64::from_str_radix(&plain[2..], 2),
        Some("0o") => i64::from_str_radix(&plain[2..], 8),
        _ if plain.starts_with('+') || plain.starts_with('-') => return None,
        _ => plain.parse(),
    };
    magnitude.ok()?.checked_mul(sign)
}

/// Reads a time; nothing is shorter than zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    nanoseconds(text).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// Reads a duration as Go writes it: numbers with units, in a row.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
        rest = &rest[end..];
    }
    // Times beyond 292 years are refused, as by Go.
    let nanos = sign * total;
    (nanos.abs() < 9.2e18).then(|| format!("{nanos:.0}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Flags, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Flags::read(&owned, &BTreeMap::new())
    }

    fn with(arguments: &[&str], variable: &str, value: &str) -> Result<Flags, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Flags::read(&owned, &BTreeMap::from([(variable.into(), value.into())]))
    }

    fn refused(arguments: &[&str]) -> (String, u8) {
        let Misread { text, exit } = read(arguments).unwrap_err();
        (text, exit)
    }

    #[test]
    fn a_flag_has_one_dash_or_two_and_the_last_one_counts() {
        let flags = read(&["-name", "a", "--name=b", "--log-level", "warn", "-name=c"]).unwrap();
        assert_eq!((flags.text("name"), flags.text("log-level")), ("c", "warn"));
        assert_eq!(flags.text("data-dir"), "", "a flag that is not given has its default");
        let flags = read(&["--pre-vote=false", "--unsafe-no-fsync", "-name", "--x"]).unwrap();
        assert!(!flags.is_on("pre-vote") && flags.is_on("unsafe-no-fsync"));
        assert_eq!(flags.text("name"), "--x", "what follows is the value, whatever it is");
    }

    #[test]
    fn what_is_not_understood_is_refused_in_the_words_of_go() {
        let check = |arguments: &[&str], text: &str, exit: u8| {
            assert_eq!(refused(arguments), (text.to_owned(), exit));
        };
        check(&["--nonsense"], "flag provided but not defined: -nonsense", 2);
        check(&["--name"], "flag needs an argument: -name", 2);
        check(&["---name"], "bad flag syntax: ---name", 2);
        check(
            &["--v2-deprecation", "not-yet"],
            r#"invalid value "not-yet" for flag -v2-deprecation: invalid value "not-yet""#,
            2,
        );
        check(&["--max-txn-ops=x"], r#"invalid value "x" for flag -max-txn-ops: parse error"#, 2);
        check(
            &["--pre-vote=perhaps"],
            r#"invalid boolean value "perhaps" for -pre-vote: parse error"#,
            2,
        );
        check(&["stray"], "'stray' is not a valid flag", 1);
        assert_eq!(refused(&["--pre-vote", "false"]), ("'false' is not a valid flag".into(), 1));
        assert_eq!(refused(&["grpc-proxy"]).1, 2);
    }

    #[test]
    fn a_variable_stands_for_a_flag_that_is_not_given() {
        let flags = with(&[], "ETCD_DATA_DIR", "d").unwrap();
        assert!(flags.is_given("data-dir") && flags.text("data-dir") == "d");
        assert!(!with(&[], "ETCD_DATA_DIR", "").unwrap().is_given("data-dir"));
        let both = with(&["--data-dir", "e"], "ETCD_DATA_DIR", "d").unwrap_err();
        assert!(both.text.contains("is shadowed by") && both.exit == 1, "{both}");
        assert_eq!(with(&[], "ETCD_MAX_TXN_OPS", "x").unwrap_err().exit, 1);
        assert_eq!(with(&[], "ETCD_UNHEARD_OF", "x").unwrap().warnings.len(), 1);
    }

    #[test]
    fn older_spellings_are_mapped_with_a_warning() {
        let flags = read(&["--experimental-watch-progress-notify-interval=5s"]).unwrap();
        assert_eq!(flags.duration("watch-progress-notify-interval"), Duration::from_secs(5));
        assert_eq!(flags.warnings.len(), 1);
        let flags = read(&["--experimental-initial-corrupt-check", "--enable-v2=true"]).unwrap();
        assert_eq!(flags.text("feature-gates"), "InitialCorruptCheck=true");
        assert_eq!(flags.warnings.len(), 2);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let check = |text: &str, nanos: Option<i64>| assert_eq!(nanoseconds(text), nanos, "{text}");
        check("1h0m0s", Some(3_600_000_000_000));
        check("100ms", Some(100_000_000));
        check("1.5s", Some(1_500_000_000));
        check("-1ns", Some(-1));
        check("0", Some(0));
        for wrong in ["", "5", "s", "5x", "1h5", "--1s"] {
            check(wrong, None);
        }
    }

    #[test]
    fn only_what_was_changed_counts_as_changed() {
        let flags = read(&["--max-wals=5", "--max-snapshots=3", "--auto-tls=false"]).unwrap();
        assert_eq!(flags.changed(Effect::HasNone), ["max-snapshots"]);
        assert_eq!(flags.changed(Effect::Refused), [""; 0]);
    }
}
