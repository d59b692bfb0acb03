//! The election: alone, in a queue, against stock candidates, and its ends.

use std::process::{Child, Command, Stdio};

use futures::StreamExt;
use kat::ids::Revision;
use kat::state::{Error, LEADER_ELECTION, Leadership, LostReason, Op, StateStore};

use super::cable::Cable;
use super::{Server, soon, store, store_at, stranger, until};
use crate::process::peer;

const TTL_SECONDS: i64 = 3;

/// Waits for the end of leadership, and for its reason.
async fn end(leadership: &Leadership) -> LostReason {
    soon("the end of leadership", leadership.lost.cancelled()).await;
    leadership.lost_reason().expect("there is a reason")
}

fn prefix() -> String {
    format!("{LEADER_ELECTION}/")
}

/// Waits until so many candidates are in the queue, and names their keys.
async fn queue(store: &impl StateStore, length: usize) -> Vec<String> {
    until("the queue has its length", async || {
        let keys = store.list(&prefix()).await.ok()?.items.into_iter().map(|kv| kv.key);
        Some(keys.collect::<Vec<_>>()).filter(|keys| keys.len() == length)
    })
    .await
}

pub(super) async fn the_only_candidate_leads(server: &mut Server) {
    let (store, mut stranger) = (store(server), stranger(server).await);
    assert_eq!(store.get_leader().await.unwrap(), None);
    store.resign().await.expect("there is nothing to resign from");

    let leadership = store.campaign("node-a", TTL_SECONDS).await.unwrap();
    assert_eq!(leadership.leader_id, "node-a");
    assert_eq!(leadership.lost_reason(), None);
    assert_eq!(leadership.key, format!("/kat/leader_election/{:x}", leadership.lease_id.0));
    assert_eq!(store.get_leader().await.unwrap().as_deref(), Some("node-a"));

    let found = stranger.get(leadership.key.as_str(), None).await.unwrap();
    let kv = &found.kvs()[0];
    assert_eq!((kv.value(), kv.lease()), (&b"node-a"[..], leadership.lease_id.0));
    assert_eq!(Revision(kv.create_revision()), leadership.create_revision);
    assert_eq!(kv.mod_revision(), kv.create_revision(), "it is written once");
    let lease = stranger.lease_time_to_live(leadership.lease_id.0, None).await.unwrap();
    assert_eq!(lease.granted_ttl(), TTL_SECONDS);

    store.resign().await.unwrap();
    assert_eq!(end(&leadership).await, LostReason::Resigned);
    assert_eq!(store.get_leader().await.unwrap(), None);
    let lease = stranger.lease_time_to_live(leadership.lease_id.0, None).await.unwrap();
    assert_eq!(lease.ttl(), -1, "the lease is revoked");
    store.resign().await.expect("it is over already");
}

pub(super) async fn the_next_candidate_takes_over(server: &mut Server) {
    let (first, second) = (store(server), store(server));
    let leader = first.campaign("node-a", TTL_SECONDS).await.unwrap();
    let waiting = tokio::spawn(async move {
        let leadership = second.campaign("node-b", TTL_SECONDS).await;
        (second, leadership)
    });
    queue(&first, 2).await;
    assert!(!waiting.is_finished());
    assert_eq!(first.get_leader().await.unwrap().as_deref(), Some("node-a"));

    first.resign().await.unwrap();
    assert_eq!(end(&leader).await, LostReason::Resigned);
    let (second, leadership) = soon("the takeover", waiting).await.unwrap();
    assert!(leadership.unwrap().create_revision > leader.create_revision);
    assert_eq!(first.get_leader().await.unwrap().as_deref(), Some("node-b"));
    second.close().await.unwrap();
    assert_eq!(first.get_leader().await.unwrap(), None);
}

pub(super) async fn a_lease_that_ends_ends_leadership(server: &mut Server) {
    let (store, mut stranger) = (store(server), stranger(server).await);
    let leadership = store.campaign("node-a", TTL_SECONDS).await.unwrap();
    stranger.lease_revoke(leadership.lease_id.0).await.unwrap();
    assert_eq!(end(&leadership).await, LostReason::LeaseExpired);
    let again = store.campaign("node-a", TTL_SECONDS).await.unwrap();
    assert_ne!(again.key, leadership.key, "a new candidacy has a new lease");
}

