//! The rules of shape, each with what it refuses and what it lets pass.

use super::*;

fn get(key: &'static str) -> Op {
    Op::RequestRange(pb::RangeRequest { key: key.into(), ..Default::default() })
}

fn set(key: &'static str) -> Op {
    Op::RequestPut(pb::PutRequest { key: key.into(), ..Default::default() })
}

fn del(key: &'static str, range_end: &'static str) -> Op {
    let (key, range_end) = (key.into(), range_end.into());
    Op::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false })
}

fn nested(success: Vec<Op>, failure: Vec<Op>) -> Op {
    Op::RequestTxn(both(success, failure))
}

fn both(success: Vec<Op>, failure: Vec<Op>) -> pb::TxnRequest {
    let wrap = |ops: Vec<Op>| {
        ops.into_iter().map(|request| pb::RequestOp { request: Some(request) }).collect()
    };
    pb::TxnRequest { compare: Vec::new(), success: wrap(success), failure: wrap(failure) }
}

fn check(ops: Vec<Op>) -> Checked {
    txn(&both(ops, Vec::new()), 128)
}

#[test]
fn a_range_needs_a_key_and_a_known_order() {
    let good = pb::RangeRequest { key: "a".into(), ..Default::default() };
    assert_eq!(range(&good), Ok(()));
    let bad = pb::RangeRequest { range_end: "\0".into(), sort_order: 9, ..Default::default() };
    assert_eq!(range(&bad), Err(status::EMPTY_KEY));
    for (order, target) in [(3, 0), (-1, 0), (0, 5), (0, -1)] {
        let bad = pb::RangeRequest { sort_order: order, sort_target: target, ..good.clone() };
        assert_eq!(range(&bad), Err(status::INVALID_SORT_OPTION), "{order} {target}");
    }
}

#[test]
fn a_stream_takes_key_order_and_no_filter() {
    let good = pb::RangeRequest { key: "a".into(), ..Default::default() };
    for (order, target) in [(0, 0), (0, 3), (1, 0)] {
        let good = pb::RangeRequest { sort_order: order, sort_target: target, ..good.clone() };
        assert_eq!(range_stream(&good), Ok(()), "{order} {target}");
    }
    for (order, target) in [(2, 0), (1, 1), (2, 4)] {
        let bad = pb::RangeRequest { sort_order: order, sort_target: target, ..good.clone() };
        assert_eq!(range_stream(&bad), Err(status::NO_SORTED_STREAM), "{order} {target}");
    }
    for filter in 0..4 {
        let mut bad = good.clone();
        let fields = [
            &mut bad.min_mod_revision,
            &mut bad.max_mod_revision,
            &mut bad.min_create_revision,
            &mut bad.max_create_revision,
        ];
        *fields.into_iter().nth(filter).unwrap() = 1;
        assert_eq!(range_stream(&bad), Err(status::NO_FILTERED_STREAM), "{filter}");
    }
}

#[test]
fn a_put_that_keeps_something_may_not_bring_it() {
    let good = pb::PutRequest { key: "a".into(), ..Default::default() };
    assert_eq!(put(&good), Ok(()));
    let nameless = pb::PutRequest { ignore_value: true, value: "v".into(), ..Default::default() };
    assert_eq!(put(&nameless), Err(status::EMPTY_KEY));
    let value = pb::PutRequest { ignore_value: true, value: "v".into(), ..good.clone() };
    assert_eq!(put(&value), Err(status::VALUE_PROVIDED));
    let lease = pb::PutRequest { ignore_lease: true, lease: -1, ..good.clone() };
    assert_eq!(put(&lease), Err(status::LEASE_PROVIDED));
    let both = pb::PutRequest { ignore_value: true, value: "v".into(), ..lease };
    assert_eq!(put(&both), Err(status::VALUE_PROVIDED));
}

#[test]
fn the_longest_list_counts_and_nested_txns_get_what_is_left() {
    let gets = |count| (0..count).map(|_| get("a")).collect::<Vec<_>>();
    assert_eq!(txn(&both(gets(128), gets(128)), 128), Ok(()));
    assert_eq!(txn(&both(gets(1), gets(129)), 128), Err(status::TOO_MANY_OPS));
    let compare = vec![pb::Compare { key: "a".into(), ..Default::default() }; 129];
    let compares = pb::TxnRequest { compare, ..Default::default() };
    assert_eq!(txn(&compares, 128), Err(status::TOO_MANY_OPS));

    let parent = |inner: usize, others: usize| {
        let mut ops = gets(others);
        ops.push(nested(gets(inner), Vec::new()));
        txn(&both(ops, Vec::new()), 10)
    };
    assert_eq!(parent(6, 3), Ok(()));
    assert_eq!(parent(7, 3), Err(status::TOO_MANY_OPS));
}

