//! Compaction, hashes of the history, and what is left after a crash.

use kat::proto::etcdserverpb::{CompactionRequest, HashKvRequest, PutRequest, RangeRequest};

use super::wire::Wire;
use super::words::{Operation, all, compact, create, delete, delete_range, get, put, txn, watch};

/// A history in which keys come, change, go, and come again.
async fn some_history(wire: &mut Wire) {
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        wire.put(put(key, value)).await;
    }
    wire.delete_range(delete("b")).await;
    wire.txn(txn([], [put("d", "1").op(), delete("a").op(), put("e", "1").op()], [])).await;
    wire.put(put("b", "2")).await;
    wire.put(put("a", "3")).await;
    wire.delete_range(delete_range("c", "e")).await;
    wire.put(put("c", "2")).await;
}

async fn hash_all(wire: &mut Wire) {
    for revision in -1..15 {
        wire.hash_kv(HashKvRequest { revision }).await;
    }
}

pub(super) async fn compacting(wire: &mut Wire) {
    wire.compact(compact(-1)).await;
    wire.compact(compact(2)).await;
    wire.compact(compact(0)).await;
    wire.compact(compact(0)).await;
    wire.compact(compact(1)).await;
    wire.compact(compact(1)).await;
    some_history(wire).await;
    for revision in [3, 3, 2, 0, -5, 99, 5, 6, 11] {
        wire.compact(compact(revision)).await;
        wire.range(all()).await;
        wire.range(RangeRequest { revision: 5, ..all() }).await;
        wire.range(RangeRequest { revision: 6, ..all() }).await;
    }
    wire.compact(CompactionRequest { revision: 11, physical: false }).await;
    wire.range(RangeRequest { revision: 10, ..get("a") }).await;
    wire.range(RangeRequest { revision: 11, ..get("a") }).await;
    wire.compact(CompactionRequest { revision: 12, physical: false }).await;
    wire.put(put("a", "after")).await;
    wire.range(get("a")).await;
    wire.delete_range(delete_range("\0", "\0")).await;
    let revision = wire.range(all()).await.and_then(|answer| answer.header);
    wire.compact(compact(revision.map_or(0, |header| header.revision))).await;
    wire.range(all()).await;
    wire.put(put("a", "new life")).await;
    wire.range(all()).await;
}

pub(super) async fn hashing(wire: &mut Wire) {
    hash_all(wire).await;
    some_history(wire).await;
    hash_all(wire).await;
    wire.compact(compact(4)).await;
    hash_all(wire).await;
    // A tombstone at the compact revision is the one that stays, unhashed.
    wire.compact(compact(6)).await;
    hash_all(wire).await;
    wire.compact(compact(7)).await;
    hash_all(wire).await;
    wire.lease_grant(600, 5).await;
    wire.put(PutRequest { lease: 5, ..put("leased", "") }).await;
    hash_all(wire).await;
    wire.compact(compact(13)).await;
    hash_all(wire).await;
    wire.defragment(Default::default()).await;
    hash_all(wire).await;
    wire.crash();
    wire.hash_kv(HashKvRequest { revision: 0 }).await;
    wire.hash_kv(HashKvRequest { revision: 13 }).await;
    wire.hash_kv(HashKvRequest { revision: 12 }).await;
}

/// What a crash leaves is what was acknowledged.
pub(super) async fn starting_again_on_the_data(wire: &mut Wire) {
    wire.crash();
    wire.range(all()).await;
    some_history(wire).await;
    wire.crash();
    wire.range(all()).await;
    for revision in 1..13 {
        wire.range(RangeRequest { revision, ..all() }).await;
    }
    wire.hash_kv(Default::default()).await;
    wire.put(put("a", "4")).await;
    wire.compact(compact(9)).await;
    wire.delete_range(delete("a")).await;
    wire.crash();
    wire.range(all()).await;
    for revision in [8, 9, 10, 13] {
        wire.range(RangeRequest { revision, ..all() }).await;
    }
    wire.compact(compact(9)).await;
    wire.hash_kv(Default::default()).await;
    let mut watching = wire.watching();
    let past = kat::proto::etcdserverpb::WatchCreateRequest {
        start_revision: 9,
        prev_kv: true,
        ..watch("\0", "\0")
    };
    wire.tell(&watching, create(past)).await;
    wire.hear(&mut watching, 2).await;
    // The newest record is purged; the revision must not fall.
    wire.delete_range(delete_range("\0", "\0")).await;
    wire.hear(&mut watching, 1).await;
    wire.compact(compact(14)).await;
    wire.crash();
    wire.range(all()).await;
    wire.put(put("b", "after all")).await;
    wire.range(all()).await;
    wire.hash_kv(Default::default()).await;
}

/// A compaction at zero leaves a hash that is found in the place of the current
/// one, until a restart.
pub(super) async fn compacting_at_zero(wire: &mut Wire) {
    wire.put(put("a", "1")).await;
    wire.compact(CompactionRequest { revision: 0, physical: true }).await;
    wire.hash_kv(Default::default()).await;
    wire.put(put("a", "2")).await;
    wire.hash_kv(Default::default()).await;
    wire.crash();
    wire.hash_kv(Default::default()).await;
    wire.compact(compact(2)).await;
    wire.hash_kv(Default::default()).await;
}

/// The hash of a compaction that a crash follows at once is not kept over it.
pub(super) async fn crashing_after_a_compaction(wire: &mut Wire) {
    for value in ["1", "2", "3"] {
        wire.put(put("a", value)).await;
    }
    wire.compact(compact(2)).await;
    wire.compact(compact(3)).await;
    wire.hash_kv(HashKvRequest { revision: 2 }).await;
    wire.hash_kv(HashKvRequest { revision: 3 }).await;
    wire.crash();
    for revision in [0, 2, 3, 4] {
        wire.hash_kv(HashKvRequest { revision }).await;
    }
}
