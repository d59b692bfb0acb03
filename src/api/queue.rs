//! [`Queue`]: keys under a prefix in the order of their creation. Whoever
//! created the oldest has the lock, or won the election; everybody else waits
//! for the one in front. This is how etcd's client libraries do it, so that
//! they and these services can queue together.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Code, Status};

use super::caller::Who;
use super::kv::Keys;
use super::member::{Member, expect_reply};
use super::status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response as Reply;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::mvccpb::{Event, KeyValue};
use crate::replica::{WatchOptions, WatchStream};
use crate::store;

/// Seconds of the lease of those who bring none.
const LEASE_TTL: i64 = 60;

/// The keys under one name.
pub(super) struct Queue {
    member: Arc<Member>,
    keys: Arc<Keys>,
    who: Who,
    prefix: Bytes,
}

/// A place in a queue.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The key.
    pub(super) key: Bytes,
    /// The revision of its creation.
    pub(super) revision: i64,
    /// What the key held already, if it was there.
    pub(super) found: Option<KeyValue>,
    /// The answer to its creation.
    pub(super) header: Option<pb::ResponseHeader>,
}

impl Queue {
    /// The queue of a name, for one caller.
    pub(super) fn new(member: Arc<Member>, keys: Arc<Keys>, who: Who, name: &[u8]) -> Queue {
        let prefix = [name, b"/"].concat().into();
        Queue { member, keys, who, prefix }
    }

    /// The lease, or a new one if there is none.
    pub(super) async fn lease(&self, id: i64) -> Result<i64, Status> {
        if id != 0 {
            return Ok(id);
        }
        let id = super::lease::any_id();
        let request = store::Request::LeaseGrant(pb::LeaseGrantRequest { ttl: LEASE_TTL, id });
        self.member.is_known(&self.who).await?;
        let reply = self.member.propose_as(&self.who, request).await?;
        Ok(expect_reply!(reply, LeaseGrant).id)
    }

