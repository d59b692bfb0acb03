//! A member of the store inside this process: founded once, opened every time.
//!
//! It is founded beside its place and moved there by one rename, so that a
//! crash in between leaves either no member or a whole one. What it says of
//! itself, its name and where clients reach it, is proposed when it serves;
//! until then its row has no name, as in etcd.
//!
//! Deliberately not here: listeners, and anything of KAT.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::errors::{Kind, Report, damage, damaged, disk};
use super::versions;
use crate::api::{self, Api};
use crate::engine::{self, Rocks};
use crate::ids::{ClusterId, MemberId};
use crate::proto::etcdserverpb as pb;
use crate::proto::kat::log::MemberAttributes;
use crate::replica::{
    Engines, Failure, GENESIS, Identity, LOG_FAMILIES, Options, Replica, Running, SystemClock,
    Unavailable, found, start,
};
use crate::store::{self, Caller, Genesis, Request};

/// Where a member lies in its data directory.
pub(super) const MEMBER: &str = "member";
/// Where it lies while it is founded.
pub(super) const FOUNDING: &str = "member.new";

/// The raft log's engine, below [`MEMBER`].
const LOG: &str = "log";
/// The state's engine, below [`MEMBER`].
const STATE: &str = "state";
/// What RocksDB cannot be without.
const ENGINE_FILE: &str = "CURRENT";
/// What stock etcd has below [`MEMBER`].
const ETCDS_FILES: [&str; 2] = ["snap/db", "wal"];

const LOG_ENGINE: engine::Options = engine::Options { families: LOG_FAMILIES, wal: true };

/// How long a member waits before it says again what was not heard.
const REPEAT_AFTER: Duration = Duration::from_millis(100);

/// How long a member goes on that was removed, as in etcd.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

/// Who founds a cluster: for now one member, alone.
#[derive(Clone, Debug)]
pub(super) struct Founding {
    /// Where the others would reach it.
    pub(super) peer_urls: Vec<String>,
    /// Tells clusters with the same URLs apart.
    pub(super) token: String,
}

/// A member that runs.
pub(super) struct Member {
    running: Running,
    replica: Replica,
    api: Api,
}

/// Tells whether a data directory holds a member.
pub(super) fn exists(data_dir: &Path) -> Result<bool, Report> {
    let place = data_dir.join(MEMBER);
    match fs::read_dir(&place) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(disk("read", &place, &why)),
    }
}

/// Makes a directory that is ours alone, and shuts one that others can enter.
pub(super) fn make_private(path: &Path) -> Result<(), Report> {
    let mut folder = DirBuilder::new();
    let made = folder.recursive(true).mode(0o700).create(path);
    made.map_err(|why| disk("create", path, &why))?;
    let mode = fs::metadata(path).map_err(|why| disk("read", path, &why))?.permissions().mode();
    if mode & 0o077 != 0 {
        let (shown, mode) = (path.display().to_string(), format!("{:o}", mode & 0o7777));
        tracing::warn!(event = "perm_repaired", path = shown, mode, "made the directory 0700");
        let shut = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
        shut.map_err(|why| disk("make private", path, &why))?;
    }
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .map_err(|why| disk("write into", path, &why.into()))
}

/// Founds a cluster of one member, and returns that member's id.
///
/// What an earlier attempt left half done is thrown away: nobody was ever told
/// of anything in it.
pub(super) fn make(data_dir: &Path, founding: &Founding) -> Result<MemberId, Report> {
    let place = data_dir.join(FOUNDING);
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|why| disk("remove", &place, &why))?;
    }
    make_private(&place)?;
    let member = MemberId::derived(&founding.peer_urls, &founding.token);
    let cluster = ClusterId::derived(&[member]);
    let row = pb::Member {
        id: member.0,
        peer_ur_ls: founding.peer_urls.clone(),
        ..pb::Member::default()
    };
    let (index, term) = GENESIS;
    let genesis = Genesis { cluster, members: vec![row], index, term };
    {
        let engines = engines(&place)?;
        found(&engines, Identity { cluster, member }, &genesis);
    }
    let settle = || {
        File::open(&place)?.sync_all()?;
        fs::rename(&place, data_dir.join(MEMBER))?;
        File::open(data_dir)?.sync_all()
    };
    settle().map_err(|why| disk("move into place", &place, &why))?;
    Ok(member)
}

