//! A store, its hub and its streams, driven by hand: `next` is polled, never
//! waited for, and dropped each time, which it must survive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use crate::engine::Memory;
use crate::ids::{ClusterId, LogIndex, ProposalId, Revision, Term};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, Member, PutRequest, RequestOp, TxnRequest,
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use crate::replica::watchers::{WatchOptions, WatchStream, Watchers};
use crate::store::{
    Applied, Caller, ENGINE, Genesis, Options, Request, Store, append_command, begin_entry,
};

/// A store, its hub, and the applier that is the test itself.
pub(super) struct World {
    store: Store,
    index: LogIndex,
    pub(super) hub: Arc<Watchers>,
}

impl World {
    pub(super) fn new() -> World {
        let engine = Arc::new(Memory::new(ENGINE));
        let member = Member { id: 1, ..Member::default() };
        let index = LogIndex(1);
        let genesis =
            Genesis { cluster: ClusterId(1), members: vec![member], index, term: Term(1) };
        Store::found(engine.as_ref(), &genesis);
        let store = Store::open(engine, &Options::default()).unwrap();
        let hub = Watchers::new(store.reader());
        World { store, index, hub }
    }

    /// Applies requests in one entry, and does not publish them.
    pub(super) fn apply(&mut self, requests: Vec<Request>) -> Applied {
        self.index.0 += 1;
        let mut entry = begin_entry();
        for request in requests {
            append_command(&mut entry, ProposalId::default(), &Caller::default(), request);
        }
        self.store.apply(self.index, Term(1), &entry.into())
    }

    pub(super) fn publish(&self, applied: Applied) {
        self.hub.publish(applied.changes, self.revision());
    }

    /// Applies requests, publishes them; the revision.
    pub(super) fn write(&mut self, requests: Vec<Request>) -> i64 {
        let applied = self.apply(requests);
        self.publish(applied);
        self.revision().0
    }

    pub(super) fn put(&mut self, key: &str, value: &str) -> i64 {
        self.write(vec![put(key, value)])
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.write(vec![Request::Compact(CompactionRequest { revision, physical: false })]);
        while self.store.purge() {}
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.store.reader().revision())
    }

    pub(super) fn stream(&self) -> WatchStream {
        self.hub.stream(WatchOptions {
            progress_every: Duration::from_millis(100),
            fragment_bytes: 1 << 20,
        })
    }
}

pub(super) fn put(key: &str, value: &str) -> Request {
    Request::Put(put_op(key, value))
}

fn put_op(key: &str, value: &str) -> PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), value.to_owned().into());
    PutRequest { key, value, ..PutRequest::default() }
}

pub(super) fn delete(key: &str, range_end: &str) -> Request {
    Request::DeleteRange(delete_op(key, range_end))
}

fn delete_op(key: &str, range_end: &str) -> DeleteRangeRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() }
}

/// A txn of puts, in which a value of "-" deletes.
pub(super) fn txn(ops: &[(&str, &str)]) -> Request {
    let op = |(key, value): &(&str, &str)| {
        let request = match *value {
            "-" => Op::RequestDeleteRange(delete_op(key, "")),
            value => Op::RequestPut(put_op(key, value)),
        };
        RequestOp { request: Some(request) }
    };
    Request::Txn(TxnRequest { success: ops.iter().map(op).collect(), ..TxnRequest::default() })
}

/// A request for a watcher of a range.
pub(super) fn on(key: &str, range_end: &str) -> WatchCreateRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() }
}

pub(super) fn create(stream: &mut WatchStream, request: WatchCreateRequest) {
    stream.request(WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) });
}

pub(super) fn cancel(stream: &mut WatchStream, watch_id: i64) {
    let request = WatchCancelRequest { watch_id };
    stream.request(WatchRequest { request_union: Some(RequestUnion::CancelRequest(request)) });
}

pub(super) fn ask_progress(stream: &mut WatchStream) {
    let request = WatchProgressRequest {};
    stream.request(WatchRequest { request_union: Some(RequestUnion::ProgressRequest(request)) });
}

/// What the stream says now, if anything.
pub(super) fn poll(stream: &mut WatchStream) -> Option<WatchResponse> {
    // Between slices of history it offers the thread to others.
    (0..1000).find_map(|_| stream.next().now_or_never()).flatten()
}

/// Everything that the stream says now, a line each.
pub(super) fn said(stream: &mut WatchStream) -> Vec<String> {
    std::iter::from_fn(|| poll(stream)).map(|response| line(&response)).collect()
}

/// `id@revision`, then what is unusual, then the events.
pub(super) fn line(response: &WatchResponse) -> String {
    let revision = response.header.as_ref().unwrap().revision;
    let mut line = format!("{}@{revision}", response.watch_id);
    for (is, word) in [
        (response.created, " created"),
        (response.canceled, " canceled"),
        (response.fragment, " fragment"),
    ] {
        line += if is { word } else { "" };
    }
    if response.compact_revision != 0 {
        line += &format!(" compact={}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        line += &format!(" ({})", response.cancel_reason);
    }
    for event in &response.events {
        let kv = event.kv.as_ref().unwrap();
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let (key, value) = (text(&kv.key), text(&kv.value));
        line += &match event.r#type {
            0 => format!(" {key}={value}"),
            _ => format!(" -{key}"),
        };
        if let Some(previous) = &event.prev_kv {
            line += &format!("<{}:{}", text(&previous.value), previous.mod_revision);
        }
    }
    line
}
