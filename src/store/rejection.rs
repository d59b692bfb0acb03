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
    /// The lease would outlive everybody.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The quota is used up.
    #[error("database space exceeded")]
    NoSpace,
    /// The members' data differ.
    #[error("corrupt cluster")]
    Corrupt,
    /// There is no such member.
    #[error("member not found")]
    MemberNotFound,
    /// There is a member of that id.
    #[error("member ID already exist")]
    MemberExists,
    /// Another member has one of the URLs.
    #[error("peer URLs already exist")]
    PeerUrlExists,
    /// No more learners for now.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// It has a vote already.
    #[error("can only promote a learner member")]
    NotLearner,
    /// Nobody would be left to agree on anything.
    #[error("not enough started members")]
    LastVoter,
    /// Accounts stand in the way.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Whoever proposed it should have refused it: no client is ever told so
    /// by a member that checks what it proposes.
    #[error("malformed request")]
    Malformed,
}

/// A refusal that has to do with users, roles and rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody can be asked who they are.
    #[error("authentication is not enabled")]
    AuthNotEnabled,
    /// No such user, or not its password.
    #[error("authentication failed, invalid user ID or password")]
    AuthFailed,
    /// The user has no password, and never will have.
    #[error("authentication failed, password was given for no password user")]
    NoPasswordUser,
    /// Nobody says who asks, or how a user is to be called.
    #[error("user name is empty")]
    UserEmpty,
    /// There is such a user.
    #[error("user name already exists")]
    UserAlreadyExists,
    /// There is no such user.
    #[error("user name not found")]
    UserNotFound,
    /// A role needs a name.
    #[error("role name is empty")]
    RoleEmpty,
    /// There is such a role.
    #[error("role name already exists")]
    RoleAlreadyExists,
    /// There is no such role.
    #[error("role name not found")]
    RoleNotFound,
    /// The user does not have the role.
    #[error("role is not granted to the user")]
    RoleNotGranted,
    /// A grant of no right.
    #[error("permission not given")]
    PermissionNotGiven,
    /// The role does not have the right.
    #[error("permission is not granted to the role")]
    PermissionNotGranted,
    /// Without this there would be no way back.
    #[error("invalid auth management")]
    InvalidAuthManagement,
    /// Accounts cannot be enforced without a user `root`.
    #[error("root user does not exist")]
    RootUserNotExist,
    /// Accounts cannot be enforced if `root` may do nothing.
    #[error("root user does not have root role")]
    RootRoleNotExist,
    /// The user may not do that.
    #[error("permission denied")]
    PermissionDenied,
    /// Rights have changed since they were checked: log in again.
    #[error("revision of auth store is old")]
    AuthOldRevision,
}
