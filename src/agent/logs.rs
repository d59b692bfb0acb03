//! Where log lines go, and what they look like.
//!
//! One event is one line and one write. Four forms: for people, as JSON, in
//! journald's own fields, and the JSON that etcd writes, for whoever starts us
//! as etcd. `event` and the names of fields are a contract; texts may improve.
//!
//! Deliberately not here: results of commands, which go to standard output.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::config::LogFormat;
use super::rotation::Rotating;

/// The target of the line with which a process says why it ends.
pub(super) const FATAL: &str = "kat::fatal";

/// The field whose text is an object with further fields: an event of its own
/// has room for no more than 32.
const FIELDS: &str = "fields";

/// The column at which a person's fields begin, where the text is short.
const FIELDS_AT: usize = 40;

/// How long a line that repeats itself is only counted.
const REPEATS_SECONDS: i64 = 60;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people, in colour or not.
    Human(bool),
    /// `ts`, `level`, `msg`, `event`, fields.
    Json,
    /// As etcd writes: `level`, `ts`, `caller`, `msg`, fields.
    Etcd,
    /// As etcd writes for people: the same, separated by tabs.
    EtcdConsole,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Stderr,
    Stdout,
    File(Arc<Mutex<File>>),
    Rotating(Arc<Mutex<Rotating>>),
}

/// Starts logging for an agent; a second call changes nothing.
pub(super) fn start(format: LogFormat, level: &str) {
    let filter = filter(level);
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let is_terminal = io::stderr().is_terminal();
    let form = match format {
        LogFormat::Human => Form::Human(is_terminal && wants_colour()),
        LogFormat::Auto if is_terminal => Form::Human(wants_colour()),
        LogFormat::Auto if !under_journald => Form::Json,
        LogFormat::Json => Form::Json,
        LogFormat::Auto | LogFormat::Journald => match tracing_journald::layer() {
            Ok(journal) => {
                let layer = journal.with_field_prefix(None);
                return install(Registry::default().with(filter).with(layer));
            }
            Err(_) => Form::Json,
        },
    };
    write_to(vec![Output::Stderr], form, filter);
}

/// Starts logging to journald, and tells whether there is one.
pub(super) fn write_to_journal(filter: EnvFilter) -> bool {
    let Ok(journal) = tracing_journald::layer() else { return false };
    install(Registry::default().with(filter).with(journal.with_field_prefix(None)));
    true
}

/// Starts logging in one form to all outputs.
pub(super) fn write_to(outputs: Vec<Output>, form: Form, filter: EnvFilter) {
    install(Registry::default().with(filter).with(Lines::new(outputs, form)));
}

fn install(subscriber: impl Subscriber + Send + Sync) {
    // Whoever came first has the say: a test, or an earlier command.
    tracing::subscriber::set_global_default(subscriber).ok();
}

/// Reads a level, or a list such as `info,store=debug`; the floors of the house
/// can be named without the house. Others' lines show from `warn` on.
pub(super) fn filter(level: &str) -> EnvFilter {
    let mut directives = String::from("warn");
    for part in level.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let directive = match part.split_once('=') {
            None => format!("kat={part}"),
            Some((target, _)) if target.starts_with("kat") => part.to_owned(),
            Some((floor, level)) => format!("kat::{floor}={level}"),
        };
        directives = format!("{directives},{directive}");
    }
    EnvFilter::try_new(&directives).unwrap_or_else(|_| EnvFilter::new("warn,kat=info"))
}

fn wants_colour() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is_set("FORCE_COLOR") || !(is_set("NO_COLOR") || is_dumb)
}

/// Writes every event as a line, and one that repeats itself once.
struct Lines {
    outputs: Vec<Output>,
    form: Form,
    before: Mutex<Option<Before>>,
}

/// The last line, for as long as it may be repeated.
struct Before {
    metadata: &'static Metadata<'static>,
    said: Said,
    since: Timestamp,
    repeats: u32,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.take(event.metadata(), &said, Timestamp::now());
    }
}

impl Lines {
    fn new(outputs: Vec<Output>, form: Form) -> Lines {
        Lines { outputs, form, before: Mutex::new(None) }
    }

