//! The three keys with which a cluster begins: its UID, name and configuration.
//!
//! They are written together or not at all, and only where there is no UID yet;
//! whoever comes second finds the first one's. Deliberately not here: the
//! election, which has keys of its own.

use super::config::Stored;
use crate::ids::Revision;
use crate::state::{Compare, Error, Op, StateStore};

pub(super) const CLUSTER_UID: &str = "/kat/config/cluster_uid";
pub(super) const CLUSTER_NAME: &str = "/kat/config/cluster_name";
pub(super) const CLUSTER_CONFIG: &str = "/kat/config/cluster_config";

/// How often an answer that may have been lost is asked for again.
const ATTEMPTS_MAX: u32 = 5;

/// What the store says of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cluster {
    pub(super) uid: String,
    pub(super) stored: Stored,
}

/// Reads what the store says of its cluster; `None` if it has no UID.
pub(super) async fn read(store: &dyn StateStore) -> Result<Option<Cluster>, Error> {
    let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
    let listed = store.list("/kat/config/").await?.items;
    let of = |key: &str| listed.iter().find(|kv| kv.key == key).map(|kv| text(kv.value.clone()));
    let Some(uid) = of(CLUSTER_UID) else {
        return Ok(None);
    };
    let stored = Stored {
        name: of(CLUSTER_NAME).unwrap_or_default(),
        cluster_json: of(CLUSTER_CONFIG).unwrap_or_else(|| "{}".to_owned()),
    };
    Ok(Some(Cluster { uid, stored }))
}

/// Stores the keys unless there is a cluster already, and returns the cluster
/// that the store holds then.
pub(super) async fn store(store: &dyn StateStore, cluster: &Cluster) -> Result<Cluster, Error> {
    let checks = [Compare { key: CLUSTER_UID.into(), expected_version: Revision(0) }];
    let Cluster { uid, stored } = cluster;
    let puts = [
        Op::put(CLUSTER_UID, uid.as_str()),
        Op::put(CLUSTER_NAME, stored.name.as_str()),
        Op::put(CLUSTER_CONFIG, stored.cluster_json.as_str()),
    ];
    let mut attempt = 1;
    loop {
        // The guard makes a repetition harmless, even of one that arrived.
        let done = match store.do_transaction(&checks, &puts, &[]).await {
            Ok(_) => read(store).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(Some(found)) => {
                if found.uid == *uid {
                    tell(&found);
                }
                return Ok(found);
            }
            Ok(None) => {}
            Err(error) if error.is_unavailable() && attempt < ATTEMPTS_MAX => {
                tracing::debug!(%error, attempt, "storing the cluster's keys again");
            }
            Err(error) => return Err(error),
        }
        attempt += 1;
    }
}

fn tell(cluster: &Cluster) {
    let uid = cluster.uid.as_str();
    tracing::info!(event = "cluster_uid", key = CLUSTER_UID, uid, "Cluster UID stored");
    let key = CLUSTER_CONFIG;
    tracing::info!(event = "cluster_config", key, "Cluster configuration stored");
}
