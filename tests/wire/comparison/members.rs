//! Membership, as far as one member alone can show it.

use std::io::Cursor;
use std::time::Duration;

use kat::engine::bolt::{self, Item};
use kat::proto::etcdserverpb::auth_client::AuthClient;
use kat::proto::etcdserverpb::cluster_client::ClusterClient;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::lease_client::LeaseClient;
use kat::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kat::proto::etcdserverpb::watch_client::WatchClient;
use kat::proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthStatusRequest, AuthUserListRequest, AuthenticateRequest,
    DefragmentRequest, DowngradeRequest, HashKvRequest, LeaseGrantRequest, LeaseLeasesRequest,
    LeaseRevokeRequest, LeaseTimeToLiveRequest, Member, MemberAddRequest, MemberListRequest,
    MemberPromoteRequest, MemberRemoveRequest, MemberUpdateRequest, MoveLeaderRequest,
    RangeRequest, SnapshotRequest, StatusRequest, WatchRequest, WatchResponse,
};
use kat::proto::v3lockpb::LockRequest;
use kat::proto::v3lockpb::lock_client::LockClient;
use tokio::time::{interval, timeout};
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::GLANCE_EVERY;
use super::accounts::enforce;
use super::wire::Wire;
use super::words::{Operation as _, all, compact, create, put, txn, watch};

/// The id of a member that joins depends on the time.
fn hide(members: &mut [Member], own: u64) {
    for member in members.iter_mut().filter(|member| member.id != own) {
        member.id = 1;
    }
    members.sort_by_key(|member| member.peer_ur_ls.clone());
}

pub(super) async fn add(wire: &mut Wire, urls: &[&str], is_learner: bool) -> u64 {
    let own = wire.member_id().await;
    let peer_ur_ls = urls.iter().map(|url| (*url).to_owned()).collect();
    let request = MemberAddRequest { peer_ur_ls, is_learner };
    let asked = format!("{request:?}");
    let mut answer = ClusterClient::new(wire.channel()).member_add(request).await;
    let mut id = 0;
    if let Ok(response) = &mut answer {
        let message = response.get_mut();
        let member = message.member.as_mut().expect("the member that was added");
        id = std::mem::replace(&mut member.id, 1);
        hide(&mut message.members, own);
    }
    wire.note(asked, answer);
    id
}

async fn update(wire: &mut Wire, name: &str, id: u64, url: &str) {
    let own = wire.member_id().await;
    let request = MemberUpdateRequest { id, peer_ur_ls: vec![url.to_owned()] };
    let mut answer = ClusterClient::new(wire.channel()).member_update(request).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("update {name} to {url}"), answer);
}

pub(super) async fn remove(wire: &mut Wire, name: &str, id: u64) {
    let own = wire.member_id().await;
    let mut answer =
        ClusterClient::new(wire.channel()).member_remove(MemberRemoveRequest { id }).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("remove {name}"), answer);
}

pub(super) async fn promote(wire: &mut Wire, name: &str, id: u64) {
    let answer =
        ClusterClient::new(wire.channel()).member_promote(MemberPromoteRequest { id }).await;
    wire.note(format!("promote {name}"), answer);
}

async fn list(wire: &mut Wire, linearizable: bool) {
    let own = wire.member_id().await;
    let request = MemberListRequest { linearizable };
    let mut answer = ClusterClient::new(wire.channel()).member_list(request).await;
    if let Ok(response) = &mut answer {
        hide(&mut response.get_mut().members, own);
    }
    wire.note(format!("list, linearizable {linearizable}"), answer);
}

