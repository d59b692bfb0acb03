//! Why a call came to nothing.

use crate::store::{Rejection, Reply};

/// Not now: try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nobody leads.
    #[error("no raft leader")]
    NoLeader,
    /// The raft leader changed while the call waited.
    #[error("the raft leader changed")]
    LeaderChanged,
    /// The member is stopping.
    #[error("the member is stopping")]
    Stopped,
    /// No answer in time; a write may still happen.
    #[error("timed out")]
    TimedOut,
    /// Nobody led for as long as the call could wait: nothing was proposed.
    #[error("there was no raft leader to propose it to")]
    NotProposed,
    /// Too much is waiting already.
    #[error("too many requests")]
    Overloaded,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Never, as things stand.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The encoded proposal is larger than the limit.
    #[error("request is too large")]
    TooLarge,
}

/// What comes of a proposal.
pub type Outcome = Result<Reply, Failure>;
