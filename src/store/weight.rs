//! [`Weight`]: how much memory an answer takes, told before it is made.
//!
//! The index knows how long the newest rows are; what is older counts for a lot.
//! What is weighed is what has to be looked at: keys that are sorted are all in
//! memory before those that nobody wants are cut off.

use std::ops::AddAssign;

use super::cursor::Cursor;
use super::keyspace::{Pick, SLICE_KEYS_MAX, Wants};
use super::range;
use super::reader::Reader;
use super::view::Source;
use super::watch::KeyRange;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};

/// What a row counts whose length nobody knows, because the key was written since.
const UNKNOWN_BYTES: usize = 32 << 10;

/// Keys, and the bytes of their rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Keys.
    pub keys: usize,
    /// Bytes of their rows.
    pub bytes: usize,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Weight) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

impl Weight {
    fn add(&mut self, pick: &Pick) {
        *self += Weight { keys: 1, bytes: pick.row_len().unwrap_or(UNKNOWN_BYTES) };
    }

    /// The heavier of two, of which only one comes about.
    fn or(self, other: Weight) -> Weight {
        Weight { keys: self.keys.max(other.keys), bytes: self.bytes.max(other.bytes) }
    }
}

impl Reader {
    /// Weighs a range, and stops behind so many keys. What is refused weighs
    /// nothing.
    pub fn weigh_range(&self, request: &RangeRequest, keys_max: usize) -> Weight {
        let Ok(view) = self.view(request.revision) else { return Weight::default() };
        weigh_range(view.source(), request, keys_max)
    }

    /// Weighs a deletion that tells what was there.
    pub fn weigh_deletion(&self, request: &DeleteRangeRequest) -> Weight {
        self.view(0).map_or(Weight::default(), |view| weigh_deletion(view.source(), request))
    }

    /// Weighs the heavier way of a txn.
    pub fn weigh_txn(&self, request: &TxnRequest) -> Weight {
        self.view(0).map_or(Weight::default(), |view| weigh_txn(view.source(), request))
    }
}

fn weigh_range(source: Source<'_>, request: &RangeRequest, keys_max: usize) -> Weight {
    let mut weight = Weight::default();
    if request.count_only {
        return weight;
    }
    let max = range::keys_looked_at(request).min(keys_max);
    let range = KeyRange::new(&request.key, &request.range_end);
    if range.single().is_some() {
        source.pick(&request.key).iter().for_each(|pick| weight.add(pick));
        return weight;
    }
    let mut cursor = Cursor::new(&range, Wants::default());
    while weight.keys < max {
        let picks = cursor.slice(source, (max - weight.keys).min(SLICE_KEYS_MAX));
        if picks.is_empty() {
            break;
        }
        picks.iter().for_each(|pick| weight.add(pick));
    }
    weight
}

fn weigh_deletion(source: Source<'_>, request: &DeleteRangeRequest) -> Weight {
    if !request.prev_kv {
        return Weight::default();
    }
    let (key, range_end) = (request.key.clone(), request.range_end.clone());
    let range = RangeRequest { key, range_end, ..RangeRequest::default() };
    weigh_range(source, &range, usize::MAX)
}

fn weigh_put(source: Source<'_>, request: &PutRequest) -> Weight {
    let mut weight = Weight::default();
    if request.prev_kv {
        source.pick(&request.key).iter().for_each(|pick| weight.add(pick));
    }
    weight
}

fn weigh_txn(source: Source<'_>, txn: &TxnRequest) -> Weight {
    let [success, failure] = [&txn.success, &txn.failure].map(|ops| {
        let mut weight = Weight::default();
        for op in ops.iter().filter_map(|op| op.request.as_ref()) {
            weight += match op {
                // What is history has its own view.
                Op::RequestRange(range) if range.revision > 0 => {
                    let at = range.revision.min(source.at);
                    weigh_range(Source { at, ..source }, range, usize::MAX)
                }
                Op::RequestRange(range) => weigh_range(source, range, usize::MAX),
                Op::RequestPut(put) => weigh_put(source, put),
                Op::RequestDeleteRange(deletion) => weigh_deletion(source, deletion),
                Op::RequestTxn(txn) => weigh_txn(source, txn),
            };
        }
        weight
    });
    success.or(failure)
}
