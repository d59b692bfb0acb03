//! Accounts: users, roles, what they may, and what happens to those who may not.

use kat::proto::authpb::permission::Type::{self, Read, Readwrite, Write};
use kat::proto::authpb::{Permission, UserAddOptions};
use kat::proto::etcdserverpb::{
    AlarmRequest, AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGetRequest,
    AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, AuthUserDeleteRequest, AuthUserGetRequest,
    AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest, AuthenticateRequest, DeleteRangeRequest,
    LeaseRevokeRequest, MemberRemoveRequest, PutRequest, WatchCreateRequest,
};
use kat::proto::v3electionpb::election_client::ElectionClient;
use kat::proto::v3electionpb::{CampaignRequest, LeaderRequest};
use kat::proto::v3lockpb::{LockRequest, UnlockRequest};

use super::wire::Wire;
use super::words::{
    ON, Operation, absent, all, compact, create, delete, delete_range, get, present, put, range,
    txn, watch,
};

pub(super) async fn add_user(wire: &mut Wire, name: &str, password: &str) {
    let (name, password) = (name.into(), password.into());
    wire.user_add(AuthUserAddRequest { name, password, ..Default::default() }).await;
}

pub(super) async fn add_role(wire: &mut Wire, name: &str) {
    wire.role_add(AuthRoleAddRequest { name: name.into() }).await;
}

pub(super) async fn grant_role(wire: &mut Wire, user: &str, role: &str) {
    let (user, role) = (user.into(), role.into());
    wire.user_grant_role(AuthUserGrantRoleRequest { user, role }).await;
}

pub(super) async fn revoke_role(wire: &mut Wire, name: &str, role: &str) {
    let (name, role) = (name.into(), role.into());
    wire.user_revoke_role(AuthUserRevokeRoleRequest { name, role }).await;
}

pub(super) async fn delete_user(wire: &mut Wire, name: &str) {
    wire.user_delete(AuthUserDeleteRequest { name: name.into() }).await;
}

pub(super) async fn delete_role(wire: &mut Wire, role: &str) {
    wire.role_delete(AuthRoleDeleteRequest { role: role.into() }).await;
}

pub(super) async fn change_password(wire: &mut Wire, name: &str, password: &str) {
    let (name, password) = (name.into(), password.into());
    let request = AuthUserChangePasswordRequest { name, password, ..Default::default() };
    wire.user_change_password(request).await;
}

pub(super) async fn permit(
    wire: &mut Wire,
    role: &str,
    kind: Type,
    key: &'static str,
    end: &'static str,
) {
    let perm = Some(Permission { perm_type: kind.into(), key: key.into(), range_end: end.into() });
    let name = role.into();
    wire.role_grant_permission(AuthRoleGrantPermissionRequest { name, perm }).await;
}

pub(super) async fn forbid(wire: &mut Wire, role: &str, key: &'static str, end: &'static str) {
    let (role, key, range_end) = (role.into(), key.into(), end.into());
    wire.role_revoke_permission(AuthRoleRevokePermissionRequest { role, key, range_end }).await;
}

pub(super) async fn look_at_user(wire: &mut Wire, name: &str) {
    wire.user_get(AuthUserGetRequest { name: name.into() }).await;
}

pub(super) async fn look_at_role(wire: &mut Wire, role: &str) {
    wire.role_get(AuthRoleGetRequest { role: role.into() }).await;
}

pub(super) async fn look_around(wire: &mut Wire) {
    wire.auth_status(Default::default()).await;
    wire.user_list(Default::default()).await;
    wire.role_list(Default::default()).await;
}

/// Accounts for root, for alice, who may use what begins with `a/` and read
/// `shared`, and for bob, who may do nothing. root asks from now on.
pub(super) async fn enforce(wire: &mut Wire) {
    add_user(wire, "root", "r00t").await;
    grant_role(wire, "root", "root").await;
    add_role(wire, "a").await;
    permit(wire, "a", Readwrite, "a/", "a0").await;
    permit(wire, "a", Read, "shared", "").await;
    permit(wire, "a", Write, "drop", "").await;
    add_user(wire, "alice", "secret").await;
    grant_role(wire, "alice", "a").await;
    add_user(wire, "bob", "").await;
    wire.auth_enable(Default::default()).await;
    wire.log_in("root", "r00t").await;
}

