//! From flags, environment, file and memory to one valid configuration.
//!
//! Each is a layer over the one before it, and every layer is checked, also
//! where another one wins. Deliberately not here: finding and reading the file
//! (`file.rs`), and what fields say together (`check.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Map, Value as Json};

use super::check::{self, Facts};
use super::diagnose::{Invalid, Kind, Problem, did_you_mean};
use super::document;
use super::fields::{Change, Draft, FIELDS, Field, Scope, find};
use super::file::Text;
use super::inputs::{Inputs, Override, Purpose};
use super::origin::{Origin, Origins};
use super::shape::Fault;
use super::spec::Spec;
use super::value::{Place, Value};
use super::{name, stored, survey, yaml};

/// A field on which the file and the store disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: &'static str,
    /// Its value in the file, as JSON.
    pub file: String,
    /// Its value in the store, as JSON.
    pub stored: String,
    /// What it would take to change it.
    pub change: Change,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `metadata.name`; empty only where the cluster is still to tell it.
    pub name: String,
    /// The name of this node, a DNS label.
    pub node_name: String,
    /// Whether somebody gave that name, rather than the host.
    pub node_name_explicit: bool,
    /// All other fields.
    pub spec: Spec,
    /// The file that was read, `-` for standard input.
    pub source: Option<PathBuf>,
    /// What is worth a line, but no refusal.
    pub notes: Vec<String>,
    /// Where each value comes from.
    pub origins: Origins,
    /// Where the file says other than the store, which wins.
    pub differences: Vec<Difference>,
    /// What is added to every port of this node.
    pub port_offset: u16,
}

/// Reads, checks and combines everything that was given.
///
/// The effects are these: the file is read, `advertiseAddress` is resolved, and
/// the file with the credentials is looked at. Nothing is created.
pub fn load(inputs: &Inputs) -> Result<Config, Invalid> {
    let text = Text::find(inputs.config.as_ref(), &inputs.environment)?;
    let mut config = parse(inputs, text.as_ref())?;
    let (problems, notes) = survey::look(&config, inputs.purpose);
    if !problems.is_empty() {
        let (name, text) = text.map(|text| (text.name, text.content)).unwrap_or_default();
        return Err(Invalid::new(problems, &name, &text));
    }
    config.notes.extend(notes);
    Ok(config)
}

/// Combines a file that was read with everything else, without any effect.
pub(super) fn parse(inputs: &Inputs, text: Option<&Text>) -> Result<Config, Invalid> {
    let (file, content) = text.map_or(("", ""), |text| (&text.name, &text.content));
    let mut layers = Layers::new(inputs);
    let root = text.map(|text| yaml::parse(&text.content)).transpose();
    let root = root.map_err(|problem| Invalid::new(vec![problem], file, content))?;
    layers.remembered();
    let mut metadata = None;
    if let Some(root) = &root {
        let document = document::read(root);
        metadata = document.metadata;
        layers.problems.extend(document.problems);
        for (Place { line, column, .. }, note) in document.notes {
            layers.notes.push(format!("{file}:{line}:{column}: {note}"));
        }
        for given in document.given {
            layers.file(given.field, given.value);
        }
    }
    layers.environment();
    layers.flags();
    layers.store();
    layers.need_name(metadata, text.is_some());
    let node_name = layers.take(name::choose(inputs));
    layers.check(file);
    if !layers.problems.is_empty() {
        return Err(Invalid::new(layers.problems, file, content));
    }
    let (node_name, node_name_explicit) = node_name.unwrap_or_default();
    Ok(Config {
        name: layers.draft.name,
        node_name,
        node_name_explicit,
        spec: layers.draft.spec,
        source: text.map(|text| text.path.clone()),
        notes: layers.notes,
        origins: Origins(layers.origins),
        differences: layers.differences,
        port_offset: inputs.port_offset,
    })
}

