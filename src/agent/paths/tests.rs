//! Whole columns: where everything goes, given what can be written.
//!
//! A place that cannot be written is one below a plain file: that holds for
//! the superuser too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Paths, settle, sockets};
use crate::agent::config::{Config, Inputs, Invalid, Override, Purpose, load};

/// A machine in a directory: `sys` is the system's, `home` the user's.
struct Machine {
    dir: TempDir,
    environment: BTreeMap<String, String>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let mut machine = Self { dir, environment: BTreeMap::new() };
        machine.set("STATE_DIRECTORY", "sys/kat-agent:HERE/sys/kat");
        machine.set("RUNTIME_DIRECTORY", "sys/run");
        machine.set("HOME", "home");
        machine
    }

    fn set(&mut self, name: &str, below: &str) {
        let here = self.dir.path().display().to_string();
        let value = format!("{here}/{}", below.replace("HERE", &here));
        self.environment.insert(name.to_owned(), value);
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Makes the place of all the system's state one that cannot be written.
    fn lock_state(&mut self) {
        self.set("STATE_DIRECTORY", "file/kat-agent:HERE/sys/kat");
    }

    fn config(&self, purpose: Purpose, sets: &[&str]) -> Config {
        let here = self.dir.path().display().to_string();
        let sets = sets.iter().map(|set| Override::set(&set.replace("HERE", &here)).unwrap());
        let name = Override::set("metadata.name=home").unwrap();
        let is_init = purpose == Purpose::Init;
        let inputs = Inputs {
            purpose,
            node_name: Some("node-a".to_owned()),
            flags: is_init.then_some(name).into_iter().chain(sets).collect(),
            environment: [("XDG_CONFIG_HOME".to_owned(), here)].into(),
            ..Inputs::default()
        };
        load(&inputs).unwrap()
    }

    fn settle(&self, purpose: Purpose, sets: &[&str]) -> Result<Paths, Invalid> {
        settle(&self.config(purpose, sets), purpose, None, &self.environment)
    }

    /// The chosen paths, below the machine's directory.
    fn chosen(&self, purpose: Purpose, sets: &[&str]) -> [String; 6] {
        let paths = self.settle(purpose, sets).unwrap();
        [
            paths.data_dir,
            paths.backup_path,
            paths.pki_dir,
            paths.volume_base_path,
            paths.agent_dir,
            paths.socket,
        ]
        .map(|path| path.strip_prefix(self.dir.path()).unwrap().display().to_string())
    }
}

const SYSTEM: [&str; 6] = [
    "sys/kat-agent/etcd",
    "sys/kat/backups",
    "sys/kat/pki",
    "sys/kat/volumes",
    "sys/kat-agent/agents/node-a",
    "sys/run/agent.sock",
];

const OWN: [&str; 6] = [
    "home/.local/share/kat/etcd",
    "home/.local/share/kat/backups",
    "home/.local/share/kat/pki",
    "home/.local/share/kat/volumes",
    "home/.local/state/kat/node-a",
    "home/.local/share/kat/kat-agent.sock",
];

#[test]
fn the_system_s_places_are_taken_if_all_can_be_written() {
    let machine = Machine::new();
    assert_eq!(machine.chosen(Purpose::Init, &[]), SYSTEM);
    assert_eq!(machine.settle(Purpose::Init, &[]).unwrap().xdg_reason, None);
    assert!(!machine.path("sys").exists(), "choosing creates nothing");
}

#[test]
fn one_place_that_cannot_be_written_moves_all_of_them() {
    let mut machine = Machine::new();
    machine.lock_state();
    assert_eq!(machine.chosen(Purpose::Init, &[]), OWN);
    let reason = machine.settle(Purpose::Init, &[]).unwrap().xdg_reason.unwrap();
    assert!(reason.ends_with("Not a directory (os error 20)"), "{reason}");
    let mut machine = Machine::new();
    machine.set("RUNTIME_DIRECTORY", "file/run");
    assert_eq!(machine.chosen(Purpose::Init, &[]), OWN);
}

