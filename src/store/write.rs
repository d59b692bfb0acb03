//! [`Write`]: one revision in the making.
//!
//! Its changes enter the index one by one, so that what follows in the same
//! transaction sees them; readers do not, before the entry is published. The
//! rows gather in the batch of the entry ([`Work`]).

use bytes::Bytes;

use super::apply::Applied;
use super::body;
use super::cursor::Cursor;
use super::keyspace::{SLICE_KEYS_MAX, Wants};
use super::range::header;
use super::schema::{REVISIONS, Version, signed};
use super::view::{Shared, Source, TIP};
use super::watch::{Changes, Event, KeyRange, Previous};
use crate::engine::Batch;
use crate::ids::Revision;
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
};
use crate::proto::mvccpb::KeyValue;

/// What an entry has done so far.
#[derive(Default)]
pub(super) struct Work {
    pub(super) batch: Batch,
    /// The rows of `revisions` in the batch, ascending.
    pub(super) unwritten: Vec<(Version, Bytes)>,
    pub(super) applied: Applied,
}

impl Work {
    /// The state before the next change.
    pub(super) fn tip<'a>(&'a self, shared: &'a Shared) -> Source<'a> {
        Source { shared, unwritten: &self.unwritten, at: TIP }
    }
}

/// The changes of one transaction.
pub(super) struct Write<'a> {
    shared: &'a Shared,
    work: &'a mut Work,
    begin: i64,
    events: Vec<Event>,
}

impl<'a> Write<'a> {
    /// A transaction that has changed nothing yet.
    pub(super) fn begin(shared: &'a Shared, work: &'a mut Work) -> Write<'a> {
        let begin = shared.state.read().keyspace.revision;
        Write { shared, work, begin, events: Vec::new() }
    }

    /// The revision before the transaction if it has changed nothing so far,
    /// else the transaction's.
    pub(super) fn revision(&self) -> i64 {
        self.begin + i64::from(!self.events.is_empty())
    }

    /// The state with all changes so far.
    pub(super) fn tip(&self) -> Source<'_> {
        self.work.tip(self.shared)
    }

    fn next(&self, deleted: bool) -> Version {
        let sub = u32::try_from(self.events.len()).expect("memory holds fewer events");
        Version { main: self.begin + 1, sub, deleted }
    }

    /// Puts a key; `checked` said that this can be done.
    pub(super) fn put(&mut self, request: &PutRequest) -> PutResponse {
        let asks = request.prev_kv || request.ignore_value || request.ignore_lease;
        let held = if asks { self.tip().get(&request.key) } else { None };
        let mut value = request.value.clone();
        let mut lease = request.lease;
        if request.ignore_value {
            value = held.as_ref().map(|kv| kv.value.clone()).unwrap_or_default();
        }
        if request.ignore_lease {
            lease = held.as_ref().map(|kv| kv.lease).unwrap_or_default();
        }
        let version = self.next(false);
        let mut state = self.shared.state.write();
        let written = state.keyspace.put(version, &request.key, value, lease);
        state.leases.attach(&request.key, written.lease, lease);
        drop(state);
        self.work.batch.put(REVISIONS, &version.key(), &written.body);
        self.work.unwritten.push((version, written.body));
        self.events.push(Event { deleted: false, kv: written.kv, previous: written.previous });
        let prev_kv = held.filter(|_| request.prev_kv);
        PutResponse { header: header(self.revision()), prev_kv }
    }

    /// Deletes a range.
    pub(super) fn delete_range(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let range = KeyRange::new(&request.key, &request.range_end);
        let mut cursor = Cursor::new(&range, Wants { keys: true, bodies: request.prev_kv });
        let mut response = DeleteRangeResponse::default();
        loop {
            let mut picks = cursor.slice(self.tip(), SLICE_KEYS_MAX);
            if picks.is_empty() {
                break;
            }
            if request.prev_kv {
                self.tip().fetch(&mut picks);
                let bodies = picks.iter().filter_map(|pick| pick.body.clone());
                response.prev_kvs.extend(bodies.map(body::decode));
            }
            response.deleted += signed(picks.len() as u64);
            let begin = self.begin;
            self.delete(picks.into_iter().map(|pick| {
                // What this transaction wrote was not there before it.
                (pick.key, pick.body.filter(|_| pick.version.main <= begin))
            }));
        }
        response.header = header(self.revision());
        response
    }

    /// Deletes the keys of a lease, in order.
    pub(super) fn delete_keys(&mut self, keys: &[Bytes]) {
        for part in keys.chunks(SLICE_KEYS_MAX) {
            self.delete(part.iter().map(|key| (key.clone(), None)));
        }
    }

    /// Deletes keys that live, each perhaps with the body that it had.
    fn delete(&mut self, keys: impl Iterator<Item = (Bytes, Option<Bytes>)>) {
        let shared = self.shared;
        let mut state = shared.state.write();
        for (key, fetched) in keys {
            let version = self.next(true);
            let (previous, lease) = state.keyspace.delete(version, &key);
            state.leases.attach(&key, lease, 0);
            let body = body::encode(&mut KeyValue::default(), &key);
            self.work.batch.put(REVISIONS, &version.key(), &body);
            self.work.unwritten.push((version, body));
            let previous = match (previous, fetched) {
                (Previous::Unknown, Some(body)) => Previous::Known(body),
                (previous, _) => previous,
            };
            let kv = KeyValue { key, mod_revision: version.main, ..KeyValue::default() };
            self.events.push(Event { deleted: true, kv, previous });
        }
    }

    /// Ends the transaction: the revision of the keyspace.
    pub(super) fn end(self) -> i64 {
        let revision = self.revision();
        if !self.events.is_empty() {
            self.shared.state.write().keyspace.revision = revision;
            let changes = Changes { revision: Revision(revision), events: self.events };
            self.work.applied.changes.push(changes);
        }
        revision
    }
}
