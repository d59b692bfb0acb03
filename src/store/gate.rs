//! What stands before a command: alarms, the rights of whoever asks, and what a
//! member should have refused to propose. The quota is judged by the member that
//! is asked, before it proposes; what has slipped past it is carried out by all.

use super::command::{Caller, Request};
use super::rejection::Rejection;
use super::rights::Check;
use super::view::State;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
use crate::proto::kat::log::LeaseExpire;

/// What etcd adds to a key and its value.
const PUT_COST: u64 = 256;
/// What etcd takes a lease to need.
const LEASE_COST: u64 = 64;

impl State {
    /// A caller, about to do something.
    pub(super) fn check<'a>(&'a self, caller: &'a Caller) -> Check<'a> {
        Check { accounts: &self.accounts, leases: &self.leases, caller }
    }
}

/// Whether a command may be carried out at all, in the order of the gates.
pub(super) fn admit(state: &State, caller: &Caller, request: &Request) -> Result<(), Rejection> {
    if state.alarms.is_corrupt() && is_mutation(request) {
        return Err(Rejection::Corrupt);
    }
    if state.alarms.is_full() && cost(request) > 0 {
        return Err(Rejection::NoSpace);
    }
    Ok(state.check(caller).command(request)?)
}

fn is_mutation(request: &Request) -> bool {
    match request {
        Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compact(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseExpire(LeaseExpire { .. }) => true,
        Request::LeaseCheckpoint(_)
        | Request::Alarm(_)
        | Request::MemberAttributes(_)
        | Request::ClusterVersion(_)
        | Request::Accounts(_)
        | Request::MemberAdd(_)
        | Request::MemberRemove(_)
        | Request::MemberPromote(_)
        | Request::MemberUpdate(_)
        | Request::Downgrade(_) => false,
    }
}

/// Bytes that a request may add, as etcd estimates them; what adds none is
/// never refused for want of space.
pub(super) fn cost(request: &Request) -> u64 {
    match request {
        Request::Put(put) => put_cost(put),
        Request::Txn(txn) => txn_cost(txn),
        Request::LeaseGrant(_) => LEASE_COST,
        _ => 0,
    }
}

fn put_cost(put: &PutRequest) -> u64 {
    PUT_COST + put.key.len() as u64 + put.value.len() as u64
}

fn txn_cost(txn: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| ops.iter().map(op_cost).sum::<u64>();
    branch(&txn.success).max(branch(&txn.failure))
}

fn op_cost(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Op::RequestPut(put)) => put_cost(put),
        Some(Op::RequestTxn(txn)) => txn_cost(txn),
        _ => 0,
    }
}
