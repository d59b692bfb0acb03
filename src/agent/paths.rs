//! Where a node keeps its things: the system's places, or all of the user's.
//!
//! If any path that nobody set cannot be created or written, all unset paths
//! move to the user's places together; a path that somebody set never moves.
//! Whether a path would do is asked of its nearest directory that exists:
//! choosing creates nothing.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::config::{Config, Invalid, Kind, Problem, Purpose, are_nested};

/// The file that tells a cluster is in a data directory.
const STATE_FILE: &str = "kat-state.json";

/// Every place of a node, none of them created yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The store, and `kat-state.json`.
    pub data_dir: PathBuf,
    /// The backups.
    pub backup_path: PathBuf,
    /// Keys and certificates.
    pub pki_dir: PathBuf,
    /// The volumes.
    pub volume_base_path: PathBuf,
    /// This node's instance id, locks and detached log.
    pub agent_dir: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
    /// Why the user's places are used, for `event=xdg_paths`; `None` if they are not.
    pub xdg_reason: Option<String>,
}

/// One column of the table of paths.
#[derive(Clone, Debug)]
struct Column {
    data_dir: PathBuf,
    backup_path: PathBuf,
    pki_dir: PathBuf,
    volume_base_path: PathBuf,
    agent_dir: PathBuf,
    socket: PathBuf,
}

/// What somebody set; `None` is settled here.
struct Wishes<'a> {
    data_dir: Option<&'a Path>,
    backup_path: Option<&'a Path>,
    pki_dir: Option<PathBuf>,
    volume_base_path: Option<&'a Path>,
    socket: Option<PathBuf>,
}

/// Chooses every path; creates nothing.
///
/// - `Run` takes the system's data directory if it can be read, else the user's
///   if a cluster is there.
/// - Everybody else takes the system's paths if all can be written.
pub fn settle(
    config: &Config,
    purpose: Purpose,
    socket: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Paths, Invalid> {
    let spec = &config.spec;
    let beside = |path: &PathBuf| path.parent().map(|parent| parent.join("pki"));
    let wishes = Wishes {
        data_dir: spec.data_dir.as_deref(),
        backup_path: spec.backup_path.as_deref(),
        pki_dir: spec.tls.pki_dir.clone().or_else(|| spec.backup_path.as_ref().and_then(beside)),
        volume_base_path: spec.volume_base_path.as_deref(),
        socket: socket.map(Path::to_owned).or_else(|| set(environment, "KAT_SOCKET")),
    };
    let system = Column::system(&config.node_name, environment);
    let own = Column::own(&config.node_name, environment);
    if purpose != Purpose::Look {
        wishes.refuse_unwritable()?;
    }
    let reason = match purpose {
        Purpose::Run => wishes.where_the_cluster_is(&system, own.as_ref())?,
        Purpose::Init | Purpose::Join | Purpose::Look => wishes.obstacle(&system),
    };
    let paths = match (reason, own) {
        (None, _) => wishes.fill(system, None),
        (Some(reason), Some(own)) => wishes.fill(own, Some(reason)),
        (Some(reason), None) => {
            let what = "there is no place to keep data";
            let fix = "set HOME or XDG_DATA_HOME, or give --data-dir and the other paths";
            return Err(Problem::new(Kind::Path, what, fix).because(reason).into());
        }
    };
    if are_nested(&paths.data_dir, &paths.backup_path) {
        let (data, backups) = (paths.data_dir.display(), paths.backup_path.display());
        let what = format!("dataDir {data} and backupPath {backups} lie inside one another");
        let fix = "set both, to directories that are apart";
        let why = "backups must outlive the store";
        return Err(Problem::new(Kind::Conflict, what, fix).because(why).into());
    }
    Ok(paths)
}

/// Returns the sockets a client tries, in order.
pub fn sockets(environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    if let Some(socket) = set(environment, "KAT_SOCKET") {
        return vec![socket];
    }
    let system = Column::system("", environment).socket;
    let own = Column::own("", environment).map(|own| own.socket);
    [system].into_iter().chain(own).collect()
}

impl Paths {
    /// Creates the directories, mode 0700 (the socket's 0755).
    pub fn create(&self) -> Result<(), Invalid> {
        let private = [
            &self.data_dir,
            &self.backup_path,
            &self.pki_dir,
            &self.volume_base_path,
            &self.agent_dir,
        ];
        for path in private {
            create(path, 0o700)?;
        }
        self.socket.parent().map_or(Ok(()), |parent| create(parent, 0o755))
    }
}

fn create(path: &Path, mode: u32) -> Result<(), Invalid> {
    match DirBuilder::new().recursive(true).mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) => {
            let what = format!("cannot create the directory {}", path.display());
            let fix = "create it for this user, or give another path";
            Err(Problem::new(Kind::Path, what, fix).because(error.to_string()).into())
        }
    }
}

impl Column {
    /// The system's places, or what systemd made of them.
    fn system(node: &str, environment: &BTreeMap<String, String>) -> Self {
        let state = directories(environment, "STATE_DIRECTORY");
        let named = |name: &str, usual: &str| {
            let named = state.iter().find(|path| path.ends_with(name));
            named.or(state.first()).cloned().unwrap_or_else(|| PathBuf::from(usual))
        };
        let agent = named("kat-agent", "/var/lib/kat-agent");
        let kat = named("kat", "/var/lib/kat");
        let run = directories(environment, "RUNTIME_DIRECTORY").into_iter().next();
        Self {
            data_dir: agent.join("etcd"),
            backup_path: kat.join("backups"),
            pki_dir: kat.join("pki"),
            volume_base_path: kat.join("volumes"),
            agent_dir: agent.join("agents").join(node),
            socket: run.unwrap_or_else(|| "/run/kat-agent".into()).join("agent.sock"),
        }
    }

