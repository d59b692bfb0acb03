//! Status, alarms, leadership, downgrades, snapshots, and the HTTP side.

use kat::proto::etcdserverpb::alarm_request::AlarmAction;
use kat::proto::etcdserverpb::downgrade_request::DowngradeAction;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kat::proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthenticateRequest, CompactionRequest, DowngradeRequest,
    HashKvRequest, HashRequest, LeaseRevokeRequest, MoveLeaderRequest, PutRequest, SnapshotRequest,
    StatusRequest,
};
use kat::proto::health::HealthCheckRequest;
use kat::proto::health::health_client::HealthClient;
use sha2::{Digest, Sha256};
use tokio::time::interval;
use tonic::Request;
use tonic::codegen::http::uri::PathAndQuery;

use super::GLANCE_EVERY;
use super::wire::Wire;
use super::words::{Operation, all, delete, get, put, txn};

pub(super) async fn asking_for_status(wire: &mut Wire) {
    wire.status(Default::default()).await;
    wire.put(put("a", "1")).await;
    wire.status(Default::default()).await;
    let mut client = MaintenanceClient::new(wire.channel());
    let sizes = client.status(StatusRequest {}).await;
    let sizes = sizes.expect("a status").into_inner();
    let holds = (
        sizes.db_size > 0,
        sizes.db_size_in_use > 0,
        sizes.db_size >= sizes.db_size_in_use,
        sizes.raft_index >= sizes.raft_applied_index,
        sizes.raft_applied_index > 0,
        sizes.raft_term > 0,
    );
    wire.write("are the numbers of status sound?", format!("{holds:?}"));
    wire.defragment(Default::default()).await;
    wire.range(all()).await;
    wire.hash_kv(HashKvRequest { revision: 0 }).await;
    let mut hash = client.hash(HashRequest {}).await;
    if let Ok(response) = &mut hash {
        response.get_mut().hash = 0;
    }
    wire.note("hash", hash);
    wire.crash();
    wire.status(Default::default()).await;
}

async fn alarm(wire: &mut Wire, action: AlarmAction, member_id: u64, alarm: AlarmType) {
    let request = AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
    wire.alarm(request).await;
}

/// Tries one of everything, to see what an alarm lets pass.
async fn try_everything(wire: &mut Wire) {
    wire.range(get("a")).await;
    wire.put(put("a", "2")).await;
    wire.put(put("", "2")).await;
    wire.txn(txn([], [put("a", "2").op()], [])).await;
    wire.txn(txn([], [put("a", "2").op(), put("a", "2").op()], [])).await;
    wire.txn(txn([], [], [put("a", "2").op()])).await;
    wire.txn(txn([], [get("a").op()], [])).await;
    wire.txn(txn([], [delete("b").op()], [])).await;
    wire.delete_range(delete("c")).await;
    wire.lease_grant(600, 5).await;
    wire.keep_alive(&[1]).await;
    wire.lease_time_to_live(1, true).await;
    wire.lease_revoke(LeaseRevokeRequest { id: 2 }).await;
    wire.compact(CompactionRequest { revision: 3, physical: false }).await;
    wire.hash_kv(HashKvRequest { revision: 0 }).await;
    wire.defragment(Default::default()).await;
    wire.member_list(Default::default()).await;
    wire.range(all()).await;
    let health = wire.server.http_get("/health").unwrap_or_default();
    wire.write("health", body(&health));
}

pub(super) async fn raising_alarms(wire: &mut Wire) {
    use AlarmAction::{Activate, Deactivate, Get};
    use AlarmType::{Corrupt, None, Nospace};
    for lease in 1..5 {
        wire.lease_grant(600, lease).await;
    }
    for key in ["a", "b", "c"] {
        wire.put(put(key, "1")).await;
    }
    let own = wire.member_id().await;
    alarm(wire, Get, 0, None).await;
    alarm(wire, Activate, own, None).await;
    alarm(wire, Deactivate, 7, Nospace).await;
    alarm(wire, Activate, own, Nospace).await;
    alarm(wire, Activate, own, Nospace).await;
    alarm(wire, Get, 0, None).await;
    alarm(wire, Get, 0, Nospace).await;
    alarm(wire, Get, own, Corrupt).await;
    try_everything(wire).await;
    wire.crash();
    alarm(wire, Get, 0, None).await;
    wire.put(put("a", "3")).await;
    alarm(wire, Deactivate, own, Nospace).await;
    alarm(wire, Deactivate, own, Nospace).await;
    alarm(wire, Get, 0, None).await;
    wire.put(put("a", "4")).await;
    alarm(wire, Activate, own, Corrupt).await;
    try_everything(wire).await;
    alarm(wire, Activate, 7, Corrupt).await;
    alarm(wire, Deactivate, own, Corrupt).await;
    wire.put(put("a", "5")).await;
    alarm(wire, Deactivate, 7, Corrupt).await;
    wire.put(put("a", "6")).await;
}

