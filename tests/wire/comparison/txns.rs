//! Transactions: compares, branches, nesting, and what is refused.

use kat::proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use kat::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

use super::wire::Wire;
use super::words::{
    ON, Operation, absent, all, check, compact, delete, delete_range, get, present, put, range, txn,
};

const RESULTS: [CompareResult; 4] =
    [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];

fn over(compare: Compare, range_end: &'static str) -> Compare {
    Compare { range_end: range_end.into(), ..compare }
}

/// Only tells whether the compares hold.
fn ask(compare: Compare) -> TxnRequest {
    txn([compare], [], [])
}

/// Keys `a` (leased, version 2), `b` and `c`.
async fn some_keys(wire: &mut Wire) {
    wire.lease_grant(600, 9).await;
    wire.put(put("a", "1")).await;
    wire.put(PutRequest { lease: 9, ..put("a", "2") }).await;
    wire.put(put("b", "2")).await;
    wire.put(put("c", "3")).await;
}

pub(super) async fn comparing_keys(wire: &mut Wire) {
    some_keys(wire).await;
    for key in ["a", "b", "missing"] {
        for result in RESULTS {
            for number in [-1, 0, 1, 2, 3, 9] {
                for union in [
                    TargetUnion::Version(number),
                    TargetUnion::CreateRevision(number),
                    TargetUnion::ModRevision(number),
                    TargetUnion::Lease(number),
                ] {
                    wire.txn(ask(check(key, result, union))).await;
                }
            }
            for value in ["", "1", "2", "22"] {
                wire.txn(ask(check(key, result, TargetUnion::Value(value.into())))).await;
            }
            for target in 0..5 {
                let unset = check(key, result, TargetUnion::Version(0));
                wire.txn(ask(Compare { target, target_union: None, ..unset })).await;
            }
        }
    }
    let crossed = check("a", CompareResult::Equal, TargetUnion::Value("2".into()));
    wire.txn(ask(Compare { target: 0, ..crossed })).await;
    wire.txn(txn([present("a"), present("b")], [], [])).await;
    wire.txn(txn([present("a"), absent("b")], [], [])).await;
    wire.txn(txn([present("a"), absent("")], [], [])).await;
}

/// Numbers that stand for no target and no result.
pub(super) async fn comparing_the_unknown(wire: &mut Wire) {
    some_keys(wire).await;
    for key in ["a", "missing"] {
        for union in [TargetUnion::Version(0), TargetUnion::Value("2".into())] {
            for result in RESULTS {
                let known = check(key, result, union.clone());
                wire.txn(ask(Compare { target: 5, ..known.clone() })).await;
                wire.txn(ask(Compare { target: -1, target_union: None, ..known })).await;
            }
            for result in [4, -1] {
                let known = check(key, CompareResult::Equal, union.clone());
                wire.txn(ask(Compare { result, ..known.clone() })).await;
                wire.txn(ask(Compare { result, target: 5, ..known })).await;
            }
        }
    }
}

pub(super) async fn comparing_ranges(wire: &mut Wire) {
    some_keys(wire).await;
    for (key, end) in [
        ("a", "c"),
        ("a", ON),
        ("b", "d"),
        ("c", "a"),
        ("x", "z"),
        ("\0", ON),
        ("", ON),
        ("b", "b"),
    ] {
        for result in RESULTS {
            for union in [
                TargetUnion::Version(0),
                TargetUnion::Version(1),
                TargetUnion::ModRevision(3),
                TargetUnion::CreateRevision(3),
                TargetUnion::Lease(9),
                TargetUnion::Value("2".into()),
            ] {
                wire.txn(ask(over(check(key, result, union), end))).await;
            }
        }
    }
}

