//! RangeStream: a range in pieces, read at one revision.
//!
//! Nobody waits for whoever is slow to take them: a compaction of the revision
//! ends the stream, as in etcd. Pieces have as many keys as etcd's: ten at first,
//! and then what the size of the piece before tells; a piece of ours ends earlier
//! only where it would cost too much memory. Keys come in their natural order.
//! With a sort target but no order, etcd sorts each piece by itself, and goes on
//! behind the key that comes out last; so do we, although only ranges that fit
//! into the first piece are sorted by it. (etcd: server/etcdserver/v3_server.go.)

use std::collections::VecDeque;
use std::sync::Arc;

use prost::Message as _;

use super::cursor::Cursor;
use super::keyspace::{Pick, SLICE_KEYS_MAX, Wants};
use super::range::{answer, full, header, heads, is_natural};
use super::rejection::Rejection;
use super::schema::signed;
use super::view::{FETCH_MAX, Shared, Source, View};
use super::watch::KeyRange;
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse};
use crate::proto::mvccpb::KeyValue;

/// Keys in the first piece.
const FIRST_KEYS: i64 = 10;

/// The pieces of a range.
pub struct RangeStream {
    shared: Arc<Shared>,
    /// What was current when it began.
    revision: i64,
    at: i64,
    pieces: Pieces,
    is_done: bool,
}

enum Pieces {
    InOrder(InOrder),
    Sorted(Sorted),
}

impl RangeStream {
    /// Begins to read.
    pub(super) fn new(view: &View, request: &RangeRequest, bytes_target: usize) -> RangeStream {
        let pieces = if is_natural(request) || request.count_only {
            Pieces::InOrder(InOrder::new(view.source(), request, bytes_target))
        } else {
            Pieces::Sorted(Sorted::new(request, bytes_target))
        };
        let (shared, revision) = (Arc::clone(view.shared()), view.published.revision);
        RangeStream { shared, revision, at: view.at, pieces, is_done: false }
    }

    /// The next piece: only the last has header (revision), `more` and `count`.
    ///
    /// # Errors
    /// The revision was compacted since the piece before.
    pub fn next_piece(&mut self) -> Result<Option<RangeResponse>, Rejection> {
        if self.is_done {
            return Ok(None);
        }
        let view = self.shared.view(self.at)?;
        let (kvs, end) = match &mut self.pieces {
            Pieces::InOrder(pieces) => pieces.next(view.source()),
            Pieces::Sorted(pieces) => pieces.next(view.source())?,
        };
        let Some(End { more, count }) = end else {
            return Ok(Some(RangeResponse { kvs, ..RangeResponse::default() }));
        };
        self.is_done = true;
        Ok(Some(RangeResponse { header: header(self.revision), kvs, more, count }))
    }
}

/// What the last piece says besides its keys.
struct End {
    more: bool,
    count: i64,
}

/// Keys in their natural order.
struct InOrder {
    cursor: Cursor,
    /// Keys found, and not sent yet.
    rest: VecDeque<Pick>,
    /// Keys that may still be sent; `None` is no limit.
    left: Option<usize>,
    /// Keys in the next piece; a negative number is no limit, as in the request.
    keys: i64,
    bytes_target: usize,
    /// Keys fetched at once.
    step: usize,
    count: i64,
    keys_only: bool,
    count_only: bool,
}

impl InOrder {
    fn new(source: Source<'_>, request: &RangeRequest, bytes_target: usize) -> InOrder {
        let range = KeyRange::new(&request.key, &request.range_end);
        let count = source
            .count(&range)
            .unwrap_or_else(|| Cursor::new(&range, Wants::default()).count(source));
        let limit = usize::try_from(request.limit.max(0)).unwrap_or(usize::MAX);
        let left = Some(limit).filter(|limit| *limit > 0);
        let wants = Wants { keys: request.keys_only, bodies: !request.keys_only };
        InOrder {
            cursor: Cursor::new(&range, wants),
            rest: VecDeque::new(),
            left: if request.count_only { Some(0) } else { left },
            keys: FIRST_KEYS.min(if request.limit == 0 { i64::MAX } else { request.limit }),
            bytes_target,
            step: 1,
            count,
            keys_only: request.keys_only,
            count_only: request.count_only,
        }
    }