/// Opens the engines below a folder, making them if they are not there.
fn engines(place: &Path) -> Result<Engines, Report> {
    let open = |name: &str, options| {
        Rocks::open(&place.join(name), options).map(Arc::new).map_err(|why| damage(&why))
    };
    Ok(Engines { log: open(LOG, LOG_ENGINE)?, state: open(STATE, store::ENGINE)? })
}

impl Member {
    /// Opens the member of a data directory and starts its threads; blocks.
    pub(super) fn open(
        data_dir: &Path,
        options: &Options,
        api: api::Options,
    ) -> Result<Member, Report> {
        let place = data_dir.join(MEMBER);
        refuse_etcds(&place)?;
        for part in [LOG, STATE] {
            require(&place.join(part).join(ENGINE_FILE))?;
        }
        let engines = engines(&place)?;
        let running = start(engines, Arc::new(SystemClock), options)
            .map_err(|why| damaged(format!("{}: {why}", place.display())))?;
        let replica = running.replica();
        let api = Api::new(replica.clone(), api);
        Ok(Member { running, replica, api })
    }

    pub(super) fn api(&self) -> &Api {
        &self.api
    }

    pub(super) fn replica(&self) -> &Replica {
        &self.replica
    }

    pub(super) fn id(&self) -> MemberId {
        self.replica.identity().member
    }

    /// Waits for a raft leader, and tells the cluster who this is.
    ///
    /// - Returns once a linearizable read has been answered.
    pub(super) async fn publish(&self, name: &str, client_urls: &[String]) -> Result<(), Report> {
        loop {
            match self.introduce(name, client_urls).await {
                Ok(()) => return Ok(()),
                Err(Failure::Unavailable(Unavailable::Stopped)) => {
                    return Err(Kind::STORE.report("the store stopped", "read its log"));
                }
                Err(Failure::Unavailable(why)) => tracing::debug!(%why, "not heard yet"),
                Err(why) => {
                    let fix = "look at the store's alarms and members";
                    let what = "the store does not take this member's name";
                    return Err(Kind::STORE.report(what, fix).because(why));
                }
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
    }

    /// Returns when the member was removed from its cluster, and the others had
    /// time to hear of it.
    pub(super) async fn leave(&self) {
        self.replica.removed().await;
        tracing::warn!("this member was removed from its cluster: it ends soon");
        tokio::time::sleep(LEAVE_AFTER).await;
    }

    async fn introduce(&self, name: &str, client_urls: &[String]) -> Result<(), Failure> {
        let replica = &self.replica;
        replica.ready().await?;
        let me = self.id().0;
        let row = replica.reader().members().into_iter().find(|member| member.id == me);
        let is_known = row.is_some_and(|row| row.name == name && row.client_ur_ls == client_urls);
        if !is_known {
            let attributes = MemberAttributes {
                member: me,
                name: name.to_owned(),
                client_urls: client_urls.to_vec(),
            };
            let request = Request::MemberAttributes(attributes);
            replica.propose(&Caller::default(), request).await?;
        }
        // One that was put back stays so: whoever leads looks after it.
        if replica.reader().cluster_version().is_none() {
            versions::decide(replica).await?;
        }
        Ok(replica.linearize().await?)
    }

    /// Stops the threads and brings everything to disk.
    pub(super) async fn stop(self) {
        let Member { running, replica, api } = self;
        drop((replica, api));
        let begin = Instant::now();
        if tokio::task::spawn_blocking(move || running.stop()).await.is_err() {
            tracing::warn!("the store did not stop in order");
        }
        tracing::debug!(took = ?begin.elapsed(), "the store is on disk");
    }
}

/// The data of an etcd is not ours to read, and none of it is touched.
fn refuse_etcds(place: &Path) -> Result<(), Report> {
    if !ETCDS_FILES.iter().any(|file| place.join(file).exists()) {
        return Ok(());
    }
    let what = format!("{} holds data of stock etcd, which cannot be read here", place.display());
    let fix = "name another --data-dir and copy the keys with etcdctl make-mirror, or start etcd \
               on it as before: nothing was changed";
    Err(Kind::STORE.report(what, fix))
}

fn require(path: &Path) -> Result<(), Report> {
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged(format!("{} is missing", path.display()))),
        Err(why) => Err(disk("read", path, &why)),
    }
}
