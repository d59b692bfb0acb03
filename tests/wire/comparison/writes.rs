//! Writing: puts, deletes, and what is too large.

use kat::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, TxnRequest};

use super::wire::Wire;
use super::words::{ON, Operation, all, delete, delete_range, get, put, txn};

pub(super) async fn putting(wire: &mut Wire) {
    wire.put(put("", "v")).await;
    wire.put(put("a", "1")).await;
    wire.put(PutRequest { prev_kv: true, ..put("a", "2") }).await;
    wire.put(PutRequest { prev_kv: true, ..put("a", "2") }).await;
    wire.put(PutRequest { prev_kv: true, ..put("new", "") }).await;
    wire.put(PutRequest { prev_kv: true, ..put("new", "") }).await;

    wire.put(PutRequest { ignore_value: true, ..put("a", "") }).await;
    wire.put(PutRequest { ignore_value: true, ..put("a", "3") }).await;
    wire.put(PutRequest { ignore_value: true, ..put("missing", "") }).await;
    wire.put(PutRequest { ignore_value: true, ..put("", "3") }).await;
    wire.range(get("a")).await;

    wire.put(PutRequest { lease: 7, ..put("a", "no such lease") }).await;
    wire.put(PutRequest { lease: -7, ..put("a", "no such lease") }).await;
    wire.lease_grant(600, 7).await;
    wire.put(PutRequest { lease: 7, prev_kv: true, ..put("a", "4") }).await;
    wire.put(PutRequest { ignore_lease: true, prev_kv: true, ..put("a", "5") }).await;
    wire.put(PutRequest { ignore_lease: true, lease: 7, ..put("a", "5") }).await;
    wire.put(PutRequest { ignore_lease: true, ..put("missing", "5") }).await;
    let neither = PutRequest { ignore_lease: true, ignore_value: true, ..put("a", "") };
    wire.put(PutRequest { prev_kv: true, ..neither.clone() }).await;
    wire.put(PutRequest { lease: 7, value: "6".into(), ..neither.clone() }).await;
    wire.put(PutRequest { lease: 7, ..neither }).await;
    // A value that stays does not keep its lease.
    wire.put(PutRequest { ignore_value: true, prev_kv: true, ..put("a", "") }).await;
    wire.put(PutRequest { ignore_value: true, lease: 7, ..put("a", "") }).await;
    wire.put(PutRequest { ignore_value: true, lease: 8, ..put("a", "") }).await;
    wire.put(PutRequest { ignore_value: true, lease: 8, ..put("missing", "") }).await;
    wire.range(all()).await;
    wire.lease_time_to_live(7, true).await;
}

pub(super) async fn deleting(wire: &mut Wire) {
    wire.delete_range(delete("")).await;
    wire.delete_range(delete_range("", ON)).await;
    wire.delete_range(delete("nothing")).await;
    for key in ["a", "b", "c", "d", "e", "f", "g"] {
        wire.put(put(key, key)).await;
    }
    wire.delete_range(delete_range("d", "b")).await;
    wire.delete_range(delete_range("d", "d")).await;
    wire.delete_range(delete("a")).await;
    wire.delete_range(delete("a")).await;
    wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete("b") }).await;
    wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete("b") }).await;
    wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete_range("c", "e") }).await;
    wire.range(all()).await;
    wire.put(put("d", "again")).await;
    wire.range(get("d")).await;
    wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete_range("f", ON) }).await;
    wire.delete_range(DeleteRangeRequest { prev_kv: true, ..delete_range("\0", ON) }).await;
    wire.delete_range(delete_range("\0", ON)).await;
    wire.range(all()).await;
    wire.hash_kv(Default::default()).await;
}

/// Values near the limit of a request.
pub(super) async fn writing_too_much(wire: &mut Wire) {
    put_kib(wire, &[1024, 1400, 1530, 1537, 1700, 2040]).await;
}

/// Values near the limit of a message.
pub(super) async fn writing_far_too_much(wire: &mut Wire) {
    put_kib(wire, &[2040, 2049, 3000]).await;
}

async fn put_kib(wire: &mut Wire, sizes: &[usize]) {
    let sized = |bytes: usize| PutRequest { value: vec![b'x'; bytes].into(), ..put("big", "") };
    // The questions are too long to write down.
    for kib in sizes {
        let mut client = kat::proto::etcdserverpb::kv_client::KvClient::new(wire.channel());
        let answer = client.put(sized(kib * 1024)).await;
        wire.note(format!("put of {kib} KiB"), answer);
        let answer = client.txn(txn([], [sized(kib * 1024).op()], [])).await;
        wire.note(format!("txn with a put of {kib} KiB"), answer);
    }
    wire.range(kat::proto::etcdserverpb::RangeRequest { count_only: true, ..all() }).await;
    wire.range(kat::proto::etcdserverpb::RangeRequest { keys_only: true, ..get("big") }).await;
}

/// Three operations in a txn, ten thousand bytes in a request.
pub(super) async fn meeting_other_limits(wire: &mut Wire) {
    let ops = |count| TxnRequest { success: vec![get("a").op(); count], ..TxnRequest::default() };
    for count in [2, 3, 4] {
        wire.txn(ops(count)).await;
    }
    wire.txn(txn([], [get("a").op(), ops(2).op()], [])).await;
    wire.txn(txn([], [get("a").op(), ops(3).op()], [])).await;
    put_kib(wire, &[9, 10, 20, 500, 600]).await;
}