/// Whoever is alone has nobody to compare hashes with, at its start or later.
pub(super) async fn looking_for_corruption(wire: &mut Wire) {
    for value in ["1", "2", "3"] {
        wire.put(put("a", value)).await;
    }
    wire.compact(CompactionRequest { revision: 3, physical: true }).await;
    for _ in 0..2 {
        wire.hash_kv(HashKvRequest { revision: 0 }).await;
        wire.alarm(AlarmRequest::default()).await;
        let answer = wire.server.http_get("/readyz/data_corruption").unwrap_or_default();
        wire.write("GET /readyz/data_corruption", body(&answer));
        wire.crash();
        wire.put(put("a", "4")).await;
    }
}

/// A value that is larger than all that the store may hold.
pub(super) async fn exceeding_the_quota(wire: &mut Wire) {
    wire.put(put("a", "1")).await;
    wire.status(Default::default()).await;
    let huge = PutRequest { value: vec![b'x'; 1200 * 1024].into(), ..put("huge", "") };
    let mut client = KvClient::new(wire.channel());
    let answer = client.put(huge.clone()).await;
    wire.note("huge put", answer);
    wire.alarm(Default::default()).await;
    wire.put(put("a", "2")).await;
    let answer = client.txn(txn([], [huge.op()], [])).await;
    wire.note("huge put in a txn", answer);
    wire.txn(txn([], [get("a").op(), delete("b").op()], [])).await;
    wire.lease_grant(600, 1).await;
    wire.delete_range(delete("a")).await;
    wire.status(Default::default()).await;
    let own = wire.member_id().await;
    alarm(wire, AlarmAction::Deactivate, own, AlarmType::Nospace).await;
    wire.put(put("a", "3")).await;
    wire.lease_grant(600, 1).await;
    wire.range(all()).await;
}

/// A type of alarm that nobody knows is raised like any other, and means nothing.
pub(super) async fn raising_alarms_that_nobody_knows(wire: &mut Wire) {
    let sick = |wire: &mut Wire| {
        for path in ["/health", "/health?exclude=UNKNOWN", "/health?exclude=9", "/readyz", "/livez"]
        {
            let answer = wire.server.http_get(path).unwrap_or_default();
            let status = answer.lines().next().unwrap_or_default().to_owned();
            wire.write(format!("GET {path}"), format!("{status} {}", body(&answer)));
        }
    };
    for alarm in [9, -1, i32::MAX, i32::MIN] {
        let request = |action: AlarmAction, member_id| AlarmRequest {
            action: action.into(),
            member_id,
            alarm,
        };
        wire.alarm(request(AlarmAction::Get, 0)).await;
        wire.alarm(request(AlarmAction::Deactivate, 7)).await;
        wire.alarm(request(AlarmAction::Activate, 7)).await;
        wire.alarm(request(AlarmAction::Activate, 8)).await;
        wire.alarm(AlarmRequest::default()).await;
        wire.status(Default::default()).await;
        wire.put(put("a", "1")).await;
        sick(wire);
        wire.crash();
        wire.alarm(request(AlarmAction::Get, 0)).await;
        wire.alarm(request(AlarmAction::Deactivate, 8)).await;
        wire.alarm(request(AlarmAction::Deactivate, 7)).await;
        sick(wire);
    }
}

pub(super) async fn moving_leadership(wire: &mut Wire) {
    let own = wire.member_id().await;
    for target_id in [own, 0, 7] {
        wire.move_leader(MoveLeaderRequest { target_id }).await;
    }
    wire.put(put("a", "1")).await;
}

pub(super) async fn downgrading(wire: &mut Wire) {
    use DowngradeAction::{Cancel, Enable, Validate};
    for (action, version) in [
        (Validate, ""),
        (Validate, "three"),
        (Validate, "3"),
        (Validate, "3.5"),
        (Validate, "3.7"),
        (Validate, "3.7.0"),
        (Validate, "3.8"),
        (Validate, "2.6"),
        (Validate, "3.6"),
        (Validate, "3.6.0"),
        (Validate, "3.6.4"),
        (Enable, "3.5"),
        (Enable, "nonsense"),
        (Cancel, ""),
        (Cancel, "3.6"),
    ] {
        let request = DowngradeRequest { action: action.into(), version: version.into() };
        wire.downgrade(request).await;
    }
    wire.downgrade(DowngradeRequest { action: 9, version: "3.6".into() }).await;
    wire.status(StatusRequest {}).await;
}

/// An enabled downgrade takes the cluster to the version before, by and by.
pub(super) async fn going_back_a_version(wire: &mut Wire) {
    use DowngradeAction::{Cancel, Enable, Validate};
    let ask = async |wire: &mut Wire, action: DowngradeAction, version: &str| {
        let request = DowngradeRequest { action: action.into(), version: version.into() };
        wire.downgrade(request).await;
    };
    ask(wire, Enable, "3.6").await;
    reach(wire, "3.6.0").await;
    ask(wire, Validate, "3.6").await;
    ask(wire, Validate, "3.5").await;
    ask(wire, Enable, "3.5").await;
    wire.put(put("a", "1")).await;
    wire.crash();
    reach(wire, "3.6.0").await;
    ask(wire, Cancel, "").await;
    reach(wire, "3.7.0").await;
    ask(wire, Validate, "3.6").await;
}

