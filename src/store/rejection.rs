//! Why the store refuses: the same on all members.

/// A refusal, in etcd's words (`api/status.rs` has codes and wire texts).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// History below this revision is gone.
    #[error("required revision has been compacted, oldest is {oldest}")]
    Compacted {
        /// The compact revision, which can still be read.
        oldest: i64,
    },
    /// Nothing has happened there yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// A put that keeps value or lease needs a key that exists.
    #[error("key not found")]
    KeyNotFound,
    /// There is no such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// There is such a lease.
    #[error("lease already exists")]
    LeaseExists,
    /// The quota is used up.
    #[error("database space exceeded")]
    NoSpace,
    /// The members' data differ.
    #[error("corrupt cluster")]
    Corrupt,
    /// There is no such member.
    #[error("member not found")]
    MemberNotFound,
    /// Whoever proposed it should have refused it: no client is ever told so
    /// by a member that checks what it proposes.
    #[error("malformed request")]
    Malformed,
}