pub(super) async fn a_deleted_key_ends_leadership(server: &mut Server) {
    let store = store(server);
    let leadership = store.campaign("node-a", TTL_SECONDS).await.unwrap();
    assert!(store.delete(&leadership.key).await.unwrap());
    assert_eq!(end(&leadership).await, LostReason::KeyDeleted);
    store.campaign("node-a", TTL_SECONDS).await.expect("the candidacy is over");
}

pub(super) async fn a_store_that_goes_ends_leadership(server: &mut Server) {
    let store = store(server);
    let leadership = store.campaign("node-a", TTL_SECONDS).await.unwrap();
    server.kill();
    assert_eq!(end(&leadership).await, LostReason::ConnectionLost);
}

pub(super) async fn a_leader_that_is_cut_off_knows_first(server: &mut Server) {
    let (direct, cable) = (store(server), Cable::to(server).await);
    let leader = store_at(&cable.endpoint);
    let leadership = leader.campaign("node-a", TTL_SECONDS).await.unwrap();
    cable.cut();
    assert_eq!(end(&leadership).await, LostReason::ConnectionLost);
    let key = direct.get(&leadership.key).await.unwrap();
    assert!(key.is_some(), "nobody else can lead before the leader has stopped");
    queue(&direct, 0).await;
}

pub(super) async fn leadership_outlives_a_restart(server: &mut Server) {
    let store = store(server);
    let leadership = store.campaign("node-a", 20).await.unwrap();
    server.kill();
    server.start_again();
    until("the store answers", async || store.get_leader().await.ok()).await;
    let done = store.do_transaction(&[leadership.fence()], &[Op::put("a", "1")], &[]).await;
    assert!(done.unwrap().committed);
    assert_eq!(leadership.lost_reason(), None);
    store.delete(&leadership.key).await.unwrap();
    assert_eq!(end(&leadership).await, LostReason::KeyDeleted, "its key is watched again");
}

pub(super) async fn a_fence_stops_a_former_leader(server: &mut Server) {
    let (first, second) = (store(server), store(server));
    let former = first.campaign("node-a", TTL_SECONDS).await.unwrap();
    let write = async |leadership: &Leadership| {
        let put = [Op::put("work", leadership.leader_id.as_str())];
        first.do_transaction(&[leadership.fence()], &put, &[]).await.unwrap().committed
    };
    assert!(write(&former).await);
    first.resign().await.unwrap();
    let present = second.campaign("node-b", TTL_SECONDS).await.unwrap();
    assert!(!write(&former).await);
    assert!(write(&present).await);
    assert_eq!(first.get("work").await.unwrap().unwrap().value, b"node-b");
}

pub(super) async fn a_store_has_one_candidacy(server: &mut Server) {
    let (store, rival) = (store(server), store(server));
    rival.campaign("node-b", TTL_SECONDS).await.unwrap();
    let twice = rival.campaign("node-b", TTL_SECONDS).await;
    assert!(matches!(twice, Err(Error::Misuse { .. })), "it leads already");

    let campaign = store.campaign("node-a", TTL_SECONDS);
    let others = async {
        queue(&rival, 2).await;
        let twice = store.campaign("node-a", TTL_SECONDS).await;
        assert!(matches!(twice, Err(Error::Misuse { .. })), "it waits already");
        store.resign().await.unwrap();
    };
    let (withdrawn, ()) = soon("the withdrawal", futures::future::join(campaign, others)).await;
    assert!(matches!(withdrawn, Err(Error::Misuse { .. })), "{withdrawn:?}");
    queue(&rival, 1).await;
}

pub(super) async fn a_dropped_campaign_withdraws(server: &mut Server) {
    let (leader, candidate) = (store(server), store(server));
    leader.campaign("node-a", 60).await.unwrap();
    tokio::select! {
        won = candidate.campaign("node-b", 60) => panic!("{won:?}"),
        keys = queue(&leader, 2) => assert_eq!(keys.len(), 2),
    }
    queue(&leader, 1).await;
    let leases = stranger(server).await.leases().await.unwrap().leases().len();
    assert_eq!(leases, 1, "the lease is gone too, long before it expires");
}

