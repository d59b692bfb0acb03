//! What can go wrong with the store, told apart by who must act.
//!
//! etcd says more in the text of an error than in its code, and its clients
//! compare the text; so does this table, and the code decides only where the
//! text is unknown. Deliberately not here: exit codes, which are the agent's.

use std::error::Error as _;

use thiserror::Error;
use tonic::{Code, ConnectError, Status};

use crate::ids::Revision;

/// What a call of the store returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The call makes no sense: the caller's code must change.
    #[error("{what}")]
    Misuse {
        /// What makes no sense.
        what: String,
    },
    /// The history that was asked for is gone: list again.
    #[error("the history before revision {compact_revision} has been compacted")]
    Compacted {
        /// The oldest revision that is left, or the lowest that it can be.
        compact_revision: Revision,
    },
    /// Not now: wait and try again.
    #[error("{why}: {detail}{}", if *.maybe_applied { " (it may have been applied)" } else { "" })]
    Unavailable {
        /// What is in the way.
        why: Obstacle,
        /// Whether it was a write that may have reached the store.
        maybe_applied: bool,
        /// What was being done, where, and what came back.
        detail: String,
    },
    /// The store knows who is calling, and refuses; or does not know.
    #[error("{why}: {detail}")]
    Denied {
        /// What is missing.
        why: Denial,
        /// What was being done, where, and what came back.
        detail: String,
    },
    /// The store is in a state that only its operator can mend.
    #[error("{why}: {detail}")]
    Operator {
        /// What is wrong with it.
        why: Fault,
        /// What was being done, where, and what came back.
        detail: String,
    },
    /// The store was closed by its user.
    #[error("the store is closed")]
    Closed,
}

/// What is in the way of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Obstacle {
    /// Nobody answers at the endpoints, or the connection broke.
    #[error("store unreachable")]
    Unreachable,
    /// The store answers, but has no raft leader.
    #[error("store without quorum")]
    NoQuorum,
    /// No answer came in time.
    #[error("timed out")]
    TimedOut,
    /// The store has too much to do.
    #[error("store overloaded")]
    Overloaded,
}

/// What the caller lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// A right.
    #[error("permission denied")]
    Permission,
    /// An identity that the store believes.
    #[error("not authenticated")]
    Identity,
}

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Its quota is used up.
    #[error("store out of space")]
    NoSpace,
    /// Its members disagree about their data.
    #[error("store corrupt")]
    Corrupt,
    /// It belongs to another cluster.
    #[error("wrong cluster")]
    ClusterMismatch,
    /// The member that was asked is no longer part of it.
    #[error("member removed")]
    Removed,
}

/// What an answer of the store means, before it is known what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Misuse,
    Compacted,
    /// With whether the request may have got as far as the log.
    Unavailable(Obstacle, bool),
    Denied(Denial),
    Operator(Fault),
}

impl Error {
    pub(super) fn misuse(what: impl Into<String>) -> Error {
        Error::Misuse { what: what.into() }
    }

    /// A stored key that is no text.
    pub(super) fn not_text(key: &[u8]) -> Error {
        let key = String::from_utf8_lossy(key);
        Error::misuse(format!("the store holds a key that is not UTF-8: {key:?}"))
    }

    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }

    /// No answer within the deadline; `doing` names what was waited for.
    pub(super) fn timed_out(doing: &str, is_write: bool) -> Error {
        Error::Unavailable {
            why: Obstacle::TimedOut,
            maybe_applied: is_write,
            detail: format!("{doing}: no answer in time"),
        }
    }

    /// What the client library reports.
    pub(super) fn from_client(error: &etcd_client::Error, doing: &str, is_write: bool) -> Error {
        match error {
            etcd_client::Error::GRpcStatus(status) => {
                let said = said(status);
                meaning(status).into_error(format!("{doing}: {said}"), is_write)
            }
            etcd_client::Error::InvalidArgs(_)
            | etcd_client::Error::InvalidUri(_)
            | etcd_client::Error::InvalidMetadataValue(_) => {
                Error::misuse(format!("{doing}: {error}"))
            }
            broken => Meaning::Unavailable(Obstacle::Unreachable, true)
                .into_error(format!("{doing}: {broken}"), is_write),
        }
    }
}

impl Meaning {
    fn into_error(self, detail: String, is_write: bool) -> Error {
        match self {
            Meaning::Misuse => Error::Misuse { what: detail },
            Meaning::Compacted => Error::Compacted { compact_revision: Revision(0) },
            Meaning::Unavailable(why, may_apply) => {
                Error::Unavailable { why, maybe_applied: is_write && may_apply, detail }
            }
            Meaning::Denied(why) => Error::Denied { why, detail },
            Meaning::Operator(why) => Error::Operator { why, detail },
        }
    }
}

/// The text of a status, with what lies under it where the text is a category.
fn said(status: &Status) -> String {
    let mut said = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        source = cause.source();
    }
    said
}

fn meaning(status: &Status) -> Meaning {
    if never_sent(status) {
        return Meaning::Unavailable(Obstacle::Unreachable, false);
    }
    by_text(status.message()).unwrap_or_else(|| by_code(status.code()))
}

/// Whether the connection itself failed, so that no request left.
fn never_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(cause) = source {
        if cause.is::<ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Whether a session with the store is over, so that signing in again may help.
pub(super) fn is_stale_identity(error: &Error) -> bool {
    const STALE: [&str; 3] =
        ["invalid auth token", "revision of auth store is old", "user name is empty"];
    matches!(error, Error::Denied { why: Denial::Identity, detail }
        if STALE.iter().any(|text| detail.ends_with(text)))
}

/// Whether the store keeps no accounts, so that signing in is not needed.
pub(super) fn is_auth_off(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.message() == "etcdserver: authentication is not enabled")
}

