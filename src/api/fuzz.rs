//! The door for fuzzing (`crate::fuzz`): bytes of a call, taken as far as the
//! store would learn of them.
//!
//! Deliberately not here: who is calling, and what comes of it.

use bytes::Bytes;
use prost::Message;
use tonic::Status;

pub use super::gateway::{Example, examples, take_json};
use super::unary::{self, Reader};
use super::{check, kv, sketch};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::kat::log;
use crate::proto::{v3electionpb as election, v3lockpb as lock};
use crate::store::{AccountChange as Change, Request};

/// The largest message that is taken.
const BYTES_MAX: usize = 4096;
/// The longest list of a txn.
const OPS_MAX: usize = 16;

/// What the store learns of a call.
#[derive(Debug)]
pub enum Wish {
    /// To be put into the log.
    Write(Request),
    /// A range.
    Range(pb::RangeRequest),
    /// A range in pieces.
    Stream(pb::RangeRequest),
    /// A txn that only reads.
    Txn(pb::TxnRequest),
    /// What happened to keys.
    Watch(pb::WatchCreateRequest),
    /// The hash at a revision.
    Hash(i64),
    /// A lease and its keys.
    Lease(i64),
    /// A user.
    User(String),
    /// A role.
    Role(String),
    /// Nothing.
    Nothing,
}

type Taken = Result<Wish, Status>;
type Take = fn(Bytes) -> Taken;

/// Every call by its path, as [`crate::proto`] has them, and what its message is.
const CALLS: &[(&str, Take)] = &[
    ("etcdserverpb.KV/Put", |m| checked(m, check::put, |put| Wish::Write(Request::Put(put)))),
    ("etcdserverpb.KV/Range", |m| checked(m, check::range, Wish::Range)),
    ("etcdserverpb.KV/Txn", txn),
    ("etcdserverpb.KV/DeleteRange", |m| {
        checked(m, check::delete_range, |deletion| Wish::Write(Request::DeleteRange(deletion)))
    }),
    ("etcdserverpb.KV/RangeStream", |m| checked(m, check::range_stream, Wish::Stream)),
    ("etcdserverpb.KV/Compact", |m| decoded(m, |it| Wish::Write(Request::Compact(it)))),
    ("etcdserverpb.Lease/LeaseGrant", |m| decoded(m, |it| Wish::Write(Request::LeaseGrant(it)))),
    ("etcdserverpb.Lease/LeaseRevoke", |m| decoded(m, |it| Wish::Write(Request::LeaseRevoke(it)))),
    ("etcdserverpb.Lease/LeaseKeepAlive", |m| {
        decoded(m, |it: pb::LeaseKeepAliveRequest| Wish::Lease(it.id))
    }),
    ("etcdserverpb.Lease/LeaseTimeToLive", |m| {
        decoded(m, |it: pb::LeaseTimeToLiveRequest| Wish::Lease(it.id))
    }),
    ("etcdserverpb.Lease/LeaseLeases", nothing::<pb::LeaseLeasesRequest>),
    ("etcdserverpb.Watch/Watch", |m| decoded(m, watch)),
    ("etcdserverpb.Maintenance/Status", nothing::<pb::StatusRequest>),
    ("etcdserverpb.Maintenance/Alarm", |m| decoded(m, |it| Wish::Write(Request::Alarm(it)))),
    ("etcdserverpb.Maintenance/Defragment", nothing::<pb::DefragmentRequest>),
    ("etcdserverpb.Maintenance/Hash", nothing::<pb::HashRequest>),
    ("etcdserverpb.Maintenance/HashKV", |m| {
        decoded(m, |it: pb::HashKvRequest| Wish::Hash(it.revision))
    }),
    ("etcdserverpb.Maintenance/Snapshot", nothing::<pb::SnapshotRequest>),
    ("etcdserverpb.Maintenance/MoveLeader", nothing::<pb::MoveLeaderRequest>),
    ("etcdserverpb.Maintenance/Downgrade", nothing::<pb::DowngradeRequest>),
    ("etcdserverpb.Cluster/MemberList", nothing::<pb::MemberListRequest>),
    ("etcdserverpb.Cluster/MemberAdd", |m| {
        let check = |it: &pb::MemberAddRequest| check::peer_urls(&it.peer_ur_ls).map(drop);
        checked(m, check, |_| Wish::Nothing)
    }),
    ("etcdserverpb.Cluster/MemberRemove", nothing::<pb::MemberRemoveRequest>),
    ("etcdserverpb.Cluster/MemberUpdate", |m| {
        let check = |it: &pb::MemberUpdateRequest| check::peer_urls(&it.peer_ur_ls).map(drop);
        checked(m, check, |_| Wish::Nothing)
    }),
    ("etcdserverpb.Cluster/MemberPromote", nothing::<pb::MemberPromoteRequest>),
    ("etcdserverpb.Auth/AuthStatus", nothing::<pb::AuthStatusRequest>),
    ("etcdserverpb.Auth/Authenticate", |m| {
        decoded(m, |it: pb::AuthenticateRequest| Wish::User(it.name))
    }),
    ("etcdserverpb.Auth/AuthEnable", |m| account(m, Change::Enable)),
    ("etcdserverpb.Auth/AuthDisable", |m| account(m, Change::Disable)),
    ("etcdserverpb.Auth/UserAdd", |m| account(m, Change::UserAdd)),
    ("etcdserverpb.Auth/UserGet", |m| decoded(m, |it: pb::AuthUserGetRequest| Wish::User(it.name))),
    ("etcdserverpb.Auth/UserList", nothing::<pb::AuthUserListRequest>),
    ("etcdserverpb.Auth/UserDelete", |m| account(m, Change::UserDelete)),
    ("etcdserverpb.Auth/UserChangePassword", |m| account(m, Change::UserChangePassword)),
    ("etcdserverpb.Auth/UserGrantRole", |m| account(m, Change::UserGrantRole)),
    ("etcdserverpb.Auth/UserRevokeRole", |m| account(m, Change::UserRevokeRole)),
    ("etcdserverpb.Auth/RoleAdd", |m| account(m, Change::RoleAdd)),
    ("etcdserverpb.Auth/RoleGet", |m| decoded(m, |it: pb::AuthRoleGetRequest| Wish::Role(it.role))),
    ("etcdserverpb.Auth/RoleList", nothing::<pb::AuthRoleListRequest>),
    ("etcdserverpb.Auth/RoleDelete", |m| account(m, Change::RoleDelete)),
    ("etcdserverpb.Auth/RoleGrantPermission", |m| account(m, Change::RoleGrantPermission)),
    ("etcdserverpb.Auth/RoleRevokePermission", |m| account(m, Change::RoleRevokePermission)),
    ("v3lockpb.Lock/Lock", nothing::<lock::LockRequest>),
    ("v3lockpb.Lock/Unlock", nothing::<lock::UnlockRequest>),
    ("v3electionpb.Election/Campaign", nothing::<election::CampaignRequest>),
    ("v3electionpb.Election/Proclaim", nothing::<election::ProclaimRequest>),
    ("v3electionpb.Election/Leader", nothing::<election::LeaderRequest>),
    ("v3electionpb.Election/Observe", nothing::<election::LeaderRequest>),
    ("v3electionpb.Election/Resign", nothing::<election::ResignRequest>),
];