/// What URLs may be, and that each is told in one way, however it was written.
pub(super) async fn writing_urls_in_other_ways(wire: &mut Wire) {
    for urls in [
        &["HTTP://UPPER:1"][..],
        &[" http://blanks:1\n"],
        &["http://port:99999"],
        &["http://port:"],
        &["http://port:01"],
        &["http://port:x"],
        &["http://:7"],
        &["http://query:1?"],
        &["http://query:1?a=b c#d"],
        &["http://fragment:1#a b"],
        &["http://fragment:1#%zz"],
        &["http://user:secret@name:1"],
        &["http://user:@name:1"],
        &["http://@name:1"],
        &["http://user@other@name:1"],
        &["http://a user@name:1"],
        &["http://a name:1"],
        &["http://a|name:1"],
        &["http://%41:1"],
        &["http://%zz:1"],
        &["http://\u{e9}:1"],
        &["http://%c3%a8:1"],
        &["http://a\u{7f}name:1"],
        &["http://two:1:2"],
        &["http://[::1]:1"],
        &["http://[::1]"],
        &["http://[::2]:"],
        &["http://[::1]x:1"],
        &["http://[fe80::1%25en%30]:1"],
        &["http://[fe80::1%en0]:1"],
        &["http://[name]:1"],
        &["http://name]:1"],
        &["http:name:1"],
        &["http:///name:1"],
        &["https://slash:1/"],
        &["unix://"],
        &["unix:name"],
        &["unix:/path"],
        &["unix:///a path"],
        &["unix:///another%20path"],
        &["unixs://host/\u{e9}?query#fragment"],
        &["unix://a name"],
        &["unix://a:b:c"],
        &["http://b:1", "HTTP://a:1", "unix://"],
        &["http://last:1", ""],
    ] {
        let learner = add(wire, urls, true).await;
        if learner != 0 {
            remove(wire, "the learner", learner).await;
        }
    }
}

pub(super) async fn refusing_changes(wire: &mut Wire) {
    let own = wire.member_id().await;
    list(wire, true).await;
    list(wire, false).await;
    for urls in [
        &[][..],
        &["nonsense"],
        &["ftp://127.0.0.1:1"],
        &["http://127.0.0.1"],
        &["http://127.0.0.1:1/path"],
        &["http://127.0.0.1:2380"],
        &["http://127.0.0.1:1", "http://127.0.0.1:2380"],
    ] {
        add(wire, urls, false).await;
        add(wire, urls, true).await;
    }
    for (name, id) in [("nobody", 7), ("itself", own)] {
        promote(wire, name, id).await;
    }
    remove(wire, "nobody", 7).await;
    remove(wire, "itself", own).await;
    update(wire, "nobody", 7, "http://127.0.0.1:3").await;
    list(wire, true).await;
}

pub(super) async fn changing_urls(wire: &mut Wire) {
    let own = wire.member_id().await;
    update(wire, "itself", own, "http://127.0.0.1:4").await;
    list(wire, true).await;
    wire.put(put("a", "alone")).await;
    wire.crash();
    list(wire, true).await;
    wire.range(all()).await;
}

pub(super) async fn joining_a_learner(wire: &mut Wire) {
    let learner = add(wire, &["http://127.0.0.1:1"], true).await;
    // With one more URL, so that the id cannot be the same within a second.
    add(wire, &["http://127.0.0.1:1", "http://127.0.0.1:9"], true).await;
    add(wire, &["http://127.0.0.1:2"], true).await;
    list(wire, true).await;
    promote(wire, "the learner", learner).await;
    update(wire, "the learner", learner, "http://127.0.0.1:3").await;
    list(wire, false).await;
    wire.put(put("a", "with a learner")).await;
    wire.crash();
    list(wire, true).await;
    // Not before a crash: what etcd then makes of the refused change varies.
    update(wire, "the learner", learner, "http://127.0.0.1:2380").await;
    list(wire, true).await;
    remove(wire, "the learner", learner).await;
    remove(wire, "the learner", learner).await;
    promote(wire, "the learner", learner).await;
    list(wire, true).await;
    wire.put(put("a", "alone")).await;
    wire.range(all()).await;
}

