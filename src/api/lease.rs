//! Lease: time limits to which keys are attached.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::caller::Who;
use super::calls::{Call, Kind};
use super::member::{Member, expect_reply};
use super::status;
use crate::ids::LeaseId;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::lease_server::Lease;
use crate::store::{self, Access};

/// The service.
pub(super) struct Leases {
    member: Arc<Member>,
    call: Arc<Call>,
}

impl Leases {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Leases {
        let call = member.metrics.calls.get("/etcdserverpb.Lease/LeaseKeepAlive");
        Leases { member, call }
    }
}

type Renewals = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for Leases {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let who = Who::of(&request);
        let mut grant = request.into_inner();
        self.member.has_space(&store::Request::LeaseGrant(grant)).await?;
        grant.ttl = grant.ttl.max(self.member.options.lease_ttl_min);
        if grant.id == 0 {
            grant.id = any_id();
        }
        self.member.is_known(&who).await?;
        let request = store::Request::LeaseGrant(grant);
        let mut reply = expect_reply!(self.member.propose_as(&who, request).await?, LeaseGrant);
        self.member.sign(&mut reply.header);
        Ok(Response::new(reply))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        let who = Who::of(&request);
        self.member.is_known(&who).await?;
        let request = store::Request::LeaseRevoke(request.into_inner());
        let mut reply = expect_reply!(self.member.propose_as(&who, request).await?, LeaseRevoke);
        self.member.sign(&mut reply.header);
        Ok(Response::new(reply))
    }

    type LeaseKeepAliveStream = Renewals;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Renewals>, Status> {
        let who = Who::of(&request);
        let state = (request.into_inner(), Arc::clone(&self.member), Arc::clone(&self.call), who);
        let renewals = stream::try_unfold(state, |(mut requests, member, call, who)| async move {
            let request = requests.message().await;
            let bytes_max = member.message_bytes_max();
            let request =
                request.map_err(|error| status::decoding(error, Kind::BidiStream, bytes_max))?;
            let Some(pb::LeaseKeepAliveRequest { id }) = request else { return Ok(None) };
            call.received.inc();
            // Before the renewal: at this revision the lease was still alive.
            let header = member.header_now();
            may_use(&member, &who, LeaseId(id), Access::Write).await?;
            let ttl = member.replica.keep_alive(LeaseId(id)).await?;
            call.sent.inc();
            let response = pb::LeaseKeepAliveResponse { header, id, ttl };
            Ok(Some((response, (requests, member, call, who))))
        });
        Ok(Response::new(Box::pin(renewals)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let who = Who::of(&request);
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let auth_revision = self.member.reader().auth_revision();
        if keys {
            may_use(&self.member, &who, LeaseId(id), Access::Read).await?;
        } else {
            self.member.is_known(&who).await?;
        }
        let remaining = self.member.replica.time_to_live(LeaseId(id)).await?;
        let mut response =
            pb::LeaseTimeToLiveResponse { id, ttl: -1, ..pb::LeaseTimeToLiveResponse::default() };
        if let Some(remaining) = remaining {
            response.ttl = i64::try_from(remaining.left.as_secs()).unwrap_or(i64::MAX);
            response.granted_ttl = remaining.granted;
            if keys && let Some(lease) = self.member.reader().lease(LeaseId(id)) {
                response.keys = lease.keys;
            }
        }
        // However old the token, only a change since it was looked at counts.
        let reader = self.member.reader();
        if keys && reader.is_auth_on() && reader.auth_revision() != auth_revision {
            return Err(status::AUTH_OLD_REVISION.into());
        }
        response.header = self.member.header_now();
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        let leases = self.member.replica.leases();
        let caller = self.member.is_known(&Who::of(&request)).await?;
        if self.member.reader().is_auth_on() {
            let mut each = leases.iter();
            each.try_for_each(|id| self.member.reader().may_use(&caller, *id, Access::Read))?;
        }
        let leases = leases.into_iter().map(|LeaseId(id)| pb::LeaseStatus { id }).collect();
        let header = self.member.header_now();
        Ok(Response::new(pb::LeaseLeasesResponse { header, leases }))
    }
}

/// Refuses those who may not use all keys of a lease.
async fn may_use(member: &Member, who: &Who, id: LeaseId, access: Access) -> Result<(), Status> {
    if !member.reader().is_auth_on() {
        return Ok(());
    }
    let caller = member.is_known(who).await?;
    Ok(member.reader().may_use(&caller, id, access)?)
}

/// Any positive number.
pub(super) fn any_id() -> i64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    // A UUID has fixed bits, at different places in its halves.
    ((high ^ low.rotate_left(32)) >> 1).cast_signed().max(1)
}