/// The number of a call, by its path.
pub fn number(path: &str) -> Option<u8> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let at = CALLS.iter().position(|(name, _)| *name == path)?;
    u8::try_from(at).ok()
}

/// Puts the message of a call together from the pieces of its body, and takes it;
/// every number is a call's.
///
/// # Errors
/// What the caller is told.
pub fn take(call: u8, body: &[&[u8]]) -> Result<Wish, Status> {
    let mut reader = Reader::new(BYTES_MAX);
    for piece in body {
        reader.take(Bytes::copy_from_slice(piece))?;
    }
    take_message(call, reader.finish()?)
}

/// Takes the message of a call.
///
/// # Errors
/// What the caller is told.
pub fn take_message(call: u8, message: Bytes) -> Result<Wish, Status> {
    let (_, take) = CALLS[usize::from(call) % CALLS.len()];
    take(message)
}

fn decoded<M: Message + Default>(message: Bytes, wish: impl FnOnce(M) -> Wish) -> Taken {
    unary::decode(message).map(wish)
}

fn checked<M: Message + Default, E: Into<Status>>(
    message: Bytes,
    check: impl FnOnce(&M) -> Result<(), E>,
    wish: impl FnOnce(M) -> Wish,
) -> Taken {
    let message = unary::decode(message)?;
    check(&message).map_err(Into::into)?;
    Ok(wish(message))
}

/// A call that is about this member, or a client of the others.
fn nothing<M: Message + Default>(message: Bytes) -> Taken {
    decoded(message, |_: M| Wish::Nothing)
}

fn account<M: Message + Default>(message: Bytes, change: fn(M) -> Change) -> Taken {
    let write = |it| Wish::Write(Request::Accounts(log::Accounts { change: Some(change(it)) }));
    decoded(message, write)
}

fn txn(message: Bytes) -> Taken {
    sketch::txn(&message, OPS_MAX)?;
    let wish = |txn| {
        if kv::only_reads(&txn) { Wish::Txn(txn) } else { Wish::Write(Request::Txn(txn)) }
    };
    checked(message, |txn| check::txn(txn, OPS_MAX), wish)
}

fn watch(request: pb::WatchRequest) -> Wish {
    match request.request_union {
        Some(RequestUnion::CreateRequest(create)) => Wish::Watch(create),
        Some(RequestUnion::CancelRequest(_) | RequestUnion::ProgressRequest(_)) | None => {
            Wish::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_a_message_is_taken() {
        let mut calls: Vec<_> = examples(0).into_iter().map(|example| example.call).collect();
        calls.sort_unstable();
        calls.dedup();
        let unknown: Vec<_> = calls.iter().filter(|call| number(call).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        // The gateway has no path for RangeStream.
        assert_eq!(calls.len() + 1, CALLS.len());
    }
}