/// Waits until the storage has a version, and looks at what then is said of it.
async fn reach(wire: &mut Wire, version: &str) {
    let mut client = MaintenanceClient::new(wire.channel());
    let mut glances = interval(GLANCE_EVERY);
    for _ in 0..500 {
        let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
        if status.storage_version == version {
            break;
        }
        glances.tick().await;
    }
    wire.status(StatusRequest {}).await;
    let answer = wire.server.http_get("/version").unwrap_or_default();
    wire.write("GET /version", body(&answer));
}

/// A snapshot is a file of pages, and the hash of all of it.
pub(super) async fn taking_a_snapshot(wire: &mut Wire) {
    for key in ["a", "b", "c"] {
        wire.put(put(key, "1")).await;
    }
    let mut client = MaintenanceClient::new(wire.channel());
    let stream = match client.snapshot(SnapshotRequest {}).await {
        Ok(response) => response.into_inner(),
        Err(status) => return wire.refuse("snapshot", &status),
    };
    let mut stream = stream;
    let (mut file, mut shapes) = (Vec::new(), Vec::new());
    let mut last = bytes::Bytes::new();
    loop {
        match stream.message().await {
            Ok(Some(piece)) => {
                let bounded = piece.blob.len() <= 32 * 1024;
                shapes.push((piece.header.is_some(), piece.version, bounded));
                file.extend_from_slice(&last);
                last = piece.blob;
            }
            Ok(None) => break,
            Err(status) => return wire.refuse("snapshot", &status),
        }
    }
    shapes.dedup();
    wire.write("shapes of the pieces", format!("{shapes:?}"));
    wire.write("is the file made of pages?", (file.len() % 512 == 0).to_string());
    let right = Sha256::digest(&file)[..] == last[..];
    wire.write("is the last piece the hash of all others?", right.to_string());
}

pub(super) async fn asking_over_http(wire: &mut Wire) {
    for path in [
        "/version",
        "/health",
        "/health?serializable=true",
        "/health?exclude=NOSPACE",
        "/livez",
        "/livez?verbose",
        "/livez/serializable_read",
        "/readyz",
        "/readyz?verbose",
        "/readyz?exclude=linearizable_read&verbose",
        "/readyz/linearizable_read",
        "/readyz/data_corruption",
        "/readyz/serializable_read",
        "/readyz/non_learner",
        "/readyz/nothing",
        "/nothing",
        "/",
    ] {
        let answer = wire.server.http_get(path).unwrap_or_default();
        let status = answer.lines().next().unwrap_or_default().to_owned();
        // The checks are told in any order.
        let mut lines: Vec<_> = body(&answer).lines().collect();
        lines.sort_unstable();
        wire.write(format!("GET {path}"), format!("{status} {lines:?}"));
    }
    let has = |text: &str, name: &str| text.lines().any(|line| line.starts_with(name));
    let metrics = wire.server.http_get("/metrics").unwrap_or_default();
    for name in [
        "etcd_server_has_leader 1",
        "etcd_server_is_leader 1",
        "etcd_server_version{",
        "etcd_server_proposals_committed_total ",
        "etcd_mvcc_db_total_size_in_bytes ",
        "etcd_debugging_mvcc_keys_total ",
        "etcd_disk_wal_fsync_duration_seconds_bucket{",
        "process_resident_memory_bytes ",
        "grpc_server_handled_total{",
    ] {
        wire.write(format!("is {name} among the metrics?"), has(&metrics, name).to_string());
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(super) async fn calling_what_is_not_there(wire: &mut Wire) {
    for path in [
        "/etcdserverpb.KV/Nothing",
        "/etcdserverpb.Nothing/Range",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let mut grpc = tonic::client::Grpc::new(wire.channel());
        grpc.ready().await.expect("the server answers");
        let codec = tonic_prost::ProstCodec::<HashRequest, HashRequest>::default();
        let path_and_query = PathAndQuery::from_static(path);
        let answer = grpc.unary(Request::new(HashRequest {}), path_and_query, codec).await;
        wire.note(path, answer);
    }
    for service in ["", "etcdserverpb.KV"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(wire.channel()).check(request).await;
        wire.note(format!("health check of {service:?}"), answer);
    }
}

/// What the account service answers where there are no accounts.
pub(super) async fn being_without_accounts(wire: &mut Wire) {
    wire.auth_status(Default::default()).await;
    let somebody = AuthenticateRequest { name: "somebody".into(), password: "x".into() };
    wire.authenticate(somebody).await;
    wire.auth_enable(Default::default()).await;
    wire.auth_disable(Default::default()).await;
    wire.user_list(Default::default()).await;
    wire.role_list(Default::default()).await;
    wire.auth_status(Default::default()).await;
}
