//! Lock: whoever asks first has it, and the others queue.

use std::sync::Arc;

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::caller::Who;
use super::kv::Keys;
use super::member::Member;
use super::queue::{Queue, Waiting, as_told_by_a_client};
use crate::proto::etcdserverpb::DeleteRangeRequest;
use crate::proto::v3lockpb as pb;
use crate::proto::v3lockpb::lock_server::Lock;

/// The service.
pub(super) struct Locks {
    member: Arc<Member>,
    keys: Arc<Keys>,
}

impl Locks {
    /// Over these keys.
    pub(super) fn new(member: Arc<Member>, keys: Arc<Keys>) -> Locks {
        Locks { member, keys }
    }

    async fn take(&self, who: Who, name: &[u8], lease: i64) -> Result<pb::LockResponse, Status> {
        let member = Arc::clone(&self.member);
        let queue = Arc::new(Queue::new(member, Arc::clone(&self.keys), who, name));
        let lease = queue.lease(lease).await?;
        let place = queue.enter(lease, Bytes::new()).await?;
        let waiting = Waiting::at(&queue, &place);
        if !queue.wait_for_turn(&place).await? {
            waiting.end();
            return Ok(pb::LockResponse { header: place.header, key: place.key });
        }
        // The lease may have ended meanwhile.
        let own = queue.get(place.key.clone()).await?;
        waiting.end();
        if own.kvs.is_empty() {
            return Err(Status::unknown("mutex: session is expired"));
        }
        Ok(pb::LockResponse { header: own.header, key: place.key })
    }
}

#[tonic::async_trait]
impl Lock for Locks {
    async fn lock(
        &self,
        request: Request<pb::LockRequest>,
    ) -> Result<Response<pb::LockResponse>, Status> {
        let who = Who::of(&request);
        let pb::LockRequest { name, lease } = request.into_inner();
        let taken = self.take(who, &name, lease).await;
        taken.map(Response::new).map_err(as_told_by_a_client)
    }

    async fn unlock(
        &self,
        request: Request<pb::UnlockRequest>,
    ) -> Result<Response<pb::UnlockResponse>, Status> {
        let who = Who::of(&request);
        let key = request.into_inner().key;
        let deletion = DeleteRangeRequest { key, ..Default::default() };
        let deleted = self.keys.delete_range(&who, deletion).await;
        let deleted = deleted.map_err(as_told_by_a_client)?;
        Ok(Response::new(pb::UnlockResponse { header: deleted.header }))
    }
}