pub(super) async fn writing_accounts_down(wire: &mut Wire) {
    for (name, password) in [("b", "1"), ("a", ""), ("a", "2"), ("", "3"), ("", ""), ("c", "4")] {
        add_user(wire, name, password).await;
    }
    add_user(wire, "long", &"x".repeat(72)).await;
    add_user(wire, "longer", &"x".repeat(73)).await;
    add_user(wire, "", &"x".repeat(73)).await;
    let options = Some(UserAddOptions { no_password: true });
    let name = "certified".to_owned();
    wire.user_add(AuthUserAddRequest { name, options, ..Default::default() }).await;
    for name in ["r", "q", "r", "", "root"] {
        add_role(wire, name).await;
    }
    for (user, role) in
        [("a", "r"), ("a", "q"), ("a", "r"), ("a", "s"), ("d", "r"), ("d", "s"), ("b", "root")]
    {
        grant_role(wire, user, role).await;
    }
    for name in ["a", "b", "d", ""] {
        look_at_user(wire, name).await;
    }
    look_around(wire).await;
    for (user, role) in [("a", "r"), ("a", "r"), ("a", "s"), ("d", "r"), ("b", "root")] {
        revoke_role(wire, user, role).await;
    }
    for (name, password) in [("a", "5"), ("b", ""), ("d", "6"), ("certified", "7")] {
        change_password(wire, name, password).await;
    }
    change_password(wire, "a", &"x".repeat(73)).await;
    look_around(wire).await;
    for name in ["c", "c", ""] {
        delete_user(wire, name).await;
    }
    for name in ["q", "q", "root", ""] {
        delete_role(wire, name).await;
    }
    look_at_user(wire, "a").await;
    look_around(wire).await;
    wire.put(put("k", "1")).await;
    wire.crash();
    look_around(wire).await;
    look_at_user(wire, "a").await;
}

pub(super) async fn granting_rights(wire: &mut Wire) {
    add_role(wire, "r").await;
    add_role(wire, "root").await;
    for (kind, key, end) in [
        (Read, "m", ""),
        (Write, "m", ""),
        (Read, "m", "n"),
        (Read, "a", "c"),
        (Readwrite, "a", "c"),
        (Read, "x", ON),
        (Write, "\0", ON),
        (Read, "c", "a"),
        (Read, "c", "c"),
        (Read, "", ""),
        (Read, "", "b"),
        (Read, "", ON),
    ] {
        permit(wire, "r", kind, key, end).await;
        permit(wire, "nobody", kind, key, end).await;
        permit(wire, "root", kind, key, end).await;
    }
    wire.role_grant_permission(AuthRoleGrantPermissionRequest { name: "r".into(), perm: None })
        .await;
    look_at_role(wire, "r").await;
    look_at_role(wire, "root").await;
    look_at_role(wire, "nobody").await;
    for (role, key, end) in
        [("r", "a", ""), ("r", "a", "c"), ("r", "m", ""), ("nobody", "m", ""), ("r", "", "")]
    {
        forbid(wire, role, key, end).await;
    }
    look_at_role(wire, "r").await;
    look_around(wire).await;
}

pub(super) async fn enforcing(wire: &mut Wire) {
    wire.auth_enable(Default::default()).await;
    wire.token = Some("nonsense".into());
    wire.put(put("a", "any token will do")).await;
    wire.token = None;
    add_user(wire, "root", "r00t").await;
    wire.auth_enable(Default::default()).await;
    wire.log_in("root", "r00t").await;
    grant_role(wire, "root", "root").await;
    wire.auth_enable(Default::default()).await;
    wire.auth_status(Default::default()).await;
    nobody(wire).await;
    for token in ["nonsense", "aaaaaaaaaaaaaaaa.1", "a.b", "", "."] {
        wire.token = Some(token.into());
        wire.put(put("a", "1")).await;
        wire.range(get("a")).await;
        wire.auth_status(Default::default()).await;
        wire.status(Default::default()).await;
    }
    for (name, password) in [("root", "wrong"), ("nobody", "r00t"), ("root", ""), ("", "")] {
        wire.log_in(name, password).await;
    }
    wire.log_in("root", "r00t").await;
    wire.put(put("a", "1")).await;
    wire.auth_enable(Default::default()).await;
    let options = Some(UserAddOptions { no_password: true });
    let name = "certified".to_owned();
    wire.user_add(AuthUserAddRequest { name, options, ..Default::default() }).await;
    add_user(wire, "empty", "").await;
    let ask = |name: &str, password: &str| AuthenticateRequest {
        name: name.into(),
        password: password.into(),
    };
    wire.authenticate(ask("certified", "")).await;
    wire.authenticate(ask("certified", "x")).await;
    wire.authenticate(ask("empty", "x")).await;
    change_password(wire, "root", "").await;
    wire.authenticate(ask("root", "")).await;
    wire.log_in("empty", "").await;
    wire.put(put("a", "2")).await;
}