/// A second voter that never starts: nothing can be agreed on any more.
pub(super) async fn losing_quorum(wire: &mut Wire) {
    let own = wire.member_id().await;
    wire.put(put("a", "1")).await;
    let added = add(wire, &["http://127.0.0.1:1"], false).await;
    list(wire, false).await;
    // It comes to the log before the leader gives up.
    wire.put(put("a", "2")).await;
    let (mut kv, mut leases) = (KvClient::new(wire.channel()), LeaseClient::new(wire.channel()));
    let mut other_kv = kv.clone();
    let (mut cluster, mut upkeep) =
        (ClusterClient::new(wire.channel()), MaintenanceClient::new(wire.channel()));
    let (mut others, mut more) = (cluster.clone(), upkeep.clone());
    let validate = DowngradeRequest { action: 0, version: "3.6".into() };
    let answers = tokio::join!(
        kv.put(put("a", "3")),
        other_kv.range(all()),
        leases.lease_grant(LeaseGrantRequest { ttl: 10, id: 1 }),
        cluster.member_list(MemberListRequest { linearizable: true }),
        others.member_promote(MemberPromoteRequest { id: own }),
        upkeep.downgrade(validate),
        more.alarm(AlarmRequest::default()),
    );
    wire.note("put without a leader", answers.0);
    wire.note("range without a leader", answers.1);
    wire.note("grant without a leader", answers.2);
    wire.note("list without a leader", answers.3);
    wire.note("promote without a leader", answers.4);
    wire.note("downgrade without a leader", answers.5);
    wire.note("alarm without a leader", answers.6);
    // No majority is asked about what is no version.
    let nonsense = DowngradeRequest { action: 0, version: "nonsense".into() };
    let answer = upkeep.downgrade(nonsense).await;
    wire.note("downgrade to nonsense without a leader", answer);
    list(wire, false).await;
    wire.range(RangeRequest { serializable: true, ..all() }).await;
    wire.status(StatusRequest {}).await;
    wire.hash_kv(HashKvRequest { revision: 0 }).await;
    wire.defragment(DefragmentRequest {}).await;
    wire.move_leader(MoveLeaderRequest { target_id: own }).await;
    for path in ["/health", "/health?serializable=true", "/livez", "/readyz/serializable_read"] {
        let answer = wire.server.http_get(path).unwrap_or_default();
        let status = answer.lines().next().unwrap_or_default().to_owned();
        let told = answer.lines().last().unwrap_or_default();
        wire.write(format!("GET {path}"), format!("{status} {told}"));
    }
    add(wire, &["http://127.0.0.1:2"], false).await;
    add(wire, &["http://127.0.0.1:2"], true).await;
    remove(wire, "itself", own).await;
    // What would be allowed waits for a quorum.
    let peer_ur_ls = vec!["http://127.0.0.1:3".to_owned()];
    let moved = others.member_update(MemberUpdateRequest { id: own, peer_ur_ls });
    let gone = cluster.member_remove(MemberRemoveRequest { id: added });
    let waits = tokio::join!(
        timeout(Duration::from_secs(9), moved),
        timeout(Duration::from_secs(9), gone),
    );
    wire.write("update without a leader", format!("answered: {}", waits.0.is_ok()));
    wire.write("remove without a leader", format!("answered: {}", waits.1.is_ok()));
    list(wire, false).await;
}

