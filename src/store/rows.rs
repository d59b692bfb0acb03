//! [`RangeRows`]: a long list, measured before it is read, and read while it is
//! sent.
//!
//! The answer to a range is one message, and its length goes before it. The
//! index knows how long every newest row is, so a list is measured without a
//! look at its rows; then it is walked a second time, at the same revision,
//! piece by piece. However long it is, no more than a piece is in memory. And
//! since a row is a `KeyValue` as it goes on the wire, nothing is decoded.

use std::collections::VecDeque;

use prost::encoding::{encode_varint, encoded_len_varint};

use super::cursor::Cursor;
use super::keyspace::{Pick, SLICE_KEYS_MAX, Wants};
use super::range::header;
use super::schema::signed;
use super::view::{FETCH_MAX, Source, View};
use super::watch::KeyRange;
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};

/// The tag of a key in a `RangeResponse`: field 2, with a length.
const KVS: u8 = 0x12;

/// What a row counts whose length the index does not know, because the key was
/// written since: fewer of them are fetched at once than of short ones.
const UNKNOWN_BYTES: usize = 32 << 10;

/// A list at one revision, which stays readable for as long as this lives.
pub struct RangeRows {
    view: View,
    cursor: Cursor,
    /// Keys found, and not read yet.
    found: VecDeque<Pick>,
    /// Rows not read yet.
    left: usize,
    /// Bytes of all rows, and of those that were read.
    bytes: usize,
    read: usize,
    count: i64,
    more: bool,
}

impl RangeRows {
    /// Measures a list of whole rows in their natural order.
    pub(super) fn new(view: View, request: &RangeRequest) -> RangeRows {
        let range = KeyRange::new(&request.key, &request.range_end);
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let limit = limit.unwrap_or(usize::MAX);
        let source = view.source();
        let mut scout = Cursor::new(&range, Wants::default());
        let (mut rows, mut bytes, mut more) = (0, 0, false);
        while !more {
            let left = limit - rows;
            let mut picks = scout.slice(source, left.saturating_add(1).min(SLICE_KEYS_MAX));
            if picks.is_empty() {
                break;
            }
            more = picks.len() > left;
            picks.truncate(left);
            rows += picks.len();
            bytes += measure(source, &mut picks);
        }
        let seen = signed(rows as u64) + i64::from(more);
        let count = source.count(&range).unwrap_or_else(|| seen + scout.count(source));
        let cursor = Cursor::new(&range, Wants { keys: false, bodies: true });
        RangeRows { view, cursor, found: VecDeque::new(), left: rows, bytes, read: 0, count, more }
    }

    /// The answer without its keys.
    pub fn frame(&self) -> RangeResponse {
        let header = header(self.view.published.revision);
        RangeResponse { header, kvs: Vec::new(), more: self.more, count: self.count }
    }

    /// How many keys are not read yet.
    pub fn keys_left(&self) -> usize {
        self.left
    }

    /// The length of all keys as they stand in the answer.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the next keys as they stand in the answer, about so many bytes
    /// of them; false if those were the last.
    pub fn read(&mut self, out: &mut Vec<u8>, bytes_target: usize) -> bool {
        let begin = out.len();
        while self.left > 0 && out.len() - begin < bytes_target {
            if self.found.is_empty() {
                let max = self.left.min(SLICE_KEYS_MAX);
                self.found.extend(self.cursor.slice(self.view.source(), max));
                assert!(!self.found.is_empty(), "a pinned revision keeps its rows");
            }
            let mut picks = self.take(bytes_target - (out.len() - begin));
            self.left -= picks.len();
            self.view.source().fetch(&mut picks);
            for body in picks.into_iter().filter_map(|pick| pick.body) {
                out.push(KVS);
                encode_varint(body.len() as u64, out);
                out.extend_from_slice(&body);
            }
        }
        self.read += out.len() - begin;
        let is_done = self.left == 0;
        assert!(!is_done || self.read == self.bytes, "a row is as long as the index says");
        !is_done
    }

    /// Some of the keys found, as many as may take so many bytes.
    fn take(&mut self, bytes: usize) -> Vec<Pick> {
        let mut sum = 0;
        let fits = |pick: &&Pick| {
            let is_in = sum < bytes;
            sum += pick.row_len().unwrap_or(UNKNOWN_BYTES);
            is_in
        };
        let count = self.found.iter().take(FETCH_MAX).take_while(fits).count();
        self.found.drain(..count).collect()
    }
}

/// What rows take in an answer; those that the index has no length of are read.
fn measure(source: Source<'_>, picks: &mut [Pick]) -> usize {
    let mut sum = 0;
    for part in picks.chunks_mut(FETCH_MAX) {
        if part.iter().any(|pick| pick.row_len().is_none()) {
            source.fetch(part);
        }
        let length = |pick: &Pick| pick.row_len().expect("it is known or was fetched");
        sum += part.iter().map(|pick| framed(length(pick))).sum::<usize>();
    }
    sum
}

fn framed(row: usize) -> usize {
    1 + encoded_len_varint(row as u64) + row
}
