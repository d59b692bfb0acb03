//! Which agent leads the site, as far as this agent has a part in it.
//!
//! One task campaigns for as long as the agent lives, another one watches who
//! leads; what they log is a contract with whoever reads the logs. Deliberately
//! not here: what a KAT Leader does, and how the election works, which is
//! `state`'s.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::state_file::HeldKey;
use crate::state::{Error, Leader, Leadership, LostReason, Op, StateStore};

/// How long an agent waits, with as much again by chance, before it campaigns
/// once more after it lost leadership.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an agent that stops waits for the store to take its resignation.
const RESIGN_WITHIN: Duration = Duration::from_secs(3);

/// Where this agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody is known to lead.
    Unknown,
    /// It leads, by this key.
    Leads(HeldKey),
    /// Another one leads.
    Observes(String),
}

/// The agent's part in the election, for as long as it lives.
pub(super) struct Election {
    store: Arc<dyn StateStore>,
    tasks: JoinSet<()>,
    leaving: CancellationToken,
    standing: watch::Receiver<Standing>,
}

impl Election {
    /// Enters the election under the node's name.
    pub(super) fn enter(store: Arc<dyn StateStore>, node: &str, ttl_seconds: i64) -> Election {
        let leaving = CancellationToken::new();
        let (tell, standing) = watch::channel(Standing::Unknown);
        let candidate = Candidate {
            store: store.clone(),
            node: node.to_owned(),
            ttl_seconds,
            leaving: leaving.clone(),
            tell,
        };
        let candidate = Arc::new(candidate);
        let mut tasks = JoinSet::new();
        let observer = candidate.clone();
        tasks.spawn(async move { observer.observe().await });
        tasks.spawn(async move { candidate.campaign().await });
        Election { store, tasks, leaving, standing }
    }

    /// Where the agent stands, and every change of it.
    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    pub(super) fn leads(&self) -> bool {
        matches!(*self.standing.borrow(), Standing::Leads(_))
    }

    /// Resigns, or withdraws, and closes the connection to the store.
    pub(super) async fn leave(mut self) {
        self.leaving.cancel();
        let resigned = async {
            let resigned = self.store.resign().await;
            resigned.and(self.store.close().await)
        };
        match timeout(RESIGN_WITHIN, resigned).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease is left to expire"),
            Err(_) => tracing::warn!("the store does not answer; the lease is left to expire"),
        }
        let ended = timeout(PAUSE, async { while self.tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Removes the key of an earlier run of this node that crashed while it led,
/// so that the site need not wait until its lease expires.
pub(super) async fn clear(store: &dyn StateStore, held: &HeldKey) {
    let fence = crate::state::Compare {
        key: held.key.clone(),
        expected_version: crate::ids::Revision(held.create_revision),
    };
    match store.do_transaction(&[fence], &[Op::delete(held.key.as_str())], &[]).await {
        Ok(done) if done.committed => {
            let key = held.key.as_str();
            tracing::info!(event = "stale_key", key, "removed the key of an earlier run");
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "an earlier key is left to expire"),
    }
}

struct Candidate {
    store: Arc<dyn StateStore>,
    node: String,
    ttl_seconds: i64,
    leaving: CancellationToken,
    tell: watch::Sender<Standing>,
}

impl Candidate {
    async fn campaign(&self) {
        loop {
            match self.store.campaign(&self.node, self.ttl_seconds).await {
                Ok(leadership) => {
                    self.on_elected(&leadership);
                    leadership.lost.cancelled().await;
                    self.on_lost(leadership.lost_reason());
                }
                Err(Error::Closed) => return,
                Err(_) if self.leaving.is_cancelled() => return,
                Err(error) => tracing::warn!(event = "no_campaign", %error, "cannot campaign"),
            }
            tokio::select! {
                () = self.leaving.cancelled() => return,
                () = sleep(PAUSE + by_chance(PAUSE)) => {}
            }
        }
    }

    fn on_elected(&self, leadership: &Leadership) {
        let (node, key) = (self.node.as_str(), leadership.key.as_str());
        let ttl = format!("{}s", self.ttl_seconds);
        let event = "became_leader";
        tracing::info!(event, scope = "kat", node, key, ttl, "Became leader: {node}");
        let event = "leadership_state";
        tracing::info!(event, scope = "kat", "leadership state: became leader node={node}");
        let held =
            HeldKey { key: leadership.key.clone(), create_revision: leadership.create_revision.0 };
        self.tell.send_replace(Standing::Leads(held));
    }

    fn on_lost(&self, reason: Option<LostReason>) {
        self.tell.send_replace(Standing::Unknown);
        let reason = reason.unwrap_or(LostReason::ConnectionLost);
        let (event, node, word) = ("lost_leadership", self.node.as_str(), reason.as_str());
        if [LostReason::Resigned, LostReason::Shutdown].contains(&reason) {
            tracing::info!(
                event,
                scope = "kat",
                node,
                reason = word,
                "Lost KAT leadership: {reason}"
            );
        } else {
            tracing::warn!(
                event,
                scope = "kat",
                node,
                reason = word,
                "Lost KAT leadership: {reason}"
            );
        }
    }

    async fn observe(&self) {
        let mut last = None;
        loop {
            match self.store.observe().await {
                Ok(mut leaders) => {
                    while let Some(Ok(leader)) = leaders.next().await {
                        if leader != last && !self.leaving.is_cancelled() {
                            self.on_leader(leader.as_ref());
                            last = leader;
                        }
                    }
                }
                Err(Error::Closed) => return,
                Err(error) => tracing::debug!(%error, "cannot see who leads"),
            }
            tokio::select! {
                () = self.leaving.cancelled() => return,
                () = sleep(PAUSE + by_chance(PAUSE)) => {}
            }
        }
    }

    /// The candidate itself says when it leads.
    fn on_leader(&self, leader: Option<&Leader>) {
        let Some(Leader { id, .. }) = leader else {
            return tracing::debug!("nobody leads");
        };
        if *id == self.node {
            return tracing::debug!("the leader has this node's name");
        }
        let event = "observing_leader";
        tracing::info!(event, scope = "kat", leader = id.as_str(), "observing leader {id}");
        self.tell.send_if_modified(|standing| match standing {
            Standing::Leads(_) => false,
            _ => {
                *standing = Standing::Observes(id.clone());
                true
            }
        });
    }
}

fn by_chance(most: Duration) -> Duration {
    let dice = u32::try_from(RandomState::new().hash_one(()) % 1024).expect("below 1024");
    most * dice / 1024
}