    /// Takes a place at the end, or finds the one that the lease has already.
    pub(super) async fn enter(&self, lease: i64, value: Bytes) -> Result<Place, Status> {
        let sign = if lease < 0 { "-" } else { "" };
        let own = format!("{sign}{:x}", lease.unsigned_abs());
        let key = Bytes::from([&self.prefix[..], own.as_bytes()].concat());
        let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
        let request = pb::TxnRequest {
            compare: vec![is_created_at(&key, 0)],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![op(Op::RequestRange(get))],
        };
        let response = self.keys.txn(&self.who, request).await?;
        let found = response.responses.into_iter().find_map(|op| match op.response {
            Some(Reply::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let header = response.header;
        let now = header.map_or(0, |header| header.revision);
        let revision = found.as_ref().map_or(now, |kv| kv.create_revision);
        Ok(Place { key, revision, found, header })
    }

    /// The oldest key, and the revision of the look.
    pub(super) async fn first(&self) -> Result<pb::RangeResponse, Status> {
        self.look(SortOrder::Ascend, 0).await
    }

    /// Returns when no key is older, and whether there was one before.
    pub(super) async fn wait_for_turn(&self, place: &Place) -> Result<bool, Status> {
        let mut has_waited = false;
        loop {
            let ahead = self.look(SortOrder::Descend, place.revision - 1).await?;
            let Some(kv) = ahead.kvs.into_iter().next() else { return Ok(has_waited) };
            has_waited = true;
            let revision = ahead.header.map_or(0, |header| header.revision);
            let mut changes = self.follow(kv.key, Bytes::new(), revision);
            // A watcher that is cut off has to look again, as one that is done.
            while let Some(events) = changes.next().await? {
                if events.iter().any(is_deletion) {
                    break;
                }
            }
        }
    }

    /// What a key holds.
    pub(super) async fn get(&self, key: Bytes) -> Result<pb::RangeResponse, Status> {
        self.range(pb::RangeRequest { key, ..Default::default() }).await
    }

    /// Does something with a key if it is still the one of that creation.
    pub(super) async fn if_held(
        &self,
        key: &Bytes,
        revision: i64,
        then: Op,
    ) -> Result<pb::TxnResponse, Status> {
        let compare = vec![is_created_at(key, revision)];
        let success = vec![op(then)];
        self.keys.txn(&self.who, pb::TxnRequest { compare, success, failure: Vec::new() }).await
    }

    /// Changes of a key from a revision on.
    pub(super) fn follow(&self, key: Bytes, range_end: Bytes, from: i64) -> Changes {
        let mut stream = self.member.replica.watch(WatchOptions {
            progress_every: self.member.options.progress_every,
            fragment_bytes: self.member.message_bytes_max(),
        });
        let create =
            pb::WatchCreateRequest { key, range_end, start_revision: from, ..Default::default() };
        let request_union = Some(RequestUnion::CreateRequest(create));
        stream.request(pb::WatchRequest { request_union });
        Changes { stream }
    }

    /// Changes of all keys from a revision on.
    pub(super) fn follow_all(&self, from: i64) -> Changes {
        self.follow(self.prefix.clone(), self.end(), from)
    }

    async fn look(
        &self,
        order: SortOrder,
        max_create_revision: i64,
    ) -> Result<pb::RangeResponse, Status> {
        let request = pb::RangeRequest {
            key: self.prefix.clone(),
            range_end: self.end(),
            limit: 1,
            sort_order: order as i32,
            sort_target: SortTarget::Create as i32,
            max_create_revision,
            ..Default::default()
        };
        self.range(request).await
    }

    async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        let is_small = self.keys.is_small(&request);
        self.keys.range(&self.who, request, is_small).await
    }

    /// The prefix ends with a slash, and the byte behind a slash is a zero.
    fn end(&self) -> Bytes {
        let mut end = self.prefix.to_vec();
        end.pop();
        end.push(b'/' + 1);
        end.into()
    }
}

/// Changes of keys as they happen.
pub(super) struct Changes {
    stream: WatchStream,
}

impl Changes {
    /// The next ones; `None` when the watcher was cut off, by a compaction.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Event>>, Status> {
        loop {
            let response = self.stream.next().await.ok_or(status::STOPPED)?;
            if response.canceled {
                return Ok(None);
            }
            if !response.events.is_empty() {
                return Ok(Some(response.events));
            }
        }
    }
}

/// Whether a change is the end of its key.
pub(super) fn is_deletion(event: &Event) -> bool {
    event.r#type() == crate::proto::mvccpb::event::EventType::Delete
}

/// An operation of a txn.
fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// Whether a key is the one that was created then; at 0, whether it is missing.
fn is_created_at(key: &Bytes, revision: i64) -> pb::Compare {
    pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Create as i32,
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(revision)),
    }
}

/// In etcd these services are clients of the others, and hand errors on as text
/// without a code.
pub(super) fn as_told_by_a_client(status: Status) -> Status {
    match status.code() {
        Code::Cancelled | Code::DeadlineExceeded => status,
        _ => Status::unknown(status.message()),
    }
}

/// Gives a place up if whoever waits for it goes away.
pub(super) struct Waiting {
    queue: Option<(Arc<Queue>, Place)>,
}

impl Waiting {
    /// Somebody waits.
    pub(super) fn at(queue: &Arc<Queue>, place: &Place) -> Waiting {
        Waiting { queue: Some((Arc::clone(queue), place.clone())) }
    }

    /// It is no longer needed to wait.
    pub(super) fn end(mut self) {
        self.queue = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some((queue, place)) = self.queue.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let deletion = pb::DeleteRangeRequest { key: place.key.clone(), ..Default::default() };
            let deletion = Op::RequestDeleteRange(deletion);
            if let Err(error) = queue.if_held(&place.key, place.revision, deletion).await {
                // Its lease ends it in time.
                tracing::debug!(%error, "a place in a queue could not be given up");
            }
        });
    }
}
