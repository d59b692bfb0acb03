//! Leases: granted, renewed, revoked, expired, and what hangs on them.

use kat::proto::etcdserverpb::{LeaseRevokeRequest, PutRequest};

use super::wire::Wire;
use super::words::{Operation, all, create, delete, get, put, txn, watch};

fn leased(key: &'static str, lease: i64) -> PutRequest {
    PutRequest { lease, ..put(key, "") }
}

async fn revoke(wire: &mut Wire, id: i64) {
    wire.lease_revoke(LeaseRevokeRequest { id }).await;
}

pub(super) async fn granting(wire: &mut Wire) {
    wire.lease_leases(Default::default()).await;
    for (ttl, id) in [
        (600, 1),
        (600, 1),
        (60, 2),
        (0, 3),
        (-10, 4),
        (1, 5),
        (2, 6),
        (3, 7),
        (600, -8),
        (9_000_000_000, 9),
        (9_000_000_001, 10),
        (i64::MAX, 11),
        (i64::MIN, i64::MIN),
        (600, i64::MAX),
        (600, 0),
    ] {
        wire.lease_grant(ttl, id).await;
    }
    for id in [1, 2, -8, 9, 10, i64::MAX, 12_345] {
        wire.lease_time_to_live(id, false).await;
        wire.lease_time_to_live(id, true).await;
    }
    for id in [0, 1, 1, -8, 10, 3, 4, 5, 6, 7, i64::MIN] {
        revoke(wire, id).await;
    }
    wire.lease_grant(600, 1).await;
}

pub(super) async fn attaching_keys(wire: &mut Wire) {
    wire.lease_grant(600, 1).await;
    wire.lease_grant(300, 2).await;
    wire.lease_grant(60, 3).await;
    wire.lease_leases(Default::default()).await;
    for (key, lease) in [("c", 1), ("a", 1), ("b", 1), ("a", 2), ("d", 1), ("d", 0), ("e", 2)] {
        wire.put(leased(key, lease)).await;
    }
    wire.lease_time_to_live(1, true).await;
    wire.lease_time_to_live(2, true).await;
    wire.delete_range(delete("e")).await;
    wire.lease_time_to_live(2, true).await;
    wire.txn(txn([], [leased("f", 1).op(), leased("g", 2).op(), delete("c").op()], [])).await;
    let keeps = PutRequest { ignore_lease: true, ..put("b", "kept") };
    wire.put(keeps).await;
    wire.lease_time_to_live(1, true).await;
    revoke(wire, 1).await;
    wire.range(all()).await;
    wire.lease_time_to_live(1, true).await;
    revoke(wire, 3).await;
    revoke(wire, 2).await;
    wire.range(all()).await;
    wire.lease_leases(Default::default()).await;
    // The next lease of that number has nothing to do with the last.
    wire.lease_grant(600, 1).await;
    wire.lease_time_to_live(1, true).await;
    wire.put(leased("x", 1)).await;
    wire.put(leased("x", 1)).await;
    wire.lease_time_to_live(1, true).await;
}

pub(super) async fn keeping_alive(wire: &mut Wire) {
    wire.keep_alive(&[]).await;
    wire.keep_alive(&[1]).await;
    wire.lease_grant(600, 1).await;
    wire.lease_grant(30, -2).await;
    wire.keep_alive(&[1]).await;
    wire.keep_alive(&[1, 5, -2, 0, 1]).await;
    wire.put(leased("a", 1)).await;
    wire.keep_alive(&[1]).await;
    revoke(wire, 1).await;
    wire.keep_alive(&[1, -2]).await;
    wire.lease_time_to_live(-2, false).await;
}

/// Leases of two seconds, one of them kept alive while the others go.
pub(super) async fn expiring(wire: &mut Wire) {
    let mut watching = wire.watching();
    wire.tell(&watching, create(watch("\0", "\0"))).await;
    wire.hear(&mut watching, 1).await;
    wire.lease_grant(2, 1).await;
    wire.lease_grant(600, 2).await;
    wire.put(leased("b", 1)).await;
    wire.hear(&mut watching, 1).await;
    let two = [leased("a", 1).op(), leased("stays", 2).op()];
    wire.txn(txn([], two, [])).await;
    wire.hear(&mut watching, 1).await;
    // It goes in one revision, in the order of keys.
    wire.hear(&mut watching, 1).await;
    wire.range(all()).await;
    wire.lease_time_to_live(1, true).await;
    wire.keep_alive(&[1, 2]).await;
    wire.put(leased("b", 1)).await;
    wire.lease_leases(Default::default()).await;
}

pub(super) async fn outliving_a_crash(wire: &mut Wire) {
    wire.lease_grant(600, 1).await;
    wire.lease_grant(700, 2).await;
    wire.lease_grant(800, -3).await;
    for (key, lease) in [("a", 1), ("b", 1), ("c", 2), ("b", 2), ("c", 0), ("d", -3)] {
        wire.put(leased(key, lease)).await;
    }
    revoke(wire, -3).await;
    wire.crash();
    for lease in [1, 2, -3] {
        wire.lease_time_to_live(lease, true).await;
    }
    wire.range(all()).await;
    revoke(wire, 1).await;
    wire.range(all()).await;
    wire.crash();
    wire.range(get("a")).await;
    wire.keep_alive(&[1, 2]).await;
    revoke(wire, 2).await;
    wire.range(all()).await;
}
