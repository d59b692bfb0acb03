//! Which version the members agree to speak.
//!
//! As a rule that of this server; while an operator puts the cluster back, the
//! one before it, until that is called off or older servers take over. Whoever
//! leads looks after it, as often as etcd does.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::peer::CLUSTER_VERSION;
use crate::proto::kat::log::ClusterVersion;
use crate::replica::{Failure, Replica};
use crate::store::{Caller, Request};

/// How often the raft leader looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks after the version for as long as it is polled.
pub(super) async fn keep(replica: Replica) {
    let mut glances = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    glances.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        glances.tick().await;
        if replica.standing().is_leader
            && let Err(why) = decide(&replica).await
        {
            tracing::warn!(%why, "the version of the cluster could not be decided");
        }
    }
}

/// Decides on the version, if another one holds.
pub(super) async fn decide(replica: &Replica) -> Result<(), Failure> {
    let reader = replica.reader();
    let version = reader.downgrade().unwrap_or_else(|| CLUSTER_VERSION.to_owned());
    if reader.cluster_version().as_ref() == Some(&version) {
        return Ok(());
    }
    tracing::info!(version, "updating cluster version");
    let decision = Request::ClusterVersion(ClusterVersion { version });
    replica.propose(&Caller::default(), decision).await.map(|_| ())
}
