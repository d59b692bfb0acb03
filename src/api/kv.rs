//! KV: reads and writes of the keyspace.
//!
//! A write is checked, weighed against the quota and proposed. A read waits for
//! its index, unless it is serializable, and then looks into the store: at once
//! if it is small, on a thread of its own if it may take a while.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, TryStreamExt, stream};
use tonic::{Request, Response, Status};

use super::caller::Who;
use super::calls::Call;
use super::check;
use super::member::{Member, aside, expect_reply};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::replica::Unavailable;
use crate::store::{self, Caller, RangeRows};

/// Keys that are read at once; more of them are read on a thread of their own.
const KEYS_AT_ONCE: i64 = 64;

/// The service.
pub(super) struct Keys {
    member: Arc<Member>,
    stream: Arc<Call>,
}

/// What a range found.
pub(super) enum Listed {
    /// All of it.
    Whole(pb::RangeResponse),
    /// An answer without its keys, and the keys to read.
    Rows(pb::RangeResponse, Box<RangeRows>),
}

type Pieces = Pin<Box<dyn Stream<Item = Result<pb::RangeStreamResponse, Status>> + Send>>;

impl Keys {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Keys {
        let stream = member.metrics.calls.get("/etcdserverpb.KV/RangeStream");
        Keys { member, stream }
    }

    async fn wait_unless(&self, is_serializable: bool) -> Result<(), Unavailable> {
        if is_serializable { Ok(()) } else { self.member.replica.linearize().await }
    }

    /// Whether a range is read faster than handed over to another thread.
    fn is_small(&self, request: &pb::RangeRequest) -> bool {
        if request.range_end.is_empty() {
            return true;
        }
        if request.revision > 0 {
            return false;
        }
        let by_key = request.sort_order() == SortOrder::None
            || (request.sort_order() == SortOrder::Ascend
                && request.sort_target() == SortTarget::Key);
        let is_cut = (1..=KEYS_AT_ONCE).contains(&request.limit);
        if request.count_only || (is_cut && by_key && !check::has_filters(request)) {
            return true;
        }
        let count = pb::RangeRequest {
            key: request.key.clone(),
            range_end: request.range_end.clone(),
            count_only: true,
            ..Default::default()
        };
        self.member.reader().range(&count).is_ok_and(|found| found.count <= KEYS_AT_ONCE)
    }