/// All that can be asked without saying who asks.
async fn nobody(wire: &mut Wire) {
    wire.token = None;
    wire.put(put("a", "1")).await;
    wire.put(put("", "1")).await;
    wire.range(get("a")).await;
    wire.range(get("")).await;
    wire.range_stream(all()).await;
    wire.delete_range(delete("a")).await;
    wire.txn(txn([], [], [])).await;
    wire.txn(txn([], [get("a").op()], [])).await;
    wire.txn(txn([absent("a")], [put("a", "1").op()], [])).await;
    wire.compact(compact(1)).await;
    wire.lease_grant(600, 7).await;
    wire.lease_leases(Default::default()).await;
    wire.lease_time_to_live(7, false).await;
    wire.lease_time_to_live(7, true).await;
    wire.keep_alive(&[7]).await;
    wire.lease_revoke(LeaseRevokeRequest { id: 7 }).await;
    wire.member_list(Default::default()).await;
    wire.member_remove(MemberRemoveRequest { id: 1 }).await;
    wire.status(Default::default()).await;
    wire.alarm(Default::default()).await;
    wire.alarm(AlarmRequest { action: 1, alarm: 1, ..Default::default() }).await;
    wire.defragment(Default::default()).await;
    wire.hash_kv(Default::default()).await;
    wire.move_leader(Default::default()).await;
    let mut elections = ElectionClient::new(wire.channel());
    let seen = elections.observe(LeaderRequest { name: "a".into() }).await;
    let seen = seen.expect("a stream").into_inner().message().await;
    wire.write("observed", format!("{seen:?}"));
    look_around(wire).await;
    look_at_user(wire, "root").await;
    look_at_user(wire, "").await;
    look_at_role(wire, "root").await;
    add_user(wire, "me", "me").await;
    wire.auth_disable(Default::default()).await;
    wire.auth_enable(Default::default()).await;
}

pub(super) async fn staying_within_ranges(wire: &mut Wire) {
    enforce(wire).await;
    for key in ["a/1", "a/2", "shared", "b/1", "drop"] {
        wire.put(put(key, "root's")).await;
    }
    add_role(wire, "b").await;
    for (kind, key, end) in
        [(Read, "a0", "c"), (Write, "b/1", ""), (Read, "x", ON), (Readwrite, "bb", "bd")]
    {
        permit(wire, "b", kind, key, end).await;
    }
    grant_role(wire, "alice", "b").await;
    wire.log_in("alice", "secret").await;
    for key in ["a/", "a/1", "a0", "a", "shared", "shared\0", "b/1", "drop", "x", "z", "bb"] {
        wire.range(get(key)).await;
        wire.put(put(key, "alice's")).await;
        wire.put(PutRequest { prev_kv: true, ..put(key, "alice's") }).await;
        wire.delete_range(delete(key)).await;
        wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete(key) }).await;
    }
    for (key, end) in [
        ("a/", "a0"),
        ("a/", "a1"),
        ("a/", "c"),
        ("a/", "c\0"),
        ("b", "bc"),
        ("bb", "bd"),
        ("bb", "be"),
        ("x", "y"),
        ("x", ON),
        ("w", ON),
        ("shared", "shared\0"),
        ("a/2", "a/1"),
        ("\0", ON),
    ] {
        wire.range(range(key, end)).await;
        wire.range_stream(range(key, end)).await;
        wire.delete_range(delete_range(key, end)).await;
    }
    look_at_user(wire, "alice").await;
    look_at_user(wire, "bob").await;
    look_at_role(wire, "a").await;
    look_at_role(wire, "root").await;
    look_at_role(wire, "missing").await;
    wire.log_in("bob", "").await;
    wire.range(get("a/1")).await;
    wire.put(put("a/1", "bob's")).await;
    wire.txn(txn([], [], [])).await;
    look_at_user(wire, "bob").await;
}

