//! [`Member`]: the running member as its services see it.

use std::sync::Arc;

use super::budget::Budget;
use super::caller::Who;
use super::metrics::Metrics;
use super::server::{Options, TokenKind};
use super::status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::replica::{Failure, Replica};
use crate::store::{Caller, Reader, Rejection, Reply, Request};
use tonic::Status;

/// The version that this server claims: that of the etcd whose API it serves.
pub(super) const VERSION: &str = "3.7.1";

/// How much larger than the largest request a message may be.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;

/// What all services hold.
pub(super) struct Member {
    /// The member itself.
    pub(super) replica: Replica,
    /// What its operator set.
    pub(super) options: Options,
    /// What is counted.
    pub(super) metrics: Metrics,
    /// The memory that answers may take.
    pub(super) budget: Budget,
}

impl Member {
    /// The store, to read.
    pub(super) fn reader(&self) -> &Reader {
        self.replica.reader()
    }

    /// The largest message that is taken, and from which on events are split.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.options.request_bytes_max + MESSAGE_OVERHEAD_BYTES
    }

    /// A header at this revision.
    pub(super) fn header(&self, revision: i64) -> pb::ResponseHeader {
        let identity = self.replica.identity();
        pb::ResponseHeader {
            cluster_id: identity.cluster.0,
            member_id: identity.member.0,
            revision,
            raft_term: self.replica.standing().term.0,
        }
    }

    /// A header at the revision of the store now.
    pub(super) fn header_now(&self) -> Option<pb::ResponseHeader> {
        Some(self.header(self.reader().revision()))
    }

    /// Adds who answers to a header that has the revision alone.
    pub(super) fn sign(&self, header: &mut Option<pb::ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// Who asks; nobody while accounts are not enforced.
    pub(super) async fn caller(&self, who: &Who) -> Result<Caller, Status> {
        if !self.reader().is_auth_on() {
            return Ok(Caller::default());
        }
        let Some(token) = who.token() else {
            let Some(name) = who.common_name() else { return Ok(Caller::default()) };
            let auth_revision = self.reader().auth_revision();
            return Ok(Caller { user: name.to_owned(), auth_revision });
        };
        let known = match &self.options.tokens {
            TokenKind::Simple(ttl) => {
                let user = self.replica.user_of(token, *ttl).await;
                user.map(|user| (user, self.reader().auth_revision()))
            }
            TokenKind::Signed(jwt) => match jwt.remember(token) {
                None => {
                    let (jwt, token) = (Arc::clone(jwt), token.to_owned());
                    aside(move || jwt.verify(&token)).await?
                }
                known => known,
            },
            TokenKind::None => None,
        };
        let (user, auth_revision) = known.ok_or(status::INVALID_AUTH_TOKEN)?;
        Ok(Caller { user, auth_revision })
    }

    /// Refuses those who do not say who they are.
    pub(super) async fn is_known(&self, who: &Who) -> Result<Caller, Status> {
        let caller = self.caller(who).await?;
        // A signed token or a certificate may name nobody, and is one all the same.
        let is_shown = who.token().is_some() || who.common_name().is_some();
        if caller.user.is_empty() && !is_shown && self.reader().is_auth_on() {
            return Err(status::USER_EMPTY.into());
        }
        Ok(caller)
    }

    /// Refuses those who do not have the role `root`.
    pub(super) async fn may_administer(&self, who: &Who) -> Result<(), Status> {
        let caller = self.caller(who).await?;
        Ok(self.reader().may_administer(&caller)?)
    }

    /// Refuses those who may not do something, and tells who may.
    pub(super) async fn admit(
        &self,
        who: &Who,
        check: impl Fn(&Reader, &Caller) -> Result<(), Rejection>,
    ) -> Result<Caller, Status> {
        if !self.reader().is_auth_on() {
            return Ok(Caller::default());
        }
        let caller = self.caller(who).await?;
        check(self.reader(), &caller)?;
        Ok(caller)
    }

    /// Drops an answer if rights have changed since they were checked.
    pub(super) fn is_still_admitted(&self, caller: &Caller) -> Result<(), Status> {
        if caller.auth_revision != 0 && caller.auth_revision != self.reader().auth_revision() {
            return Err(status::AUTH_OLD_REVISION.into());
        }
        Ok(())
    }

    /// Has a change made by all members in the name of a caller.
    pub(super) async fn propose_as(&self, who: &Who, request: Request) -> Result<Reply, Status> {
        let caller = self.caller(who).await?;
        Ok(self.replica.propose(&caller, request).await?)
    }

    /// Has a change made by all members that nobody asked for.
    pub(super) async fn propose(&self, request: Request) -> Result<Reply, Failure> {
        self.replica.propose(&Caller::default(), request).await
    }

    /// Refuses what would not fit into the quota, and lets all members know.
    pub(super) async fn has_space(&self, request: &Request) -> Result<(), Status> {
        if !self.reader().exceeds_quota(request) {
            return Ok(());
        }
        let member = self.replica.identity().member.0;
        let alarm = pb::AlarmType::Nospace as i32;
        let raised = pb::AlarmMember { member_id: member, alarm };
        if !self.reader().alarms().contains(&raised) {
            let action = AlarmAction::Activate as i32;
            let request = pb::AlarmRequest { action, member_id: member, alarm };
            // The answer is the same whether the others hear of it or not.
            if let Err(failure) = self.propose(Request::Alarm(request)).await {
                tracing::warn!(%failure, "the quota is used up, but no alarm could be raised");
            }
        }
        Err(status::NO_SPACE.into())
    }
}

/// What a reply of another kind than the request means: a broken member.
pub(super) fn misanswered(reply: &Reply) -> ! {
    panic!("the store gave an answer of another kind than the question: {reply:?}");
}

/// Unpacks the reply of one kind.
macro_rules! expect_reply {
    ($reply:expr, $kind:ident) => {
        match $reply {
            crate::store::Reply::$kind(reply) => reply,
            other => crate::api::member::misanswered(&other),
        }
    };
}
pub(super) use expect_reply;

/// Does work that may take a while on a thread where nobody waits behind it.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(format!("the work was not done: {error}")))
}