#[test]
fn the_user_s_own_variables_count() {
    let mut machine = Machine::new();
    machine.lock_state();
    machine.set("XDG_DATA_HOME", "data");
    machine.set("XDG_STATE_HOME", "state");
    machine.set("XDG_RUNTIME_DIR", "run");
    let chosen = machine.chosen(Purpose::Init, &[]);
    assert_eq!(chosen[0], "data/kat/etcd");
    assert_eq!(chosen[4..], ["state/kat/node-a", "run/kat-agent.sock"]);
    machine.environment.insert("XDG_DATA_HOME".to_owned(), "relative".to_owned());
    assert_eq!(machine.chosen(Purpose::Init, &[])[0], OWN[0]);
}

#[test]
fn a_path_that_was_set_stays_when_the_others_move() {
    let mut machine = Machine::new();
    machine.lock_state();
    let chosen = machine.chosen(Purpose::Init, &["dataDir=HERE/mine", "backupPath=HERE/b/ackups"]);
    assert_eq!(chosen[..3], ["mine", "b/ackups", "b/pki"]);
    assert_eq!(chosen[3..], OWN[3..]);
}

#[test]
fn a_path_that_was_set_and_cannot_be_written_is_refused() {
    let machine = Machine::new();
    for field in ["dataDir", "backupPath", "volumeBasePath", "tls.pkiDir"] {
        let set = format!("{field}=HERE/file/x");
        let invalid = machine.settle(Purpose::Init, &[&set]).unwrap_err();
        assert_eq!((invalid.exit(), invalid.code()), (4, "KAT-E0012"));
        assert!(invalid.problems[0].what.starts_with(field), "{invalid}");
        assert!(machine.settle(Purpose::Look, &[&set]).is_ok(), "a look refuses nothing");
    }
}

#[test]
fn without_a_home_there_may_be_no_place() {
    let mut machine = Machine::new();
    machine.environment.remove("HOME");
    assert_eq!(machine.chosen(Purpose::Init, &[]), SYSTEM);
    machine.lock_state();
    assert_eq!(machine.settle(Purpose::Init, &[]).unwrap_err().exit(), 4);
}

#[test]
fn a_set_path_and_a_default_do_not_nest_either() {
    let machine = Machine::new();
    let invalid = machine.settle(Purpose::Init, &["dataDir=HERE/sys/kat/backups/x"]).unwrap_err();
    assert_eq!((invalid.exit(), invalid.code()), (6, "KAT-E0009"));
}

#[test]
fn a_node_starts_where_its_cluster_is() {
    let machine = Machine::new();
    let invalid = machine.settle(Purpose::Run, &[]).unwrap_err();
    assert_eq!((invalid.exit(), invalid.code()), (6, "KAT-E0011"));
    let what = &invalid.problems[0].what;
    assert!(what.contains(SYSTEM[0]) && what.contains(OWN[0]), "it names both: {what}");

    fs::create_dir_all(machine.path(OWN[0])).unwrap();
    assert!(machine.settle(Purpose::Run, &[]).is_err(), "a directory is no cluster");
    fs::write(machine.path(OWN[0]).join("kat-state.json"), "{}").unwrap();
    assert_eq!(machine.chosen(Purpose::Run, &[]), OWN);

    fs::create_dir_all(machine.path(SYSTEM[0])).unwrap();
    assert_eq!(machine.chosen(Purpose::Run, &[]), SYSTEM);
}

#[test]
fn directories_are_made_for_their_owner_only() {
    let machine = Machine::new();
    let paths = machine.settle(Purpose::Init, &[]).unwrap();
    paths.create().unwrap();
    paths.create().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&paths.data_dir), 0o700);
    assert_eq!(mode(&paths.pki_dir), 0o700);
    assert_eq!(mode(paths.socket.parent().unwrap()) & 0o700, 0o700);
    let broken = Paths { data_dir: machine.path("file/x"), ..paths };
    assert_eq!(broken.create().unwrap_err().exit(), 4);
}

#[test]
fn a_client_tries_both_sockets_or_the_one_that_was_named() {
    let mut machine = Machine::new();
    let expected = [machine.path(SYSTEM[5]), machine.path(OWN[5])];
    assert_eq!(sockets(&machine.environment), expected);
    machine.set("KAT_SOCKET", "mine.sock");
    assert_eq!(sockets(&machine.environment), [machine.path("mine.sock")]);
    let usual = [PathBuf::from("/run/kat-agent/agent.sock")];
    assert_eq!(sockets(&BTreeMap::new()), usual);
}