/// Marks a question of a client that wants to hear at once that nobody leads.
fn wanting_a_leader<T>(question: T) -> Request<T> {
    let mut request = Request::new(question);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// Opens a stream of watchers that ends when nobody leads.
async fn watch_a_leader(wire: &Wire) -> Result<Streaming<WatchResponse>, Status> {
    let create = WatchRequest { request_union: Some(create(watch("a", ""))) };
    let requests = tokio_stream::iter([create]).chain(tokio_stream::pending());
    let answer = WatchClient::new(wire.channel()).watch(wanting_a_leader(requests)).await;
    answer.map(Response::into_inner)
}

/// What needs a leader says in time that there is none, and the rest goes on.
pub(super) async fn asking_without_a_leader(wire: &mut Wire) {
    wire.lease_grant(600, 1).await;
    wire.put(put("a", "1")).await;
    let mut led = watch_a_leader(wire).await.expect("a stream");
    led.message().await.expect("it is created");
    let mut unled = wire.watching();
    wire.tell(&unled, create(watch("a", ""))).await;
    wire.hear(&mut unled, 1).await;
    add(wire, &["http://127.0.0.1:1"], false).await;
    let told = led.message().await;
    wire.write("the stream that wants a leader", format!("{told:?}"));
    lose_leader(wire).await;
    let again = watch_a_leader(wire).await.map(drop).map_err(|why| why.to_string());
    wire.write("another one", format!("{again:?}"));
    for serializable in [false, true] {
        let request = RangeRequest { serializable, ..all() };
        let answer = KvClient::new(wire.channel()).range(wanting_a_leader(request)).await;
        wire.note("a range that wants a leader", answer);
    }
    let (mut kv, mut leases) = (KvClient::new(wire.channel()), LeaseClient::new(wire.channel()));
    let (mut others, mut more) = (kv.clone(), leases.clone());
    let (mut auth, mut lock) = (AuthClient::new(wire.channel()), LockClient::new(wire.channel()));
    let (mut users, mut door) = (auth.clone(), auth.clone());
    let answers = tokio::join!(
        kv.txn(txn([], [put("a", "2").op()], [])),
        others.compact(compact(1)),
        leases.lease_time_to_live(LeaseTimeToLiveRequest { id: 1, keys: true }),
        more.lease_revoke(LeaseRevokeRequest { id: 1 }),
        auth.auth_status(AuthStatusRequest {}),
        users.user_list(AuthUserListRequest {}),
        door.authenticate(AuthenticateRequest { name: "root".into(), password: "1".into() }),
        lock.lock(LockRequest { name: "lock".into(), lease: 1 }),
    );
    wire.note("txn without a leader", answers.0);
    wire.note("compact without a leader", answers.1);
    wire.note("time to live without a leader", answers.2);
    wire.note("revoke without a leader", answers.3);
    wire.note("auth status without a leader", answers.4);
    wire.note("users without a leader", answers.5);
    wire.note("login without a leader", answers.6);
    wire.note("lock without a leader", answers.7);
    wire.keep_alive(&[1]).await;
    wire.lease_leases(LeaseLeasesRequest {}).await;
    wire.tell(&unled, create(watch("b", ""))).await;
    wire.hear(&mut unled, 1).await;
}

/// Waits until the server knows no leader.
async fn lose_leader(wire: &Wire) {
    let mut client = MaintenanceClient::new(wire.channel());
    let mut glances = interval(GLANCE_EVERY);
    for _ in 0..500 {
        let status = client.status(StatusRequest {}).await.expect("a status").into_inner();
        if status.leader == 0 {
            return;
        }
        glances.tick().await;
    }
    panic!("it is still led");
}

/// Alarms stop writes, but no change of members.
pub(super) async fn changing_in_alarm(wire: &mut Wire) {
    let own = wire.member_id().await;
    for alarm in [AlarmType::Nospace, AlarmType::Corrupt] {
        let alarm = alarm.into();
        wire.alarm(AlarmRequest { action: 1, member_id: own, alarm }).await;
        wire.put(put("a", "1")).await;
        let url = format!("http://127.0.0.1:{alarm}");
        let learner = add(wire, &[&url], true).await;
        promote(wire, "the learner", learner).await;
        update(wire, "the learner", learner, "http://127.0.0.1:9").await;
        list(wire, true).await;
        remove(wire, "the learner", learner).await;
        for (action, version) in [(0, "3.6"), (1, "3.6"), (2, "")] {
            wire.downgrade(DowngradeRequest { action, version: version.to_owned() }).await;
        }
        wire.move_leader(MoveLeaderRequest { target_id: own }).await;
    }
}

/// Whoever lost all others goes on alone, with what was agreed on before.
pub(super) async fn going_on_alone(wire: &mut Wire) {
    wire.put(put("a", "1")).await;
    add(wire, &["http://127.0.0.1:1"], true).await;
    add(wire, &["http://127.0.0.1:2", "http://127.0.0.1:9"], true).await;
    let voter = add(wire, &["http://127.0.0.1:3"], false).await;
    // Nobody agrees to it any more.
    wire.put(put("a", "2")).await;
    list(wire, false).await;
    wire.crash_and_add(&["--force-new-cluster"]);
    list(wire, true).await;
    wire.range(all()).await;
    remove(wire, "the voter", voter).await;
    wire.put(put("a", "3")).await;
    add(wire, &["http://127.0.0.1:3"], true).await;
    list(wire, true).await;
    wire.crash();
    list(wire, true).await;
    wire.range(all()).await;
    // What is put right before a crash, etcd may lose here: it takes for committed
    // what its log said of that when it last wrote. So nothing is put.
    wire.crash_and_add(&["--force-new-cluster"]);
    list(wire, true).await;
    wire.range(all()).await;
    wire.hash_kv(HashKvRequest { revision: 0 }).await;
}

/// What a snapshot tells of who was there: stock etcd reads it.
pub(super) async fn leaving_traces(wire: &mut Wire) {
    let mut ids = Vec::new();
    for (name, url) in [("FIRST", "http://127.0.0.1:1"), ("SECOND", "http://127.0.0.1:2")] {
        let id = add(wire, &[url], true).await;
        wire.hide(format!("{id:x}"), &format!("hex-{name}"));
        wire.hide(id.to_string(), &format!("dec-{name}"));
        ids.push(id);
        if name == "FIRST" {
            update(wire, name, id, "http://127.0.0.1:3").await;
            remove(wire, name, id).await;
        }
    }
    update(wire, "the second", ids[1], "http://127.0.0.1:4").await;
    look_into(wire).await;
    wire.downgrade(DowngradeRequest { action: 1, version: "3.6".to_owned() }).await;
    look_into(wire).await;
}

/// Takes a snapshot, and writes down what it says of members.
async fn look_into(wire: &mut Wire) {
    let mut client = MaintenanceClient::new(wire.channel());
    let answer = client.snapshot(SnapshotRequest {}).await;
    let mut pieces = answer.expect("a snapshot").into_inner();
    let mut file = Vec::new();
    while let Some(piece) = pieces.message().await.expect("a piece") {
        file.extend(piece.blob);
    }
    // Behind it comes its hash.
    file.truncate(file.len() - 32);
    let (mut bucket, mut told) = (String::new(), Vec::new());
    let taken = bolt::read(Cursor::new(file), |item| {
        match item {
            Item::Bucket(name) => bucket = String::from_utf8_lossy(name).into_owned(),
            Item::Row(key, value) => {
                let [key, value] = [key, value].map(String::from_utf8_lossy);
                let is_told = match bucket.as_str() {
                    "members" | "members_removed" | "cluster" => true,
                    "meta" => ["confState", "storageVersion"].contains(&&*key),
                    _ => false,
                };
                if is_told {
                    told.push(format!("{bucket}: {key}: {value}"));
                }
            }
            Item::End => {}
        }
        Ok(())
    });
    taken.expect("it is a file");
    let hidden = |row: String, (id, name): &(String, String)| row.replace(id, name);
    let mut told: Vec<_> =
        told.into_iter().map(|row| wire.secrets.iter().fold(row, hidden)).collect();
    // The order of names that were drawn by chance means nothing.
    told.sort_unstable();
    wire.write("what the snapshot says of members", told.join("\n"));
}

/// Changes are root's; the list is for everybody who is known.
pub(super) async fn asking_as_somebody(wire: &mut Wire) {
    let own = wire.member_id().await;
    enforce(wire).await;
    for (user, password) in [("nobody", ""), ("alice", "secret"), ("root", "r00t")] {
        wire.token = None;
        if user != "nobody" {
            wire.log_in(user, password).await;
        }
        for url in ["nonsense", "http://127.0.0.1:2380"] {
            let peer_ur_ls = vec![url.to_owned()];
            wire.member_add(MemberAddRequest { peer_ur_ls, is_learner: true }).await;
        }
        for id in [7, own] {
            let peer_ur_ls = vec!["http://127.0.0.1:2381".to_owned()];
            wire.member_update(MemberUpdateRequest { id, peer_ur_ls }).await;
            wire.member_promote(MemberPromoteRequest { id }).await;
            wire.member_remove(MemberRemoveRequest { id }).await;
            wire.move_leader(MoveLeaderRequest { target_id: id }).await;
        }
        for linearizable in [false, true] {
            wire.member_list(MemberListRequest { linearizable }).await;
        }
        for (action, version) in [(0, "3.6"), (0, "2.0"), (1, "nonsense"), (2, ""), (9, "")] {
            wire.downgrade(DowngradeRequest { action, version: version.to_owned() }).await;
        }
        wire.status(StatusRequest {}).await;
    }
}

/// The operator answers for quorum.
pub(super) async fn changing_without_checks(wire: &mut Wire) {
    let first = add(wire, &["http://127.0.0.1:1"], true).await;
    // So that the ids differ: a second each.
    let second = add(wire, &["http://127.0.0.1:2", "https://localhost:2"], true).await;
    add(wire, &["http://127.0.0.1:3"], true).await;
    promote(wire, "the first", first).await;
    remove(wire, "the second", second).await;
    add(wire, &["http://127.0.0.1:3"], true).await;
    wire.put(put("a", "1")).await;
    list(wire, true).await;
    add(wire, &["http://127.0.0.1:4"], false).await;
    list(wire, false).await;
    // Not refused for want of started members, but by nobody at all.
    let mut cluster = ClusterClient::new(wire.channel());
    let peer_ur_ls = vec!["http://127.0.0.1:5".to_owned()];
    let request = MemberAddRequest { peer_ur_ls, is_learner: false };
    let waits = timeout(Duration::from_secs(3), cluster.member_add(request)).await;
    wire.write("one voter more", format!("answered: {}", waits.is_ok()));
    list(wire, false).await;
}
