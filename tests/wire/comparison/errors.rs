//! Every error that etcd has a text for: provoked on both servers, or why not.
//!
//! [`TABLE`] is the list. What a subject here provokes must be seen, and an error
//! that is seen must be in the list.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kat::proto::authpb::UserAddOptions;
use kat::proto::authpb::permission::Type::Read;
use kat::proto::etcdserverpb::alarm_request::AlarmAction;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kat::proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    LeaseRevokeRequest, MoveLeaderRequest, PutRequest, RangeRequest, WatchCreateRequest,
};
use kat::proto::v3electionpb::{CampaignRequest, LeaderKey, LeaderRequest, ProclaimRequest};
use kat::proto::v3lockpb::LockRequest;
use kat::proto::v3lockpb::lock_client::LockClient;
use tokio::time::interval;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;

use super::GLANCE_EVERY;
use super::accounts::{
    add_role, add_user, delete_role, delete_user, enforce, forbid, grant_role, permit, revoke_role,
};
use super::members;
use super::wire::{IN_VAIN, Wire};
use super::words::{Operation, all, compact, create, delete, get, put, range, txn, watch};

/// Where an error is provoked.
enum Where {
    /// Here.
    Here,
    /// In another subject, which needs servers of another kind.
    In(&'static str),
    /// Nowhere, for that reason.
    Not(&'static str),
}
use Where::{Here, In, Not};

const CLUSTER: Where = Not("it takes several members");
const DOWNGRADE: Where = In("maintenance::downgrading");
const QUORUM: Where = In("members::losing_quorum");
const LEARNER: Where = In("members::joining_a_learner");
const OVERLOAD: Where = Not("it takes a member that cannot keep up");
const SIGNED: Where = In("tokens::signed_tokens_are_worth_the_same");

/// An answer's code, its text, and who provokes it.
const TABLE: &[(&str, &str, Where)] = &[
    ("InvalidArgument", "etcdserver: key is not provided", Here),
    ("InvalidArgument", "etcdserver: key not found", Here),
    ("InvalidArgument", "etcdserver: value is provided", Here),
    ("InvalidArgument", "etcdserver: lease is provided", Here),
    ("InvalidArgument", "etcdserver: too many operations in txn request", Here),
    ("InvalidArgument", "etcdserver: duplicate key given in txn request", Here),
    ("InvalidArgument", "etcdserver: invalid client api version", Here),
    ("InvalidArgument", "etcdserver: invalid sort option", Here),
    ("InvalidArgument", "etcdserver: given member URLs are invalid", Here),
    ("InvalidArgument", "etcdserver: request is too large", Here),
    ("InvalidArgument", "etcdserver: user name is empty", Here),
    ("InvalidArgument", "etcdserver: role name is empty", Here),
    ("InvalidArgument", "etcdserver: authentication failed, invalid user ID or password", Here),
    ("InvalidArgument", "etcdserver: permission not given", Here),
    ("InvalidArgument", "etcdserver: invalid auth management", Here),
    ("InvalidArgument", "etcdserver: revision of auth store is old", SIGNED),
    ("InvalidArgument", "etcdserver: wrong downgrade target version format", DOWNGRADE),
    ("InvalidArgument", "etcdserver: invalid downgrade target version", DOWNGRADE),
    ("OutOfRange", "etcdserver: mvcc: required revision has been compacted", Here),
    ("OutOfRange", "etcdserver: mvcc: required revision is a future revision", Here),
    ("OutOfRange", "etcdserver: too large lease TTL", Here),
    ("ResourceExhausted", "etcdserver: mvcc: database space exceeded", Here),
    ("Unknown", "etcdserver: too many requests", OVERLOAD),
    ("NotFound", "etcdserver: requested lease not found", Here),
    ("NotFound", "etcdserver: member not found", Here),
    ("FailedPrecondition", "etcdserver: lease already exists", Here),
    (
        "FailedPrecondition",
        "etcdserver: member ID already exist",
        Not("an id follows from URLs, which are refused first, and the time"),
    ),
    ("FailedPrecondition", "etcdserver: Peer URLs already exists", Here),
    ("Unknown", "etcdserver: re-configuration failed due to not enough started members", Here),
    ("FailedPrecondition", "etcdserver: can only promote a learner member", Here),
    (
        "FailedPrecondition",
        "etcdserver: can only promote a learner member which is in sync with leader",
        LEARNER,
    ),
    ("FailedPrecondition", "etcdserver: too many learner members in cluster", LEARNER),
    ("FailedPrecondition", "etcdserver: cluster ID mismatch", Not("only members hear it")),
    ("FailedPrecondition", "etcdserver: root user does not exist", Here),
    ("FailedPrecondition", "etcdserver: root user does not have root role", Here),
    ("FailedPrecondition", "etcdserver: user name already exists", Here),
    ("FailedPrecondition", "etcdserver: user name not found", Here),
    ("FailedPrecondition", "etcdserver: role name already exists", Here),
    ("FailedPrecondition", "etcdserver: role name not found", Here),
    ("FailedPrecondition", "etcdserver: role is not granted to the user", Here),
    ("FailedPrecondition", "etcdserver: permission is not granted to the role", Here),
    ("FailedPrecondition", "etcdserver: authentication is not enabled", Here),
    ("FailedPrecondition", "etcdserver: not leader", QUORUM),
    (
        "FailedPrecondition",
        "etcdserver: not capable",
        Not("no cluster of this version lacks anything"),
    ),
    ("FailedPrecondition", "etcdserver: rpc not supported for learner", CLUSTER),
    ("FailedPrecondition", "etcdserver: bad leader transferee", Here),
    (
        "FailedPrecondition",
        "etcdserver: cluster version not found during downgrade",
        Not("it lasts no longer than a start"),
    ),
    (
        "FailedPrecondition",
        "etcdserver: cluster has a downgrade job in progress",
        In("maintenance::going_back_a_version"),
    ),
    (
        "FailedPrecondition",
        "etcdserver: no inflight downgrade job",
        Not("stock etcd never says so"),
    ),
    ("PermissionDenied", "etcdserver: permission denied", Here),
    ("Unauthenticated", "etcdserver: invalid auth token", Here),
    ("Unavailable", "etcdserver: no leader", CLUSTER),
    ("Unavailable", "etcdserver: leader changed", CLUSTER),
    ("Unavailable", "etcdserver: server stopped", Not("who hears it depends on the moment")),
    ("Unavailable", "etcdserver: request timed out", QUORUM),
    (
        "Unavailable",
        "etcdserver: request timed out, possibly due to previous leader failure",
        CLUSTER,
    ),
    ("Unavailable", "etcdserver: request timed out, possibly due to connection lost", CLUSTER),
    (
        "Unavailable",
        "etcdserver: request timed out, waiting for the applied index took too long",
        OVERLOAD,
    ),
    ("Unavailable", "etcdserver: unhealthy cluster", QUORUM),
    ("DataLoss", "etcdserver: corrupt cluster", Here),
    ("Canceled", "etcdserver: watch canceled", Not("who hears it depends on the moment")),
    ("Canceled", "etcdserver: request canceled", Not("it stays within the server")),
    ("DeadlineExceeded", "context deadline exceeded", Not("the client says so first")),
    // What a watcher is told of its end.
    ("", "mvcc: watcher range is empty", Here),
    ("", "mvcc: duplicate watch ID provided on the WatchStream", Here),
    ("", "etcdserver: mvcc: required revision has been compacted", Here),
    ("", "rpc error: code = PermissionDenied desc = etcdserver: permission denied", Here),
    ("", "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", Here),
    ("", "rpc error: code = InvalidArgument desc = etcdserver: user name is empty", Here),
    (
        "",
        "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
        SIGNED,
    ),
    // What other layers say.
    ("Unimplemented", "RangeStream does not support custom sort orders", Here),
    ("Unimplemented", "RangeStream does not support revision filters", Here),
    ("Unknown", "mutex: session is expired", Here),
    ("Unknown", "election: no leader", Here),
    ("Unknown", "election: not leader", Here),
    ("Unknown", "\\\"leader\\\" field must be provided", Here),
    ("Unknown", "auth: authentication failed, password was given for no password user", Here),
    ("Unknown", "bcrypt: password length exceeds 72 bytes", Here),
    ("Unknown", "not a primary lessor", CLUSTER),
    ("Unknown", "etcdserver: request timed out, leader transfer took too long", CLUSTER),
    (
        "ResourceExhausted",
        "grpc: received message larger than max",
        In("writes::writing_far_too_much"),
    ),
    ("Unimplemented", "unknown service nothing.Nothing", Here),
    ("Unimplemented", "unknown method Nothing for service etcdserverpb.KV", Here),
];

/// How many errors etcd's own list of them has.
const OF_ETCD: usize = 63;

#[test]
fn the_list_is_whole_and_names_who_provokes() {
    // One that has etcd's prefix is in no list; one of the list goes without.
    let is_of_etcd = |text: &str| {
        text.starts_with("etcdserver: ") && !text.ends_with("leader transfer took too long")
            || text == "context deadline exceeded"
    };
    let rows = TABLE.iter().filter(|(code, text, _)| !code.is_empty() && is_of_etcd(text));
    let texts: BTreeSet<_> = rows.map(|(_, text, _)| text).collect();
    assert_eq!(texts.len(), OF_ETCD);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/comparison");
    for (_, text, place) in TABLE {
        let In(subject) = place else { continue };
        let (module, name) = subject.split_once("::").expect("module::name");
        let source = fs::read_to_string(folder.join(module).with_extension("rs"));
        assert!(source.expect("a module").contains(&format!("fn {name}(")), "{text}: {subject}");
    }
}

/// Asks for what is refused, one way or another, and then who was seen.
pub(super) async fn provoking_them_all(wire: &mut Wire) {
    keys(wire).await;
    txns_and_leases(wire).await;
    membership(wire).await;
    versions_and_methods(wire).await;
    watchers(wire).await;
    recipes(wire).await;
    alarms(wire).await;
    accounts(wire).await;
    somebody(wire).await;
    account_for(wire);
}

/// Writes down which errors were seen, and which are nowhere in the table.
fn account_for(wire: &mut Wire) {
    let answers: Vec<_> = wire.said.iter().map(|exchange| exchange.answered.clone()).collect();
    let is_in = |answer: &str, (code, text, _): &(&str, &str, Where)| {
        if code.is_empty() {
            answer.contains(&format!("cancel_reason: \"{text}\""))
        } else if text.starts_with("grpc: ") {
            answer.starts_with(&format!("{code} \"{text}"))
        } else {
            answer == format!("{code} \"{text}\"")
        }
    };
    for row in TABLE {
        let is_seen = answers.iter().any(|answer| is_in(answer, row));
        let verdict = match (&row.2, is_seen) {
            (Here, false) => IN_VAIN.to_owned(),
            (Here, true) => "seen".to_owned(),
            (In(subject), _) => format!("see {subject}"),
            (Not(why), false) => format!("not seen: {why}"),
            (Not(why), true) => format!("{IN_VAIN}: it was seen, although {why}"),
        };
        wire.write(format!("the error {:?} {}", row.0, row.1), verdict);
    }
    let codes: BTreeSet<_> =
        TABLE.iter().map(|row| row.0).filter(|code| !code.is_empty()).collect();
    let is_error =
        |answer: &str| codes.iter().any(|code| answer.starts_with(&format!("{code} \"")));
    for answer in answers.iter().filter(|answer| is_error(answer)) {
        if !TABLE.iter().any(|row| is_in(answer, row)) {
            wire.write(format!("no row for {answer}"), IN_VAIN);
        }
    }
}

async fn keys(wire: &mut Wire) {
    wire.range(get("")).await;
    wire.put(put("a", "1")).await;
    wire.put(PutRequest { ignore_value: true, ..put("missing", "") }).await;
    wire.put(PutRequest { ignore_value: true, ..put("a", "1") }).await;
    wire.put(PutRequest { ignore_lease: true, lease: 1, ..put("a", "1") }).await;
    wire.put(PutRequest { lease: 77, ..put("a", "1") }).await;
    wire.range(RangeRequest { sort_order: 9, ..all() }).await;
    wire.range(RangeRequest { revision: 99, ..all() }).await;
    let large = PutRequest { value: vec![b'x'; 1_600_000].into(), ..put("large", "") };
    let answer = KvClient::new(wire.channel()).put(large).await;
    wire.note("a put of 1,600,000 bytes", answer);
    let sort_order = SortOrder::Descend.into();
    wire.range_stream(RangeRequest { sort_order, ..all() }).await;
    let sort_target = SortTarget::Value.into();
    wire.range_stream(RangeRequest { sort_target, sort_order, ..all() }).await;
    wire.range_stream(RangeRequest { min_mod_revision: 1, ..all() }).await;
    wire.put(put("a", "2")).await;
    wire.compact(compact(3)).await;
    wire.compact(compact(3)).await;
    wire.compact(compact(99)).await;
    wire.range(RangeRequest { revision: 2, ..all() }).await;
    wire.range_stream(RangeRequest { revision: 2, ..all() }).await;
}

async fn txns_and_leases(wire: &mut Wire) {
    let mut many = txn([], [], []);
    many.failure = vec![get("a").op(); 129];
    wire.txn(many).await;
    wire.txn(txn([], [put("a", "1").op(), put("a", "2").op()], [])).await;
    wire.lease_grant(9_000_000_001, 1).await;
    wire.lease_grant(600, 1).await;
    wire.lease_grant(600, 1).await;
    wire.lease_revoke(LeaseRevokeRequest { id: 77 }).await;
}

async fn membership(wire: &mut Wire) {
    let own = wire.member_id().await;
    members::add(wire, &["nonsense"], false).await;
    members::add(wire, &["http://127.0.0.1:2380"], false).await;
    members::remove(wire, "itself", own).await;
    members::promote(wire, "itself", own).await;
    members::promote(wire, "nobody", 7).await;
    wire.move_leader(MoveLeaderRequest { target_id: 7 }).await;
}

async fn versions_and_methods(wire: &mut Wire) {
    let mut request = wire.signed(get("a"));
    let value = MetadataValue::try_from(&b"3.\xff"[..]).expect("HTTP lets it pass");
    request.metadata_mut().insert("client-api-version", value);
    let answer = KvClient::new(wire.channel()).range(request).await;
    wire.note("a range of an unreadable version", answer);
    for path in ["/nothing.Nothing/Nothing", "/etcdserverpb.KV/Nothing"] {
        let mut client = tonic::client::Grpc::new(wire.channel());
        client.ready().await.expect("the server is there");
        let codec = tonic_prost::ProstCodec::<RangeRequest, RangeRequest>::default();
        let request = wire.signed(RangeRequest::default());
        let answer = client.unary(request, PathAndQuery::from_static(path), codec).await;
        wire.note(path, answer);
    }
}

async fn watchers(wire: &mut Wire) {
    let mut stream = wire.watching();
    for request in [
        watch("z", "a"),
        WatchCreateRequest { watch_id: 5, ..watch("a", "") },
        WatchCreateRequest { watch_id: 5, ..watch("a", "") },
        WatchCreateRequest { start_revision: -1, ..watch("a", "") },
    ] {
        wire.tell(&stream, create(request)).await;
        wire.hear(&mut stream, 1).await;
    }
}

async fn recipes(wire: &mut Wire) {
    wire.lease_grant(600, 0xa1).await;
    wire.lease_grant(600, 0xb2).await;
    let lock = |lease| LockRequest { name: "mine".into(), lease };
    wire.lock(lock(0xa1)).await;
    let mut client = LockClient::new(wire.channel());
    let waiting = tokio::spawn(async move { client.lock(lock(0xb2)).await });
    let queued = || async {
        let mut kv = KvClient::new(wire.channel());
        kv.range(range("mine/b2", "")).await.expect("a range").into_inner().count == 1
    };
    let mut glances = interval(GLANCE_EVERY);
    while !queued().await {
        glances.tick().await;
    }
    // It waits for the first, and finds itself gone when that goes.
    wire.delete_range(delete("mine/b2")).await;
    wire.delete_range(delete("mine/a1")).await;
    let answer = waiting.await.expect("it does not panic");
    wire.note("the lock whose key vanished", answer);

    wire.leader(LeaderRequest { name: "seat".into() }).await;
    let campaign = CampaignRequest { name: "seat".into(), lease: 0xa1, value: "me".into() };
    let leader = wire.campaign(campaign).await.and_then(|answer| answer.leader);
    let leader = leader.map(|key| LeaderKey { rev: 1, ..key });
    for leader in [leader, None] {
        wire.proclaim(ProclaimRequest { leader, value: "hear".into() }).await;
    }
}

async fn alarms(wire: &mut Wire) {
    let member_id = wire.member_id().await;
    for alarm in [AlarmType::Nospace, AlarmType::Corrupt] {
        for action in [AlarmAction::Activate, AlarmAction::Deactivate] {
            let (action, alarm) = (action.into(), alarm.into());
            wire.alarm(AlarmRequest { action, member_id, alarm }).await;
            wire.put(put("a", "1")).await;
        }
    }
}

async fn accounts(wire: &mut Wire) {
    wire.log_in("root", "r00t").await;
    wire.auth_enable(Default::default()).await;
    add_user(wire, "root", "r00t").await;
    add_user(wire, "root", "r00t").await;
    wire.auth_enable(Default::default()).await;
    add_user(wire, "", "1").await;
    add_user(wire, "long", &"x".repeat(73)).await;
    delete_user(wire, "nobody").await;
    add_role(wire, "").await;
    add_role(wire, "twice").await;
    add_role(wire, "twice").await;
    delete_role(wire, "nothing").await;
    revoke_role(wire, "root", "twice").await;
    permit(wire, "nothing", Read, "a", "").await;
    forbid(wire, "twice", "a", "").await;
    let name = "twice".to_owned();
    wire.role_grant_permission(AuthRoleGrantPermissionRequest { name, perm: None }).await;
    grant_role(wire, "root", "nothing").await;
    let options = Some(UserAddOptions { no_password: true });
    let name = "certified".to_owned();
    wire.user_add(AuthUserAddRequest { name, options, ..Default::default() }).await;
}

/// Asks in the name of somebody who may not, and of nobody.
async fn somebody(wire: &mut Wire) {
    enforce(wire).await;
    delete_user(wire, "root").await;
    wire.log_in("root", "wrong").await;
    wire.log_in("certified", "any").await;
    wire.log_in("bob", "").await;
    let bob = wire.token.clone();
    for token in [bob, None, Some("nonsense.1".to_owned())] {
        wire.token = token;
        wire.range(get("a")).await;
        let mut stream = wire.watching();
        wire.tell(&stream, create(watch("a", ""))).await;
        wire.hear(&mut stream, 1).await;
    }
}