pub(super) async fn running_txns_as_somebody(wire: &mut Wire) {
    enforce(wire).await;
    wire.put(put("a/1", "1")).await;
    wire.put(put("b", "1")).await;
    wire.log_in("alice", "secret").await;
    let (mine, theirs) = (|| put("a/1", "2").op(), || put("b", "2").op());
    wire.txn(txn([present("a/1")], [mine()], [])).await;
    wire.txn(txn([present("b")], [mine()], [])).await;
    wire.txn(txn([absent("drop")], [mine()], [])).await;
    wire.txn(txn([], [theirs()], [])).await;
    wire.txn(txn([], [mine()], [theirs()])).await;
    wire.txn(txn([], [get("a/1").op()], [get("b").op()])).await;
    wire.txn(txn([], [get("a/1").op()], [get("shared").op()])).await;
    wire.txn(txn([], [range("a/", "a1").op()], [])).await;
    wire.txn(txn([], [txn([], [mine()], []).op()], [])).await;
    wire.txn(txn([], [txn([], [mine()], [theirs()]).op()], [])).await;
    wire.txn(txn([], [txn([present("b")], [], []).op()], [])).await;
    let seeing = |key| PutRequest { prev_kv: true, ..put(key, "3") };
    wire.txn(txn([], [seeing("a/1").op()], [])).await;
    wire.txn(txn([], [put("drop", "3").op()], [])).await;
    wire.txn(txn([], [seeing("drop").op()], [])).await;
    wire.txn(txn([], [delete("drop").op()], [])).await;
    let seen = DeleteRangeRequest { prev_kv: true, ..delete("drop") };
    wire.txn(txn([], [seen.op()], [])).await;
    wire.txn(txn([], [delete_range("a/", "a0").op()], [])).await;
    wire.txn(txn([], [delete_range("a/", "b0").op()], [])).await;
}

pub(super) async fn using_leases_as_somebody(wire: &mut Wire) {
    enforce(wire).await;
    let leased = |key, lease| PutRequest { lease, ..put(key, "") };
    for (id, keys) in [(1, &["a/1"][..]), (2, &["b"]), (3, &["a/2", "b"]), (4, &["shared"])] {
        wire.lease_grant(600, id).await;
        for key in keys {
            wire.put(leased(key, id)).await;
        }
    }
    wire.lease_leases(Default::default()).await;
    wire.log_in("alice", "secret").await;
    wire.lease_grant(600, 5).await;
    for id in [1, 2, 3, 4, 5, 6] {
        wire.put(leased("a/new", id)).await;
        wire.txn(txn([], [leased("a/new", id).op()], [])).await;
        wire.lease_time_to_live(id, false).await;
        wire.lease_time_to_live(id, true).await;
        wire.keep_alive(&[id]).await;
    }
    wire.lease_leases(Default::default()).await;
    for id in [1, 2, 3, 4, 5, 6] {
        wire.lease_revoke(LeaseRevokeRequest { id }).await;
    }
    wire.token = None;
    wire.lease_grant(9_000_000_001, 5).await;
    wire.log_in("bob", "").await;
    wire.lease_grant(9_000_000_001, 5).await;
    wire.lease_grant(600, 8).await;
    wire.keep_alive(&[8]).await;
    wire.lease_leases(Default::default()).await;
    wire.lease_revoke(LeaseRevokeRequest { id: 8 }).await;
    wire.log_in("root", "r00t").await;
    wire.lease_time_to_live(2, true).await;
    wire.keep_alive(&[2, 3]).await;
    wire.lease_leases(Default::default()).await;
    // What nobody asked for happens all the same.
    wire.lease_grant(2, 9).await;
    wire.put(leased("b", 9)).await;
    let mut watching = wire.watching();
    wire.tell(&watching, create(watch("b", ""))).await;
    wire.hear(&mut watching, 2).await;
    wire.range(get("b")).await;
}

