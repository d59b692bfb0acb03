//! KV: reads and writes of the keyspace.
//!
//! A write is checked, weighed against the quota and proposed. A read waits for
//! its index, unless it is serializable, and then looks into the store: at once
//! if it is small, on a thread of its own if it may take a while.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, TryStreamExt, stream};
use tonic::{Request, Response, Status};

use super::budget::{Form, Share, carrying};
use super::caller::Who;
use super::calls::Call;
use super::check;
use super::member::{Member, aside, expect_reply};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::kv_server::Kv;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::replica::Unavailable;
use crate::store::{self, Caller, RangeRows, Reader, Weight};

/// What is read at once; more is read on a thread of its own.
const KEYS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 256 << 10;

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
    pub(super) fn is_small(&self, request: &pb::RangeRequest) -> bool {
        if request.range_end.is_empty() || (request.count_only && request.revision <= 0) {
            return true;
        }
        if request.revision > 0 {
            return false;
        }
        let weight = self.member.reader().weigh_range(request, KEYS_AT_ONCE + 1);
        weight.keys <= KEYS_AT_ONCE && weight.bytes <= BYTES_AT_ONCE
    }

    /// Waits for room for what a range finds that is not small.
    pub(super) async fn room_for_range(
        &self,
        who: &Who,
        request: &pb::RangeRequest,
        form: Form,
    ) -> Result<Option<Share>, Status> {
        let is_streamed = matches!(form, Form::Pieces) && self.member.reader().is_list(request);
        if is_streamed || self.admit(who, request).await.is_err() {
            return Ok(None);
        }
        let request = request.clone();
        self.room(form, move |reader| reader.weigh_range(&request, usize::MAX)).await
    }

    /// The same for what a txn finds.
    pub(super) async fn room_for_txn(
        &self,
        who: &Who,
        request: &pb::TxnRequest,
        form: Form,
    ) -> Result<Option<Share>, Status> {
        match finds(request) {
            Finds::Nothing => Ok(None),
            Finds::Few => {
                let weight = self.member.reader().weigh_txn(request);
                Ok(self.member.budget.share_for(weight, form).await)
            }
            Finds::Many => {
                if self.admit_txn(who, request).await.is_err() {
                    return Ok(None);
                }
                let request = request.clone();
                self.room(form, move |reader| reader.weigh_txn(&request)).await
            }
        }
    }

    /// The same for what a deletion leaves to tell.
    pub(super) async fn room_for_deletion(
        &self,
        who: &Who,
        request: &pb::DeleteRangeRequest,
        form: Form,
    ) -> Result<Option<Share>, Status> {
        if !request.prev_kv || self.admit_deletion(who, request).await.is_err() {
            return Ok(None);
        }
        let request = request.clone();
        self.room(form, move |reader| reader.weigh_deletion(&request)).await
    }

    async fn room(
        &self,
        form: Form,
        weigh: impl FnOnce(&Reader) -> Weight + Send + 'static,
    ) -> Result<Option<Share>, Status> {
        let reader = self.member.reader().clone();
        let weight = aside(move || weigh(&reader)).await?;
        Ok(self.member.budget.share_for(weight, form).await)
    }

    async fn read_txn(
        &self,
        who: &Who,
        request: pb::TxnRequest,
    ) -> Result<pb::TxnResponse, Status> {
        self.wait_unless(ranges(&request).all(|range| range.serializable)).await?;
        let caller = self.admit_txn(who, &request).await?;
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

    /// The same of a txn.
    async fn admit_txn(&self, who: &Who, request: &pb::TxnRequest) -> Result<Caller, Status> {
        self.member.admit(who, |reader, caller| reader.may_txn(caller, request)).await
    }

    /// The same of a deletion.
    async fn admit_deletion(
        &self,
        who: &Who,
        request: &pb::DeleteRangeRequest,
    ) -> Result<Caller, Status> {
        self.member.admit(who, |reader, caller| reader.may_delete(caller, request)).await
    }

    /// Range.
    pub(super) async fn range(
        &self,
        who: &Who,
        request: pb::RangeRequest,
        is_small: bool,
    ) -> Result<pb::RangeResponse, Status> {
        let caller = self.begin_range(who, &request).await?;
        self.read_range(&caller, request, is_small).await
    }

    /// Range, where a long list can be read while it is sent.
    pub(super) async fn list(
        &self,
        who: &Who,
        request: pb::RangeRequest,
        is_small: bool,
    ) -> Result<Listed, Status> {
        let caller = self.begin_range(who, &request).await?;
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
        let (who, request) = (Who::of(&request), request.into_inner());
        let is_small = self.is_small(&request);
        let share = match is_small {
            true => None,
            false => self.room_for_range(&who, &request, Form::Compressed).await?,
        };
        Ok(carrying(Keys::range(self, &who, request, is_small).await?, share))
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
        let (who, request) = (Who::of(&request), request.into_inner());
        let share = self.room_for_deletion(&who, &request, Form::Compressed).await?;
        Ok(carrying(Keys::delete_range(self, &who, request).await?, share))
    }

    async fn txn(
        &self,
        request: Request<pb::TxnRequest>,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        let share = self.room_for_txn(&who, &request, Form::Compressed).await?;
        Ok(carrying(Keys::txn(self, &who, request).await?, share))
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

/// How many keys an answer may tell of.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Finds {
    Nothing,
    /// One for each operation.
    Few,
    Many,
}

/// How much the operations of a txn may find.
fn finds(txn: &pb::TxnRequest) -> Finds {
    let of = |is_asked, range_end: &[u8]| match (is_asked, range_end) {
        (false, _) => Finds::Nothing,
        (true, []) => Finds::Few,
        (true, _) => Finds::Many,
    };
    let each = ops(txn).map(|op| match op {
        Some(Op::RequestRange(range)) => of(!range.count_only, &range.range_end),
        Some(Op::RequestPut(put)) => of(put.prev_kv, &[]),
        Some(Op::RequestDeleteRange(deletion)) => of(deletion.prev_kv, &deletion.range_end),
        Some(Op::RequestTxn(nested)) => finds(nested),
        None => Finds::Nothing,
    });
    each.max().unwrap_or(Finds::Nothing)
}

/// The ranges of both branches.
fn ranges(txn: &pb::TxnRequest) -> impl Iterator<Item = &pb::RangeRequest> {
    ops(txn).filter_map(|op| match op {
        Some(Op::RequestRange(range)) => Some(range),
        _ => None,
    })
}