/// Whether the lease that a write named does not exist.
pub(super) fn is_lease_gone(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            status.message() == "etcdserver: requested lease not found"
        }
        // The client's own words for a keep-alive that was answered with 0.
        etcd_client::Error::LeaseKeepAliveError(said) => said == "lease not found",
        _ => false,
    }
}

fn by_text(text: &str) -> Option<Meaning> {
    use Obstacle::{NoQuorum, Overloaded, TimedOut, Unreachable};
    let text = text.strip_prefix("etcdserver: ").unwrap_or(text);
    Some(match text {
        "mvcc: required revision has been compacted" => Meaning::Compacted,
        "permission denied" => Meaning::Denied(Denial::Permission),
        "invalid auth token"
        | "revision of auth store is old"
        | "user name is empty"
        | "authentication failed, invalid user ID or password" => Meaning::Denied(Denial::Identity),
        "mvcc: database space exceeded" | "no space" => Meaning::Operator(Fault::NoSpace),
        "corrupt cluster" => Meaning::Operator(Fault::Corrupt),
        "cluster ID mismatch" => Meaning::Operator(Fault::ClusterMismatch),
        "the member has been permanently removed from the cluster" => {
            Meaning::Operator(Fault::Removed)
        }
        "too many requests" => Meaning::Unavailable(Overloaded, false),
        "no leader" => Meaning::Unavailable(NoQuorum, false),
        "leader changed"
        | "unhealthy cluster"
        | "request timed out, possibly due to previous leader failure"
        | "request timed out, possibly due to connection lost" => {
            Meaning::Unavailable(NoQuorum, true)
        }
        "request timed out"
        | "request timed out, waiting for the applied index took too long"
        | "context deadline exceeded" => Meaning::Unavailable(TimedOut, true),
        "server stopped" => Meaning::Unavailable(Unreachable, true),
        "rpc not supported for learner" => Meaning::Unavailable(Unreachable, false),
        "request is too large" | "mvcc: watcher range is empty" => Meaning::Misuse,
        _ if text.starts_with("grpc: received message larger than max") => Meaning::Misuse,
        _ => return None,
    })
}

fn by_code(code: Code) -> Meaning {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented => Meaning::Misuse,
        Code::PermissionDenied => Meaning::Denied(Denial::Permission),
        Code::Unauthenticated => Meaning::Denied(Denial::Identity),
        Code::DataLoss => Meaning::Operator(Fault::Corrupt),
        Code::ResourceExhausted => Meaning::Unavailable(Obstacle::Overloaded, true),
        Code::DeadlineExceeded => Meaning::Unavailable(Obstacle::TimedOut, true),
        // A connection that breaks has many codes.
        _ => Meaning::Unavailable(Obstacle::Unreachable, true),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn of(status: Status, is_write: bool) -> Error {
        Error::from_client(&etcd_client::Error::GRpcStatus(status), "put a at b", is_write)
    }

    fn unavailable(error: Error) -> (Obstacle, bool) {
        match error {
            Error::Unavailable { why, maybe_applied, .. } => (why, maybe_applied),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_text_outweighs_the_code() {
        let full = Status::resource_exhausted("etcdserver: mvcc: database space exceeded");
        assert!(matches!(of(full, true), Error::Operator { why: Fault::NoSpace, .. }));
        let busy = Status::unknown("etcdserver: too many requests");
        assert_eq!(unavailable(of(busy, true)), (Obstacle::Overloaded, false));
        let nobody = Status::invalid_argument("etcdserver: user name is empty");
        let nobody = of(nobody, true);
        assert!(is_stale_identity(&nobody), "{nobody:?}");
        let wrong = "etcdserver: authentication failed, invalid user ID or password";
        let wrong = of(Status::invalid_argument(wrong), true);
        assert!(matches!(wrong, Error::Denied { why: Denial::Identity, .. }));
        assert!(!is_stale_identity(&wrong), "signing in again cannot help");
        let large = Status::resource_exhausted("grpc: received message larger than max (3 vs. 2)");
        assert!(matches!(of(large, true), Error::Misuse { .. }));
        let empty = Status::invalid_argument("etcdserver: key is not provided");
        assert!(matches!(of(empty, true), Error::Misuse { .. }));
    }

    #[test]
    fn only_a_write_that_may_have_left_is_in_doubt() {
        let broken = || Status::unknown("h2 protocol error");
        assert_eq!(unavailable(of(broken(), true)), (Obstacle::Unreachable, true));
        assert_eq!(unavailable(of(broken(), false)), (Obstacle::Unreachable, false));
        let late = || Status::unavailable("etcdserver: request timed out");
        assert_eq!(unavailable(of(late(), true)), (Obstacle::TimedOut, true));
        let refused = Status::unavailable("etcdserver: no leader");
        assert_eq!(unavailable(of(refused, true)), (Obstacle::NoQuorum, false));
        let mut never = Status::unavailable("tcp connect error");
        never.set_source(Arc::new(ConnectError("connection refused".into())));
        let never = of(never, true);
        assert!(never.to_string().contains("connection refused"), "{never}");
        assert_eq!(unavailable(never), (Obstacle::Unreachable, false));
    }
}
