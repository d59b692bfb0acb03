//! Election: a queue whose first has a value that others want to know.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status};

use super::caller::Who;
use super::calls::Call;
use super::kv::Keys;
use super::member::Member;
use super::queue::{Changes, Place, Queue, Waiting, as_told_by_a_client, is_deletion};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
use crate::proto::mvccpb::{Event, KeyValue};
use crate::proto::v3electionpb as pb;
use crate::proto::v3electionpb::election_server::Election;

/// The service.
pub(super) struct Elections {
    member: Arc<Member>,
    keys: Arc<Keys>,
    call: Arc<Call>,
}

impl Elections {
    /// Over these keys.
    pub(super) fn new(member: Arc<Member>, keys: Arc<Keys>) -> Elections {
        let call = member.metrics.calls.get("/v3electionpb.Election/Observe");
        Elections { member, keys, call }
    }

    fn queue(&self, who: Who, name: &[u8]) -> Arc<Queue> {
        Arc::new(Queue::new(Arc::clone(&self.member), Arc::clone(&self.keys), who, name))
    }

    async fn campaign(
        &self,
        who: Who,
        request: pb::CampaignRequest,
    ) -> Result<pb::CampaignResponse, Status> {
        let pb::CampaignRequest { name, lease, value } = request;
        let queue = self.queue(who, &name);
        let lease = queue.lease(lease).await?;
        let place = queue.enter(lease, value.clone()).await?;
        let waiting = Waiting::at(&queue, &place);
        if place.found.as_ref().is_some_and(|kv| kv.value != value) {
            proclaim(&queue, &place.key, place.revision, lease, value).await?;
        }
        queue.wait_for_turn(&place).await?;
        waiting.end();
        let Place { key, revision: rev, header, .. } = place;
        let leader = Some(pb::LeaderKey { name, key, rev, lease });
        Ok(pb::CampaignResponse { header, leader })
    }

    async fn proclaim(
        &self,
        who: Who,
        request: pb::ProclaimRequest,
    ) -> Result<pb::ProclaimResponse, Status> {
        let leader = request.leader.ok_or_else(leader_is_missing)?;
        let queue = self.queue(who, &leader.name);
        let pb::LeaderKey { key, rev, lease, .. } = leader;
        let lease = queue.lease(lease).await?;
        let header = proclaim(&queue, &key, rev, lease, request.value).await?;
        Ok(pb::ProclaimResponse { header })
    }

    async fn resign(
        &self,
        who: Who,
        request: pb::ResignRequest,
    ) -> Result<pb::ResignResponse, Status> {
        let leader = request.leader.ok_or_else(leader_is_missing)?;
        let key = leader.key;
        let deletion = DeleteRangeRequest { key: key.clone(), ..Default::default() };
        let deletion = Op::RequestDeleteRange(deletion);
        let response = self.queue(who, &leader.name).if_held(&key, leader.rev, deletion).await?;
        Ok(pb::ResignResponse { header: response.header })
    }

    async fn leader(&self, who: Who, name: &[u8]) -> Result<pb::LeaderResponse, Status> {
        let first = self.queue(who, name).first().await?;
        match first.kvs.into_iter().next() {
            Some(kv) => Ok(pb::LeaderResponse { header: first.header, kv: Some(kv) }),
            None => Err(Status::unknown("election: no leader")),
        }
    }
}

