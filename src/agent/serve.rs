//! A node that carries a member: everything is built in order, and stopped in
//! reverse.
//!
//! ```text
//!   lock ─ listeners ─ member ─ services ─ publish ─ keys ─ election ─ ready
//! ```
//!
//! Leadership goes first and the disk last, so that nobody is led by a node
//! that answers no more, and nothing acknowledged misses its flush.
//! Deliberately not here: making a cluster, which is `bootstrap`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bind::{self, Listeners};
use super::bootstrap::init_requested;
use super::compaction::{self, History};
use super::config::{Config, Inputs, Purpose, Stored, Url, load};
use super::election::{self, Election, Standing};
use super::errors::{Failure, Kind, Report, store};
use super::keys::{self, Cluster};
use super::local::recall;
use super::lock::Lock;
use super::logs;
use super::member::{self, Member};
use super::notify::notify;
use super::paths::{Paths, settle};
use super::peer;
use super::signals::{Second, Stop};
use super::state_file::{Found, Record, State, Step, survey};
use super::versions;
use crate::api;
use crate::replica::{self, Timings};
use crate::state::{EtcdStore, StateStore};
use crate::store as kv;

/// How long a proposal may take beyond two elections, as in etcd.
const REQUEST_MARGIN_MILLIS: u64 = 5_000;
/// From when on an application of an entry is told as slow; etcd's default.
const SLOW_APPLY: Duration = Duration::from_millis(100);

/// What there is to say of a node that is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// `metadata.name`.
    pub cluster: String,
    /// The cluster's UID.
    pub uid: String,
    /// The node's name.
    pub node: String,
    /// Where clients connect.
    pub client_urls: Vec<String>,
}

/// Told once when the node is ready.
pub type OnReady = Box<dyn FnOnce(&Ready) + Send>;

/// A node about to live: everything it needs is at hand, nothing runs yet.
pub(super) struct Node {
    pub(super) config: Config,
    pub(super) paths: Paths,
    pub(super) record: Record,
    pub(super) listeners: Listeners,
    pub(super) lock: Lock,
}

/// Starts an existing node, and leads its life until it is asked to stop.
///
/// # Errors
/// There is no node, it belongs to something else, or it cannot start.
pub async fn run(inputs: Inputs, on_ready: OnReady) -> Result<(), Failure> {
    let look = load(&Inputs { purpose: Purpose::Look, ..inputs.clone() })?;
    let paths = settle(&look, Purpose::Run, None, &inputs.environment)?;
    let record = match survey(&paths.data_dir)? {
        Found::Node(record) => *record,
        Found::Dropin => return Err(dropin_store(&paths.data_dir).into()),
        Found::Nothing | Found::Foreign(_) => return Err(no_cluster(&paths.data_dir).into()),
    };
    match record.state {
        State::InitRequested => return init_requested(inputs, on_ready).await,
        State::Initialised | State::Joined => {}
        State::InitInProgress => return Err(unfinished(&paths.data_dir).into()),
        State::JoinInProgress | State::JoinRequested => {
            return Err(joining(&paths.data_dir).into());
        }
        State::Removed => return Err(removed(&record).into()),
    }
    resume(inputs, Purpose::Run, &paths, record, on_ready).await
}

/// Goes on with the node of a data directory.
pub(super) async fn resume(
    inputs: Inputs,
    purpose: Purpose,
    paths: &Paths,
    record: Record,
    on_ready: OnReady,
) -> Result<(), Failure> {
    let config = load(&Inputs { purpose, ..recall(inputs, &record) })?;
    begin_log(&config, paths);
    if purpose == Purpose::Init {
        let member = record.member_id.as_str();
        let text = "Data directory already initialized; continuing as member";
        tracing::info!(event = "already_initialised", member, "{text} {member}");
    }
    let stop = Stop::listen(Second::Exits)?;
    let held = Lock::is_held(&paths.data_dir);
    held.map_or(Ok(()), Err)?;
    let listeners = take_ports(&config).await?;
    member::make_private(&paths.data_dir)?;
    let lock = Lock::take(&paths.data_dir)?;
    let record = Record {
        node_name: config.node_name.clone(),
        remembered: config.remembered(),
        port_offset: config.port_offset,
        ..record
    };
    let node = Node { config, paths: paths.clone(), record, listeners, lock };
    node.live(&stop, on_ready).await.map_err(Failure::from)
}