    fn take(&self, metadata: &'static Metadata<'static>, said: &Said, now: Timestamp) {
        let mut before = self.before.lock();
        // Whoever starts us as etcd may count its lines.
        if matches!(self.form, Form::Human(_) | Form::Json) {
            if let Some(last) = before.as_mut().filter(|last| last.covers(metadata, said, now)) {
                last.repeats += 1;
                return;
            }
            if let Some(last) = before.take().filter(|last| last.repeats > 0) {
                self.write(last.metadata, &last.summary(now), now);
            }
            *before = Some(Before { metadata, said: said.clone(), since: now, repeats: 0 });
        }
        self.write(metadata, said, now);
    }

    fn write(&self, metadata: &Metadata<'_>, said: &Said, now: Timestamp) {
        let mut line = self.form.line(metadata, said, now);
        line.push('\n');
        for output in &self.outputs {
            output.write(&line);
        }
    }
}

impl Before {
    fn covers(&self, metadata: &Metadata<'_>, said: &Said, now: Timestamp) -> bool {
        let is_young = now.duration_since(self.since).as_secs() < REPEATS_SECONDS;
        is_young && self.metadata.callsite() == metadata.callsite() && self.said == *said
    }

    fn summary(&self, now: Timestamp) -> Said {
        let (Said { text, fields }, repeats) = (&self.said, self.repeats);
        let seconds = now.duration_since(self.since).as_secs();
        let text = format!("{text} (repeated {repeats}x in {seconds}s)");
        Said { text, fields: fields.clone() }
    }
}

impl Output {
    /// A line that cannot be written is lost: there is nobody to tell.
    fn write(&self, line: &str) {
        match self {
            Output::Stderr => io::stderr().lock().write_all(line.as_bytes()).ok(),
            Output::Stdout => io::stdout().lock().write_all(line.as_bytes()).ok(),
            Output::File(file) => file.lock().write_all(line.as_bytes()).ok(),
            Output::Rotating(file) => file.lock().write(line).ok(),
        };
    }
}

impl Form {
    fn line(self, metadata: &Metadata<'_>, said: &Said, now: Timestamp) -> String {
        match self {
            Form::Human(colour) => human(*metadata.level(), said, now, colour),
            Form::Json => {
                let level = metadata.level().as_str().to_ascii_lowercase();
                let (ts, text) = (millis(now), said.text.as_str());
                object(&[("ts", &ts), ("level", &level), ("msg", text)], &said.fields)
            }
            Form::Etcd | Form::EtcdConsole => {
                let level = match (*metadata.level(), metadata.target()) {
                    (_, FATAL) => "fatal",
                    (Level::ERROR, _) => "error",
                    (Level::WARN, _) => "warn",
                    (Level::INFO, _) => "info",
                    (Level::DEBUG | Level::TRACE, _) => "debug",
                };
                let file = metadata.file().unwrap_or("kat").trim_start_matches("src/");
                let caller = format!("{file}:{}", metadata.line().unwrap_or(0));
                let ts = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
                let mut fields = said.fields.clone();
                fields.retain(|(name, _)| name != "event");
                let text = said.text.as_str();
                if self == Form::EtcdConsole {
                    let told = format!("{ts}\t{level}\t{caller}\t{text}");
                    let fields = object(&[], &fields);
                    return if fields == "{}" { told } else { format!("{told}\t{fields}") };
                }
                let head = [("level", level), ("ts", &ts), ("caller", &caller), ("msg", text)];
                object(&head, &fields)
            }
        }
    }
}

/// A JSON object whose members keep their order.
fn object(head: &[(&str, &str)], fields: &[(String, Value)]) -> String {
    let head = head.iter().map(|(name, text)| ((*name).into(), Value::from(*text)));
    let mut line = String::from("{");
    for (name, value) in head.chain(fields.iter().cloned()) {
        let comma = if line.len() == 1 { "" } else { "," };
        write!(line, "{comma}{}:{value}", Value::String(name)).expect("memory takes any text");
    }
    line.push('}');
    line
}

