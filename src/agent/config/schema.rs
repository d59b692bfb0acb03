//! The JSON Schema of the file, for editors: the table of fields once more.
//!
//! It knows single values only; `config validate` knows all the rules.

use serde_json::{Map, Value as Json, json};

use super::document::{API_VERSION, KIND};
use super::fields::{Change, Draft, FIELDS, Field, Scope};

/// Returns the schema.
pub fn schema() -> Json {
    let (mut metadata, mut spec) = (Map::new(), Map::new());
    for field in FIELDS {
        match field.path.split_once('.') {
            None => drop(spec.insert(field.path.to_owned(), property(field))),
            Some(("metadata", name)) => drop(metadata.insert(name.to_owned(), property(field))),
            Some((group, name)) => {
                let group = spec.entry(group).or_insert_with(|| object(&Map::new(), &[]));
                group["properties"][name] = property(field);
            }
        }
    }
    spec["backupS3"]["required"] = json!(["endpoint", "bucket", "credentialsFile"]);
    let mut root = Map::new();
    root.insert("apiVersion".to_owned(), json!({ "const": API_VERSION }));
    root.insert("kind".to_owned(), json!({ "const": KIND }));
    root.insert("metadata".to_owned(), object(&metadata, &["name"]));
    root.insert("spec".to_owned(), object(&spec, &[]));
    let mut schema = object(&root, &["apiVersion", "kind", "metadata"]);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("cluster.kat");
    schema
}

fn object(properties: &Map<String, Json>, required: &[&str]) -> Json {
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn property(field: &Field) -> Json {
    let scope = match field.scope {
        Scope::Cluster => "cluster",
        Scope::Node => "node",
    };
    let mut property = field.shape.schema();
    property["description"] = json!(format!("{} ({scope}, {})", field.why, field.change));
    let default = (field.read)(&Draft::default());
    if !default.is_null() && field.path != "metadata.name" {
        property["default"] = default;
    }
    property
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Change::Fixed => "fixed after init",
            Change::Restart => "applied at the next start",
            Change::Live => "applied live",
        })
    }
}
