//! What may be asked of the store, and what it answers.
//!
//! An entry is read in two steps, because prost refuses what is nested too
//! deeply: a command that cannot be decoded in whole still has an id, and
//! whoever waits for it gets an answer.

use bytes::Bytes;
use prost::Message;

use crate::ids::{MemberId, ProposalId};
use crate::proto::etcdserverpb as pb;
use crate::proto::kat::log;

/// One change, as the log holds it: etcd's own request.
pub type Request = log::command::Request;

/// One change of users, roles and rights.
pub type AccountChange = log::accounts::Change;

/// Who asks. The default is nobody, which is right while authentication is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub user: String,
    /// The auth revision at which the rights were last checked.
    pub auth_revision: u64,
}

/// The answer to a command that was carried out. Headers carry the revision
/// alone (sub-responses of a txn too); whoever answers adds the ids and the term.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a put.
    Put(pb::PutResponse),
    /// To a deletion.
    DeleteRange(pb::DeleteRangeResponse),
    /// To a txn.
    Txn(pb::TxnResponse),
    /// To a compaction.
    Compact(pb::CompactionResponse),
    /// To a grant.
    LeaseGrant(pb::LeaseGrantResponse),
    /// To a revocation.
    LeaseRevoke(pb::LeaseRevokeResponse),
    /// To a checkpoint of leases.
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    /// To a question about alarms.
    Alarm(pb::AlarmResponse),
    /// To a change of users, roles and rights: the revision of the keyspace,
    /// which it leaves alone.
    Accounts(i64),
    /// To a login: the token.
    Token {
        /// What the user shows from now on.
        token: String,
        /// The revision of the keyspace.
        revision: i64,
    },
    /// To a change of members: all of them, as they are behind it.
    Members(Vec<pb::Member>),
    /// To a command that only members propose.
    Done,
}

/// What a request is called where its time is told; the names are etcd's.
pub(super) fn operation(request: &Request) -> &'static str {
    use log::accounts::Change;
    match request {
        Request::Put(_) => "Put",
        Request::DeleteRange(_) => "DeleteRange",
        Request::Txn(_) => "Txn",
        Request::Compact(_) => "Compaction",
        Request::LeaseGrant(_) => "LeaseGrant",
        // A lease that runs out is revoked by the raft leader.
        Request::LeaseRevoke(_) | Request::LeaseExpire(_) => "LeaseRevoke",
        Request::LeaseCheckpoint(_) => "LeaseCheckpoint",
        Request::Alarm(_) => "Alarm",
        Request::MemberAttributes(_) => "ClusterMemberAttrSet",
        Request::ClusterVersion(_) => "ClusterVersionSet",
        Request::Downgrade(_) => "DowngradeInfoSet",
        Request::MemberAdd(_)
        | Request::MemberRemove(_)
        | Request::MemberPromote(_)
        | Request::MemberUpdate(_) => "ConfChange",
        Request::Accounts(accounts) => match &accounts.change {
            Some(Change::Enable(_)) => "AuthEnable",
            Some(Change::Disable(_)) => "AuthDisable",
            Some(Change::UserAdd(_)) => "AuthUserAdd",
            Some(Change::UserChangePassword(_)) => "AuthUserChangePassword",
            Some(Change::UserDelete(_)) => "AuthUserDelete",
            Some(Change::UserGrantRole(_)) => "AuthUserGrantRole",
            Some(Change::UserRevokeRole(_)) => "AuthUserRevokeRole",
            Some(Change::RoleAdd(_)) => "AuthRoleAdd",
            Some(Change::RoleDelete(_)) => "AuthRoleDelete",
            Some(Change::RoleGrantPermission(_)) => "AuthRoleGrantPermission",
            Some(Change::RoleRevokePermission(_)) => "AuthRoleRevokePermission",
            Some(Change::Login(_)) => "Authenticate",
            None => "unknown",
        },
    }
}

/// The format of entries.
const FORMAT: u32 = 1;

/// The first bytes of an entry (`kat.log.Entry`): its format.
pub fn begin_entry() -> Vec<u8> {
    log::Entry { format: FORMAT, commands: Vec::new() }.encode_to_vec()
}

/// Appends a command to the bytes of an entry, or to an empty vector: the
/// result is the encoded `commands` field, so that entries are concatenations.
pub fn append_command(out: &mut Vec<u8>, id: ProposalId, caller: &Caller, request: Request) {
    let command = log::Command {
        id: Some(log::ProposalId { member: id.member.0, boot: id.boot, count: id.count }),
        user: caller.user.clone(),
        auth_revision: caller.auth_revision,
        request: Some(request),
    };
    // Format 0 takes no bytes.
    let entry = log::Entry { format: 0, commands: vec![command] };
    entry.encode(out).expect("a vector grows");
}

/// An entry whose commands are still bytes.
#[derive(Message)]
struct Envelope {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    commands: Vec<Bytes>,
}

/// A command of which nothing is wanted but its name.
#[derive(Message)]
struct Named {
    #[prost(message, optional, tag = "1")]
    id: Option<log::ProposalId>,
}

/// The commands of an entry: the name of each, and who asks for what, if that
/// can be read at all.
pub(super) fn read_entry(data: &Bytes) -> Vec<(ProposalId, Option<(Caller, Request)>)> {
    if data.is_empty() {
        return Vec::new();
    }
    let entry = Envelope::decode(data.clone()).expect("an entry of the log decodes");
    assert!(
        entry.format == FORMAT,
        "an entry has format {}: a newer member wrote it",
        entry.format
    );
    entry.commands.into_iter().map(read_command).collect()
}

fn read_command(bytes: Bytes) -> (ProposalId, Option<(Caller, Request)>) {
    let Ok(command) = log::Command::decode(bytes.clone()) else {
        let named = Named::decode(bytes).expect("a command of the log has a name");
        return (name(named.id), None);
    };
    // Members that skip what they do not know would no longer be alike.
    let is_known = match &command.request {
        None => false,
        Some(Request::Accounts(accounts)) => accounts.change.is_some(),
        Some(_) => true,
    };
    let request = command.request.filter(|_| is_known);
    let request = request.expect("a command is unknown here: a newer member wrote it");
    let caller = Caller { user: command.user, auth_revision: command.auth_revision };
    (name(command.id), Some((caller, request)))
}

fn name(id: Option<log::ProposalId>) -> ProposalId {
    let id = id.unwrap_or_default();
    ProposalId { member: MemberId(id.member), boot: id.boot, count: id.count }
}
