//! Txn: compares, then one of two lists of operations, all at one revision.
//!
//! Which way a txn goes, nested ones included, is decided on the state before
//! it. Then the operations on that way are checked, all of them, before the
//! first takes effect; and then nothing can fail any more.

use std::cmp::Ordering;

use bytes::Bytes;

use super::body;
use super::cursor::Cursor;
use super::keyspace::{Pick, SLICE_KEYS_MAX, Wants};
use super::range::{self, answer, header};
use super::rejection::Rejection;
use super::view::{Published, Source};
use super::watch::KeyRange;
use super::write::Write;
use crate::ids::LeaseId;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, ResponseOp, TxnRequest,
    TxnResponse,
};

/// A txn whose way is decided.
pub(super) struct Decided<'a> {
    holds: bool,
    ops: Vec<DecidedOp<'a>>,
}

enum DecidedOp<'a> {
    Range(&'a RangeRequest),
    Put(&'a PutRequest),
    Delete(&'a DeleteRangeRequest),
    Txn(Decided<'a>),
}

impl<'a> Decided<'a> {
    /// Compares on the state before the txn.
    pub(super) fn new(source: Source<'_>, txn: &'a TxnRequest) -> Result<Decided<'a>, Rejection> {
        let mut holds = true;
        for compare in &txn.compare {
            holds = holds && satisfies(source, compare);
        }
        let ops = if holds { &txn.success } else { &txn.failure };
        let ops = ops.iter().map(|op| {
            Ok(match op.request.as_ref().ok_or(Rejection::Malformed)? {
                Op::RequestRange(range) => DecidedOp::Range(range),
                Op::RequestPut(put) => DecidedOp::Put(put),
                Op::RequestDeleteRange(delete) => DecidedOp::Delete(delete),
                Op::RequestTxn(txn) => DecidedOp::Txn(Decided::new(source, txn)?),
            })
        });
        Ok(Decided { holds, ops: ops.collect::<Result<_, Rejection>>()? })
    }

    /// The operations on the way in order, those of nested txns in their places.
    fn steps<'b>(&'b self, steps: &mut Vec<&'b DecidedOp<'a>>) {
        for op in &self.ops {
            match op {
                DecidedOp::Txn(nested) => nested.steps(steps),
                plain => steps.push(plain),
            }
        }
    }

    /// Whether everything on the way can be done; the first that cannot decides,
    /// as in etcd. `current` is what is readable before the txn.
    pub(super) fn check(&self, source: Source<'_>, current: Published) -> Result<(), Rejection> {
        let mut steps = Vec::new();
        self.steps(&mut steps);
        let mut deleted = Vec::new();
        for step in &steps {
            match step {
                DecidedOp::Put(put) => check_step(source, put, &deleted)?,
                DecidedOp::Delete(delete) => {
                    deleted.push(KeyRange::new(&delete.key, &delete.range_end));
                }
                DecidedOp::Range(range) => check_range(range, current)?,
                DecidedOp::Txn(_) => {}
            }
        }
        Ok(())
    }

    /// Reads what is asked for, after [`Decided::check`]; a txn that would
    /// write is refused.
    pub(super) fn read(&self, source: Source<'_>, revision: i64) -> Result<TxnResponse, Rejection> {
        let mut responses = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            responses.push(wrap(match op {
                DecidedOp::Txn(nested) => Response::ResponseTxn(nested.read(source, revision)?),
                DecidedOp::Range(range) => {
                    Response::ResponseRange(range_at(source, range, revision))
                }
                DecidedOp::Put(_) | DecidedOp::Delete(_) => return Err(Rejection::Malformed),
            }));
        }
        Ok(TxnResponse { header: header(0), succeeded: self.holds, responses })
    }

    /// Carries everything out, after [`Decided::check`].
    pub(super) fn carry_out(&self, write: &mut Write<'_>) -> TxnResponse {
        let mut responses = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            responses.push(wrap(match op {
                DecidedOp::Txn(nested) => Response::ResponseTxn(nested.carry_out(write)),
                DecidedOp::Put(put) => Response::ResponsePut(write.put(put)),
                DecidedOp::Delete(delete) => {
                    Response::ResponseDeleteRange(write.delete_range(delete))
                }
                DecidedOp::Range(range) => {
                    let revision = write.revision();
                    Response::ResponseRange(range_at(write.tip(), range, revision))
                }
            }));
        }
        TxnResponse { header: header(0), succeeded: self.holds, responses }
    }
}

fn wrap(response: Response) -> ResponseOp {
    ResponseOp { response: Some(response) }
}

fn range_at(source: Source<'_>, range: &RangeRequest, revision: i64) -> RangeResponse {
    let at = if range.revision > 0 { range.revision } else { source.at };
    let answer = answer(Source { at, ..source }, range, revision);
    answer.expect("the request was checked before anything was done")
}