pub(super) async fn running_a_branch(wire: &mut Wire) {
    wire.txn(txn([], [], [])).await;
    let make = |value| {
        txn([absent("k")], [put("k", value).op(), get("k").op()], [get("k").op(), get("x").op()])
    };
    wire.txn(make("first")).await;
    wire.txn(make("second")).await;
    wire.txn(txn([], [get("k").op(), put("k", "2").op(), all().op(), put("l", "2").op()], []))
        .await;
    // Later operations see what earlier ones wrote.
    let chain = [
        put("m", "1").op(),
        range("k", "n").op(),
        delete_range("k", "m").op(),
        range("k", "n").op(),
        delete("k").op(),
        RangeRequest { count_only: true, ..all() }.op(),
    ];
    wire.txn(txn([], chain, [])).await;
    wire.txn(txn([], [delete("nothing").op()], [])).await;
    wire.txn(txn([], [delete("nothing").op(), get("m").op(), put("n", "").op()], [])).await;
    let previous = [
        PutRequest { prev_kv: true, ..put("m", "2") }.op(),
        PutRequest { prev_kv: true, ..put("fresh", "2") }.op(),
        DeleteRangeRequest { prev_kv: true, ..delete_range("n", "z") }.op(),
    ];
    wire.txn(txn([], previous, [])).await;
    let sorted = RangeRequest { sort_order: 2, sort_target: 3, limit: 1, ..all() };
    wire.txn(txn([], [sorted.op()], [])).await;
    let local = RangeRequest { serializable: true, ..all() };
    wire.txn(txn([present("m")], [local.clone().op()], [local.op()])).await;

    // Conditions of a put are looked at in the branch that is taken.
    wire.txn(txn([], [PutRequest { lease: 77, ..put("m", "") }.op()], [])).await;
    wire.txn(txn([present("x")], [PutRequest { lease: 77, ..put("m", "") }.op()], [])).await;
    wire.txn(txn([], [put("o", "1").op(), PutRequest { lease: 77, ..put("m", "") }.op()], []))
        .await;
    let keeps = PutRequest { ignore_value: true, prev_kv: true, ..put("m", "") };
    wire.txn(txn([], [keeps.clone().op()], [])).await;
    wire.txn(txn([], [PutRequest { key: "x".into(), ..keeps }.op()], [])).await;
    for (key, lease) in [("x", 77), ("m", 77), ("x", 0)] {
        let both = PutRequest { lease, ignore_value: true, ..put(key, "") };
        wire.txn(txn([], [both.op()], [])).await;
    }
    let leased = PutRequest { ignore_lease: true, ..put("x", "") };
    wire.txn(txn([present("x")], [leased.clone().op()], [])).await;
    wire.txn(txn([], [put("y", "1").op(), leased.op()], [])).await;
    wire.range(all()).await;
    wire.hash_kv(Default::default()).await;
}

pub(super) async fn nesting(wire: &mut Wire) {
    some_keys(wire).await;
    // An inner compare is decided on the state before the whole txn.
    let inner = txn([present("new")], [put("seen", "yes").op()], [put("seen", "no").op()]);
    wire.txn(txn([], [put("new", "1").op(), inner.clone().op()], [])).await;
    wire.txn(txn([], [delete("new").op(), inner.clone().op(), get("seen").op()], [])).await;
    let deep = txn([present("a")], [txn([absent("a")], [], [inner.op()]).op()], [get("a").op()]);
    wire.txn(deep.clone()).await;
    wire.txn(txn([], [deep.clone().op(), get("seen").op(), deep_reader().op()], [])).await;
    wire.txn(txn([], [deep_reader().op()], [])).await;
    wire.txn(txn([], [txn([], [], []).op()], [])).await;
    wire.txn(txn([], [txn([], [delete("a").op(), get("a").op()], []).op(), all().op()], [])).await;
    let bad_lease = txn([], [PutRequest { lease: 77, ..put("z", "") }.op()], []);
    wire.txn(txn([], [put("y", "").op(), bad_lease.clone().op()], [])).await;
    wire.txn(txn([absent("b")], [bad_lease.op()], [])).await;
    wire.range(all()).await;
    wire.hash_kv(Default::default()).await;
}

fn deep_reader() -> TxnRequest {
    txn([present("b")], [get("b").op(), txn([], [range("a", "c").op()], []).op()], [])
}

