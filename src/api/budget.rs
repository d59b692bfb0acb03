//! [`Budget`]: the memory that answers may take, all together.
//!
//! A list is read while it is sent, but what is sorted, found by a txn, compressed
//! or written as JSON is whole in memory first. Such an answer is weighed before
//! it is made, and waits in line until there is room for it; one that is larger
//! than the budget waits until it has all of it, and goes alone. Room comes back
//! as the client takes what it asked for.
//!
//! - Nobody waits in line who has room already, or two could wait for each other.
//! - What is not very large has a line of its own: a get of one value does not wait
//!   behind those who sort everything.
//! - A client that takes next to nothing while others wait loses its answer, or
//!   those who do not read could keep the others waiting for ever.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::unary::{PIECE_BYTES, Pieces};
use crate::store::Weight;

/// What room is counted in.
const UNIT_BYTES: usize = 1024;

/// Less is not counted: a connection's buffers take as much for every call.
const COUNTED_BYTES_MIN: usize = 64 << 10;

/// More is very large.
const SMALL_BYTES_MAX: usize = 4 << 20;
/// The part of the budget that is for less.
const SMALL_PART: usize = 4;

/// How often whoever is first in line looks for answers that nobody takes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long any answer may take to be sent, and how much of it a second, before
/// those who wait may take its room.
const GRACE: Duration = Duration::from_secs(5);
const BYTES_A_SECOND_MIN: u64 = 1 << 20;

/// What a key costs beside its row.
const KEY_BYTES: usize = 128;
/// The same as JSON, whose fields are looked up one by one.
const JSON_KEY_BYTES: usize = 1024;

/// In how many forms an answer is in memory before it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// Once: it is encoded piece by piece.
    Pieces,
    /// As it was found and encoded.
    Whole,
    /// And compressed.
    Compressed,
    /// And taken apart again, as JSON, whose bytes are longer.
    Json,
}

impl Form {
    /// What an answer of this weight takes.
    fn bytes(self, weight: Weight) -> usize {
        let (times, a_key) = match self {
            Form::Pieces => (1, KEY_BYTES),
            Form::Whole => (2, KEY_BYTES),
            Form::Compressed => (3, KEY_BYTES),
            Form::Json => (6, JSON_KEY_BYTES),
        };
        weight.bytes.saturating_mul(times).saturating_add(weight.keys.saturating_mul(a_key))
    }
}

/// A share on its way through tonic.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<Share>>>);

/// The response of a service, with the share of its answer.
pub(super) fn carrying<T>(message: T, share: Option<Share>) -> tonic::Response<T> {
    let mut response = tonic::Response::new(message);
    if share.is_some() {
        response.extensions_mut().insert(Carried(Arc::new(Mutex::new(share))));
    }
    response
}

/// The share that came with an answer.
pub(super) fn carried(extensions: &mut http::Extensions) -> Option<Share> {
    extensions.remove::<Carried>().and_then(|Carried(share)| share.lock().take())
}

/// The memory of all answers.
pub(super) struct Budget {
    /// For what is not very large, and for the rest.
    lines: [Arc<Line>; 2],
}

/// Those who wait for the same memory, in their order.
struct Line {
    room: Arc<Semaphore>,
    units: u32,
    /// Answers on their way.
    sent: Mutex<Vec<Weak<Inside>>>,
}

/// Room for an answer, given back with it.
pub(super) struct Share {
    room: OwnedSemaphorePermit,
    line: Arc<Line>,
}

/// An answer on its way.
pub(super) struct Parcel(Arc<Inside>);

struct Inside {
    /// `None` once it is sent, or lost.
    content: Mutex<Option<(Content, Share)>>,
    /// Until when nobody else may have its room.
    until: Instant,
}

/// What is left to send.
pub(super) enum Content {
    /// A message, as it is.
    Whole(Bytes),
    /// A range, encoded as it is sent.
    Range(Box<Pieces>),
}

/// What comes next of a parcel.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// There is more behind it.
    Piece(Bytes),
    /// The last piece.
    Last(Bytes),
    /// It took too long, and somebody else has its room.
    Lost,
}