/// Whether a put of a txn can be done after these deletions. etcd checks the
/// state before the txn alone, and dies of a key that the txn itself deleted.
fn check_step(source: Source<'_>, put: &PutRequest, deleted: &[KeyRange]) -> Result<(), Rejection> {
    check_put(source, put)?;
    let keeps = put.ignore_value || put.ignore_lease;
    if keeps && deleted.iter().any(|range| range.holds(&put.key)) {
        return Err(Rejection::KeyNotFound);
    }
    Ok(())
}

/// Whether a put can be done.
pub(super) fn check_put(source: Source<'_>, put: &PutRequest) -> Result<(), Rejection> {
    check_lease(source, put)?;
    check_kept(source, put)
}

/// Whether there is what a put is to keep.
fn check_kept(source: Source<'_>, put: &PutRequest) -> Result<(), Rejection> {
    if put.key.is_empty() {
        return Err(Rejection::Malformed);
    }
    let keeps = put.ignore_value || put.ignore_lease;
    if keeps && source.pick(&put.key).is_none() {
        return Err(Rejection::KeyNotFound);
    }
    Ok(())
}

/// Whether the lease of a put exists.
fn check_lease(source: Source<'_>, put: &PutRequest) -> Result<(), Rejection> {
    let exists = || source.shared.state.read().leases.exists(LeaseId(put.lease));
    if put.lease == 0 || put.ignore_lease || exists() {
        return Ok(());
    }
    Err(Rejection::LeaseNotFound)
}

/// Whether a range of a txn can be read; etcd takes a negative revision at its
/// word here, and nowhere else.
fn check_range(request: &RangeRequest, current: Published) -> Result<(), Rejection> {
    range::check(request)?;
    if request.revision < 0 && request.revision < current.compacted {
        return Err(Rejection::Compacted { oldest: current.compacted });
    }
    current.resolve(request.revision).map(|_| ())
}

/// Whether all keys of a compare satisfy it; no key counts as one that is
/// missing.
fn satisfies(source: Source<'_>, compare: &Compare) -> bool {
    let test = Test {
        result: CompareResult::try_from(compare.result).ok(),
        target: CompareTarget::try_from(compare.target).ok(),
        operand: compare.target_union.as_ref(),
    };
    if compare.range_end.is_empty() {
        return test.holds(source, source.pick(&compare.key));
    }
    let range = KeyRange::new(&compare.key, &compare.range_end);
    let bodies = test.target == Some(CompareTarget::Value);
    let mut cursor = Cursor::new(&range, Wants { keys: false, bodies });
    let mut is_missing = true;
    loop {
        let picks = cursor.slice(source, SLICE_KEYS_MAX);
        if picks.is_empty() {
            return !is_missing || test.holds(source, None);
        }
        is_missing = false;
        if !picks.into_iter().all(|pick| test.holds(source, Some(pick))) {
            return false;
        }
    }
}

/// What etcd makes of numbers that it does not know: an unknown target is equal
/// to its operand, an unknown result holds.
struct Test<'a> {
    result: Option<CompareResult>,
    target: Option<CompareTarget>,
    operand: Option<&'a TargetUnion>,
}

impl Test<'_> {
    fn holds(&self, source: Source<'_>, pick: Option<Pick>) -> bool {
        let Some(ordering) = self.compare(source, pick) else { return false };
        match self.result {
            Some(CompareResult::Equal) => ordering.is_eq(),
            Some(CompareResult::NotEqual) => ordering.is_ne(),
            Some(CompareResult::Greater) => ordering.is_gt(),
            Some(CompareResult::Less) => ordering.is_lt(),
            None => true,
        }
    }

    /// `None` is the value of a missing key, of which nothing is true.
    fn compare(&self, source: Source<'_>, pick: Option<Pick>) -> Option<Ordering> {
        let Some(target) = self.target else { return Some(Ordering::Equal) };
        if target == CompareTarget::Value {
            let operand = match self.operand {
                Some(TargetUnion::Value(value)) => value.clone(),
                _ => Bytes::new(),
            };
            let held = body::decode(source.body(pick?));
            return Some(held.value.cmp(&operand));
        }
        let number = pick.map_or(0, |pick| number(source, target, pick));
        Some(number.cmp(&self.operand_number()))
    }

    /// The operand of the target's own kind, or zero.
    fn operand_number(&self) -> i64 {
        match (self.target, self.operand) {
            (Some(CompareTarget::Version), Some(TargetUnion::Version(number)))
            | (Some(CompareTarget::Create), Some(TargetUnion::CreateRevision(number)))
            | (Some(CompareTarget::Mod), Some(TargetUnion::ModRevision(number)))
            | (Some(CompareTarget::Lease), Some(TargetUnion::Lease(number))) => *number,
            _ => 0,
        }
    }
}

fn number(source: Source<'_>, target: CompareTarget, pick: Pick) -> i64 {
    if target == CompareTarget::Mod {
        return pick.version.main;
    }
    let (create_revision, version, lease) = match pick.head {
        Some(head) => (head.create_revision, head.version, head.lease),
        None => {
            let kv = body::decode(source.body(pick));
            (kv.create_revision, kv.version, kv.lease)
        }
    };
    match target {
        CompareTarget::Version => version,
        CompareTarget::Create => create_revision,
        _ => lease,
    }
}