fn millis(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn human(level: Level, said: &Said, now: Timestamp, colour: bool) -> String {
    let paint = match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    };
    let (on, off) = if colour { (paint, "\x1b[0m") } else { ("", "") };
    let mut line = format!("{} {on}{level:<5}{off} {}", millis(now), said.text);
    if !said.fields.is_empty() {
        let gap = FIELDS_AT.saturating_sub(said.text.chars().count()).max(2);
        line.extend(std::iter::repeat_n(' ', gap));
    }
    for (at, (name, value)) in said.fields.iter().enumerate() {
        let gap = if at == 0 { "" } else { " " };
        let plain = match value {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '\n']) => {
                text.clone()
            }
            other => other.to_string(),
        };
        write!(line, "{gap}{name}={plain}").expect("memory takes any text");
    }
    line
}

/// The text and the fields of an event, in their order.
#[derive(Clone, Default, PartialEq)]
struct Said {
    text: String,
    fields: Vec<(String, Value)>,
}

impl Said {
    fn take(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.text = text,
            (FIELDS, Value::String(text)) => match serde_json::from_str(&text) {
                Ok(Value::Object(more)) => self.fields.extend(more),
                _ => self.fields.push((FIELDS.to_owned(), text.into())),
            },
            (name, value) => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Said {
    /// A list of texts is written by Rust as JSON writes it.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        let list = text.starts_with('[').then(|| serde_json::from_str::<Vec<String>>(&text).ok());
        self.take(field, list.flatten().map_or_else(|| text.into(), Value::from));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.take(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.take(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.take(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.take(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a form makes of the events of `log`.
    fn lines(form: Form, level: &str, log: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let output = Output::File(Arc::new(Mutex::new(file.try_clone().unwrap())));
        let lines = Lines::new(vec![output], form);
        let subscriber = Registry::default().with(filter(level)).with(lines);
        tracing::subscriber::with_default(subscriber, log);
        let mut text = String::new();
        io::Seek::rewind(&mut file).unwrap();
        io::Read::read_to_string(&mut file, &mut text).unwrap();
        text
    }

    fn ready() {
        tracing::info!(event = "store_ready", member = "8e9e", took = 312, "Successfully done");
    }

    #[test]
    fn a_line_of_json_has_time_level_text_and_fields() {
        let line: Value = serde_json::from_str(&lines(Form::Json, "info", ready)).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["msg"], "Successfully done");
        assert_eq!((&line["event"], &line["took"]), (&"store_ready".into(), &312.into()));
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.len() == 24 && ts.ends_with('Z') && ts.contains('T'), "{ts}");
    }

    #[test]
    fn a_line_for_people_has_its_fields_behind_the_text() {
        let line = lines(Form::Human(false), "info", ready);
        assert!(line.contains("INFO  Successfully done  "), "{line}");
        assert!(line.ends_with("event=store_ready member=8e9e took=312\n"), "{line}");
        let quoted = lines(Form::Human(false), "info", || tracing::warn!(why = "a b", "text"));
        assert!(quoted.ends_with("why=\"a b\"\n"), "{quoted}");
    }

    #[test]
    fn a_line_of_etcd_names_its_caller() {
        let line = lines(Form::Etcd, "info", || {
            tracing::error!(target: FATAL, error = "bind", "cannot start");
        });
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["level"], &line["error"]), (&"fatal".into(), &"bind".into()));
        assert!(line["caller"].as_str().unwrap().starts_with("agent/logs.rs:"), "{line}");
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.len() == 27 && ts.ends_with('Z'), "{ts}");
    }

    #[test]
    fn a_line_that_repeats_itself_is_counted() {
        let log = || {
            for _ in 0..42 {
                tracing::warn!(why = "x", "again");
            }
            tracing::warn!(why = "y", "again");
        };
        let text = lines(Form::Human(false), "info", log);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("again (repeated 41x in 0s)"), "{text}");
        assert_eq!(lines(Form::Etcd, "info", log).lines().count(), 43);
    }

    #[test]
    fn a_floor_can_have_a_level_of_its_own() {
        let log = || {
            tracing::debug!(target: "kat::agent", "hidden");
            tracing::debug!(target: "kat::store::apply", "shown");
            tracing::info!(target: "h2", "others' business");
        };
        let text = lines(Form::Human(false), "info,store=debug", log);
        assert!(text.contains("shown") && !text.contains("hidden"), "{text}");
        assert!(!text.contains("others"), "{text}");
    }
}
