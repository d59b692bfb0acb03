//! Cluster: who the members are.
//!
//! What can be refused for good is refused in etcd's words; a change of members
//! that would have to be made is not served yet.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::caller::Who;
use super::check;
use super::member::Member;
use super::status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::cluster_server::Cluster;

/// The service.
pub(super) struct Members {
    member: Arc<Member>,
}

impl Members {
    /// Over this member.
    pub(super) fn new(member: Arc<Member>) -> Members {
        Members { member }
    }

    fn all(&self) -> Vec<pb::Member> {
        self.member.reader().members()
    }

    fn find(&self, id: u64) -> Result<pb::Member, Status> {
        let found = self.all().into_iter().find(|member| member.id == id);
        found.ok_or_else(|| status::MEMBER_NOT_FOUND.into())
    }

    /// No two members have a URL in common; `except` may keep its own.
    fn are_free(&self, urls: &[String], except: Option<u64>) -> Result<(), Status> {
        let all = self.all();
        let mut others = all.iter().filter(|member| Some(member.id) != except);
        if others.any(|other| other.peer_ur_ls.iter().any(|url| urls.contains(url))) {
            return Err(status::PEER_URL_EXISTS.into());
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
        let request = request.into_inner();
        check::peer_urls(&request.peer_ur_ls)?;
        self.member.may_administer(&who).await?;
        self.are_free(&request.peer_ur_ls, None)?;
        Err(status::not_yet("the addition of members"))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let leaving = self.find(request.into_inner().id)?;
        let mut others = self.all().into_iter().filter(|member| member.id != leaving.id);
        if !leaving.is_learner && others.all(|member| member.is_learner) {
            return Err(status::NOT_ENOUGH_STARTED.into());
        }
        Err(status::not_yet("the removal of members"))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        let pb::MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        self.find(id)?;
        self.are_free(&peer_ur_ls, Some(id))?;
        Err(status::not_yet("the change of peer URLs"))
    }

    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.member.is_known(&Who::of(&request)).await?;
        if request.into_inner().linearizable {
            self.member.replica.linearize().await?;
        }
        let header = Some(self.member.header(0));
        Ok(Response::new(pb::MemberListResponse { header, members: self.all() }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.member.may_administer(&Who::of(&request)).await?;
        if !self.find(request.into_inner().id)?.is_learner {
            return Err(status::NOT_LEARNER.into());
        }
        Err(status::not_yet("the promotion of learners"))
    }
}