/// Starts the log, with what is to be said about the configuration.
pub(super) fn begin_log(config: &Config, paths: &Paths) {
    logs::start(config.spec.logging.format, &config.spec.logging.level);
    if let Some(source) = &config.source {
        let path = source.display().to_string();
        tracing::info!(event = "config_file", path, "Using configuration file");
    }
    for note in &config.notes {
        tracing::info!(event = "config_note", "{note}");
    }
    if let Some(reason) = &paths.xdg_reason {
        let data = paths.data_dir.display().to_string();
        tracing::info!(event = "xdg_paths", data, reason, "Using user paths");
    }
    if !config.differences.is_empty() {
        let differ = |each: &super::config::Difference| {
            format!("{}: file {}, stored {}", each.field, each.file, each.stored)
        };
        let diff = config.differences.iter().map(differ).collect::<Vec<_>>().join("; ");
        let hint = "kat-agent config apply";
        tracing::warn!(event = "config_differs", diff, hint, "the file differs from the store");
    }
}

/// Takes every port of a configuration, before anything is written.
pub(super) async fn take_ports(config: &Config) -> Result<Listeners, Report> {
    let ports = config.ports();
    let tcp = |urls: &[Url], port: u16| -> Result<Vec<_>, Report> {
        let address = |url: &Url| {
            url.tcp(port).ok_or_else(|| {
                let fix = "use an http:// address on loopback";
                Report::usage(format!("{url}: unix sockets are not served yet"), fix)
            })
        };
        urls.iter().map(address).collect()
    };
    let clients = tcp(&config.client_urls(), ports.etcd_client)?;
    let peers = tcp(&config.peer_urls(), ports.etcd_peer)?;
    let metrics: Vec<_> = config.metrics_address().into_iter().collect();
    Ok(Listeners {
        clients: bind::all(&clients).await.map_err(bind::Refused::into_report)?,
        peers: bind::all(&peers).await.map_err(bind::Refused::into_report)?,
        metrics: bind::all(&metrics).await.map_err(bind::Refused::into_report)?,
    })
}

impl Node {
    /// Lives until it is asked to stop.
    pub(super) async fn live(self, stop: &Stop, on_ready: OnReady) -> Result<(), Report> {
        let begin = Instant::now();
        let Node { config, paths, record, listeners, lock } = self;
        let data_dir = paths.data_dir.clone();
        let (options, api) = (replica_options(&config), api_options(&config));
        let open = move || Member::open(&data_dir, &options, api);
        let opened = tokio::task::spawn_blocking(open).await;
        let member = opened.map_err(|why| {
            Kind::STORE.report("the store cannot be opened", "look at the log").because(why)
        })??;
        let hours = u64::from(config.spec.store_compaction_hours);
        let history = match hours {
            0 => History::All,
            _ => History::Period(Duration::from_secs(3600 * hours)),
        };
        let services = Services::start(&member, listeners, history);
        let life = Life { config, paths, record, member: &member, stop, begin };
        let outcome = life.lead(on_ready).await;
        tracing::info!(event = "shutdown", step = "3/4", "Shutting down: finishing open requests");
        services.stop().await;
        tracing::info!(event = "shutdown", step = "4/4", "Shutting down: syncing and closing");
        member.stop().await;
        drop(lock);
        outcome
    }
}

/// Raft's pace and the store's limits, as a configuration wants them.
fn replica_options(config: &Config) -> replica::Options {
    let profile = config.spec.store_profile;
    let millis = |millis: u32| Duration::from_millis(millis.into());
    let request = REQUEST_MARGIN_MILLIS + 2 * u64::from(profile.election_millis());
    let quota = i64::try_from(config.spec.store_quota_mib << 20).unwrap_or(i64::MAX);
    replica::Options {
        timings: Timings {
            heartbeat: millis(profile.heartbeat_millis()),
            election_ticks: 10,
            request_timeout: Duration::from_millis(request),
        },
        request_bytes_max: api::Options::default().request_bytes_max,
        store: kv::Options { quota_bytes: quota, ..kv::Options::default() },
        slow_apply: SLOW_APPLY,
        election_ticks_exact: None,
        force_new_cluster: false,
    }
}

