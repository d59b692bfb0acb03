//! The cluster's fields as the JSON under `/kat/config/cluster_config`.
//!
//! Written by one version and read by another: a field that is not known here
//! is left alone, one that is missing has its default.

use serde_json::{Map, Value as Json};

use super::diagnose::{Invalid, Kind, Problem};
use super::fields::{Draft, FIELDS, Field, Scope};
use super::spec::Spec;
use super::value::Value;

impl Spec {
    /// Returns the cluster's fields as compact JSON with sorted keys.
    ///
    /// - Defaults are filled in; the volume and backup paths are there only if set.
    /// - Nothing of one node and no secret is in it, nor the cluster's name.
    pub fn cluster_json(&self) -> String {
        let draft = Draft { name: String::new(), spec: self.clone() };
        nested(&draft, is_shared).to_string()
    }

    /// Reads the cluster's fields back; the node's have their defaults.
    pub fn from_cluster_json(json: &str) -> Result<Self, Invalid> {
        let mut draft = Draft::default();
        read(json, &mut draft)?;
        Ok(draft.spec)
    }
}

fn is_shared(field: &Field) -> bool {
    field.scope == Scope::Cluster && field.path != "metadata.name"
}

/// Returns the chosen fields that are set, as objects inside objects.
///
/// The keys are sorted, because that is how the map keeps them.
pub(super) fn nested(draft: &Draft, is_chosen: impl Fn(&Field) -> bool) -> Json {
    let mut root = Map::new();
    for field in FIELDS.iter().filter(|field| is_chosen(field)) {
        let value = (field.read)(draft);
        if value.is_null() {
            continue;
        }
        match field.path.split_once('.') {
            None => drop(root.insert(field.path.to_owned(), value)),
            Some((group, name)) => {
                let group = root.entry(group).or_insert_with(|| Json::Object(Map::new()));
                group[name] = value;
            }
        }
    }
    Json::Object(root)
}

/// Lays stored fields over a draft and returns which they were.
///
/// All of the cluster's fields become those of the store, also the unset ones.
pub(super) fn read(json: &str, draft: &mut Draft) -> Result<Vec<&'static str>, Problem> {
    let broken = |why: String| {
        let what = "the cluster's stored configuration cannot be read";
        Problem::new(Kind::BadValue, what, "kat-agent doctor").because(why)
    };
    let root: Json = serde_json::from_str(json).map_err(|error| broken(error.to_string()))?;
    if !root.is_object() {
        return Err(broken("it is no JSON object".to_owned()));
    }
    let unset = Spec::default();
    draft.spec.volume_base_path = unset.volume_base_path;
    draft.spec.backup_path = unset.backup_path;
    draft.spec.backup_s3 = unset.backup_s3;
    let defaults = Draft::default();
    let mut given = Vec::new();
    for field in FIELDS.iter().filter(|field| is_shared(field)) {
        let pointer = format!("/{}", field.path.replace('.', "/"));
        let stored = root.pointer(&pointer).filter(|value| !value.is_null());
        let value = stored.cloned().unwrap_or_else(|| (field.read)(&defaults));
        if value.is_null() {
            continue;
        }
        (field.write)(draft, &Value::of_json(&value))
            .map_err(|fault| broken(format!("{} {}", field.path, fault.what)))?;
        given.extend(stored.map(|_| field.path));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::S3;

    #[test]
    fn the_stored_form_is_compact_sorted_and_complete() {
        assert_eq!(
            Spec::default().cluster_json(),
            concat!(
                r#"{"agentPort":9116,"agentTickSeconds":15,"apiPort":9115,"backupCopies":2,"#,
                r#""backupIntervalMinutes":30,"#,
                r#""backupRetention":{"daily":7,"keep":48,"weekly":4},"#,
                r#""clusterCIDR":"10.100.0.0/16","clusterDomain":"kat.cluster.local","#,
                r#""etcdClientPort":2379,"etcdPeerPort":2380,"leaderLeaseTTLSeconds":15,"#,
                r#""nodeLossTimeoutSeconds":60,"nodeSubnetBits":7,"#,
                r#""serviceCIDR":"10.200.0.0/16","storeCompactionHours":1,"#,
                r#""storeProfile":"default","storeQuotaMiB":2048,"#,
                r#""telemetry":{"metrics":"basic"},"#,
                r#""tls":{"certLifetimeDays":90,"clientTLS":"auto"}}"#,
            )
        );
    }

    #[test]
    fn what_was_stored_is_read_back_without_the_node_s_fields() {
        let s3 = S3 {
            endpoint: "https://s3.example.org".to_owned(),
            bucket: "kat".to_owned(),
            credentials_file: "/etc/kat/s3".into(),
            ..S3::default()
        };
        let mut spec = Spec {
            backup_path: Some("/mnt/backups".into()),
            agent_port: 1,
            backup_s3: Some(s3),
            ..Spec::default()
        };
        let expected = spec.clone();
        spec.data_dir = Some("/mnt/etcd".into());
        spec.logging.level = "debug".to_owned();
        assert_eq!(Spec::from_cluster_json(&spec.cluster_json()).unwrap(), expected);
    }

    #[test]
    fn a_field_of_another_version_is_left_alone() {
        let spec = Spec::from_cluster_json(r#"{"agentPort":7,"later":{"x":1}}"#).unwrap();
        assert_eq!(spec, Spec { agent_port: 7, ..Spec::default() });
    }

    #[test]
    fn a_stored_form_that_is_damaged_says_where() {
        for (json, why) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("[]", "it is no JSON object"),
            (r#"{"agentPort":0}"#, "agentPort must be an integer from 1 to 65535"),
        ] {
            let invalid = Spec::from_cluster_json(json).unwrap_err();
            assert_eq!(invalid.problems[0].why.as_deref(), Some(why));
        }
    }
}
