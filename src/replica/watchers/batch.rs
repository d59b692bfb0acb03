//! [`Batch`]: what a watcher that catches up is told at once.
//!
//! As many revisions as in etcd go into one response, in however many slices of
//! history they were read. Where they are large that costs memory, for which all
//! streams share a room: a batch that finds none there goes out as it is, and the
//! next response has the rest.

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::proto::mvccpb::Event;

/// The revisions in one response, as in etcd.
const REVISIONS_MAX: usize = 1000;
/// What any batch may take.
pub(super) const FREE_BYTES: usize = 512 << 10;
/// What a batch may take while there is room.
const BYTES_MAX: usize = 16 << 20;
/// What batches may take together, beyond what is free.
const ROOM_BYTES: usize = 32 << 20;
/// What room is counted in.
const UNIT_BYTES: usize = 1024;

/// What all streams share.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(ROOM_BYTES / UNIT_BYTES)))
    }
}

/// A part of the room, until it is dropped.
#[derive(Debug, Default)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    /// Takes what another has, too.
    pub(super) fn merge(&mut self, other: Share) {
        match (&mut self.0, other.0) {
            (Some(mine), Some(other)) => mine.merge(other),
            (mine @ None, other) => *mine = other,
            (Some(_), None) => {}
        }
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * UNIT_BYTES
    }

    /// Grows to so many bytes, if there is room for them now.
    fn grow_to(&mut self, bytes: usize, room: &Room) -> bool {
        let more = bytes.saturating_sub(self.bytes()).div_ceil(UNIT_BYTES);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&room.0).try_acquire_many_owned(more) else { return false };
        self.merge(Share(Some(permit)));
        true
    }
}

/// Events that go out together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The events, of whole revisions.
    pub(super) events: Vec<Event>,
    /// The room that they take.
    pub(super) share: Share,
    revisions: usize,
    bytes: usize,
}

impl Batch {
    /// Adds what the watcher wants of a revision; nothing counts as a revision,
    /// too, if its range was concerned.
    pub(super) fn add(&mut self, events: Vec<Event>) {
        self.revisions += 1;
        self.bytes += events.iter().map(Event::encoded_len).sum::<usize>();
        self.events.extend(events);
    }

    /// Whether there is anything to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether it has as many revisions as it can.
    pub(super) fn is_full(&self) -> bool {
        self.revisions >= REVISIONS_MAX
    }

    /// Whether another slice may be added to it; it has the room for what it
    /// holds by now.
    pub(super) fn may_grow(&mut self, room: &Room) -> bool {
        self.bytes < FREE_BYTES || (self.bytes < BYTES_MAX && self.share.grow_to(self.bytes, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mvccpb::KeyValue;

    fn event(bytes: usize) -> Event {
        let kv = KeyValue { value: vec![b'x'; bytes].into(), ..KeyValue::default() };
        Event { kv: Some(kv), ..Event::default() }
    }

    /// Fills a batch with slices until it must go.
    fn filled(room: &Room) -> Batch {
        let mut batch = Batch::default();
        while batch.may_grow(room) {
            batch.add(vec![event(FREE_BYTES)]);
        }
        batch
    }

    #[test]
    fn batches_share_the_room_and_never_wait() {
        let room = Room::default();
        let (first, second) = (filled(&room), filled(&room));
        assert_eq!(first.events.len(), BYTES_MAX / FREE_BYTES);
        assert_eq!(second.events.len(), BYTES_MAX / FREE_BYTES);
        let third = filled(&room);
        assert!((1..4).contains(&third.events.len()), "{}", third.events.len());
        drop(first);
        assert_eq!(filled(&room).events.len(), BYTES_MAX / FREE_BYTES);
        drop((second, third));
        assert_eq!(room.0.available_permits(), ROOM_BYTES / UNIT_BYTES);
    }

    #[test]
    fn a_batch_is_full_by_its_revisions_alone() {
        let mut batch = Batch::default();
        for _ in 1..REVISIONS_MAX {
            batch.add(Vec::new());
            assert!(!batch.is_full());
        }
        assert!(batch.is_empty());
        batch.add(vec![event(1), event(2)]);
        assert!(batch.is_full());
    }
}