pub(super) async fn watching_as_somebody(wire: &mut Wire) {
    enforce(wire).await;
    wire.log_in("alice", "secret").await;
    let mut watching = wire.watching();
    for (key, end) in
        [("a/", "a0"), ("b", ""), ("shared", ""), ("drop", ""), ("a/", "a1"), ("", ""), ("\0", ON)]
    {
        wire.tell(&watching, create(watch(key, end))).await;
        wire.hear(&mut watching, 1).await;
    }
    wire.put(put("a/1", "1")).await;
    wire.hear(&mut watching, 1).await;
    for token in [None, Some("nonsense.1".to_owned())] {
        wire.token = token;
        let mut refused = wire.watching();
        let before = WatchCreateRequest { start_revision: -1, ..watch("a/", "a0") };
        for request in [watch("a/", "a0"), watch("c", "a"), before] {
            wire.tell(&refused, create(request)).await;
            wire.hear(&mut refused, 1).await;
        }
    }
    wire.log_in("root", "r00t").await;
    let mut everything = wire.watching();
    wire.tell(&everything, create(watch("", ON))).await;
    wire.hear(&mut everything, 1).await;
    // Whoever watches goes on watching.
    revoke_role(wire, "alice", "a").await;
    wire.put(put("a/1", "2")).await;
    wire.hear(&mut watching, 1).await;
    wire.hear(&mut everything, 1).await;
    wire.tell(&watching, create(watch("a/", "a0"))).await;
    wire.hear(&mut watching, 1).await;
    wire.auth_disable(Default::default()).await;
    wire.tell(&watching, create(watch("b", ""))).await;
    wire.hear(&mut watching, 1).await;
}

pub(super) async fn administering(wire: &mut Wire) {
    enforce(wire).await;
    for (user, password) in [("alice", "secret"), ("root", "r00t")] {
        wire.log_in(user, password).await;
        wire.member_list(Default::default()).await;
        wire.member_remove(MemberRemoveRequest { id: 1 }).await;
        wire.status(Default::default()).await;
        wire.alarm(Default::default()).await;
        wire.alarm(AlarmRequest { action: 1, alarm: 1, member_id: 5 }).await;
        wire.alarm(AlarmRequest { action: 2, alarm: 1, member_id: 5 }).await;
        wire.defragment(Default::default()).await;
        wire.hash_kv(Default::default()).await;
        wire.move_leader(Default::default()).await;
        wire.compact(compact(1)).await;
        look_around(wire).await;
        add_user(wire, user, "").await;
        add_user(wire, "eve", "").await;
        add_role(wire, "e").await;
        permit(wire, "e", Read, "e", "").await;
        grant_role(wire, "eve", "e").await;
        look_at_user(wire, "eve").await;
        look_at_role(wire, "e").await;
        change_password(wire, "eve", "x").await;
        forbid(wire, "e", "e", "").await;
        revoke_role(wire, "eve", "e").await;
        delete_user(wire, "eve").await;
        delete_role(wire, "e").await;
    }
    // The role makes root, not the name.
    grant_role(wire, "bob", "root").await;
    wire.log_in("bob", "").await;
    wire.put(put("anything", "1")).await;
    wire.range(all()).await;
    look_around(wire).await;
}

pub(super) async fn protecting_root(wire: &mut Wire) {
    enforce(wire).await;
    add_role(wire, "root").await;
    delete_user(wire, "root").await;
    delete_role(wire, "root").await;
    revoke_role(wire, "root", "root").await;
    revoke_role(wire, "root", "a").await;
    grant_role(wire, "root", "a").await;
    revoke_role(wire, "root", "a").await;
    wire.auth_disable(Default::default()).await;
    wire.auth_disable(Default::default()).await;
    wire.auth_status(Default::default()).await;
    wire.put(put("a", "the old token does no harm")).await;
    wire.token = None;
    wire.put(put("a", "1")).await;
    revoke_role(wire, "root", "root").await;
    wire.auth_enable(Default::default()).await;
    grant_role(wire, "root", "root").await;
    delete_role(wire, "root").await;
    look_at_user(wire, "root").await;
    wire.auth_enable(Default::default()).await;
    delete_user(wire, "root").await;
    wire.auth_enable(Default::default()).await;
    look_around(wire).await;
}

