//! What is refused for its shape, before it costs anything.
//!
//! The order of the checks is part of etcd's API: of two mistakes in one
//! request, clients see the one that etcd finds first. Two gaps in etcd's
//! search for duplicate writes of a txn are kept as they are, because programs
//! that fall through them work: a deletion from a key on never conflicts, and
//! a put in one nested txn is not compared with deletions in later ones.

use bytes::Bytes;

use super::peer_url;
use super::ranges::Ranges;
use super::status::{self, Refusal};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
type Checked = Result<(), Refusal>;

/// A range, alone or in a txn.
pub(super) fn range(request: &pb::RangeRequest) -> Checked {
    has_key(&request.key)?;
    let is_known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if is_known { Ok(()) } else { Err(status::INVALID_SORT_OPTION) }
}

/// A range that is to be answered in pieces.
pub(super) fn range_stream(request: &pb::RangeRequest) -> Checked {
    range(request)?;
    let is_by_key =
        request.sort_order() == SortOrder::Ascend && request.sort_target() == SortTarget::Key;
    if request.sort_order() != SortOrder::None && !is_by_key {
        return Err(status::NO_SORTED_STREAM);
    }
    if has_filters(request) { Err(status::NO_FILTERED_STREAM) } else { Ok(()) }
}

/// Whether keys are chosen by their revisions.
pub(super) fn has_filters(request: &pb::RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// A put, alone or in a txn.
pub(super) fn put(request: &pb::PutRequest) -> Checked {
    has_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(status::VALUE_PROVIDED);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(status::LEASE_PROVIDED);
    }
    Ok(())
}

/// A deletion, alone or in a txn.
pub(super) fn delete_range(request: &pb::DeleteRangeRequest) -> Checked {
    has_key(&request.key)
}

/// A txn: first the shape of all of it, then writes that contradict.
pub(super) fn txn(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    txn_shape(request, ops_max)?;
    Writes::of(&request.success)?;
    Writes::of(&request.failure)?;
    Ok(())
}

/// URLs under which members reach one another, each in the one way to write it,
/// and in order.
pub(super) fn peer_urls(urls: &[String]) -> Result<Vec<String>, Refusal> {
    let urls: Option<Vec<_>> = urls.iter().map(|url| peer_url::canonical(url.trim())).collect();
    let mut urls = urls.filter(|urls| !urls.is_empty()).ok_or(status::MEMBER_BAD_URLS)?;
    urls.sort_unstable();
    Ok(urls)
}

fn has_key(key: &Bytes) -> Checked {
    if key.is_empty() { Err(status::EMPTY_KEY) } else { Ok(()) }
}

/// What a nested txn may hold is what its parent's longest list has left.
fn txn_shape(request: &pb::TxnRequest, ops_max: usize) -> Checked {
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = ops_max.checked_sub(longest).ok_or(status::TOO_MANY_OPS)?;
    for compare in &request.compare {
        has_key(&compare.key)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Op::RequestRange(inner)) => range(inner)?,
            Some(Op::RequestPut(inner)) => put(inner)?,
            Some(Op::RequestDeleteRange(inner)) => delete_range(inner)?,
            Some(Op::RequestTxn(inner)) => txn_shape(inner, left)?,
            None => return Err(status::KEY_NOT_FOUND),
        }
    }
    Ok(())
}

/// What a list of operations writes, nested txns included.
#[derive(Default)]
struct Writes<'a> {
    puts: std::collections::BTreeSet<&'a [u8]>,
    deletions: Ranges,
}

impl<'a> Writes<'a> {
    /// Deletions of a list count from its beginning, its puts come last, and
    /// nested txns in between, in their order.
    fn of(ops: &'a [pb::RequestOp]) -> Result<Writes<'a>, Refusal> {
        let mut writes = Writes::default();
        for op in ops {
            if let Some(Op::RequestDeleteRange(deletion)) = &op.request {
                writes.deletions.add(&deletion.key, &deletion.range_end);
            }
        }
        for op in ops {
            if let Some(Op::RequestTxn(nested)) = &op.request {
                writes.nest(nested)?;
            }
        }
        for op in ops {
            if let Some(Op::RequestPut(put)) = &op.request {
                writes.put(&put.key)?;
            }
        }
        Ok(writes)
    }

    /// The two branches exclude each other, so they may write the same key.
    fn nest(&mut self, txn: &'a pb::TxnRequest) -> Checked {
        let success = Writes::of(&txn.success)?;
        let failure = Writes::of(&txn.failure)?;
        for &key in &success.puts {
            self.put(key)?;
        }
        for &key in failure.puts.difference(&success.puts) {
            self.put(key)?;
        }
        self.deletions.merge(success.deletions);
        self.deletions.merge(failure.deletions);
        Ok(())
    }

    fn put(&mut self, key: &'a [u8]) -> Checked {
        if self.deletions.hold(key) || !self.puts.insert(key) {
            return Err(status::DUPLICATE_KEY);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