/// The configuration in the making, and all that is wrong with it.
struct Layers<'a> {
    inputs: &'a Inputs,
    draft: Draft,
    /// What file and flags say where the store decides.
    written: (Draft, BTreeSet<&'static str>),
    origins: BTreeMap<&'static str, Origin>,
    places: BTreeMap<&'static str, Place>,
    shown: BTreeMap<&'static str, String>,
    broken: BTreeSet<&'static str>,
    problems: Vec<Problem>,
    notes: Vec<String>,
    differences: Vec<Difference>,
}

impl<'a> Layers<'a> {
    fn new(inputs: &'a Inputs) -> Self {
        Self {
            inputs,
            draft: Draft::default(),
            written: (Draft::default(), BTreeSet::new()),
            origins: BTreeMap::new(),
            places: BTreeMap::new(),
            shown: BTreeMap::new(),
            broken: BTreeSet::new(),
            problems: Vec::new(),
            notes: Vec::new(),
            differences: Vec::new(),
        }
    }

    fn is_stored(&self, field: &Field) -> bool {
        field.scope == Scope::Cluster && self.inputs.stored.is_some()
    }

    /// What `init` or `join` was given; a value that became illegal is dropped.
    fn remembered(&mut self) {
        for (path, json) in &self.inputs.remembered {
            let Some(field) = find(path).filter(|field| field.scope == Scope::Node) else {
                continue;
            };
            match (field.write)(&mut self.draft, &Value::of_json(json)) {
                Ok(()) => drop(self.origins.insert(field.path, Origin::Remembered)),
                Err(fault) => {
                    let what = format!("note: {path}, as kept from init, {}", fault.what);
                    self.notes.push(what);
                }
            }
        }
    }

    fn file(&mut self, field: &'static Field, value: &Value) {
        let Place { line, column, .. } = value.place;
        self.places.insert(field.path, value.place);
        let stored = self.is_stored(field);
        let draft = if stored { &mut self.written.0 } else { &mut self.draft };
        match (field.write)(draft, value) {
            Err(fault) => self.fault(field, fault, None, value.place),
            Ok(()) if stored => drop(self.written.1.insert(field.path)),
            Ok(()) => drop(self.origins.insert(field.path, Origin::File(line, column))),
        }
    }

    fn environment(&mut self) {
        for field in FIELDS.iter() {
            let text = self.inputs.environment.get(field.variable);
            let Some(text) = text.filter(|text| !text.is_empty()) else { continue };
            if !self.is_stored(field) {
                let shown = format!("{}={text}", field.variable);
                self.typed(field, text, shown, Origin::Environment(field.variable));
            }
        }
    }

    fn flags(&mut self) {
        let is_refused = matches!(self.inputs.purpose, Purpose::Run | Purpose::Join);
        for given in &self.inputs.flags {
            let Some(field) = find(&given.field) else {
                self.problems.push(unknown_flag(given));
                continue;
            };
            if field.scope == Scope::Cluster && is_refused {
                let what =
                    format!("{} cannot be set here: the whole cluster shares it", field.path);
                let fix = "change the file, then   kat-agent config apply";
                let mut problem = Problem::new(Kind::Usage, what, fix);
                problem.given_by = Some(given.shown().into());
                self.problems.push(problem);
                continue;
            }
            if field.path != given.field {
                self.notes.push(format!("note: {} is read as {}", given.field, field.path));
            }
            let flag = Origin::Flag(given.flag.clone());
            self.typed(field, &given.value, given.shown(), flag);
        }
    }

    fn typed(&mut self, field: &'static Field, text: &str, shown: String, origin: Origin) {
        let stored = self.is_stored(field);
        let draft = if stored { &mut self.written.0 } else { &mut self.draft };
        match (field.write)(draft, &field.shape.typed(text)) {
            Err(fault) => self.fault(field, fault, Some(shown), Place::default()),
            // A second `init` with the same flags goes on with its cluster.
            Ok(()) if stored => drop(self.written.1.insert(field.path)),
            Ok(()) => {
                self.origins.insert(field.path, origin);
                self.places.remove(field.path);
                self.shown.insert(field.path, shown);
            }
        }
    }

