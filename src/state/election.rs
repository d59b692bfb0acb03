//! Who leads: etcd's recipe for elections, as a candidate follows it.
//!
//! A candidate writes a key of its own under the prefix, bound to its lease,
//! and waits until no key is left that was created before. Each watches only
//! the one directly before it, so that a loss wakes one candidate and not all.
//! Keys and values are those of etcd's own recipe: `etcdctl elect` competes and
//! observes.
//!
//! What a leader writes must carry [`Leadership::fence`]: its process may have
//! been paused, and be wrong about leading for a moment.

use std::time::Duration;

use etcd_client::{Compare as Check, CompareOp, GetOptions, PutOptions, SortOrder, SortTarget};
use etcd_client::{Txn, TxnOp, TxnOpResponse};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection::{Clients, Connection, patiently};
use super::error::{Error, Result, is_lease_gone};
use super::session::{LostReason, Session, Tenure, is_alive};
use super::store::{Compare, EventKind, LEADER_ELECTION};
use super::watch::{self, Target, key_text};
use crate::ids::{LeaseId, Revision};

/// How long the loss of the key may go untold while its reason is looked up.
const REASON_WITHIN: Duration = Duration::from_millis(500);

/// A place at the head of the queue.
///
/// Dropping it does not resign.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// Cancelled when leadership ends, for whatever reason.
    pub lost: CancellationToken,
    /// The election key.
    pub key: String,
    /// The revision at which the key was written, once and for all.
    pub create_revision: Revision,
    /// The lease that the key depends on.
    pub lease_id: LeaseId,
    /// What the key says: the leader's name.
    pub leader_id: String,
    tenure: Tenure,
}

impl Leadership {
    /// Why leadership ended; `None` while it lasts.
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.tenure.reason()
    }

    /// The check that a write needs so that only the true leader makes it.
    pub fn fence(&self) -> Compare {
        Compare { key: self.key.clone(), expected_version: self.create_revision }
    }
}

/// What a store has to do with the election at the moment.
enum Candidacy {
    Waiting(CancellationToken),
    Leading(Session, Leadership),
}

/// The one candidacy that a store may have.
#[derive(Default)]
pub(super) struct Ballot(Mutex<Option<Candidacy>>);

impl Ballot {
    pub(super) async fn campaign(
        &self,
        connection: &Connection,
        leader_id: &str,
        ttl_seconds: i64,
    ) -> Result<Leadership> {
        let withdrawn = self.enter()?;
        let place = Place { ballot: self };
        let (session, leadership) = tokio::select! {
            biased;
            () = withdrawn.cancelled() => return Err(withdrawal(connection)),
            won = win(connection, leader_id, ttl_seconds) => won?,
        };
        place.take(session, leadership, &withdrawn).ok_or_else(|| withdrawal(connection))
    }

    fn enter(&self) -> Result<CancellationToken> {
        let mut candidacy = self.0.lock();
        let is_over = match &*candidacy {
            None => true,
            Some(Candidacy::Leading(_, leadership)) => leadership.lost.is_cancelled(),
            Some(Candidacy::Waiting(_)) => false,
        };
        if !is_over {
            return Err(Error::misuse("this store already has a candidacy"));
        }
        let withdrawn = CancellationToken::new();
        *candidacy = Some(Candidacy::Waiting(withdrawn.clone()));
        Ok(withdrawn)
    }

    /// Ends whatever there is; of two failures the first is told.
    pub(super) async fn leave(&self, connection: &Connection, reason: LostReason) -> Result<()> {
        let (session, leadership) = {
            let mut candidacy = self.0.lock();
            match candidacy.take() {
                None => return Ok(()),
                Some(Candidacy::Waiting(withdrawn)) => {
                    withdrawn.cancel();
                    // The place is given up by the campaign itself.
                    *candidacy = Some(Candidacy::Waiting(withdrawn));
                    return Ok(());
                }
                Some(Candidacy::Leading(session, leadership)) => (session, leadership),
            }
        };
        if leadership.lost.is_cancelled() {
            return Ok(());
        }
        leadership.tenure.prepare(reason);
        let deleted = delete_own(connection, &leadership).await;
        let revoked = session.revoke().await;
        leadership.lost.cancel();
        // Either of the two removes the key.
        deleted.or(revoked)
    }
}

/// A place in the queue, given up when the campaign ends without a victory.
struct Place<'a> {
    ballot: &'a Ballot,
}

impl Place<'_> {
    fn take(
        self,
        session: Session,
        leadership: Leadership,
        withdrawn: &CancellationToken,
    ) -> Option<Leadership> {
        let mut candidacy = self.ballot.0.lock();
        if withdrawn.is_cancelled() {
            return None;
        }
        *candidacy = Some(Candidacy::Leading(session, leadership.clone()));
        Some(leadership)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut candidacy = self.ballot.0.lock();
        if matches!(&*candidacy, Some(Candidacy::Waiting(_))) {
            *candidacy = None;
        }
    }
}

fn withdrawal(connection: &Connection) -> Error {
    match connection.is_closed() {
        true => Error::Closed,
        false => Error::misuse("the candidacy was withdrawn"),
    }
}

/// Waits for victory, with one lease after the other if need be.
async fn win(
    connection: &Connection,
    leader_id: &str,
    ttl_seconds: i64,
) -> Result<(Session, Leadership)> {
    loop {
        let session = Session::begin(connection, ttl_seconds).await?;
        let place = tokio::select! {
            () = session.tenure.lost.cancelled() => None,
            place = stand(connection, session.lease, leader_id) => place?,
        };
        let Some((key, create_revision)) = place else {
            tracing::debug!(lease = %session.lease, "the candidacy died; starting over");
            continue;
        };
        let leadership = Leadership {
            lost: session.tenure.lost.clone(),
            key,
            create_revision,
            lease_id: session.lease,
            leader_id: leader_id.to_owned(),
            tenure: session.tenure.clone(),
        };
        tokio::spawn(guard(connection.clone(), leadership.clone()));
        return Ok((session, leadership));
    }
}

