//! The effective configuration as text: a file that could be read again.
//!
//! What nobody set and what is derived elsewhere (paths, listen addresses) is
//! shown as a comment, for once written down it would count as set.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::document::{API_VERSION, KIND};
use super::fields::{Draft, FIELDS};
use super::load::Config;
use super::stored::nested;
use super::value::{Meaning, Value};

/// The complete example, which starts for any user.
pub const EXAMPLE: &str = include_str!("../../../examples/cluster.kat");

/// Where the origins stand, if the values leave room.
const ORIGIN_COLUMN: usize = 44;

/// The form of a printed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

impl Config {
    /// Prints the effective values; `derived` are those of unset fields.
    pub fn print(&self, form: Form, show_origin: bool, derived: &Map<String, Json>) -> String {
        match form {
            Form::Yaml => self.yaml(show_origin, derived),
            Form::Json => self.json(show_origin, derived),
        }
    }

    /// Returns the listen addresses that nobody wrote down.
    pub fn derived_urls(&self) -> Map<String, Json> {
        let mut derived = Map::new();
        let shown = |urls: Vec<super::Url>| -> Json {
            urls.iter().map(|url| json!(url.to_string())).collect()
        };
        if self.spec.etcd_client_urls.is_empty() {
            derived.insert("etcdClientURLs".to_owned(), shown(self.client_urls()));
        }
        if self.spec.etcd_peer_urls.is_empty() {
            derived.insert("etcdPeerURLs".to_owned(), shown(self.peer_urls()));
        }
        derived
    }

    fn draft(&self) -> Draft {
        Draft { name: self.name.clone(), spec: self.spec.clone() }
    }

    fn json(&self, show_origin: bool, derived: &Map<String, Json>) -> String {
        let spec = nested(&self.draft(), |field| {
            field.path != "metadata.name" && !derived.contains_key(field.path)
        });
        let mut root = json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": { "name": self.name },
            "spec": spec,
            "node": { "name": self.node_name, "portOffset": self.port_offset },
            "derived": derived,
        });
        if show_origin {
            let origin = |path: &str| json!(self.origins.of(path).to_string());
            let all = FIELDS.iter().map(|field| (field.path.to_owned(), origin(field.path)));
            root["origins"] = Json::Object(all.collect());
        }
        format!("{root:#}\n")
    }

    fn yaml(&self, show_origin: bool, derived: &Map<String, Json>) -> String {
        let draft = self.draft();
        let mut text = format!("# node: {}\n", self.node_name);
        let mut line = |content: String, path: Option<&str>| {
            let written = match path.filter(|_| show_origin) {
                None => writeln!(text, "{content}"),
                Some(path) => {
                    let origin = self.origins.of(path);
                    writeln!(text, "{content:ORIGIN_COLUMN$} # {origin}")
                }
            };
            written.expect("a string takes all that is written to it");
        };
        line(format!("apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata:"), None);
        line(format!("  name: {}", scalar(&json!(self.name))), Some("metadata.name"));
        line("spec:".to_owned(), None);
        let mut group = "";
        for field in FIELDS.iter().filter(|field| field.path != "metadata.name") {
            let (parent, name) = field.path.rsplit_once('.').unwrap_or(("", field.path));
            let depth = if parent.is_empty() { "" } else { "  " };
            let derived = derived.get(field.path);
            let value = derived.cloned().unwrap_or_else(|| (field.read)(&draft));
            if value.is_null() {
                continue;
            }
            if parent != group && !parent.is_empty() {
                line(format!("  {parent}:"), None);
            }
            group = parent;
            let mark = if derived.is_some() { "# " } else { "" };
            line(format!("  {depth}{mark}{name}: {}", flow(&value)), Some(field.path));
        }
        text
    }
}

fn flow(value: &Json) -> String {
    match value.as_array() {
        Some(list) => format!("[{}]", list.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        None => scalar(value),
    }
}

/// Writes a scalar, in quotes wherever it could mean something else.
fn scalar(value: &Json) -> String {
    let Some(text) = value.as_str() else { return value.to_string() };
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "./_-".contains(c))
        && matches!(Value::scalar(text, false).meaning(), Meaning::Text(_));
    if is_plain { text.to_owned() } else { value.to_string() }
}
