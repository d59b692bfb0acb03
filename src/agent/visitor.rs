//! An agent without a store of its own: it uses one that is elsewhere.
//!
//! It has no data directory and no listener; what it knows of the cluster it
//! reads from the store, and a store that cannot be reached is asked again for
//! ever. Deliberately not here: which store that is; another agent's and stock
//! etcd are the same to it.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::config::{Config, Inputs, Purpose, Stored, load};
use super::election::{Election, Standing};
use super::errors::{Failure, Kind, Report, store};
use super::keys::{self, Cluster};
use super::logs;
use super::notify::notify;
use super::serve::{OnReady, Ready, farewell};
use super::signals::{Second, Stop};
use crate::state::{Credentials, Error, EtcdStore, Options};

/// How long the agent waits before it asks a silent store again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Where the store is, and who asks.
#[derive(Clone, Debug)]
pub struct Visit {
    /// The endpoints, as typed.
    pub endpoints: Vec<String>,
    /// User and password, if the store keeps accounts.
    pub user: Option<(String, String)>,
    /// Whether plaintext may leave the machine.
    pub allow_plaintext: bool,
}

/// Takes part in a cluster whose store is elsewhere, until asked to stop.
///
/// # Errors
/// There is no cluster in that store, or it refuses this agent.
pub async fn run_at(inputs: Inputs, visit: Visit, on_ready: OnReady) -> Result<(), Failure> {
    let look = load(&Inputs { purpose: Purpose::Look, ..inputs.clone() })?;
    let (state, stop) = arrive(&look, visit)?;
    let cluster = patiently(&stop, || keys::read(&*state)).await;
    match cluster {
        None => Ok(()),
        Some(Ok(Some(cluster))) => {
            stay(inputs, Purpose::Run, state, &stop, cluster, on_ready).await
        }
        Some(Ok(None)) => {
            let what = format!("that store has no {}", keys::CLUSTER_UID);
            let fix = "kat-agent init --endpoints URL --config cluster.kat   makes a cluster there";
            Err(Kind::NO_KEYS.report(what, fix).because("run never makes a cluster").into())
        }
        Some(Err(error)) => Err(store("read the cluster's keys", &error).into()),
    }
}

/// Makes a cluster in a store that is elsewhere, unless it has one of that
/// name, and takes part in it.
///
/// # Errors
/// That store holds another cluster, or refuses this agent.
pub async fn init_at(inputs: Inputs, visit: Visit, on_ready: OnReady) -> Result<(), Failure> {
    let config = load(&Inputs { purpose: Purpose::Init, ..inputs.clone() })?;
    let (state, stop) = arrive(&config, visit)?;
    let stored = Stored { name: config.name.clone(), cluster_json: config.spec.cluster_json() };
    let mine = Cluster { uid: uuid::Uuid::new_v4().to_string(), stored };
    let cluster = match patiently(&stop, || keys::store(&*state, &mine)).await {
        None => return Ok(()),
        Some(done) => done.map_err(|error| store("store the cluster's keys", &error))?,
    };
    if cluster.stored.name != config.name {
        let (theirs, ours) = (&cluster.stored.name, &config.name);
        let what = format!("that store belongs to cluster \"{theirs}\", not \"{ours}\"");
        return Err(Kind::OTHER_CLUSTER.report(what, "name another store in --endpoints").into());
    }
    stay(inputs, Purpose::Init, state, &stop, cluster, on_ready).await
}

fn arrive(config: &Config, visit: Visit) -> Result<(Arc<EtcdStore>, Stop), Failure> {
    logs::start(config.spec.logging.format, &config.spec.logging.level);
    for endpoint in &visit.endpoints {
        check(endpoint, visit.allow_plaintext)?;
    }
    let credentials = visit.user.map(|(user, password)| Credentials { user, password });
    let options = Options { credentials, ..Options::default() };
    let state = EtcdStore::connect(&visit.endpoints, options)
        .map_err(|why| Report::usage(why.to_string(), "correct --endpoints"))?;
    Ok((Arc::new(state), Stop::listen(Second::Exits)?))
}

/// Refuses to send anything in plaintext over a network, unless told to.
fn check(endpoint: &str, allow_plaintext: bool) -> Result<(), Report> {
    if endpoint.starts_with("https://") || endpoint.starts_with("unix") {
        return Ok(());
    }
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_local = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if is_local {
        return Ok(());
    }
    if allow_plaintext {
        let event = "plaintext_network";
        tracing::warn!(event, endpoint, "the store is reached in plaintext over a network");
        return Ok(());
    }
    let what = format!("{endpoint} would be reached in plaintext over a network");
    let fix = "use an https:// endpoint, or accept the risk: --insecure-plaintext";
    Err(Kind::PLAINTEXT.report(what, fix))
}

/// Asks until there is an answer; `None` if the agent is to stop meanwhile.
async fn patiently<T, F, Fut>(stop: &Stop, ask: F) -> Option<Result<T, Error>>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let asking = async {
        loop {
            match ask().await {
                Err(error) if error.is_unavailable() => tokio::time::sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    };
    stop.token.run_until_cancelled(asking).await
}

/// Takes part in the election until asked to stop.
async fn stay(
    inputs: Inputs,
    purpose: Purpose,
    state: Arc<EtcdStore>,
    stop: &Stop,
    cluster: Cluster,
    on_ready: OnReady,
) -> Result<(), Failure> {
    let stored = Some(cluster.stored.clone());
    let config = load(&Inputs { purpose, stored, ..inputs })?;
    let (name, uid) = (cluster.stored.name.as_str(), cluster.uid.as_str());
    let node = config.node_name.as_str();
    tracing::info!(event = "client_only", cluster = name, uid, node, "Using a store elsewhere");
    let ttl = i64::from(config.spec.leader_lease_ttl_seconds);
    let election = Election::enter(state, node, ttl);
    notify(&[NotifyState::Ready, NotifyState::Status("using a store elsewhere")]);
    let mut standing = election.standing();
    let has_part = async {
        let known = standing.wait_for(|standing| *standing != Standing::Unknown).await;
        known.map(drop).ok()
    };
    if stop.token.run_until_cancelled(has_part).await.is_some() {
        on_ready(&Ready {
            cluster: cluster.stored.name.clone(),
            uid: cluster.uid.clone(),
            node: config.node_name.clone(),
            client_urls: Vec::new(),
        });
        stop.token.cancelled().await;
    }
    farewell(election).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_stays_on_the_machine_unless_told_otherwise() {
        for local in ["http://127.0.0.1:2379", "localhost:2379", "http://[::1]:2379"] {
            check(local, false).unwrap();
        }
        check("https://192.0.2.1:2379", false).unwrap();
        for far in ["http://192.0.2.1:2379", "store.example.org:2379", "127.0.0.1.nip.io:1"] {
            assert_eq!(check(far, false).unwrap_err().exit, 9, "{far}");
            check(far, true).unwrap();
        }
    }
}
