//! Who leads, as seen from outside: a stream of leaders.
//!
//! It keeps the whole queue of candidates, so that it can name the next leader
//! at the very event that ends the one before. Deliberately not here: standing
//! for election.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use etcd_client::GetOptions;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::connection::{Clients, Connection, patiently};
use super::error::{Error, Result};
use super::store::{EventKind, LEADER_ELECTION, WatchEvent};
use super::watch::{self, Target, WatchStream, key_text};
use crate::ids::Revision;

/// How many changes may wait for a slow reader; more, and the watch waits.
const CHANGES_MAX: usize = 16;

/// The KAT Leader, as its election key shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The leader's name.
    pub id: String,
    /// The election key.
    pub key: String,
    /// When the key was created; tells one term of the same leader from another.
    pub create_revision: Revision,
}

/// First who leads now, then every change; `None` means that nobody leads.
///
/// It survives reconnects. An error is the last item.
#[derive(Debug)]
pub struct LeaderStream(mpsc::Receiver<Result<Option<Leader>>>);

impl Stream for LeaderStream {
    type Item = Result<Option<Leader>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// All candidates: by key, when it was created and what it says.
#[derive(Default)]
struct Queue(BTreeMap<String, (Revision, Vec<u8>)>);

impl Queue {
    fn leader(&self) -> Option<Leader> {
        let (key, (created, value)) = self.0.iter().min_by_key(|(_, (created, _))| *created)?;
        let id = String::from_utf8_lossy(value).into_owned();
        Some(Leader { id, key: key.clone(), create_revision: *created })
    }

    fn apply(&mut self, event: WatchEvent) {
        match event.kind {
            EventKind::Delete => {
                self.0.remove(&event.kv.key);
            }
            EventKind::Put => {
                let place = self.0.entry(event.kv.key);
                place.or_insert((event.kv.version, Vec::new())).1 = event.kv.value;
            }
        }
    }
}

/// The leader at this moment.
pub(super) async fn current(connection: &Connection) -> Result<Option<Leader>> {
    Ok(read(connection).await?.0.leader())
}

/// Returns once the current leader is known.
pub(super) async fn open(connection: &Connection) -> Result<LeaderStream> {
    let (queue, events) = begin(connection).await?;
    let (changes, stream) = mpsc::channel(CHANGES_MAX);
    let connection = connection.clone();
    tokio::spawn(async move {
        let error = tokio::select! {
            () = changes.closed() => return,
            error = follow(&connection, queue, events, &changes) => error,
        };
        // Nobody reads any more: then nobody misses the reason either.
        changes.send(Err(error)).await.ok();
    });
    Ok(LeaderStream(stream))
}

async fn begin(connection: &Connection) -> Result<(Queue, WatchStream)> {
    let (queue, read_at) = read(connection).await?;
    let prefix = Target::Prefix(format!("{LEADER_ELECTION}/"));
    Ok((queue, watch::open(connection, prefix, Revision(read_at.0 + 1)).await?))
}

async fn read(connection: &Connection) -> Result<(Queue, Revision)> {
    let call = |mut clients: Clients| async move {
        let options = GetOptions::new().with_prefix();
        clients.kv.get(format!("{LEADER_ELECTION}/"), Some(options)).await
    };
    let answer = connection.read("read who leads", call).await?;
    let read_at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    let mut queue = Queue::default();
    for kv in answer.kvs() {
        queue.0.insert(key_text(kv)?, (Revision(kv.create_revision()), kv.value().to_vec()));
    }
    Ok((queue, Revision(read_at)))
}

/// Reports changes until the watch cannot go on.
async fn follow(
    connection: &Connection,
    mut queue: Queue,
    mut events: WatchStream,
    changes: &mpsc::Sender<Result<Option<Leader>>>,
) -> Error {
    let mut reported = None;
    loop {
        let leader = queue.leader();
        if reported.as_ref() != Some(&leader) {
            if changes.send(Ok(leader.clone())).await.is_err() {
                return Error::Closed;
            }
            reported = Some(leader);
        }
        match events.next().await {
            Some(Ok(event)) => queue.apply(event),
            Some(Err(Error::Compacted { .. })) => match patiently(|| begin(connection)).await {
                Ok(again) => (queue, events) = again,
                Err(error) => return error,
            },
            Some(Err(error)) => return error,
            None => return Error::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::store::KV;

    fn event(kind: EventKind, key: &str, revision: i64, value: &str) -> WatchEvent {
        let kv = KV { key: key.into(), value: value.into(), version: Revision(revision) };
        WatchEvent { kind, kv, prev_kv: None }
    }

    fn leads(queue: &Queue) -> Option<(String, i64)> {
        queue.leader().map(|leader| (leader.id, leader.create_revision.0))
    }

    #[test]
    fn the_oldest_candidate_leads_whatever_its_key() {
        let mut queue = Queue::default();
        assert_eq!(leads(&queue), None);
        queue.apply(event(EventKind::Put, "b", 4, "first"));
        queue.apply(event(EventKind::Put, "a", 5, "second"));
        assert_eq!(leads(&queue), Some(("first".into(), 4)));
        queue.apply(event(EventKind::Put, "b", 6, "renamed"));
        assert_eq!(leads(&queue), Some(("renamed".into(), 4)), "its place is where it was");
        queue.apply(event(EventKind::Delete, "b", 7, ""));
        assert_eq!(leads(&queue), Some(("second".into(), 5)));
        queue.apply(event(EventKind::Delete, "a", 8, ""));
        assert_eq!(leads(&queue), None);
    }
}
