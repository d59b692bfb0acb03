//! Arguments and variables, read as Go's flag package and etcd read them.
//!
//! One dash or two, `--flag value` or `--flag=value`; a switch is `--flag` or
//! `--flag=false`; of repeated flags the last one counts. A flag and its
//! variable together are refused; a configuration file replaces them all.
//! Deliberately not here: what the flags mean.

use std::collections::BTreeMap;
use std::time::Duration;

use super::file;
use super::flags::{
    ALL_ALPHA, ALL_BETA, DROPPED, Effect, FLAGS, Flag, GATES, Gate, Kind, LEGACY, Stage,
    TURNED_GATES, find,
};
use super::value::{check, duration, integer, truth};

/// What variables begin with.
const PREFIX: &str = "ETCD_";

/// What images set beside the flags; it means nothing, and is told.
const SPECIAL_VARIABLE: &str = "ETCD_VERSION";

/// A command line that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Misread {
    /// What is wrong with it, in Go's words.
    pub text: String,
    /// The exit code: 2 for a flag or its value, 1 for anything else.
    pub exit: u8,
    /// How it is told.
    pub(super) manner: Manner,
}

/// How a command line is told that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Before there is a log, or as one of its lines.
    Plain,
    /// As the line with which a start fails.
    Start,
    /// As a line that is none of the log's.
    Bare,
    /// As the conflict of a flag with this variable.
    Conflict(String),
}

impl Misread {
    /// Whether it is told in a line that is none of the log's.
    pub fn is_bare(&self) -> bool {
        self.manner == Manner::Bare
    }
}

/// What is to be said of the command line, once there is a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Something to warn of.
    Warning(String),
    /// A variable that stands for a flag.
    Used(String, String),
    /// A variable that looks like one and is none, with its value.
    Unrecognized(String),
    /// The value of a variable that is no flag, whatever it looks like.
    Special(String),
    /// The file that replaces everything else.
    Loaded(String),
}

/// Every flag with its value.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    given: BTreeMap<&'static str, String>,
    /// What is to be said, once there is a log.
    pub(super) notes: Vec<Note>,
    /// Whether the help was asked for.
    pub wants_help: bool,
    /// Whether everything comes from a file.
    pub(super) is_file: bool,
}

impl Flags {
    /// Reads arguments, without the program's name.
    ///
    /// # Errors
    /// An unknown flag, a value that cannot be read, a stray word.
    pub fn read(arguments: &[String]) -> Result<Flags, Misread> {
        let mut flags = Flags::default();
        flags.read_arguments(arguments)?;
        Ok(flags)
    }