pub(super) async fn a_candidate_without_a_lease_starts_over(server: &mut Server) {
    let (leader, candidate) = (store(server), store(server));
    let leadership = leader.campaign("node-a", TTL_SECONDS).await.unwrap();
    let waiting = tokio::spawn(async move {
        let won = candidate.campaign("node-b", TTL_SECONDS).await;
        (candidate, won)
    });
    let keys = queue(&leader, 2).await;
    let first = keys.iter().find(|key| **key != leadership.key).unwrap();
    let lease = i64::from_str_radix(first.strip_prefix(&prefix()).unwrap(), 16).unwrap();
    stranger(server).await.lease_revoke(lease).await.unwrap();
    until("it queues again", async || {
        let keys = leader.list(&prefix()).await.ok()?.items;
        keys.iter().find(|kv| kv.key != *first && kv.key != leadership.key).map(|_| ())
    })
    .await;
    leader.resign().await.unwrap();
    let (_candidate, won) = soon("victory", waiting).await.unwrap();
    assert_ne!(won.unwrap().key, *first);
}

pub(super) async fn closing_the_store_resigns(server: &mut Server) {
    let (leader, other) = (store(server), store(server));
    let leadership = leader.campaign("node-a", 60).await.unwrap();
    leader.close().await.unwrap();
    assert_eq!(end(&leadership).await, LostReason::Shutdown);
    assert_eq!(other.get_leader().await.unwrap(), None);
}

/// `etcdctl elect`, killed at the end.
struct Stock(Child);

impl Stock {
    fn candidate(server: &Server, name: &str) -> Stock {
        let child = Command::new(peer("etcdctl"))
            .args(["--endpoints", &server.endpoint(), "elect", LEADER_ELECTION, name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Stock(child.expect("etcdctl starts"))
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.0.kill().expect("a child of ours can be killed");
        self.0.wait().expect("a killed child ends");
    }
}

pub(super) async fn a_stock_candidate_competes(server: &mut Server) {
    let store = store(server);
    store.campaign("node-a", TTL_SECONDS).await.unwrap();
    let stock = Stock::candidate(server, "stock");
    let keys = queue(&store, 2).await;
    store.resign().await.unwrap();
    let leader = async || store.get_leader().await.ok()?.filter(|name| name == "stock");
    until("the stock candidate leads", leader).await;

    let waiting = store.campaign("node-a", TTL_SECONDS);
    let others = async {
        let queued = queue(&store, 2).await;
        let theirs = queued.iter().find(|key| keys.contains(key)).unwrap();
        store.delete(theirs).await.unwrap();
    };
    let (won, ()) = soon("the takeover", futures::future::join(waiting, others)).await;
    assert_eq!(won.unwrap().leader_id, "node-a");
    drop(stock);
}

pub(super) async fn observers_see_every_leader(server: &mut Server) {
    let (first, second, observer) = (store(server), store(server), store(server));
    let mut leaders = observer.observe().await.unwrap();
    let mut next = async || {
        let leader = soon("the next leader", leaders.next()).await.unwrap().unwrap();
        leader.map(|leader| (leader.id, leader.key, leader.create_revision))
    };
    let shown = |leadership: &Leadership| {
        let key = leadership.key.clone();
        Some((leadership.leader_id.clone(), key, leadership.create_revision))
    };
    assert_eq!(next().await, None);
    let a = first.campaign("node-a", TTL_SECONDS).await.unwrap();
    assert_eq!(next().await, shown(&a));
    let (b, resigned) = soon("the takeover", async {
        let waiting = second.campaign("node-b", TTL_SECONDS);
        let others = async {
            queue(&observer, 2).await;
            first.resign().await
        };
        futures::future::join(waiting, others).await
    })
    .await;
    resigned.unwrap();
    let b = b.unwrap();
    assert_eq!(next().await, shown(&b));

    let mut late = first.observe().await.unwrap();
    let leader = soon("the leader", late.next()).await.unwrap().unwrap();
    assert_eq!(leader.map(|leader| leader.id).as_deref(), Some("node-b"), "who leads comes first");
    server.kill();
    server.start_again();
    until("the store answers", async || observer.get_leader().await.ok()).await;
    second.resign().await.unwrap();
    assert_eq!(next().await, None);
}