    /// The user's places, `None` without a home.
    fn own(node: &str, environment: &BTreeMap<String, String>) -> Option<Self> {
        // The XDG rules say that a relative path counts as none.
        let absolute = |name: &str| set(environment, name).filter(|path| path.is_absolute());
        let home = absolute("HOME");
        let at_home = |below: &str| home.as_ref().map(|home| home.join(below));
        let data = absolute("XDG_DATA_HOME").or_else(|| at_home(".local/share"))?.join("kat");
        let state = absolute("XDG_STATE_HOME").or_else(|| at_home(".local/state"));
        let agent_dir = match state {
            Some(state) => state.join("kat").join(node),
            None => data.join("agents").join(node),
        };
        let socket = absolute("XDG_RUNTIME_DIR").unwrap_or_else(|| data.clone());
        Some(Self {
            data_dir: data.join("etcd"),
            backup_path: data.join("backups"),
            pki_dir: data.join("pki"),
            volume_base_path: data.join("volumes"),
            agent_dir,
            socket: socket.join("kat-agent.sock"),
        })
    }
}

impl Wishes<'_> {
    fn fill(self, column: Column, xdg_reason: Option<String>) -> Paths {
        let or = |wish: Option<&Path>, place: PathBuf| wish.map_or(place, Path::to_owned);
        Paths {
            data_dir: or(self.data_dir, column.data_dir),
            backup_path: or(self.backup_path, column.backup_path),
            pki_dir: self.pki_dir.unwrap_or(column.pki_dir),
            volume_base_path: or(self.volume_base_path, column.volume_base_path),
            agent_dir: column.agent_dir,
            socket: self.socket.unwrap_or(column.socket),
            xdg_reason,
        }
    }

    /// A path that somebody set is used or refused, never replaced.
    fn refuse_unwritable(&self) -> Result<(), Invalid> {
        let socket_dir = self.socket.as_deref().and_then(Path::parent);
        for (name, wish) in [
            ("dataDir", self.data_dir),
            ("backupPath", self.backup_path),
            ("tls.pkiDir", self.pki_dir.as_deref()),
            ("volumeBasePath", self.volume_base_path),
            ("--socket", socket_dir),
        ] {
            if let Some(why) = wish.and_then(|path| fault(path).map(|why| (path, why))) {
                let (path, why) = why;
                let what = format!("{name} {} cannot be written", path.display());
                let fix = "make it writable for this user, or give another path";
                return Err(Problem::new(Kind::Path, what, fix).because(why).into());
            }
        }
        Ok(())
    }

    /// The first of the unset paths that a column cannot offer.
    fn obstacle(&self, column: &Column) -> Option<String> {
        let unset: [(bool, Option<&Path>); 6] = [
            (self.data_dir.is_none(), Some(&column.data_dir)),
            (self.backup_path.is_none(), Some(&column.backup_path)),
            (self.pki_dir.is_none(), Some(&column.pki_dir)),
            (self.volume_base_path.is_none(), Some(&column.volume_base_path)),
            (true, Some(&column.agent_dir)),
            (self.socket.is_none(), column.socket.parent()),
        ];
        unset.into_iter().filter(|(is_unset, _)| *is_unset).find_map(|(_, path)| fault(path?))
    }

    fn where_the_cluster_is(
        &self,
        system: &Column,
        own: Option<&Column>,
    ) -> Result<Option<String>, Invalid> {
        if self.data_dir.is_some() {
            return Ok(self.obstacle(system));
        }
        let why = match fs::read_dir(&system.data_dir) {
            Ok(_) => return Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => format!("{} does not exist", system.data_dir.display()),
                _ => format!("{} cannot be read: {error}", system.data_dir.display()),
            },
        };
        match own {
            Some(own) if own.data_dir.join(STATE_FILE).exists() => Ok(Some(why)),
            _ => {
                let own = own.map(|own| format!(" or {}", own.data_dir.display()));
                let what = format!(
                    "no cluster in {}{}",
                    system.data_dir.display(),
                    own.unwrap_or_default()
                );
                let fix = "kat-agent init   makes a cluster, kat-agent join   joins one";
                Err(Problem::new(Kind::Nothing, what, fix).because(why).into())
            }
        }
    }
}

/// Returns why a directory could not be created or written.
fn fault(path: &Path) -> Option<String> {
    for at in path.ancestors() {
        let metadata = match fs::metadata(at) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Some(format!("{}: {error}", at.display())),
        };
        if !metadata.is_dir() {
            return Some(format!("{} is not a directory", at.display()));
        }
        return match access(at, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => None,
            Err(_) if at == path => Some(format!("{} not writable", at.display())),
            Err(_) => {
                Some(format!("{} cannot be created: {} not writable", path.display(), at.display()))
            }
        };
    }
    None
}

fn set(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Splits a variable that systemd sets to one or more directories.
fn directories(environment: &BTreeMap<String, String>, name: &str) -> Vec<PathBuf> {
    let value = environment.get(name).map_or("", String::as_str);
    value.split(':').filter(|path| path.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests;
