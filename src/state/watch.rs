//! A watch that outlives its connections.
//!
//! A task pumps events from the store into a bounded queue. It remembers the
//! first revision that it has not delivered yet; when the connection breaks, it
//! goes on from there at whichever endpoint answers:
//!
//! - An answer holds whole revisions, because the watch does not ask for
//!   fragments; so after its last event the next revision is due.
//! - A progress notice says that nothing happened up to its revision, and moves
//!   that point too: a quiet watch does not age into compacted history.
//! - A full queue stops the pump, HTTP/2's window then stops the store, and
//!   nothing is skipped.
//!
//! Dropping the stream closes the queue, which ends the task and with it the
//! watch in the store.

use std::pin::Pin;
use std::task::{Context, Poll};

use etcd_client::{Event, EventType, KeyValue, WatchOptions, WatchResponse};
use futures::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::connection::{Backoff, Clients, Connection};
use super::error::{Error, Result};
use super::store::{EventKind, KV, WatchEvent};
use crate::ids::Revision;

/// How many events may wait for a slow reader before the store has to.
const EVENTS_MAX: usize = 256;

/// The events of a watch, in the order of their revisions.
///
/// An error is the last item. A connection that breaks is no error: the watch
/// goes on elsewhere without a gap and without a duplicate.
#[derive(Debug)]
pub struct WatchStream {
    created: Revision,
    events: mpsc::Receiver<Result<WatchEvent>>,
}

impl WatchStream {
    /// The store's revision when the watch came to be.
    pub fn created_revision(&self) -> Revision {
        self.created
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx)
    }
}

/// What is watched.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Key(String),
    Prefix(String),
}

impl Target {
    fn options(&self, start: Revision) -> WatchOptions {
        let options =
            WatchOptions::new().with_prev_key().with_progress_notify().with_start_revision(start.0);
        match self {
            Target::Key(_) => options,
            Target::Prefix(_) => options.with_prefix(),
        }
    }

    fn key(&self) -> &str {
        match self {
            Target::Key(key) | Target::Prefix(key) => key,
        }
    }
}

/// Returns once the store has confirmed the watch.
pub(super) async fn open(
    connection: &Connection,
    target: Target,
    start: Revision,
) -> Result<WatchStream> {
    let doing = format!("watch {:?}", target.key());
    let source = begin(connection, &doing, &target, start).await?;
    let created = source.created;
    let next = if start.0 == 0 { Revision(created.0 + 1) } else { start };
    let (events, queue) = mpsc::channel(EVENTS_MAX);
    let pump = Pump { connection: connection.clone(), doing, target, next, events };
    tokio::spawn(pump.run(source));
    Ok(WatchStream { created, events: queue })
}

/// A watch in the store, over one connection.
struct Source {
    stream: etcd_client::WatchStream,
    created: Revision,
    endpoint: usize,
}

async fn begin(
    connection: &Connection,
    doing: &str,
    target: &Target,
    start: Revision,
) -> Result<Source> {
    connection.read(doing, |clients| create(clients, target, start)).await
}

async fn create(
    mut clients: Clients,
    target: &Target,
    start: Revision,
) -> Result<Source, etcd_client::Error> {
    let options = target.options(start);
    let mut stream = clients.watch.watch(target.key(), Some(options)).await?;
    let Some(answer) = stream.message().await? else {
        return Err(Status::unavailable("the watch ended before it began").into());
    };
    if answer.canceled() {
        return Err(refusal(answer.cancel_reason()));
    }
    let created = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok(Source { stream, created: Revision(created), endpoint: clients.endpoint })
}

/// A watch is refused in words, which hold the text of a status.
fn refusal(reason: &str) -> etcd_client::Error {
    let text = reason.rsplit_once("desc = ").map_or(reason, |(_, text)| text);
    Status::unknown(text).into()
}

struct Pump {
    connection: Connection,
    doing: String,
    target: Target,
    /// The first revision that was not delivered yet.
    next: Revision,
    events: mpsc::Sender<Result<WatchEvent>>,
}

impl Pump {
    async fn run(mut self, source: Source) {
        let events = self.events.clone();
        let connection = self.connection.clone();
        let error = tokio::select! {
            () = events.closed() => return,
            () = connection.closed() => Error::Closed,
            error = self.pump(source) => error,
        };
        // Nobody reads any more: then nobody misses the reason either.
        events.send(Err(error)).await.ok();
    }

    /// Pumps until the watch cannot go on, and tells why.
    async fn pump(&mut self, mut source: Source) -> Error {
        let mut backoff = Backoff::new();
        loop {
            let mut broken = self.drain(&mut source, &mut backoff).await;
            while broken.is_unavailable() {
                backoff.wait().await;
                match begin(&self.connection, &self.doing, &self.target, self.next).await {
                    Ok(again) => {
                        source = again;
                        break;
                    }
                    Err(error) => broken = error,
                }
            }
            if !broken.is_unavailable() {
                return broken;
            }
        }
    }

    /// Delivers what one connection brings, until it ends.
    async fn drain(&mut self, source: &mut Source, backoff: &mut Backoff) -> Error {
        loop {
            let answer = match source.stream.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return self.broken(source, Status::unavailable("the watch ended")),
                Err(etcd_client::Error::GRpcStatus(status)) => return self.broken(source, status),
                Err(other) => return self.broken(source, Status::unknown(other.to_string())),
            };
            *backoff = Backoff::new();
            if answer.compact_revision() != 0 {
                return Error::Compacted { compact_revision: Revision(answer.compact_revision()) };
            }
            if answer.canceled() {
                let refused = refusal(answer.cancel_reason());
                return Error::from_client(&refused, &self.doing, false);
            }
            if let Err(error) = self.deliver(&answer).await {
                return error;
            }
        }
    }

    fn broken(&self, source: &Source, status: Status) -> Error {
        self.connection.turn_from(source.endpoint);
        Error::from_client(&status.into(), &self.doing, false)
    }

    async fn deliver(&mut self, answer: &WatchResponse) -> Result<()> {
        let mut after = match answer.header() {
            // Nothing happened up to here.
            Some(header) if answer.events().is_empty() => header.revision() + 1,
            _ => 0,
        };
        for event in answer.events() {
            let event = translate(event)?;
            if event.kv.version < self.next {
                continue;
            }
            after = event.kv.version.0 + 1;
            if self.events.send(Ok(event)).await.is_err() {
                return Err(Error::Closed);
            }
        }
        self.next = self.next.max(Revision(after));
        Ok(())
    }
}

fn translate(event: &Event) -> Result<WatchEvent> {
    let kind = match event.event_type() {
        EventType::Put => EventKind::Put,
        EventType::Delete => EventKind::Delete,
    };
    let kv = event.kv().ok_or_else(|| Error::misuse("the store sent an event without a key"))?;
    let prev_kv = event.prev_kv().map(key_value).transpose()?;
    Ok(WatchEvent { kind, kv: key_value(kv)?, prev_kv })
}

/// A key with its value as the store holds them.
pub(super) fn key_value(kv: &KeyValue) -> Result<KV> {
    let version = Revision(kv.mod_revision());
    Ok(KV { key: key_text(kv)?, value: kv.value().to_vec(), version })
}

/// A key as the store holds it, if it is text.
pub(super) fn key_text(kv: &KeyValue) -> Result<String> {
    match kv.key_str() {
        Ok(key) => Ok(key.to_owned()),
        Err(_) => Err(Error::not_text(kv.key())),
    }
}