    /// Adds what the environment says, or puts a file in the place of everything.
    ///
    /// # Errors
    /// A file that is not understood; a variable that is not, or that stands
    /// beside its own flag.
    pub fn complete(self, environment: &BTreeMap<String, String>) -> Result<Flags, Misread> {
        let named = match self.text("config-file") {
            "" => environment.get("ETCD_CONFIG_FILE").map(String::as_str),
            path => Some(path),
        };
        if let Some(path) = named.filter(|path| !path.is_empty()) {
            let given = file::read(path).map_err(|wrong| match wrong {
                file::Wrong::File(text) => failed(text),
                file::Wrong::Url(text) => Misread { manner: Manner::Bare, ..failed(text) },
            })?;
            let notes = vec![Note::Loaded(path.to_owned())];
            return Ok(Flags { given, notes, wants_help: false, is_file: true });
        }
        let mut flags = self;
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
        if LEGACY.contains(&name) {
            return Ok(());
        }
        if self.take_old(name, inline.as_deref()) {
            return Ok(());
        }
        let current = name.strip_prefix("experimental-").filter(|_| find(name).is_none());
        let Some(flag) = find(current.unwrap_or(name)) else {
            return Err(usage(format!("flag provided but not defined: -{name}")));
        };
        if current.is_some() {
            self.warn(format!("--{name} is now --{}", flag.name));
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
        self.give(flag, value);
        Ok(())
    }

    /// Takes what older releases knew, and tells whether it is such a thing.
    fn take_old(&mut self, name: &str, value: Option<&str>) -> bool {
        if DROPPED.contains(&name) {
            self.warn(format!("--{name} has no effect any more"));
            return true;
        }
        let Some((_, gate)) = TURNED_GATES.iter().find(|(old, _)| *old == name) else {
            return false;
        };
        let value = value.unwrap_or("true");
        self.warn(format!("--{name} is now --feature-gates={gate}={value}"));
        let flag = find("feature-gates").expect("it is in the table");
        self.give(flag, format!("{gate}={value}"));
        true
    }

    fn warn(&mut self, text: String) {
        self.notes.push(Note::Warning(text));
    }

    /// Gates add up; of everything else the last one counts.
    fn give(&mut self, flag: &'static Flag, value: String) {
        let joined = match self.given.get(flag.name) {
            Some(before) if flag.name == "feature-gates" && !before.is_empty() => {
                format!("{before},{value}")
            }
            _ => value,
        };
        self.given.insert(flag.name, joined);
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>) -> Result<(), Misread> {
        let by_flag: Vec<_> = self.given.keys().copied().collect();
        for (variable, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let name = &variable[PREFIX.len()..];
            // The name of a flag is spelt in one way.
            let is_ours = !name.contains(|c: char| c == '-' || c.is_lowercase());
            let name = name.to_ascii_lowercase().replace('_', "-");
            if variable == SPECIAL_VARIABLE && !value.is_empty() {
                self.notes.push(Note::Special(value.clone()));
                continue;
            }
            if value.is_empty() && !by_flag.contains(&name.as_str()) {
                self.notes.push(Note::Unrecognized(format!("{variable}=")));
                continue;
            }
            let is_old = is_ours && LEGACY.contains(&name.as_str());
            if is_old || is_ours && self.take_old(&name, Some(value)) {
                continue;
            }
            let current = name.strip_prefix("experimental-").filter(|_| find(&name).is_none());
            let Some(flag) = find(current.unwrap_or(&name)).filter(|_| is_ours) else {
                self.notes.push(Note::Unrecognized(format!("{variable}={value}")));
                continue;
            };
            if by_flag.contains(&flag.name) {
                let text = "conflicting environment variable is shadowed by corresponding \
                            command-line flag (either unset environment variable or disable flag))";
                let manner = Manner::Conflict(variable.clone());
                return Err(Misread { manner, ..failed(text) });
            }
            check(flag, value)
                .map_err(|why| failed(format!("invalid value {value:?} for {variable}: {why}")))?;
            self.notes.push(Note::Used(variable.clone(), value.clone()));
            self.give(flag, value.clone());
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
        integer(self.text(name))
    }

    /// The value of a flag that is a time; nothing is shorter than zero.
    pub(super) fn duration(&self, name: &str) -> Duration {
        duration(self.text(name)).expect("its value was checked when it was read")
    }

    /// The words of a flag that is a list.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let words = self.text(name).split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    /// Tells whether a gate is open: by its own switch, by that of its stage, or
    /// by default.
    pub(super) fn is_open(&self, gate: &Gate) -> bool {
        let by_default = gate.stage == Stage::Beta && gate.name != ALL_BETA;
        self.switched(gate).unwrap_or(by_default)
    }

    /// The gates that were switched, by themselves or with their stage.
    pub(super) fn switches(&self) -> String {
        let switched = |gate: &Gate| Some(format!("{}={}", gate.name, self.switched(gate)?));
        GATES.iter().filter_map(switched).collect::<Vec<_>>().join(",")
    }

    fn switched(&self, gate: &Gate) -> Option<bool> {
        let switches = self.list("feature-gates");
        let last = |name: &str| {
            let value = |switch: &String| {
                let (switch, value) = switch.split_once('=')?;
                (switch.trim() == name).then(|| truth(value.trim()))?
            };
            switches.iter().rev().find_map(value)
        };
        let of_stage = match gate.name {
            ALL_ALPHA | ALL_BETA => None,
            _ if gate.stage == Stage::Alpha => last(ALL_ALPHA),
            _ => last(ALL_BETA),
        };
        last(gate.name).or(of_stage)
    }

    /// Names the flags that were given and have a certain effect, unless they
    /// were given their default.
    pub(super) fn changed(&self, effect: Effect) -> Vec<&'static str> {
        let changed =
            |flag: &&Flag| self.given.get(flag.name).is_some_and(|value| value != flag.default);
        FLAGS.iter().filter(|flag| flag.effect == effect).filter(changed).map(|f| f.name).collect()
    }
}

/// A command line that is understood, and cannot be obeyed.
pub(super) fn failed(text: impl Into<String>) -> Misread {
    Misread { text: text.into(), exit: 1, manner: Manner::Plain }
}

/// A command line that is understood, and with which nothing can be started.
pub(super) fn unstartable(text: impl Into<String>) -> Misread {
    Misread { manner: Manner::Start, ..failed(text) }
}

/// A command line that is not understood.
pub(super) fn usage(text: String) -> Misread {
    Misread { text, exit: 2, manner: Manner::Plain }
}

fn stray_word(word: &str) -> Misread {
    match word {
        "gateway" | "grpc-proxy" => usage(format!("'{word}' is not offered by this etcd")),
        _ => failed(format!("{word:?} is not a valid flag")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Flags, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Flags::read(&owned)
    }

    fn with(arguments: &[&str], variable: &str, value: &str) -> Result<Flags, Misread> {
        read(arguments)?.complete(&BTreeMap::from([(variable.into(), value.into())]))
    }

    fn refused(arguments: &[&str]) -> (String, u8) {
        let Misread { text, exit, .. } = read(arguments).unwrap_err();
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
        check(&["stray"], "\"stray\" is not a valid flag", 1);
        check(&["--pre-vote", "false"], "\"false\" is not a valid flag", 1);
        check(&["--cluster-active-size", "9"], "\"9\" is not a valid flag", 1);
        assert_eq!(refused(&["grpc-proxy"]).1, 2);
    }

    #[test]
    fn a_variable_stands_for_a_flag_that_is_not_given() {
        let flags = with(&[], "ETCD_DATA_DIR", "d").unwrap();
        assert!(flags.is_given("data-dir") && flags.text("data-dir") == "d");
        assert_eq!(flags.notes, [Note::Used("ETCD_DATA_DIR".into(), "d".into())]);
        assert!(!with(&[], "ETCD_DATA_DIR", "").unwrap().is_given("data-dir"));
        for odd in ["ETCD_DATA-DIR", "ETCD_data_dir"] {
            let flags = with(&[], odd, "x").unwrap();
            assert_eq!(flags.notes, [Note::Unrecognized(format!("{odd}=x"))]);
        }
        let both = with(&["--data-dir", "e"], "ETCD_DATA_DIR", "d").unwrap_err();
        assert_eq!((both.exit, both.manner), (1, Manner::Conflict("ETCD_DATA_DIR".to_owned())));
        let wrong = with(&[], "ETCD_MAX_TXN_OPS", "x").unwrap_err();
        assert_eq!(wrong.text, r#"invalid value "x" for ETCD_MAX_TXN_OPS: parse error"#);
        assert_eq!(wrong.exit, 1);
        let unheard = with(&[], "ETCD_UNHEARD_OF", "x").unwrap().notes;
        assert_eq!(unheard, [Note::Unrecognized("ETCD_UNHEARD_OF=x".into())]);
        assert_eq!(with(&[], "ETCD_VERSION", "3").unwrap().notes, [Note::Special("3".into())]);
        assert!(with(&["--force"], "ETCD_VV", "3").unwrap().notes.is_empty());
    }

    #[test]
    fn older_spellings_are_mapped_with_a_warning() {
        let flags = read(&["--experimental-watch-progress-notify-interval=5s"]).unwrap();
        assert_eq!(flags.duration("watch-progress-notify-interval"), Duration::from_secs(5));
        assert_eq!(flags.notes.len(), 1);
        let flags = read(&["--experimental-initial-corrupt-check", "--enable-v2=true"]).unwrap();
        assert_eq!(flags.text("feature-gates"), "InitialCorruptCheck=true");
        assert_eq!(flags.notes.len(), 2);
        let flags = with(&["--feature-gates=AllBeta=true"], "ETCD_EXPERIMENTAL_MAX_LEARNERS", "2");
        assert_eq!(flags.unwrap().number("max-learners"), 2);
    }

    #[test]
    fn a_gate_opens_by_itself_or_with_its_stage() {
        let gate = |name: &str| GATES.iter().find(|gate| gate.name == name).unwrap();
        let (alpha, beta) = (gate("LeaseCheckpoint"), gate("FastLeaseKeepAlive"));
        for (switches, wanted) in [
            ("", (false, true)),
            ("AllAlpha=true", (true, true)),
            ("AllAlpha=true,LeaseCheckpoint=false,AllBeta=false", (false, false)),
            ("LeaseCheckpoint=false, LeaseCheckpoint = 1", (true, true)),
        ] {
            let flags = read(&["--feature-gates", switches]).unwrap();
            assert_eq!((flags.is_open(alpha), flags.is_open(beta)), wanted, "{switches}");
        }
        let told = read(&["--feature-gates=AllBeta=true"]).unwrap().switches();
        assert_eq!(told, "AllBeta=true,FastLeaseKeepAlive=true,TxnModeWriteWithSharedBuffer=true");
    }

    #[test]
    fn only_what_was_changed_counts_as_changed() {
        let flags = read(&["--max-wals=5", "--max-snapshots=3", "--auto-tls=false"]).unwrap();
        assert_eq!(flags.changed(Effect::HasNone), ["max-snapshots"]);
        assert_eq!(flags.changed(Effect::Refused), [""; 0]);
    }
}