#[test]
fn count_comes_before_compares_and_compares_before_operations() {
    let nameless = pb::Compare::default();
    let unset = pb::RequestOp { request: None };
    let mut request = pb::TxnRequest {
        compare: vec![nameless],
        success: vec![unset.clone()],
        failure: vec![unset; 2],
    };
    assert_eq!(txn(&request, 1), Err(status::TOO_MANY_OPS));
    assert_eq!(txn(&request, 2), Err(status::EMPTY_KEY));
    request.compare.clear();
    assert_eq!(txn(&request, 2), Err(status::KEY_NOT_FOUND));
}

#[test]
fn operations_are_checked_like_their_own_requests_success_first() {
    assert_eq!(check(vec![get("")]), Err(status::EMPTY_KEY));
    assert_eq!(check(vec![set("")]), Err(status::EMPTY_KEY));
    assert_eq!(check(vec![del("", "z")]), Err(status::EMPTY_KEY));
    assert_eq!(check(vec![nested(vec![], vec![set("")])]), Err(status::EMPTY_KEY));
    let bad_put = Op::RequestPut(pb::PutRequest {
        key: "a".into(),
        ignore_lease: true,
        lease: 1,
        ..Default::default()
    });
    let request = both(vec![bad_put], vec![get("")]);
    assert_eq!(txn(&request, 128), Err(status::LEASE_PROVIDED));
    // Shape comes before contradictions, wherever they stand.
    assert_eq!(check(vec![set("a"), set("a"), get("")]), Err(status::EMPTY_KEY));
}

#[test]
fn one_branch_writes_a_key_once() {
    let twice = Err(status::DUPLICATE_KEY);
    assert_eq!(check(vec![set("a"), set("b"), get("a")]), Ok(()));
    assert_eq!(check(vec![set("a"), set("a")]), twice);
    assert_eq!(check(vec![set("a"), del("a", "")]), twice);
    assert_eq!(check(vec![del("a", "c"), set("b")]), twice);
    assert_eq!(check(vec![set("b"), del("a", "c")]), twice);
    assert_eq!(check(vec![del("a", "c"), set("c")]), Ok(()));
    assert_eq!(check(vec![del("a", "c"), del("b", "d")]), Ok(()));
    assert_eq!(txn(&both(vec![set("a")], vec![set("a")]), 128), Ok(()));
    assert_eq!(txn(&both(vec![], vec![set("a"), set("a")]), 128), twice);
}

#[test]
fn nested_branches_are_alternatives_but_not_to_the_outer_list() {
    let twice = Err(status::DUPLICATE_KEY);
    assert_eq!(check(vec![nested(vec![set("a")], vec![set("a")])]), Ok(()));
    assert_eq!(check(vec![nested(vec![set("a")], vec![del("a", "")])]), Ok(()));
    assert_eq!(check(vec![nested(vec![set("a")], vec![]), set("a")]), twice);
    assert_eq!(check(vec![set("a"), nested(vec![], vec![set("a")])]), twice);
    assert_eq!(check(vec![set("a"), nested(vec![del("a", "b")], vec![])]), twice);
    assert_eq!(check(vec![del("a", "b"), nested(vec![set("a")], vec![])]), twice);
    assert_eq!(check(vec![nested(vec![set("a")], vec![]), nested(vec![], vec![set("a")])]), twice);
    let deep = nested(vec![nested(vec![set("a")], vec![])], vec![]);
    assert_eq!(check(vec![deep, set("a")]), twice);
}

#[test]
fn the_two_gaps_of_etcds_search_are_kept() {
    assert_eq!(check(vec![del("a", "\0"), set("b")]), Ok(()));
    assert_eq!(check(vec![del("\0", "\0"), set("b")]), Ok(()));
    let put = || nested(vec![set("a")], vec![]);
    let deletion = || nested(vec![del("a", "")], vec![]);
    assert_eq!(check(vec![put(), deletion()]), Ok(()));
    assert_eq!(check(vec![deletion(), put()]), Err(status::DUPLICATE_KEY));
}

#[test]
fn peer_urls_have_a_scheme_a_host_and_a_port() {
    let good = ["http://10.0.0.1:2380", "https://[::1]:2380", "unix://localhost:0", "http://:1"];
    for url in good {
        assert_eq!(peer_urls(&[url.to_owned()]), Ok(vec![url.to_owned()]));
    }
    let bad = ["", "10.0.0.1:2380", "ftp://a:1", "http://a", "http://a:b", "http://a:1/x"];
    for url in bad {
        let urls = [good[0].to_owned(), url.to_owned()];
        assert_eq!(peer_urls(&urls), Err(status::MEMBER_BAD_URLS), "{url}");
    }
    assert_eq!(peer_urls(&[]), Err(status::MEMBER_BAD_URLS));
}