fn api_options(config: &Config) -> api::Options {
    let election = Duration::from_millis(config.spec.store_profile.election_millis().into());
    let lease_ttl_min = lease_ttl_min(election);
    api::Options { lease_ttl_min, election_timeout: election, ..api::Options::default() }
}

/// The shortest lease, in seconds: one and a half election timeouts.
pub(super) fn lease_ttl_min(election: Duration) -> i64 {
    i64::try_from((election * 3 / 2).as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// What answers on the ports, and what goes on behind them.
pub(super) struct Services {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Services {
    /// Answers on all ports from now on, and keeps history short.
    pub(super) fn start(member: &Member, listeners: Listeners, history: History) -> Services {
        let (api, replica) = (member.api(), member.replica());
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let (keeper, until) = (compaction::keep(replica.clone(), history), stop.clone());
        tasks.spawn(async move { until.run_until_cancelled(keeper).await.unwrap_or(()) });
        let (keeper, until) = (versions::keep(replica.clone()), stop.clone());
        tasks.spawn(async move { until.run_until_cancelled(keeper).await.unwrap_or(()) });
        for listener in listeners.clients {
            let (api, stop) = (api.clone(), stop.clone());
            tasks.spawn(async move { api.serve(listener, stop).await });
        }
        for listener in listeners.metrics {
            let (api, stop) = (api.clone(), stop.clone());
            tasks.spawn(async move { api.serve_metrics(listener, stop).await });
        }
        for listener in listeners.peers {
            tasks.spawn(peer::serve(replica.clone(), listener, stop.clone()));
        }
        Services { tasks, stop }
    }

    /// Lets open requests finish, as the api allows, and cuts the rest.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The life of a node whose member serves.
struct Life<'a> {
    config: Config,
    paths: Paths,
    record: Record,
    member: &'a Member,
    stop: &'a Stop,
    begin: Instant,
}

impl Life<'_> {
    async fn lead(mut self, on_ready: OnReady) -> Result<(), Report> {
        let token = self.stop.token.clone();
        let state: Arc<EtcdStore> = Arc::new(EtcdStore::over(&self.member.api().channel()));
        let Some(settled) = token.run_until_cancelled(self.settle(&*state)).await else {
            return Ok(());
        };
        settled?;
        let ttl = i64::from(self.config.spec.leader_lease_ttl_seconds);
        let election = Election::enter(state, &self.config.node_name, ttl);
        notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
        let outcome = tokio::select! {
            outcome = self.follow(&election, on_ready) => outcome,
            () = token.cancelled() => Ok(()),
        };
        farewell(election).await;
        if self.record.election_key.take().is_some() {
            self.record.write(&self.paths.data_dir)?;
        }
        tracing::info!(
            event = "shutdown",
            step = "2/4",
            "Shutting down: no other voter takes over the raft leader role"
        );
        outcome
    }

    /// Publishes the member, and agrees with the store about the cluster.
    async fn settle(&mut self, state: &dyn StateStore) -> Result<(), Report> {
        let urls = |urls: Vec<Url>| urls.iter().map(Url::to_string).collect::<Vec<_>>();
        let client_urls = urls(self.config.client_urls());
        self.member.publish(&self.config.node_name, &client_urls).await?;
        self.record.member_id = self.member.id().to_string();
        self.announce(&client_urls, &urls(self.config.peer_urls()));
        if let Some(held) = self.record.election_key.take() {
            election::clear(state, &held).await;
        }
        let mine = Cluster {
            uid: self.record.uid.clone(),
            stored: Stored {
                name: self.record.cluster_name.clone(),
                cluster_json: self.record.cluster_config.clone(),
            },
        };
        let found = match self.record.step < Step::Keys {
            true => keys::store(state, &mine).await.map(Some),
            false => keys::read(state).await,
        };
        let Some(found) = found.map_err(|why| store("read the cluster's keys", &why))? else {
            let what = format!("the store has no {} any more", keys::CLUSTER_UID);
            let fix = format!("put it back: etcdctl put {} {}", keys::CLUSTER_UID, mine.uid);
            return Err(Kind::DAMAGED.report(what, fix));
        };
        self.record.uid = found.uid;
        self.record.cluster_name = found.stored.name;
        self.record.cluster_config = found.stored.cluster_json;
        self.record.state = match self.record.state {
            State::Joined => State::Joined,
            _ => State::Initialised,
        };
        self.record.step = self.record.step.max(Step::Keys);
        self.record.write(&self.paths.data_dir)
    }

    fn announce(&self, client_urls: &[String], peer_urls: &[String]) {
        let (member, client, peer) =
            (self.member.id().to_string(), client_urls.join(","), peer_urls.join(","));
        let took = format!("{}ms", self.begin.elapsed().as_millis());
        let event = "store_ready";
        tracing::info!(event, member, client, peer, took, "Successfully initialized etcd");
        tracing::warn!(
            event = "plaintext_loopback",
            hint =
                "keep other users off this machine: TLS (tls.clientTLS: always) is not built yet",
            "any local user can read and write the store: loopback is plaintext"
        );
    }

    /// Keeps the record in step with the election, for ever.
    async fn follow(&mut self, election: &Election, on_ready: OnReady) -> Result<(), Report> {
        let mut standing = election.standing();
        let mut on_ready = Some(on_ready);
        loop {
            let now = standing.borrow_and_update().clone();
            let key = match &now {
                Standing::Leads(held) => Some(held.clone()),
                Standing::Unknown | Standing::Observes(_) => None,
            };
            let has_part = now != Standing::Unknown;
            if key != self.record.election_key || has_part && self.record.step < Step::Ready {
                self.record.election_key = key;
                self.record.step = if has_part { Step::Ready } else { self.record.step };
                self.record.write(&self.paths.data_dir)?;
            }
            if has_part && let Some(tell) = on_ready.take() {
                tell(&self.ready());
            }
            if standing.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    fn ready(&self) -> Ready {
        Ready {
            cluster: self.record.cluster_name.clone(),
            uid: self.record.uid.clone(),
            node: self.record.node_name.clone(),
            client_urls: self.config.client_urls().iter().map(Url::to_string).collect(),
        }
    }
}

/// The first step of every end: the site gets another leader.
pub(super) async fn farewell(election: Election) {
    notify(&[NotifyState::Stopping]);
    if election.leads() {
        let step = "1/4";
        tracing::info!(event = "shutdown", step, "Shutting down: resigning as KAT Leader");
    } else {
        let step = "1/4";
        tracing::info!(event = "shutdown", step, "Shutting down: leaving the election");
    }
    election.leave().await;
}

fn no_cluster(data_dir: &Path) -> Report {
    let what = format!("there is no cluster in {}", data_dir.display());
    let fix = "kat-agent init --config cluster.kat   makes a cluster here\n\
               kat-agent run --endpoints URL        uses a store elsewhere";
    Kind::NO_CLUSTER.report(what, fix).because("run never makes a cluster; init does")
}

fn unfinished(data_dir: &Path) -> Report {
    let what = format!("the cluster in {} is only half made", data_dir.display());
    let fix = "kat-agent init   goes on where it was interrupted";
    Kind::UNFINISHED.report(what, fix).because("run never makes a cluster")
}

/// A store without a record beside it.
pub(super) fn dropin_store(data_dir: &Path) -> Report {
    let what = format!("{} holds the store of a drop-in etcd", data_dir.display());
    let fix = "use it from outside: kat-agent etcd --data-dir ..., and kat-agent run --endpoints \
               URL\nor name another --data-dir";
    Kind::DROPIN_STORE.report(what, fix).because("there is member/ but no kat-state.json")
}

/// A directory in which a join was begun.
pub(super) fn joining(data_dir: &Path) -> Report {
    let what = format!("{} belongs to a node that is joining a cluster", data_dir.display());
    let fix = "kat-agent join --resume   goes on with that\nor name another --data-dir";
    Kind::JOINING.report(what, fix).because("a join that is not finished never makes a cluster")
}

/// A node that has been removed from its cluster.
pub(super) fn removed(record: &Record) -> Report {
    let Record { cluster_name, node_name, .. } = record;
    let what = format!("{node_name} was removed from cluster \"{cluster_name}\"");
    let fix = "kat-agent rejoin   comes back to it\nor name another --data-dir";
    Kind::REMOVED.report(what, fix).because("a removed member never makes a cluster of its own")
}