/// Queues and waits to be first; `None` if the place was lost meanwhile.
async fn stand(
    connection: &Connection,
    lease: LeaseId,
    leader_id: &str,
) -> Result<Option<(String, Revision)>> {
    let key = format!("{LEADER_ELECTION}/{lease}");
    let Some(mine) = patiently(|| queue(connection, &key, lease, leader_id)).await? else {
        return Ok(None);
    };
    while let Some((rival, read_at)) = patiently(|| rival(connection, mine)).await? {
        // Either way the next look tells.
        deleted(connection, rival, Revision(read_at.0 + 1)).await?;
    }
    let confirmed = patiently(|| own(connection, &key)).await?;
    Ok(confirmed.filter(|(created, _)| *created == mine).map(|(created, _)| (key, created)))
}

/// Writes the key unless it exists, and says when it was created; `None` if
/// the lease is gone. May be repeated: only this candidate writes this key.
async fn queue(
    connection: &Connection,
    key: &str,
    lease: LeaseId,
    leader_id: &str,
) -> Result<Option<Revision>> {
    let call = |mut clients: Clients| async move {
        let put = PutOptions::new().with_lease(lease.0);
        let txn = Txn::new()
            .when([Check::create_revision(key, CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key, leader_id, Some(put))])
            .or_else([TxnOp::get(key, None)]);
        match clients.kv.txn(txn).await {
            Err(error) if is_lease_gone(&error) => Ok(None),
            answer => answer.map(Some),
        }
    };
    let Some(answer) = connection.read("queue for leadership", call).await? else {
        return Ok(None);
    };
    if answer.succeeded() {
        return Ok(answer.header().map(|header| Revision(header.revision())));
    }
    Ok(answer.op_responses().into_iter().find_map(|response| match response {
        TxnOpResponse::Get(found) => found.kvs().first().map(|kv| Revision(kv.create_revision())),
        _ => None,
    }))
}

/// The newest candidate before `mine`, and the revision at which that was so.
async fn rival(connection: &Connection, mine: Revision) -> Result<Option<(String, Revision)>> {
    let call = |mut clients: Clients| async move {
        let options = GetOptions::new()
            .with_prefix()
            .with_max_create_revision(mine.0 - 1)
            .with_sort(SortTarget::Create, SortOrder::Descend)
            .with_limit(1);
        clients.kv.get(format!("{LEADER_ELECTION}/"), Some(options)).await
    };
    let answer = connection.read("look for a rival", call).await?;
    let Some(kv) = answer.kvs().first() else {
        return Ok(None);
    };
    let read_at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok(Some((key_text(kv)?, Revision(read_at))))
}

/// Waits until the key is deleted; `false` if that cannot be told, because
/// history was compacted meanwhile.
async fn deleted(connection: &Connection, key: String, from: Revision) -> Result<bool> {
    let open = || watch::open(connection, Target::Key(key.clone()), from);
    let mut events = patiently(open).await?;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) if event.kind == EventKind::Put => {}
            Ok(_) => return Ok(true),
            Err(Error::Compacted { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Err(Error::Closed)
}

/// When the own key was created, and the revision at which that was read.
async fn own(connection: &Connection, key: &str) -> Result<Option<(Revision, Revision)>> {
    let call = |mut clients: Clients| async move { clients.kv.get(key, None).await };
    let answer = connection.read("confirm leadership", call).await?;
    let read_at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    let created = answer.kvs().first().map(|kv| Revision(kv.create_revision()));
    Ok(created.map(|created| (created, Revision(read_at))))
}

/// Ends leadership when its key is deleted.
async fn guard(connection: Connection, leadership: Leadership) {
    let reason = tokio::select! {
        () = leadership.lost.cancelled() => return,
        reason = deletion(&connection, &leadership) => reason,
    };
    leadership.tenure.end(reason);
}

async fn deletion(connection: &Connection, leadership: &Leadership) -> LostReason {
    let mut from = Revision(leadership.create_revision.0 + 1);
    loop {
        match deleted(connection, leadership.key.clone(), from).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(Error::Closed) => return LostReason::Shutdown,
            Err(error) => tracing::debug!(%error, "cannot watch the election key"),
        }
        match patiently(|| own(connection, &leadership.key)).await {
            Ok(Some((created, read_at))) if created == leadership.create_revision => {
                from = Revision(read_at.0 + 1);
            }
            Ok(_) => break,
            Err(Error::Closed) => return LostReason::Shutdown,
            Err(error) => {
                // The lease is the guard that remains.
                tracing::warn!(%error, "cannot read the election key");
                std::future::pending::<()>().await;
            }
        }
    }
    match timeout(REASON_WITHIN, is_alive(connection, leadership.lease_id)).await {
        Ok(Ok(false)) => LostReason::LeaseExpired,
        _ => LostReason::KeyDeleted,
    }
}

async fn delete_own(connection: &Connection, leadership: &Leadership) -> Result<()> {
    let (key, created) = (leadership.key.as_str(), leadership.create_revision.0);
    let call = |mut clients: Clients| async move {
        let txn = Txn::new()
            .when([Check::create_revision(key, CompareOp::Equal, created)])
            .and_then([TxnOp::delete(key, None)]);
        clients.kv.txn(txn).await.map(drop)
    };
    connection.farewell("resign", call).await
}
