//! `kat-state.json`: what a node must know of itself before it can ask a store.
//!
//! It lies beside the store, so that moving the data directory moves it too.
//! It is replaced as a whole, by rename, and is on disk before what it permits
//! begins. Deliberately not here: what each state allows, which is the
//! business of whoever reads it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::errors::{Kind, Report, disk};
use super::lock;
use super::member::{FOUNDING, MEMBER};

/// The name of the file in the data directory.
pub(super) const FILE: &str = "kat-state.json";
/// What is written before it takes the place of the file.
const DRAFT: &str = "kat-state.json.new";

/// How many foreign files are named.
const FOREIGN_MAX: usize = 5;

/// What a data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Somebody asked for a cluster; nothing has been done.
    #[serde(rename = "init.requested")]
    InitRequested,
    /// A cluster is being made.
    #[serde(rename = "init.in-progress")]
    InitInProgress,
    /// The cluster was made here.
    #[serde(rename = "initialised")]
    Initialised,
    /// Somebody asked to join a cluster.
    #[serde(rename = "join.requested")]
    JoinRequested,
    /// The node is joining a cluster.
    #[serde(rename = "join.in-progress")]
    JoinInProgress,
    /// The node joined a cluster.
    #[serde(rename = "joined")]
    Joined,
    /// The node was removed from its cluster.
    #[serde(rename = "removed")]
    Removed,
}

/// The last stage of `init` that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// The data directory is ours.
    Lock,
    /// The store is founded.
    Store,
    /// UID, name and configuration are stored.
    Keys,
    /// The node has a part in the election, and the agent is ready.
    Ready,
}

/// An election key that this node holds, or held when it crashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeldKey {
    /// The key.
    pub(super) key: String,
    /// When it was created.
    pub(super) create_revision: i64,
}

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// What the directory belongs to.
    pub(super) state: State,
    /// How far `init` came.
    pub(super) step: Step,
    /// `metadata.name`.
    pub(super) cluster_name: String,
    /// `/kat/config/cluster_uid`.
    pub(super) uid: String,
    /// The member's id, as etcd prints it; empty before the store is founded.
    #[serde(default)]
    pub(super) member_id: String,
    /// The node's name, which outlives a new host name.
    pub(super) node_name: String,
    /// The cluster's fields, as the store had them last: compact JSON.
    pub(super) cluster_config: String,
    /// The node's fields that somebody gave to `init`.
    #[serde(default)]
    pub(super) remembered: Map<String, Value>,
    /// What is added to every port.
    #[serde(default)]
    pub(super) port_offset: u16,
    /// The election key of this node, if it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) election_key: Option<HeldKey>,
}

/// What a data directory holds.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of anybody's.
    Nothing,
    /// A node of ours.
    Node(Box<Record>),
    /// A store without a record: that of a drop-in etcd.
    Dropin,
    /// Other files, the first few of them.
    Foreign(Vec<String>),
}

/// Looks into a data directory, and changes nothing.
pub(super) fn survey(data_dir: &Path) -> Result<Found, Report> {
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(why) => return Err(disk("read", data_dir, &why)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|why| disk("read", data_dir, &why))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.iter().any(|name| name == FILE) {
        return read(data_dir).map(|record| Found::Node(Box::new(record)));
    }
    if names.iter().any(|name| name == MEMBER || name == FOUNDING) {
        return Ok(Found::Dropin);
    }
    names.retain(|name| ![lock::FILE, DRAFT, "lost+found"].contains(&name.as_str()));
    names.sort_unstable();
    names.truncate(FOREIGN_MAX);
    Ok(if names.is_empty() { Found::Nothing } else { Found::Foreign(names) })
}

fn read(data_dir: &Path) -> Result<Record, Report> {
    let path = data_dir.join(FILE);
    let text = fs::read_to_string(&path).map_err(|why| disk("read", &path, &why))?;
    serde_json::from_str(&text).map_err(|why| {
        let what = format!("{} is not what kat-agent wrote", path.display());
        Kind::BAD_RECORD
            .report(what, "nothing was changed: put the file back from a copy of the directory")
            .because(why)
    })
}

impl Record {
    /// Replaces the file; on return the new one is on disk.
    pub(super) fn write(&self, data_dir: &Path) -> Result<(), Report> {
        let (path, draft) = (data_dir.join(FILE), data_dir.join(DRAFT));
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        let replace = || {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&draft)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(data_dir)?.sync_all()
        };
        replace().map_err(|why| disk("write", &path, &why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            state: State::InitInProgress,
            step: Step::Store,
            cluster_name: "home".into(),
            uid: "7f3c".into(),
            member_id: "8e9e".into(),
            node_name: "node-a".into(),
            cluster_config: "{}".into(),
            remembered: Map::new(),
            port_offset: 10,
            election_key: None,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        record().write(folder.path()).unwrap();
        let second = Record { step: Step::Ready, state: State::Initialised, ..record() };
        second.write(folder.path()).unwrap();
        let Found::Node(found) = survey(folder.path()).unwrap() else { panic!("a node is there") };
        assert_eq!(*found, second);
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.contains(r#""state": "initialised""#), "{text}");
    }

    #[test]
    fn a_directory_is_told_by_what_lies_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let look = || survey(folder.path()).unwrap();
        assert!(matches!(survey(&folder.path().join("absent")).unwrap(), Found::Nothing));
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        assert!(matches!(look(), Found::Nothing));
        for name in ["f", "e", "d", "c", "b", "a"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let Found::Foreign(names) = look() else { panic!("foreign files are there") };
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        fs::create_dir(folder.path().join("member")).unwrap();
        assert!(matches!(look(), Found::Dropin));
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(survey(folder.path()).unwrap_err().exit, 11);
    }
}
