//! The lock and election services.

use kat::proto::etcdserverpb::LeaseRevokeRequest;
use kat::proto::v3electionpb::election_client::ElectionClient;
use kat::proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use kat::proto::v3lockpb::lock_client::LockClient;
use kat::proto::v3lockpb::{LockRequest, UnlockRequest};
use tokio::time::interval;

use super::GLANCE_EVERY;
use super::wire::Wire;
use super::words::{all, delete, put};

pub(super) async fn locking(wire: &mut Wire) {
    let lock = |lease| LockRequest { name: "mine".into(), lease };
    wire.lease_grant(600, 0xa1).await;
    wire.lease_grant(600, 0xb2).await;
    wire.lock(lock(0xa1)).await;
    wire.lock(lock(0xa1)).await;
    wire.lock(lock(0xee)).await;
    wire.range(all()).await;
    // A second one waits until the first lets go.
    let mut client = LockClient::new(wire.channel());
    let waiting = tokio::spawn(async move { client.lock(lock(0xb2)).await });
    keys_are(wire, 2).await;
    wire.unlock(UnlockRequest { key: "mine/a1".into() }).await;
    wire.unlock(UnlockRequest { key: "mine/a1".into() }).await;
    let answer = waiting.await.expect("it does not panic");
    wire.note("the lock that waited", answer);
    wire.range(all()).await;
    wire.lease_revoke(LeaseRevokeRequest { id: 0xb2 }).await;
    wire.range(all()).await;
    wire.lock(lock(-5)).await;
    wire.lease_grant(600, -5).await;
    wire.lock(lock(-5)).await;
    wire.range(all()).await;
}

/// Who gives up waiting leaves nothing; who looks on waits for somebody to lead.
pub(super) async fn giving_up(wire: &mut Wire) {
    for lease in [0xa1, 0xb2] {
        wire.lease_grant(600, lease).await;
    }
    let lock = |lease| LockRequest { name: "mine".into(), lease };
    wire.lock(lock(0xa1)).await;
    let mut client = LockClient::new(wire.channel());
    let waiting = tokio::spawn(async move { client.lock(lock(0xb2)).await });
    keys_are(wire, 2).await;
    waiting.abort();
    keys_are(wire, 1).await;
    wire.range(all()).await;

    let mut client = ElectionClient::new(wire.channel());
    let who = LeaderRequest { name: "seat".into() };
    let looking = tokio::spawn(async move {
        let mut seen = client.observe(who).await?.into_inner();
        seen.message().await
    });
    let campaign = |lease, value| CampaignRequest { name: "seat".into(), lease, value };
    wire.campaign(campaign(0xb2, "me".into())).await;
    let sight = looking.await.expect("it does not panic");
    wire.write("observed", format!("{sight:?}"));
    let mut client = ElectionClient::new(wire.channel());
    let waiting = tokio::spawn(async move { client.campaign(campaign(0xa1, "I".into())).await });
    keys_are(wire, 3).await;
    waiting.abort();
    keys_are(wire, 2).await;
    wire.range(all()).await;
}

/// Waits until there are so many keys.
async fn keys_are(wire: &Wire, count: i64) {
    let mut glances = interval(GLANCE_EVERY);
    let mut kv = kat::proto::etcdserverpb::kv_client::KvClient::new(wire.channel());
    while kv.range(all()).await.expect("a range").into_inner().count != count {
        glances.tick().await;
    }
}

pub(super) async fn campaigning(wire: &mut Wire) {
    let campaign =
        |lease, value| CampaignRequest { name: "seat".into(), lease, value: bytes_of(value) };
    let who = || LeaderRequest { name: "seat".into() };
    wire.leader(who()).await;
    wire.lease_grant(600, 0xa1).await;
    wire.lease_grant(600, 0xb2).await;
    wire.put(put("seats", "a longer name is no candidate")).await;
    wire.campaign(campaign(0xee, "nobody")).await;
    let first = wire.campaign(campaign(0xa1, "first")).await.and_then(|answer| answer.leader);
    wire.campaign(campaign(0xa1, "first, louder")).await;
    wire.leader(who()).await;
    let mut client = ElectionClient::new(wire.channel());
    let mut seen = client.observe(who()).await.expect("a stream").into_inner();
    let sight = seen.message().await.expect("a leader");
    wire.write("observed", format!("{sight:?}"));

    let speak =
        |leader: Option<LeaderKey>, value| ProclaimRequest { leader, value: bytes_of(value) };
    wire.proclaim(speak(first.clone(), "hear, hear")).await;
    let sight = seen.message().await.expect("a leader");
    wire.write("observed", format!("{sight:?}"));
    wire.proclaim(speak(None, "who?")).await;
    let false_key = first.clone().map(|key| LeaderKey { rev: 1, ..key });
    wire.proclaim(speak(false_key.clone(), "not me")).await;
    wire.resign(ResignRequest { leader: None }).await;
    wire.resign(ResignRequest { leader: false_key }).await;
    wire.leader(who()).await;
    wire.resign(ResignRequest { leader: first.clone() }).await;
    wire.resign(ResignRequest { leader: first.clone() }).await;
    wire.leader(who()).await;
    wire.campaign(campaign(0xb2, "second")).await;
    let sight = seen.message().await.expect("a leader");
    wire.write("observed", format!("{sight:?}"));
    wire.proclaim(speak(first, "too late")).await;
    wire.delete_range(delete("seat/b2")).await;
    wire.leader(who()).await;
    wire.range(all()).await;
}

fn bytes_of(text: &'static str) -> bytes::Bytes {
    text.into()
}
