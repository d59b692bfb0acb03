//! [`Listing`]: a long list on its way to a client, read while it is sent.
//!
//! A piece is read, on a thread where nobody waits behind it, when the
//! connection has room for it: a client that does not read costs one piece.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use prost::Message as _;
use tokio::task::{JoinError, JoinHandle};
use tonic::Status;

use crate::proto::etcdserverpb::RangeResponse;
use crate::store::RangeRows;

/// What is read at once.
const PIECE_BYTES: usize = 256 << 10;

/// The message, from its prefix on.
pub(super) struct Listing {
    state: State,
    /// What follows the keys.
    tail: RangeResponse,
}

enum State {
    /// Nothing is under way; what was encoded before the next keys.
    Idle(RangeRows, Vec<u8>),
    /// A piece is being read.
    Reading(JoinHandle<Step>),
    /// All was sent, or the rest is lost.
    Ended,
}

/// A piece, and what is left behind it.
type Step = (Vec<u8>, Option<RangeRows>);

impl Listing {
    /// Begins with what stands before the keys.
    pub(super) fn new(rows: RangeRows, head: Vec<u8>, tail: RangeResponse) -> Listing {
        Listing { state: State::Idle(rows, head), tail }
    }

    /// The next piece; `None` behind the last.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(rows, head) => self.state = State::Reading(read(rows, head)),
                State::Reading(mut reading) => match Pin::new(&mut reading).poll(cx) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(step) => return Poll::Ready(Some(self.take(step))),
                },
            }
        }
    }

    fn take(&mut self, step: Result<Step, JoinError>) -> Result<Bytes, Status> {
        let step = step.map_err(|error| Status::internal(format!("a list broke off: {error}")));
        let (mut piece, rest) = step?;
        match rest {
            Some(rows) => self.state = State::Idle(rows, Vec::new()),
            None => self.tail.encode(&mut piece).expect("a vector grows"),
        }
        Ok(piece.into())
    }
}

fn read(mut rows: RangeRows, mut piece: Vec<u8>) -> JoinHandle<Step> {
    tokio::task::spawn_blocking(move || {
        piece.reserve(PIECE_BYTES.min(rows.bytes()) + (4 << 10));
        let is_more = rows.read(&mut piece, PIECE_BYTES);
        (piece, is_more.then_some(rows))
    })
}
