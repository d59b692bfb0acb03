//! Watch: requests of a client in, responses out.
//!
//! The replica's watch stream keeps all order; this file only pumps. There is
//! no task and no queue of its own: requests are taken and responses made when
//! the connection asks for the next response, so a client that does not read
//! holds up nobody but itself.
//!
//! - A client that closes its side keeps its watchers: JSON gateways do so.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::caller::Who;
use super::calls::{Call, Kind};
use super::member::Member;
use super::status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::watch_server::Watch;
use crate::replica::{WatchOptions, WatchStream};
use crate::store::{Caller, Reader};

/// The service.
pub(super) struct Watches {
    member: Arc<Member>,
    call: Arc<Call>,
}

impl Watches {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Watches {
        let call = member.metrics.calls.get("/etcdserverpb.Watch/Watch");
        Watches { member, call }
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<pb::WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Watch for Watches {
    type WatchStream = Responses;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let options = WatchOptions {
            progress_every: self.member.options.progress_every,
            fragment_bytes: self.member.message_bytes_max(),
        };
        let pump = Pump {
            who: Who::of(&request),
            requests: Some(request.into_inner()),
            is_asked: false,
            responses: self.member.replica.watch(options),
            member: Arc::clone(&self.member),
            call: Arc::clone(&self.call),
        };
        Ok(Response::new(Box::pin(stream::try_unfold(pump, Pump::turn))))
    }
}

/// Between one client and its watchers.
struct Pump {
    who: Who,
    /// Until the client closes its side.
    requests: Option<Streaming<pb::WatchRequest>>,
    /// A request was taken last, so the next turn is the responses'.
    is_asked: bool,
    responses: WatchStream,
    member: Arc<Member>,
    call: Arc<Call>,
}

impl Pump {
    async fn turn(mut self) -> Result<Option<(pb::WatchResponse, Pump)>, Status> {
        let response = loop {
            let Some(requests) = &mut self.requests else { break self.responses.next().await };
            // Neither side starves the other: they go in turns if both are ready.
            let request = if self.is_asked {
                tokio::select! {
                    biased;
                    response = self.responses.next() => break response,
                    request = requests.message() => request,
                }
            } else {
                tokio::select! {
                    biased;
                    request = requests.message() => request,
                    response = self.responses.next() => break response,
                }
            };
            self.take(request).await?;
        };
        let Some(mut response) = response else { return Err(status::STOPPED.into()) };
        self.is_asked = false;
        self.member.sign(&mut response.header);
        self.call.sent.inc();
        Ok(Some((response, self)))
    }

    async fn take(
        &mut self,
        request: Result<Option<pb::WatchRequest>, Status>,
    ) -> Result<(), Status> {
        let bytes_max = self.member.message_bytes_max();
        self.is_asked = true;
        match request.map_err(|error| status::decoding(error, Kind::BidiStream, bytes_max))? {
            Some(request) => {
                self.call.received.inc();
                match self.may_watch(&request).await {
                    Ok(()) => self.responses.request(request),
                    Err(status) => self.responses.refuse(status::as_go_tells_it(&status)),
                }
            }
            None => self.requests = None,
        }
        Ok(())
    }

    /// Whether the caller may see what it wants to watch; the stream goes on for
    /// those who may not.
    async fn may_watch(&self, request: &pb::WatchRequest) -> Result<(), Status> {
        let Some(RequestUnion::CreateRequest(create)) = &request.request_union else {
            return Ok(());
        };
        // What was before everything is refused without asking who wants to know.
        if create.start_revision < 0 {
            return Ok(());
        }
        // Nothing stands for the first of all keys.
        let first = Bytes::from_static(&[0]);
        let key = if create.key.is_empty() { &first } else { &create.key };
        let check =
            |reader: &Reader, caller: &Caller| reader.may_read(caller, key, &create.range_end);
        self.member.admit(&self.who, check).await.map(drop)
    }
}
