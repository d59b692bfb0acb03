//! From a tree of values to fields: what the file gives, and where.
//!
//! Knows the frame (`apiVersion`, `kind`, `metadata`, `spec`) and the names of
//! all fields; deliberately not what a field accepts.

use std::collections::BTreeMap;

use super::diagnose::{Kind, Problem, did_you_mean};
use super::fields::{FIELDS, Field, find};
use super::value::{Body, Entry, Meaning, Place, Value};

/// The only `apiVersion`.
pub(super) const API_VERSION: &str = "kat.dws.rip/v1alpha1";

/// The only `kind`.
pub(super) const KIND: &str = "ClusterConfiguration";

const FRAME: &[&str] = &["apiVersion", "kind", "metadata", "spec"];

const LISTS_FIELDS: &str = "kat-agent config schema   lists every field";
const PRINTS_EXAMPLE: &str = "kat-agent config example   prints a complete file";

/// A field and the value that the file gives it.
pub(super) struct Given<'a> {
    pub(super) field: &'static Field,
    pub(super) value: &'a Value,
}

/// What a file says.
#[derive(Default)]
pub(super) struct Document<'a> {
    pub(super) given: Vec<Given<'a>>,
    pub(super) notes: Vec<(Place, String)>,
    pub(super) problems: Vec<Problem>,
    /// Where `metadata` stands, to say there that its name is missing.
    pub(super) metadata: Option<Place>,
}

/// Reads the whole file.
pub(super) fn read(root: &Value) -> Document<'_> {
    let mut document = Document::default();
    let Some(map) = mapping(root) else {
        let what = format!("the file must be a mapping, and is {}", root.noun());
        document.problems.push(problem(Kind::WrongType, what, root.place, "", PRINTS_EXAMPLE));
        return document;
    };
    let entries = document.entries(map, "", FRAME);
    for (name, accepted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        match entries.get(name) {
            Some(entry) => document.frame(name, accepted, &entry.value),
            None => {
                let fix = format!("add   {name}: {accepted}");
                document.problems.push(Problem::new(
                    Kind::Missing,
                    format!("{name} is missing"),
                    fix,
                ));
            }
        }
    }
    if let Some(entry) = entries.get("metadata") {
        document.metadata = Some(entry.place);
        document.group(&entry.value, "metadata", "metadata.");
    }
    if let Some(entry) = entries.get("spec") {
        document.group(&entry.value, "spec", "");
    }
    document
}

impl<'a> Document<'a> {
    fn frame(&mut self, name: &str, accepted: &str, value: &Value) {
        let what = match value.meaning() {
            Meaning::Text(text) if text == accepted => return,
            Meaning::Text(text) => format!("{name} must be {accepted}, and is \"{text}\""),
            _ => format!("{name} must be {accepted}, and is {}", value.noun()),
        };
        let hint = format!("the accepted value is {accepted}");
        self.problems.push(problem(Kind::WrongKind, what, value.place, &hint, PRINTS_EXAMPLE));
    }

    /// Reads a mapping whose fields have a common beginning.
    fn group(&mut self, value: &'a Value, place: &str, prefix: &str) {
        let Some(map) = mapping(value) else {
            let what = format!("{place} must be a mapping, and is {}", value.noun());
            self.problems.push(problem(Kind::WrongType, what, value.place, "", LISTS_FIELDS));
            return;
        };
        for (name, entry) in self.entries(map, place, &names(prefix)) {
            let path = format!("{prefix}{name}");
            match find(&path) {
                Some(field) => self.given.push(Given { field, value: &entry.value }),
                None => self.group(&entry.value, &format!("spec.{path}"), &format!("{path}.")),
            }
        }
    }

    /// Returns the known entries of a mapping by their proper name.
    fn entries(
        &mut self,
        map: &'a [Entry],
        place: &str,
        known: &[&'static str],
    ) -> BTreeMap<&'static str, &'a Entry> {
        let mut entries = BTreeMap::<&'static str, &'a Entry>::new();
        let mut strange = BTreeMap::<&str, &Entry>::new();
        for entry in map {
            let name = proper(&entry.key, place);
            let first = match known.iter().find(|known| **known == name) {
                Some(name) => entries.insert(name, entry),
                None => {
                    let first = strange.insert(&entry.key, entry);
                    if first.is_none() {
                        self.problems.push(unknown(entry, place, known));
                    }
                    first
                }
            };
            match first {
                Some(first) => self.problems.push(duplicate(first, entry, place)),
                None if name != entry.key => {
                    let note = format!("note: {} is read as {name}", entry.key);
                    self.notes.push((entry.place, note));
                }
                None => {}
            }
        }
        entries
    }
}

/// Returns the mapping of a value; one with nothing below it is empty.
fn mapping(value: &Value) -> Option<&[Entry]> {
    match (&value.body, value.meaning()) {
        (Body::Map(map), _) => Some(map),
        (_, Meaning::Nothing) if value.place.line > 0 => Some(&[]),
        _ => None,
    }
}

/// Returns the names that may follow a beginning, in the order of the table.
fn names(prefix: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for field in FIELDS {
        let below = match prefix {
            "" if field.path.starts_with("metadata.") => None,
            _ => field.path.strip_prefix(prefix),
        };
        let name = below.and_then(|below| below.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

fn proper<'a>(key: &'a str, place: &str) -> &'a str {
    match find(key) {
        Some(field) if place == "spec" && !key.contains('.') => field.path,
        _ => key,
    }
}

fn unknown(entry: &Entry, place: &str, known: &[&str]) -> Problem {
    let key = &entry.key;
    let home = || {
        let ends = |path: &str| path.rsplit('.').next() == Some(key.as_str());
        let field = FIELDS.iter().find(|field| ends(field.path))?;
        let parent = field.path.rsplit_once('.').map(|(parent, _)| parent);
        Some(match parent {
            None => "spec".to_owned(),
            Some("metadata") => "metadata".to_owned(),
            Some(parent) => format!("spec.{parent}"),
        })
    };
    let hint = match did_you_mean(key, known.iter().copied()) {
        Some(meant) => format!("did you mean \"{meant}\"?"),
        None => match home() {
            Some(home) => format!("it belongs in {home}"),
            None => "no such field".to_owned(),
        },
    };
    let what = match place {
        "" => format!("unknown field \"{}\" at the top level", short(key)),
        _ => format!("unknown field \"{}\" in {place}", short(key)),
    };
    problem(Kind::UnknownField, what, entry.place, &hint, LISTS_FIELDS)
}

fn duplicate(first: &Entry, again: &Entry, place: &str) -> Problem {
    let place =
        if place.is_empty() { "at the top level".to_owned() } else { format!("in {place}") };
    let (key, line, first_line) = (short(&again.key), again.place.line, first.place.line);
    let what = match first.key == again.key {
        true => format!("field \"{key}\" {place} is given on line {first_line} and line {line}"),
        false => format!(
            "field \"{}\" on line {first_line} is given again as \"{key}\" on line {line}",
            short(&first.key)
        ),
    };
    let mut problem = problem(
        Kind::DuplicateField,
        what,
        again.place,
        "given again",
        "remove one of the two lines",
    );
    problem.labels.push(first.place.label("first given here"));
    problem
}

/// A key can be as long as the file.
fn short(key: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    match key.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &key[..end]),
        None => key.to_owned(),
    }
}

fn problem(kind: Kind, what: String, place: Place, hint: &str, fix: &str) -> Problem {
    Problem { labels: vec![place.label(hint)], ..Problem::new(kind, what, fix) }
}
