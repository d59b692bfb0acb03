//! grpc.health.v1: one service, the whole server, which serves while it runs.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::calls::Call;
use super::member::Member;
use crate::proto::health as pb;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;

/// The service.
pub(super) struct Pulse {
    call: Arc<Call>,
}

impl Pulse {
    /// Over this member.
    pub(super) fn new(member: &Member) -> Pulse {
        Pulse { call: member.metrics.calls.get("/grpc.health.v1.Health/Watch") }
    }
}

type States = Pin<Box<dyn Stream<Item = Result<pb::HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Pulse {
    async fn check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckResponse>, Status> {
        if !request.into_inner().service.is_empty() {
            return Err(Status::not_found("unknown service"));
        }
        Ok(Response::new(state(ServingStatus::Serving)))
    }

    async fn list(
        &self,
        _request: Request<pb::HealthListRequest>,
    ) -> Result<Response<pb::HealthListResponse>, Status> {
        let statuses = [(String::new(), state(ServingStatus::Serving))];
        Ok(Response::new(pb::HealthListResponse { statuses: statuses.into() }))
    }

    type WatchStream = States;

    /// The state changes only by the end of the server, which ends the stream.
    async fn watch(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<States>, Status> {
        let is_known = request.into_inner().service.is_empty();
        let status = if is_known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        let call = Arc::clone(&self.call);
        let first = stream::once(async move {
            call.sent.inc();
            Ok(state(status))
        });
        Ok(Response::new(Box::pin(first.chain(stream::pending()))))
    }
}

fn state(status: ServingStatus) -> pb::HealthCheckResponse {
    pb::HealthCheckResponse { status: status as i32 }
}
