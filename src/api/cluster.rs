//! Cluster: who the members are.
//!
//! A change waits for as long as its caller does, as in etcd: what it is refused
//! for is decided where the store carries it out, behind all changes before it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::{Request, Response, Status};

use super::caller::Who;
use super::check;
use super::member::{Member, expect_reply};
use super::quorum::Quorum;
use super::status::{self, Refusal};
use crate::ids::MemberId;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::cluster_server::Cluster;
use crate::proto::kat::log::{MemberAdd, MemberPromote, MemberRemove, MemberUpdate};
use crate::store;

/// How much of the raft leader's log a learner has that may get a vote: nine
/// tenths.
const READY_TENTHS: u64 = 9;

/// The service.
pub(super) struct Members {
    member: Arc<Member>,
}

impl Members {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Members {
        Members { member }
    }

    /// Refuses what would cost quorum, unless the operator wants no such check.
    fn judge(&self, check: impl Fn(&Quorum<'_>) -> Result<(), Refusal>) -> Result<(), Status> {
        if !self.member.options.strict_reconfig {
            return Ok(());
        }
        let members = self.member.reader().members();
        // There are no wires to others yet.
        let me = self.me();
        Ok(check(&Quorum::new(&members, &|id| id == me))?)
    }

    fn me(&self) -> u64 {
        self.member.replica.identity().member.0
    }

    async fn change(&self, who: &Who, request: store::Request) -> Result<Vec<pb::Member>, Status> {
        let caller = self.member.caller(who).await?;
        let reply = self.member.replica.change_members(&caller, request).await?;
        Ok(expect_reply!(reply, Members))
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(self.member.header(0))
    }

    async fn promote(&self, who: &Who, member: u64) -> Result<Vec<pb::Member>, Status> {
        self.member.may_administer(who).await?;
        self.keeps_up(member).await?;
        self.judge(|quorum| quorum.may_promote(member))?;
        let promote = store::Request::MemberPromote(MemberPromote { member });
        self.change(who, promote).await
    }

    /// Refuses a learner that lags behind. Only a raft leader can tell.
    async fn keeps_up(&self, id: u64) -> Result<(), Status> {
        let replica = &self.member.replica;
        let matched = match replica.matched().await {
            None => {
                replica.ready().await?;
                replica.matched().await.ok_or(status::NO_LEADER)?
            }
            Some(matched) => matched,
        };
        let of = |id| matched.iter().find(|(member, _)| *member == MemberId(id));
        let (_, learner) = of(id).ok_or(status::MEMBER_NOT_FOUND)?;
        let (_, leader) = of(self.me()).ok_or(status::MEMBER_NOT_FOUND)?;
        if learner.0 * 10 < leader.0 * READY_TENTHS {
            return Err(status::LEARNER_NOT_READY.into());
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Cluster for Members {
    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let who = Who::of(&request);
        let pb::MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let peer_ur_ls = check::peer_urls(&peer_ur_ls)?;
        self.member.may_administer(&who).await?;
        self.judge(|quorum| quorum.may_add(is_learner))?;
        // Two members with the same URLs are told apart by when they came.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = MemberId::derived(&peer_ur_ls, &now.to_string());
        let member = pb::Member { id: id.0, peer_ur_ls, is_learner, ..pb::Member::default() };
        let learners_max = self.member.options.learners_max;
        let add = MemberAdd { member: Some(member.clone()), learners_max };
        let members = self.change(&who, store::Request::MemberAdd(add)).await?;
        let header = self.header();
        Ok(Response::new(pb::MemberAddResponse { header, member: Some(member), members }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let who = Who::of(&request);
        let member = request.into_inner().id;
        self.member.may_administer(&who).await?;
        self.judge(|quorum| quorum.may_remove(member, self.me()))?;
        let remove = store::Request::MemberRemove(MemberRemove { member });
        let members = self.change(&who, remove).await?;
        Ok(Response::new(pb::MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let who = Who::of(&request);
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        self.member.may_administer(&who).await?;
        let update = MemberUpdate { member: id, peer_urls: peer_ur_ls };
        let members = self.change(&who, store::Request::MemberUpdate(update)).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.member.is_known(&Who::of(&request)).await?;
        if request.into_inner().linearizable {
            self.member.replica.linearize().await?;
        }
        let members = self.member.reader().members();
        Ok(Response::new(pb::MemberListResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let metrics = &self.member.metrics;
        let outcome = self.promote(&Who::of(&request), request.get_ref().id).await;
        match &outcome {
            Ok(_) => metrics.promotions.inc(),
            Err(why) => metrics.failed_promotions.with_label_values(&[reason(why)]).inc(),
        }
        Ok(Response::new(pb::MemberPromoteResponse { header: self.header(), members: outcome? }))
    }
}

/// Why a promotion failed, in the words of etcd's log, which are not those that
/// clients hear.
fn reason(why: &Status) -> &str {
    let is = |refusal: Refusal| why.message() == refusal.text();
    if is(status::MEMBER_NOT_FOUND) {
        "membership: ID not found"
    } else if is(status::NOT_LEARNER) {
        "membership: can only promote a learner member"
    } else if is(status::PERMISSION_DENIED) {
        "auth: permission denied"
    } else {
        why.message()
    }
}