impl Budget {
    /// Of so many bytes.
    pub(super) fn new(bytes: usize) -> Budget {
        let small = bytes / SMALL_PART;
        Budget { lines: [small, bytes - small].map(|bytes| Arc::new(Line::new(bytes))) }
    }

    /// Waits in line for room.
    pub(super) async fn share(&self, bytes: usize) -> Share {
        let line = &self.lines[usize::from(bytes > SMALL_BYTES_MAX)];
        let turn = Arc::clone(&line.room).acquire_many_owned(units(bytes).min(line.units));
        let mut turn = std::pin::pin!(turn);
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut turn).await {
                Ok(room) => {
                    let room = room.expect("the budget is never closed");
                    return Share { room, line: Arc::clone(line) };
                }
                Err(_elapsed) => line.reclaim(Instant::now()),
            }
        }
    }

    /// The same, if it is worth counting.
    pub(super) async fn share_of_much(&self, bytes: usize) -> Option<Share> {
        if bytes < COUNTED_BYTES_MIN { None } else { Some(self.share(bytes).await) }
    }

    /// The same for an answer that is to be made.
    pub(super) async fn share_for(&self, weight: Weight, form: Form) -> Option<Share> {
        self.share_of_much(form.bytes(weight)).await
    }

    /// Waits for room for a message that is to be encoded, if nobody did before.
    pub(super) async fn share_or(&self, share: Option<Share>, bytes: usize) -> Option<Share> {
        // Less is sent like any other answer.
        match share.filter(|_| bytes >= COUNTED_BYTES_MIN) {
            None => self.share_of_much(bytes).await,
            share => share,
        }
    }

    /// Takes the room of answers that take too long.
    #[cfg(test)]
    pub(super) fn reclaim(&self, now: Instant) {
        self.lines.iter().for_each(|line| line.reclaim(now));
    }
}

impl Line {
    fn new(bytes: usize) -> Line {
        let units = u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(units).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Line { room: Arc::new(Semaphore::new(permits)), units, sent: Mutex::default() }
    }

    /// Takes the room of answers that take too long.
    fn reclaim(&self, now: Instant) {
        let mut sent = self.sent.lock();
        sent.retain(|inside| {
            let Some(inside) = inside.upgrade() else { return false };
            let is_in_time = inside.until > now;
            if !is_in_time {
                inside.content.lock().take();
            }
            is_in_time
        });
    }
}

impl Share {
    /// Begins to send an answer, and keeps no more room than that takes.
    pub(super) fn send(mut self, content: Content) -> Parcel {
        let bytes = match &content {
            Content::Whole(message) => message.len(),
            Content::Range(pieces) => pieces.bytes_left(),
        };
        self.shrink(bytes);
        let line = Arc::clone(&self.line);
        let seconds = bytes as u64 / BYTES_A_SECOND_MIN;
        let until = Instant::now() + GRACE + Duration::from_secs(seconds);
        let inside = Arc::new(Inside { content: Mutex::new(Some((content, self))), until });
        let mut sent = line.sent.lock();
        // As many as there are at least, so that looking costs nothing on average.
        if sent.len() == sent.capacity() {
            sent.retain(|inside| inside.strong_count() > 0);
        }
        sent.push(Arc::downgrade(&inside));
        Parcel(inside)
    }

    /// Keeps room for so many bytes, and gives the rest back.
    fn shrink(&mut self, bytes: usize) {
        let kept = usize::try_from(units(bytes)).unwrap_or(usize::MAX);
        let surplus = self.room.num_permits().saturating_sub(kept);
        drop(self.room.split(surplus));
    }
}

impl Parcel {
    /// The next piece.
    pub(super) fn next(&self) -> Next {
        let mut content = self.0.content.lock();
        let Some((left, share)) = content.as_mut() else { return Next::Lost };
        let (piece, is_last) = match left {
            Content::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                // Its memory goes with its last piece.
                (piece, bytes.is_empty())
            }
            Content::Range(pieces) => {
                let piece = pieces.next_piece();
                share.shrink(pieces.bytes_left());
                (piece, pieces.is_done())
            }
        };
        if !is_last {
            return Next::Piece(piece);
        }
        *content = None;
        Next::Last(piece)
    }
}