    fn next(&mut self, source: Source<'_>) -> (Vec<KeyValue>, Option<End>) {
        let kvs = self.next_kvs(source);
        if self.rest.is_empty() {
            self.rest.extend(self.cursor.slice(source, 1));
        }
        let is_cut = self.left == Some(0);
        let more = is_cut && !self.rest.is_empty() && !self.count_only;
        let is_last = is_cut || self.rest.is_empty();
        (kvs, is_last.then_some(End { more, count: self.count }))
    }

    fn next_kvs(&mut self, source: Source<'_>) -> Vec<KeyValue> {
        let mut piece = RangeResponse::default();
        let mut bytes = 0;
        let keys = usize::try_from(self.keys).unwrap_or(usize::MAX);
        let keys = keys.min(self.left.unwrap_or(usize::MAX));
        while piece.kvs.len() < keys && bytes <= self.bytes_target.saturating_mul(2) {
            if self.rest.is_empty() {
                self.rest.extend(self.cursor.slice(source, SLICE_KEYS_MAX));
            }
            let count = self.rest.len().min(keys - piece.kvs.len()).min(self.step);
            if count == 0 {
                break;
            }
            let picks: Vec<Pick> = self.rest.drain(..count).collect();
            let next = if self.keys_only { heads(source, picks) } else { full(source, picks) };
            let size = next.iter().map(|kv| kv.key.len() + kv.value.len()).sum::<usize>();
            self.step = pace(self.step, size, self.bytes_target);
            bytes += size;
            piece.kvs.extend(next);
        }
        self.left = self.left.map(|left| left - piece.kvs.len());
        self.keys = next_keys(self.keys, piece.encoded_len(), self.bytes_target);
        piece.kvs
    }
}

/// How many keys the next piece has: twice or half as many, if the last one took
/// far too little or too much.
fn next_keys(keys: i64, bytes: usize, target: usize) -> i64 {
    match keys {
        keys if bytes < target / 2 => keys.saturating_mul(2),
        keys if bytes > target.saturating_mul(2) => (keys / 2).max(1),
        keys => keys,
    }
}

/// How many keys to fetch next. Nobody knows how large bodies are before they
/// are there: as in etcd, what the last ones took decides.
fn pace(step: usize, bytes: usize, target: usize) -> usize {
    if bytes > target {
        return (step / 2).max(1);
    }
    if bytes < target / 2 { (step * 2).min(FETCH_MAX) } else { step }
}

/// Pieces that are sorted, each by itself.
struct Sorted {
    /// What is asked of the next piece.
    request: RangeRequest,
    /// Keys that may still be sent.
    left: i64,
    sent: i64,
    bytes_target: usize,
}

impl Sorted {
    fn new(request: &RangeRequest, bytes_target: usize) -> Sorted {
        // etcd takes a negative limit for a limit, too, and finds it never reached.
        let left = if request.limit == 0 { i64::MAX } else { request.limit };
        let request = RangeRequest { limit: FIRST_KEYS.min(left), ..request.clone() };
        Sorted { request, left, sent: 0, bytes_target }
    }

    fn next(&mut self, source: Source<'_>) -> Result<(Vec<KeyValue>, Option<End>), Rejection> {
        let piece = answer(source, &self.request, 0)?;
        let bytes = piece.encoded_len();
        let sent = signed(piece.kvs.len() as u64);
        self.left -= sent;
        self.sent += sent;
        if let Some(last) = piece.kvs.last().filter(|_| piece.more) {
            self.request.key = [&last.key[..], b"\0"].concat().into();
        }
        if !piece.more || self.left == 0 {
            let range = KeyRange::new(&self.request.key, &self.request.range_end);
            let rest = || Cursor::new(&range, Wants::default()).count(source);
            let count = self.sent + if piece.more { rest() } else { 0 };
            return Ok((piece.kvs, Some(End { more: piece.more, count })));
        }
        let keys = next_keys(self.request.limit, bytes, self.bytes_target);
        self.request.limit = keys.min(self.left);
        Ok((piece.kvs, None))
    }
}