/// A simple token is as new as its use, so only its user can be out of date.
pub(super) async fn being_out_of_date(wire: &mut Wire) {
    enforce(wire).await;
    let root = wire.token.clone();
    wire.log_in("alice", "secret").await;
    let alice = wire.token.clone();
    wire.put(put("a/1", "1")).await;
    wire.token.clone_from(&root);
    forbid(wire, "a", "a/", "a0").await;
    wire.token.clone_from(&alice);
    wire.put(put("a/1", "2")).await;
    wire.range(get("a/1")).await;
    wire.token.clone_from(&root);
    permit(wire, "a", Read, "a/1", "").await;
    wire.token.clone_from(&alice);
    wire.put(put("a/1", "3")).await;
    wire.range(get("a/1")).await;
    wire.token.clone_from(&root);
    wire.auth_status(Default::default()).await;
    delete_role(wire, "a").await;
    wire.auth_status(Default::default()).await;
    wire.token.clone_from(&alice);
    wire.range(get("a/1")).await;
}

pub(super) async fn passing_on_a_token(wire: &mut Wire) {
    enforce(wire).await;
    wire.lease_grant(600, 1).await;
    wire.lease_grant(600, 2).await;
    wire.log_in("alice", "secret").await;
    let lock = |name: &'static str, lease| LockRequest { name: name.into(), lease };
    wire.lock(lock("a/lock", 1)).await;
    wire.lock(lock("b", 2)).await;
    wire.unlock(UnlockRequest { key: "a/lock/1".into() }).await;
    wire.unlock(UnlockRequest { key: "b/2".into() }).await;
    let campaign =
        |name: &'static str| CampaignRequest { name: name.into(), lease: 1, value: "alice".into() };
    wire.campaign(campaign("a/office")).await;
    wire.campaign(campaign("b")).await;
    wire.leader(LeaderRequest { name: "a/office".into() }).await;
    wire.leader(LeaderRequest { name: "b".into() }).await;
    wire.token = None;
    wire.lock(lock("a/lock", 1)).await;
    wire.leader(LeaderRequest { name: "a/office".into() }).await;
}

pub(super) async fn losing_tokens(wire: &mut Wire) {
    enforce(wire).await;
    let root = wire.token.clone();
    for act in ["changed", "deleted", "disabled"] {
        wire.token.clone_from(&root);
        add_user(wire, "carol", "1").await;
        grant_role(wire, "carol", "a").await;
        wire.log_in("carol", "1").await;
        wire.put(put("a/1", act)).await;
        let carol = wire.token.clone();
        wire.token.clone_from(&root);
        match act {
            "changed" => change_password(wire, "carol", "2").await,
            "deleted" => delete_user(wire, "carol").await,
            _ => {
                wire.auth_disable(Default::default()).await;
                wire.auth_enable(Default::default()).await;
            }
        }
        wire.token = carol;
        wire.put(put("a/1", "late")).await;
        wire.range(get("a/1")).await;
        wire.log_in("carol", "2").await;
        wire.put(put("a/1", "new")).await;
        wire.token.clone_from(&root);
        delete_user(wire, "carol").await;
    }
    // Of tokens, etcd finds some again in its log, and some not: none is shown.
    wire.crash();
    wire.token = None;
    wire.put(put("a/1", "later")).await;
    wire.log_in("root", "r00t").await;
    wire.put(put("a/1", "again")).await;
    look_around(wire).await;
}

/// Tokens of one second, and a lease of a few to tell the time by.
pub(super) async fn outliving_a_token(wire: &mut Wire) {
    enforce(wire).await;
    wire.lease_grant(4, 1).await;
    wire.put(PutRequest { lease: 1, ..put("a/1", "1") }).await;
    let mut watching = wire.watching();
    wire.tell(&watching, create(watch("a/1", ""))).await;
    wire.hear(&mut watching, 2).await;
    wire.put(put("a/1", "2")).await;
    wire.log_in("root", "r00t").await;
    wire.put(put("a/1", "3")).await;
}