pub(super) async fn writing_a_key_twice(wire: &mut Wire) {
    some_keys(wire).await;
    let (a, b) = (|| put("a", "x").op(), || put("b", "x").op());
    let nested = |op: RequestOp| txn([], [op], []).op();
    for request in [
        txn([], [a(), a()], []),
        txn([], [], [a(), a()]),
        txn([], [a()], [a()]),
        txn([], [a(), delete("a").op()], []),
        txn([], [delete("a").op(), a()], []),
        txn([], [a(), delete_range("a", "c").op()], []),
        txn([], [delete_range("b", "c").op(), a()], []),
        txn([], [delete_range("a", "c").op(), b()], []),
        txn([], [delete_range("a", ON).op(), b()], []),
        txn([], [b(), delete_range("a", ON).op()], []),
        txn([], [b(), delete_range("\0", ON).op()], []),
        txn([], [b(), delete_range("z", "a").op()], []),
        txn([], [delete("a").op(), delete_range("a", "c").op(), delete("a").op()], []),
        txn([], [a(), nested(a())], []),
        txn([], [nested(a()), a()], []),
        txn([], [nested(a()), nested(a())], []),
        txn([], [nested(a()), nested(b())], []),
        txn([], [txn([], [a()], [a()]).op()], []),
        txn([], [txn([], [a()], [b()]).op(), b()], []),
        txn([], [a(), nested(delete_range("a", "c").op())], []),
        txn([], [nested(delete("a").op()), a()], []),
        txn([], [nested(a()), nested(delete("a").op())], []),
        txn([], [nested(delete("a").op()), nested(a())], []),
        txn([], [nested(nested(a())), a()], []),
        txn([absent("a")], [a(), a()], []),
        txn([], [a(), get("a").op(), get("a").op()], []),
    ] {
        wire.txn(request).await;
    }
    wire.range(all()).await;
}

pub(super) async fn refusing_a_malformed_txn(wire: &mut Wire) {
    some_keys(wire).await;
    let many = |count: usize| vec![get("a").op(); count];
    let writes = |count: usize| -> Vec<RequestOp> {
        let key = |i: usize| format!("w{i}").into();
        (0..count).map(|i| PutRequest { key: key(i), ..put("", "1") }.op()).collect()
    };
    let unset = RequestOp { request: None };
    let inner = |count| TxnRequest { success: many(count), ..TxnRequest::default() };
    for request in [
        TxnRequest { success: many(128), ..TxnRequest::default() },
        TxnRequest { success: many(129), ..TxnRequest::default() },
        TxnRequest { success: writes(128), failure: writes(128), ..TxnRequest::default() },
        TxnRequest { failure: many(129), ..TxnRequest::default() },
        TxnRequest { compare: vec![present("a"); 128], ..TxnRequest::default() },
        TxnRequest { compare: vec![present("a"); 129], ..TxnRequest::default() },
        txn([], [inner(127).op()], []),
        txn([], [inner(128).op()], []),
        txn([], [get("a").op(), inner(126).op()], []),
        txn([], [get("a").op(), inner(127).op()], []),
        txn([], [txn([], [inner(126).op()], []).op()], []),
        txn([], [txn([], [inner(127).op()], []).op()], []),
        txn([absent("")], [], []),
        txn([], [get("").op()], []),
        txn([], [put("", "").op()], []),
        txn([], [delete("").op()], []),
        txn([], [], [range("", ON).op()]),
        txn([], [unset.clone()], []),
        txn([absent("a")], [unset.clone()], []),
        txn([absent("")], [unset.clone(), get("").op()], []),
        txn([], [get("").op()], [unset.clone()]),
        txn([], [put("a", "").op(), put("a", "").op()], [unset.clone()]),
        txn([], [txn([absent("")], [], []).op()], []),
        txn([], [txn([], [unset], []).op()], []),
        txn([], [RangeRequest { sort_order: 9, ..get("a") }.op()], []),
        txn([], [PutRequest { ignore_value: true, ..put("a", "1") }.op()], []),
        txn([], [], [PutRequest { ignore_lease: true, lease: 9, ..put("a", "1") }.op()]),
        txn([], [], [PutRequest { ignore_value: true, ..put("nope", "") }.op()]),
    ] {
        wire.txn(request).await;
    }
    wire.range(RangeRequest { count_only: true, ..all() }).await;
}

pub(super) async fn reading_other_revisions(wire: &mut Wire) {
    some_keys(wire).await;
    wire.put(put("a", "3")).await;
    wire.compact(compact(4)).await;
    for revision in [-1, 0, 1, 3, 4, 5, 6, 7, 8] {
        let old = RangeRequest { revision, ..all() };
        wire.txn(txn([], [old.clone().op()], [])).await;
        wire.txn(txn([], [put("b", "new").op(), old.clone().op()], [])).await;
        wire.txn(txn([absent("a")], [old.clone().op()], [get("a").op()])).await;
        wire.txn(txn([], [txn([], [old.clone().op()], []).op()], [])).await;
        wire.txn(txn([], [delete("nothing").op(), old.op()], [])).await;
    }
    wire.range(all()).await;
}
