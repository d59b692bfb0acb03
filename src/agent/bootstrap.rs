//! `init`: a cluster is born, or its birth is completed.
//!
//! What a data directory holds decides, before anything is touched, whether
//! there is something to make, to complete, to go on with, or to refuse. Each
//! stage is written down when it is complete, so that whoever is interrupted,
//! even by a crash, types the same command again:
//!
//! | stage | recorded as | begun again after a crash |
//! |---|---|---|
//! | configuration, ports | - | from the beginning |
//! | data directory | `lock` | the store is founded, anew if it is half there |
//! | store | `store` | the keys are stored, unless they are there |
//! | UID, name, configuration | `keys` | nothing: it is a node like any other |
//! | part in the election | `ready` | nothing |
//!
//! The founding token is the cluster's name and its UID: two clusters that have
//! the same name, and the same loopback URLs, never have the same ids.

use std::fmt::Write as _;
use std::path::Path;

use uuid::Uuid;

use super::config::{Config, Inputs, Purpose, Url, load};
use super::errors::{Failure, Kind, Report};
use super::keys;
use super::lock::Lock;
use super::member::{self, Founding};
use super::paths::{Paths, settle};
use super::serve::{Node, OnReady, begin_log, dropin_store, joining, removed, resume, take_ports};
use super::signals::{Second, Stop};
use super::state_file::{Found, Record, State, Step, survey};

/// What `init` has to do.
#[derive(Debug)]
enum Task {
    /// All stages.
    Make,
    /// The stages that are left.
    Complete(Box<Record>),
    /// None: there is a cluster of this name.
    Continue(Box<Record>),
}

/// Makes a cluster, completes it, or goes on with it, until asked to stop.
///
/// # Errors
/// The directory belongs to something else, or the node cannot start.
pub async fn init(inputs: Inputs, on_ready: OnReady) -> Result<(), Failure> {
    let config = load(&Inputs { purpose: Purpose::Init, ..inputs.clone() })?;
    let paths = settle(&config, Purpose::Init, None, &inputs.environment)?;
    match task(&config, &paths.data_dir)? {
        Task::Make => {
            let record = new_record(&config);
            make(config, paths, record, on_ready).await
        }
        Task::Complete(record) => {
            let record = Record { uid: record.uid, step: record.step, ..new_record(&config) };
            make(config, paths, record, on_ready).await
        }
        Task::Continue(record) => resume(inputs, Purpose::Init, &paths, *record, on_ready).await,
    }
}

/// Carries out a request for a cluster that was only recorded.
pub(super) async fn init_requested(inputs: Inputs, on_ready: OnReady) -> Result<(), Failure> {
    let config = load(&Inputs { purpose: Purpose::Init, ..inputs.clone() })?;
    let paths = settle(&config, Purpose::Init, None, &inputs.environment)?;
    let record = new_record(&config);
    make(config, paths, record, on_ready).await
}

/// Says what `init` would do, and changes nothing.
///
/// # Errors
/// What `init` would end with.
pub async fn plan(inputs: Inputs) -> Result<String, Failure> {
    let config = load(&Inputs { purpose: Purpose::Init, ..inputs.clone() })?;
    let paths = settle(&config, Purpose::Init, None, &inputs.environment)?;
    let task = task(&config, &paths.data_dir)?;
    drop(take_ports(&config).await?);
    Ok(describe(&config, &paths, &task))
}

/// Reads the state table: what a data directory means for `init`.
fn task(config: &Config, data_dir: &Path) -> Result<Task, Report> {
    if let Some(held) = Lock::is_held(data_dir) {
        return Err(held);
    }
    let record = match survey(data_dir)? {
        Found::Nothing => return Ok(Task::Make),
        Found::Node(record) => record,
        Found::Dropin => return Err(dropin_store(data_dir)),
        Found::Foreign(names) => {
            let what = format!("{} holds files of something else", data_dir.display());
            let fix = "name another --data-dir, or move the files away";
            return Err(Kind::FOREIGN_FILES.report(what, fix).because(names.join(", ")));
        }
    };
    match record.state {
        State::InitRequested => return Ok(Task::Make),
        State::JoinRequested | State::JoinInProgress => return Err(joining(data_dir)),
        State::Removed => return Err(removed(&record)),
        State::InitInProgress | State::Initialised | State::Joined => {}
    }
    if record.cluster_name != config.name {
        let (theirs, ours) = (&record.cluster_name, &config.name);
        let what =
            format!("{} belongs to cluster \"{theirs}\", not \"{ours}\"", data_dir.display());
        let fix = "name another --data-dir for the new cluster\n\
                   or, if the old one is given up, kat-agent reset";
        return Err(Kind::OTHER_CLUSTER.report(what, fix));
    }
    Ok(match record.state {
        State::InitInProgress => Task::Complete(record),
        _ => Task::Continue(record),
    })
}

fn new_record(config: &Config) -> Record {
    Record {
        state: State::InitInProgress,
        step: Step::Lock,
        cluster_name: config.name.clone(),
        uid: Uuid::new_v4().to_string(),
        member_id: String::new(),
        node_name: config.node_name.clone(),
        cluster_config: config.spec.cluster_json(),
        remembered: config.remembered(),
        port_offset: config.port_offset,
        election_key: None,
    }
}

/// Goes through the stages, beginning behind the one that is recorded.
async fn make(
    config: Config,
    paths: Paths,
    mut record: Record,
    on_ready: OnReady,
) -> Result<(), Failure> {
    begin_log(&config, &paths);
    let stop = Stop::listen(Second::Exits)?;
    let listeners = take_ports(&config).await?;
    paths.create()?;
    member::make_private(&paths.data_dir)?;
    let lock = Lock::take(&paths.data_dir)?;
    record.write(&paths.data_dir)?;
    if record.step < Step::Store {
        if !member::exists(&paths.data_dir)? {
            let founding = Founding {
                peer_urls: config.peer_urls().iter().map(Url::to_string).collect(),
                token: format!("{}/{}", record.cluster_name, record.uid),
            };
            member::make(&paths.data_dir, &founding)?;
        }
        record.step = Step::Store;
        record.write(&paths.data_dir)?;
    }
    let node = Node { config, paths, record, listeners, lock };
    Ok(node.live(&stop, on_ready).await?)
}

fn describe(config: &Config, paths: &Paths, task: &Task) -> String {
    let mut text = String::new();
    let mut say = |name: &str, what: String| {
        writeln!(text, "{name:<14}{what}").expect("memory takes any text");
    };
    let urls = |urls: Vec<Url>| urls.iter().map(Url::to_string).collect::<Vec<_>>().join(", ");
    let stages = match task {
        Task::Make => "data directory, store, keys, election, ready".to_owned(),
        Task::Complete(record) => format!("those behind \"{:?}\"", record.step).to_lowercase(),
        Task::Continue(record) => {
            format!("none: {} is a member already, and goes on", record.member_id)
        }
    };
    say("cluster", config.name.clone());
    say("node", config.node_name.clone());
    say("stages", stages);
    say("store", paths.data_dir.display().to_string());
    say("clients", urls(config.client_urls()));
    say("peers", urls(config.peer_urls()));
    let metrics = config.metrics_address();
    say("metrics", metrics.map_or_else(|| "off".to_owned(), |at| format!("http://{at}")));
    say("certificates", "none: everything is on loopback".to_owned());
    let written = [keys::CLUSTER_UID, keys::CLUSTER_NAME, keys::CLUSTER_CONFIG].join(", ");
    say("keys", format!("{written}, and one in the election"));
    text
}