    async fn read_txn(
        &self,
        who: &Who,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Status> {
        self.wait_unless(ranges(&request).all(|range| range.serializable)).await?;
        let caller = self.member.admit(who, |reader, caller| reader.may_txn(caller, &request));
        let caller = caller.await?;
        let count = ranges(&request).count() as u64;
        let counters = self.member.replica.counters();
        counters.ranges.inc_by(count);
        if count > 1 {
            counters.txns.inc();
        }
        let reader = self.member.reader();
        let is_small = ranges(&request).all(|range| self.is_small(range))
            && request.compare.iter().all(|compare| compare.range_end.is_empty());
        let response = if is_small {
            reader.txn(&request)?
        } else {
            let reader = reader.clone();
            aside(move || reader.txn(&request)).await??
        };
        self.member.is_still_admitted(&caller)?;
        Ok(response)
    }

    /// Who may read a range, if the caller may.
    async fn admit(&self, who: &Who, request: &pb::RangeRequest) -> Result<Caller, Status> {
        let pb::RangeRequest { key, range_end, .. } = request;
        self.member.admit(who, |reader, caller| reader.may_read(caller, key, range_end)).await
    }

    /// Range.
    pub(super) async fn range(
        &self,
        who: &Who,
        request: pb::RangeRequest,
    ) -> Result<pb::RangeResponse, Status> {
        let caller = self.begin_range(who, &request).await?;
        let is_small = self.is_small(&request);
        self.read_range(&caller, request, is_small).await
    }

    /// Range, where a long list can be read while it is sent.
    pub(super) async fn list(
        &self,
        who: &Who,
        request: pb::RangeRequest,
    ) -> Result<Listed, Status> {
        let caller = self.begin_range(who, &request).await?;
        let is_small = self.is_small(&request);
        if !is_small {
            let (reader, request) = (self.member.reader().clone(), request.clone());
            if let Some(rows) = aside(move || reader.range_rows(&request)).await?? {
                self.member.is_still_admitted(&caller)?;
                let mut frame = rows.frame();
                self.member.sign(&mut frame.header);
                return Ok(Listed::Rows(frame, Box::new(rows)));
            }
        }
        self.read_range(&caller, request, is_small).await.map(Listed::Whole)
    }

    async fn begin_range(&self, who: &Who, request: &pb::RangeRequest) -> Result<Caller, Status> {
        check::range(request)?;
        self.wait_unless(request.serializable).await?;
        let caller = self.admit(who, request).await?;
        self.member.replica.counters().ranges.inc();
        Ok(caller)
    }

    async fn read_range(
        &self,
        caller: &Caller,
        request: pb::RangeRequest,
        is_small: bool,
    ) -> Result<pb::RangeResponse, Status> {
        let reader = self.member.reader();
        let mut response = if is_small {
            reader.range(&request)?
        } else {
            let reader = reader.clone();
            aside(move || reader.range(&request)).await??
        };
        self.member.is_still_admitted(caller)?;
        self.member.sign(&mut response.header);
        Ok(response)
    }

    /// Put.
    pub(super) async fn put(
        &self,
        who: &Who,
        request: pb::PutRequest,
    ) -> Result<pb::PutResponse, Status> {
        let request = store::Request::Put(request);
        self.member.has_space(&request).await?;
        if let store::Request::Put(put) = &request {
            check::put(put)?;
        }
        let mut reply = expect_reply!(self.member.propose_as(who, request).await?, Put);
        self.member.sign(&mut reply.header);
        Ok(reply)
    }

    /// DeleteRange.
    pub(super) async fn delete_range(
        &self,
        who: &Who,
        request: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        check::delete_range(&request)?;
        let request = store::Request::DeleteRange(request);
        let mut reply = expect_reply!(self.member.propose_as(who, request).await?, DeleteRange);
        self.member.sign(&mut reply.header);
        Ok(reply)
    }

    /// Txn.
    pub(super) async fn txn(
        &self,
        who: &Who,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Status> {
        let request = store::Request::Txn(request);
        self.member.has_space(&request).await?;
        if let store::Request::Txn(txn) = &request {
            check::txn(txn, self.member.options.txn_ops_max)?;
        }
        let mut reply = match request {
            store::Request::Txn(txn) if only_reads(&txn) => self.read_txn(who, txn).await?,
            request => expect_reply!(self.member.propose_as(who, request).await?, Txn),
        };
        self.member.sign(&mut reply.header);
        Ok(reply)
    }
}

/// The calls as tonic wants them.
#[tonic::async_trait]
impl Kv for Keys {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let who = Who::of(&request);
        Ok(Response::new(Keys::range(self, &who, request.into_inner()).await?))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        let who = Who::of(&request);
        Ok(Response::new(Keys::put(self, &who, request.into_inner()).await?))
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let who = Who::of(&request);
        Ok(Response::new(Keys::delete_range(self, &who, request.into_inner()).await?))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let who = Who::of(&request);
        Ok(Response::new(Keys::txn(self, &who, request.into_inner()).await?))
    }

    type RangeStreamStream = Pieces;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let who = Who::of(&request);
        let request = request.into_inner();
        check::range_stream(&request)?;
        self.wait_unless(request.serializable).await?;
        let caller = Arc::new(self.admit(&who, &request).await?);
        self.member.replica.counters().ranges.inc();
        let bytes_target = self.member.options.request_bytes_max;
        let pieces = self.member.reader().range_stream(&request, bytes_target)?;
        let member = Arc::clone(&self.member);
        let call = Arc::clone(&self.stream);
        let pieces = stream::try_unfold(pieces, move |mut pieces| {
            let (member, caller) = (Arc::clone(&member), Arc::clone(&caller));
            async move {
                let (piece, rest) = aside(move || (pieces.next_piece(), pieces)).await?;
                let Some(mut piece) = piece? else { return Ok(None) };
                member.is_still_admitted(&caller)?;
                if piece.header.is_some() {
                    member.sign(&mut piece.header);
                }
                let response = pb::RangeStreamResponse { range_response: Some(piece) };
                Ok(Some((response, rest)))
            }
        });
        Ok(Response::new(Box::pin(pieces.inspect_ok(move |_| call.sent.inc()))))
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let pb::CompactionRequest { revision, physical } = request.into_inner();
        let request = store::Request::Compact(pb::CompactionRequest { revision, physical });
        let mut reply = expect_reply!(self.member.propose(request).await?, Compact);
        if physical {
            self.member.replica.purged(revision).await;
        }
        self.member.sign(&mut reply.header);
        Ok(Response::new(reply))
    }
}

/// Whether a txn can be answered without the log: a nested txn never is.
pub(super) fn only_reads(txn: &pb::TxnRequest) -> bool {
    ops(txn).all(|op| matches!(op, Some(Op::RequestRange(_))))
}

fn ops(txn: &pb::TxnRequest) -> impl Iterator<Item = Option<&Op>> {
    txn.success.iter().chain(&txn.failure).map(|op| op.request.as_ref())
}

/// The ranges of both branches.
fn ranges(txn: &pb::TxnRequest) -> impl Iterator<Item = &pb::RangeRequest> {
    ops(txn).filter_map(|op| match op {
        Some(Op::RequestRange(range)) => Some(range),
        _ => None,
    })
}