type Leaders = Pin<Box<dyn Stream<Item = Result<pb::LeaderResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Election for Elections {
    async fn campaign(
        &self,
        request: Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        let won = Elections::campaign(self, Who::of(&request), request.into_inner()).await;
        won.map(Response::new).map_err(as_told_by_a_client)
    }

    async fn proclaim(
        &self,
        request: Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        let done = Elections::proclaim(self, Who::of(&request), request.into_inner()).await;
        done.map(Response::new).map_err(as_told_by_a_client)
    }

    async fn leader(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::LeaderResponse>, Status> {
        let found = Elections::leader(self, Who::of(&request), &request.into_inner().name).await;
        found.map(Response::new).map_err(as_told_by_a_client)
    }

    type ObserveStream = Leaders;

    async fn observe(
        &self,
        request: Request<pb::LeaderRequest>,
    ) -> Result<Response<Leaders>, Status> {
        let queue = self.queue(Who::of(&request), &request.into_inner().name);
        let observer = Observer { queue, member: Arc::clone(&self.member), sight: Sight::Nobody };
        let call = Arc::clone(&self.call);
        // As in etcd, what keeps it from looking on ends the stream, and is not told.
        let turn = |observer: Observer| async { observer.turn().await.ok().flatten() };
        let leaders = stream::unfold(observer, turn).inspect(move |_| call.sent.inc());
        Ok(Response::new(Box::pin(leaders.map(Ok))))
    }

    async fn resign(
        &self,
        request: Request<pb::ResignRequest>,
    ) -> Result<Response<pb::ResignResponse>, Status> {
        let done = Elections::resign(self, Who::of(&request), request.into_inner()).await;
        done.map(Response::new).map_err(as_told_by_a_client)
    }
}

type Header = Option<crate::proto::etcdserverpb::ResponseHeader>;

/// Gives the key of a leader another value, if it leads.
async fn proclaim(
    queue: &Queue,
    key: &Bytes,
    revision: i64,
    lease: i64,
    value: Bytes,
) -> Result<Header, Status> {
    let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
    let response = queue.if_held(key, revision, Op::RequestPut(put)).await?;
    if response.succeeded {
        Ok(response.header)
    } else {
        Err(Status::unknown("election: not leader"))
    }
}

fn leader_is_missing() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// Sees one leader after another.
struct Observer {
    queue: Arc<Queue>,
    member: Arc<Member>,
    sight: Sight,
}

enum Sight {
    /// Look who leads.
    Nobody,
    /// Somebody leads: the changes of its key, and those not told yet.
    Leader(Box<Changes>, std::vec::IntoIter<Event>),
}

impl Observer {
    async fn turn(mut self) -> Result<Option<(pb::LeaderResponse, Observer)>, Status> {
        loop {
            match &mut self.sight {
                Sight::Nobody => {
                    let (revision, kv) = self.find().await?;
                    let changes = self.queue.follow(kv.key.clone(), Bytes::new(), revision + 1);
                    self.sight = Sight::Leader(Box::new(changes), Vec::new().into_iter());
                    return Ok(Some((self.tell(revision, kv), self)));
                }
                Sight::Leader(changes, events) => match events.next() {
                    Some(event) if is_deletion(&event) => self.sight = Sight::Nobody,
                    Some(Event { kv: Some(kv), .. }) => {
                        return Ok(Some((self.tell(kv.mod_revision, kv), self)));
                    }
                    Some(_) => {}
                    None => match changes.next().await? {
                        Some(next) => *events = next.into_iter(),
                        None => self.sight = Sight::Nobody,
                    },
                },
            }
        }
    }

    fn tell(&self, revision: i64, kv: KeyValue) -> pb::LeaderResponse {
        pb::LeaderResponse { header: Some(self.member.header(revision)), kv: Some(kv) }
    }

    /// The leader, or the first that comes, and when it was seen.
    async fn find(&self) -> Result<(i64, KeyValue), Status> {
        loop {
            let first = self.queue.first().await?;
            let revision = first.header.map_or(0, |header| header.revision);
            if let Some(kv) = first.kvs.into_iter().next() {
                return Ok((revision, kv));
            }
            let mut changes = self.queue.follow_all(revision);
            while let Some(events) = changes.next().await? {
                let put = events.into_iter().find(|event| !is_deletion(event));
                if let Some(kv) = put.and_then(|event| event.kv) {
                    return Ok((kv.mod_revision, kv));
                }
            }
        }
    }
}