    /// Lays the store's fields over everything, and notes where the file differs.
    fn store(&mut self) {
        let Some(stored) = &self.inputs.stored else { return };
        let read = stored::read(&stored.cluster_json, &mut self.draft);
        let Some(given) = self.take(read) else { return };
        self.draft.name.clone_from(&stored.name);
        let (written, fields) = &self.written;
        for field in FIELDS.iter().filter(|field| fields.contains(&field.path)) {
            let (file, stored) = ((field.read)(written), (field.read)(&self.draft));
            if file != stored {
                self.differences.push(Difference {
                    field: field.path,
                    file: file.to_string(),
                    stored: stored.to_string(),
                    change: field.change,
                });
            }
        }
        for path in given.into_iter().chain(["metadata.name"]) {
            self.places.remove(path);
            self.origins.insert(path, Origin::Store);
        }
    }

    fn need_name(&mut self, metadata: Option<Place>, has_file: bool) {
        let is_known = !self.draft.name.is_empty() || self.broken.contains("metadata.name");
        let is_needed = match self.inputs.purpose {
            Purpose::Init => true,
            Purpose::Look => has_file,
            Purpose::Run | Purpose::Join => false,
        };
        if is_known || !is_needed {
            return;
        }
        let what = "metadata.name, the name of the cluster, is missing";
        let fix = match has_file {
            true => "add   metadata: {name: home}",
            false => "kat-agent config example > cluster.kat   writes a file to start from",
        };
        let kind = if has_file { Kind::Missing } else { Kind::Nothing };
        let mut problem = Problem::new(kind, what, fix);
        match metadata {
            Some(place) => problem.labels.push(place.label("it belongs here")),
            None if !has_file => {
                problem.why = Some("no --config was given and no cluster.kat was found".to_owned());
            }
            None => {}
        }
        self.problems.push(problem);
    }

    fn check(&mut self, file: &str) {
        let facts = Facts {
            draft: &self.draft,
            origins: &self.origins,
            places: &self.places,
            shown: &self.shown,
            broken: &self.broken,
            purpose: self.inputs.purpose,
            port_offset: self.inputs.port_offset,
        };
        let (problems, notes) = check::together(&facts);
        self.problems.extend(problems);
        for (place, note) in notes {
            self.notes.push(match place {
                Some(Place { line, column, .. }) => format!("{file}:{line}:{column}: {note}"),
                None => note,
            });
        }
    }

    fn fault(&mut self, field: &'static Field, fault: Fault, shown: Option<String>, place: Place) {
        let what = format!("{} {}", field.path, fault.what);
        let fix = "kat-agent config schema   says what every field accepts";
        let mut problem = Problem::new(fault.kind, what, fix);
        match shown {
            None => problem.labels.push(fault.place.unwrap_or(place).label(fault.hint)),
            Some(shown) => {
                problem.given_by = Some(shown.into());
                problem.why = Some(fault.hint).filter(|hint| !hint.is_empty());
            }
        }
        self.broken.insert(field.path);
        self.problems.push(problem);
    }

    fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }
}

fn unknown_flag(given: &Override) -> Problem {
    let mut problem = Problem::new(
        Kind::UnknownField,
        format!("unknown field \"{}\"", given.field),
        "kat-agent config schema   lists every field",
    );
    problem.given_by = Some(given.shown().into());
    let paths = FIELDS.iter().map(|field| field.path);
    let below = format!("{}.", given.field);
    problem.why = match did_you_mean(&given.field, paths) {
        Some(meant) => Some(format!("did you mean \"{meant}\"?")),
        None => FIELDS
            .iter()
            .find(|field| field.path.starts_with(&below))
            .map(|field| format!("it has fields of its own, such as {}", field.path)),
    };
    problem
}

impl Config {
    /// Returns the node's fields that somebody gave, for `kat-state.json`.
    pub fn remembered(&self) -> Map<String, Json> {
        let draft = Draft { name: self.name.clone(), spec: self.spec.clone() };
        let is_given =
            |field: &&Field| field.scope == Scope::Node && self.origins.is_set(field.path);
        let given = FIELDS.iter().filter(is_given);
        given.map(|field| (field.path.to_owned(), (field.read)(&draft))).collect()
    }
}