/// A parcel that is the whole body of an answer.
pub(super) struct Page {
    parcel: Parcel,
    bytes_left: u64,
}

impl Page {
    /// Of a message.
    pub(super) fn new(message: Bytes, share: Share) -> Page {
        let bytes_left = message.len() as u64;
        Page { parcel: share.send(Content::Whole(message)), bytes_left }
    }
}

impl HttpBody for Page {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        let (Next::Piece(piece) | Next::Last(piece)) = self.parcel.next() else {
            let lost = io::Error::new(io::ErrorKind::TimedOut, "an answer was not taken in time");
            return Poll::Ready(Some(Err(lost)));
        };
        self.bytes_left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// What is free for small answers and for the rest.
    fn free(budget: &Budget) -> [usize; 2] {
        budget.lines.each_ref().map(|line| line.room.available_permits() / 1024)
    }

    fn send(share: Share, bytes: usize) -> Parcel {
        share.send(Content::Whole(vec![7; bytes].into()))
    }

    #[tokio::test]
    async fn room_comes_back_with_the_last_piece() {
        let budget = Budget::new(40 * MIB);
        let share = budget.share(20 * MIB).await;
        assert_eq!(free(&budget), [10, 10]);
        let parcel = send(share, 5 * MIB);
        assert_eq!(free(&budget), [10, 25], "what was too much is back");
        for _ in 1..20 {
            assert_eq!(parcel.next(), Next::Piece(vec![7; PIECE_BYTES].into()));
        }
        assert_eq!(free(&budget), [10, 25], "memory goes with its last piece");
        assert_eq!(parcel.next(), Next::Last(vec![7; PIECE_BYTES].into()));
        assert_eq!(free(&budget), [10, 30]);
        let gone = send(budget.share(MIB).await, MIB);
        assert_eq!(free(&budget), [9, 30]);
        drop(gone);
        assert_eq!(free(&budget), [10, 30], "whoever goes away leaves its room");
    }

    #[tokio::test]
    async fn those_who_wait_have_their_turns_in_order() {
        let budget = &Budget::new(40 * MIB);
        let first = budget.share(20 * MIB).await;
        let turns = &Mutex::new(Vec::new());
        let wait = |name, bytes: usize| async move {
            let share = budget.share(bytes).await;
            turns.lock().push(name);
            drop(share);
        };
        // The small one has a line of its own, and the next large one would fit.
        tokio::join!(
            wait("endless", usize::MAX),
            wait("large", 5 * MIB),
            wait("whole", 30 * MIB),
            wait("small", MIB),
            async { drop(first) }
        );
        assert_eq!(*turns.lock(), ["small", "endless", "large", "whole"]);
        assert_eq!(free(budget), [10, 30]);
    }

    #[tokio::test]
    async fn whoever_takes_too_long_loses_its_room() {
        let budget = Budget::new(40 * MIB);
        let slow = send(budget.share(8 * MIB).await, 8 * MIB);
        let quick = send(budget.share(1000).await, 1000);
        assert!(matches!(slow.next(), Next::Piece(_)));
        budget.reclaim(Instant::now() + GRACE);
        assert_eq!(quick.next(), Next::Lost);
        assert!(matches!(slow.next(), Next::Piece(_)), "it has more to send, and more time");
        budget.reclaim(Instant::now() + GRACE + Duration::from_secs(8));
        assert_eq!(slow.next(), Next::Lost);
        assert_eq!(free(&budget), [10, 30]);
    }

    #[test]
    fn answers_cost_as_much_as_they_are_often_in_memory() {
        let weight = Weight { keys: 10, bytes: 1000 };
        let forms = [Form::Pieces, Form::Whole, Form::Compressed, Form::Json];
        assert_eq!(forms.map(|form| form.bytes(weight)), [2280, 3280, 4280, 16_240]);
        let heavy = Weight { keys: usize::MAX, bytes: usize::MAX };
        assert_eq!(Form::Json.bytes(heavy), usize::MAX);
    }
}
