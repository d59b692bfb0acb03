//! Reading the store from any thread, while it is written.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::command::{Caller, Request};
use super::members::Membership;
use super::pieces::RangeStream;
use super::range;
use super::rejection::Rejection;
use super::rights::Access;
use super::rows::RangeRows;
use super::schema::signed;
use super::txn::Decided;
use super::view::{Shared, View};
use super::watch::{History, KeyRange};
use super::{gate, hash, history, snapshot};
use crate::ids::{LeaseId, LogIndex, MemberId, Revision};
use crate::proto::authpb::Permission;
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb::KeyValue;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("store: {0}")]
pub struct Damaged(pub String);

/// A shared view of the store; cheap to clone.
///
/// - It shows whole entries: what it calls applied is all there.
/// - Leases, alarms and members may be those of the entry after.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// The answer to HashKV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// CRC-32C as etcd computes it.
    pub hash: u32,
    /// The compact revision that it was computed with; -1 if never compacted.
    pub compact_revision: i64,
    /// The revision that was hashed.
    pub revision: i64,
}

/// What is known of a lease, its clock aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseView {
    /// Seconds as granted.
    pub ttl: i64,
    /// The keys attached, in order.
    pub keys: Vec<Bytes>,
}

/// Bytes that etcd's Status speaks of; none is ever zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Allocated: the logical size at its highest since the last defragmentation.
    pub total: i64,
    /// In use: rows alive or in history, and a fixed part.
    pub in_use: i64,
    /// The quota; 0 or less means that there is none.
    pub quota: i64,
}

impl Reader {
    /// A reader of a store.
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> LogIndex {
        self.shared.state.read().published.applied
    }

    /// The revision of the keyspace.
    pub fn revision(&self) -> i64 {
        self.shared.state.read().published.revision
    }

    /// The revision of the last compaction; -1 if there was none.
    pub fn compact_revision(&self) -> i64 {
        self.shared.state.read().published.compacted
    }

    /// How far the compaction has given space back; equal to the above when done.
    pub fn purged_revision(&self) -> i64 {
        self.shared.state.read().finished
    }

    /// Range, except for what `api::check` refuses. Reads in slices.
    ///
    /// # Errors
    /// A revision that is compacted, or in the future.
    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Rejection> {
        if range::is_plain(request) {
            return Ok(self.plain(request));
        }
        let view = self.shared.view(request.revision)?;
        range::answer(view.source(), request, view.published.revision)
    }

    /// The newest version of one key, which is what most requests are about.
    fn plain(&self, request: &pb::RangeRequest) -> pb::RangeResponse {
        let state = self.shared.state.read();
        let published = state.published;
        let revision = published.revision;
        if let Some(body) = state.keyspace.in_memory(&request.key, revision) {
            drop(state);
            return range::single(body, request, revision);
        }
        let view = self.shared.pin(published, revision);
        drop(state);
        let source = view.source();
        let Some(pick) = source.pick(&request.key) else {
            return range::single(None, request, revision);
        };
        let version = pick.version;
        let body = source.body(pick);
        // It is asked for, so it is worth a place; but not worth waiting.
        if let Some(mut state) = self.shared.state.try_write() {
            state.keyspace.remember(&request.key, version, body.clone());
        }
        range::single(Some(body), request, revision)
    }

    /// What a request means by its revision.
    pub(super) fn view(&self, revision: i64) -> Result<View, Rejection> {
        self.shared.view(revision)
    }

    /// Whether a range can be read while it is sent.
    pub fn is_list(&self, request: &pb::RangeRequest) -> bool {
        range::is_list(request).unwrap_or(false)
    }

    /// The same, measured and not read yet; `None` if a request asks for
    /// anything but whole rows in their order.
    ///
    /// # Errors
    /// A revision that is compacted, or in the future.
    pub fn range_rows(&self, request: &pb::RangeRequest) -> Result<Option<RangeRows>, Rejection> {
        if !range::is_list(request)? {
            return Ok(None);
        }
        let view = self.shared.view(request.revision)?;
        Ok(Some(RangeRows::new(view, request)))
    }

    /// The same in pieces; `bytes_target` is about what a piece should take.
    ///
    /// # Errors
    /// A revision that is compacted, or in the future.
    pub fn range_stream(
        &self,
        request: &pb::RangeRequest,
        bytes_target: usize,
    ) -> Result<RangeStream, Rejection> {
        let view = self.shared.view(request.revision)?;
        Ok(RangeStream::new(&view, request, bytes_target))
    }

    /// A txn that only reads.
    ///
    /// # Errors
    /// A range whose revision is compacted or in the future; a txn that writes.
    pub fn txn(&self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Rejection> {
        let view = self.shared.view(0)?;
        let revision = view.published.revision;
        let decided = Decided::new(view.source(), request)?;
        decided.check(view.source(), view.published)?;
        let response = decided.read(view.source(), revision)?;
        Ok(pb::TxnResponse { header: range::header(revision), ..response })
    }

    /// HashKV at a revision; 0 is the current one.
    ///
    /// # Errors
    /// A revision that is compacted, or in the future.
    pub fn hash_kv(&self, revision: i64) -> Result<Hashed, Rejection> {
        hash::hash_kv(&self.shared, revision)
    }

    /// A checksum over all rows that members must have alike.
    pub fn hash(&self) -> u32 {
        hash::hash(&self.shared)
    }

    /// The whole store as a database file of etcd's, at one entry; `begin` learns
    /// the size of the file, and makes what takes its bytes.
    ///
    /// # Errors
    /// Those of what takes the bytes.
    pub fn snapshot<W: Write>(&self, begin: impl FnOnce(u64) -> W) -> io::Result<W> {
        snapshot::write(&self.shared, begin)
    }

    /// All leases: id, TTL as granted, remaining TTL of the last checkpoint (or 0).
    pub fn leases(&self) -> Vec<(LeaseId, i64, i64)> {
        self.shared.state.read().leases.all()
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseView> {
        self.shared.state.read().leases.view(id)
    }

    /// All members, by id.
    pub fn members(&self) -> Vec<pb::Member> {
        self.shared.state.read().members.all().cloned().collect()
    }

    /// Those who have a vote, by id.
    pub fn voters(&self) -> Vec<MemberId> {
        let state = self.shared.state.read();
        let voters = state.members.all().filter(|member| !member.is_learner);
        voters.map(|member| MemberId(member.id)).collect()
    }

    /// Who belongs to the cluster, and whether with a vote.
    pub fn membership(&self) -> Membership {
        self.shared.state.read().members.membership()
    }

    /// Whether a member was removed from the cluster.
    pub fn was_removed(&self, member: MemberId) -> bool {
        self.shared.state.read().members.was_removed(member)
    }

    /// The version that all members will be put back to, if they will.
    pub fn downgrade(&self) -> Option<String> {
        self.shared.state.read().members.downgrade().cloned()
    }

    /// The version that the cluster speaks, once decided ("3.7.0").
    pub fn cluster_version(&self) -> Option<String> {
        self.shared.state.read().members.version().cloned()
    }

    /// Active alarms, by type (CORRUPT first, then NOSPACE) and member.
    pub fn alarms(&self) -> Vec<pb::AlarmMember> {
        self.shared.state.read().alarms.all()
    }

    /// Whether accounts are enforced.
    pub fn is_auth_on(&self) -> bool {
        self.shared.is_auth_on.load(Ordering::Acquire)
    }

    /// Counts the changes of accounts.
    pub fn auth_revision(&self) -> u64 {
        self.shared.state.read().accounts.revision()
    }

    /// The names of all users, in order.
    pub fn users(&self) -> Vec<String> {
        self.shared.state.read().accounts.users()
    }

    /// The names of all roles, in order.
    pub fn roles(&self) -> Vec<String> {
        self.shared.state.read().accounts.roles()
    }

    /// The roles of a user, in order.
    ///
    /// # Errors
    /// There is no such user.
    pub fn roles_of(&self, user: &str) -> Result<Vec<String>, Rejection> {
        Ok(self.shared.state.read().accounts.user(user)?.roles.clone())
    }

    /// What a role may.
    ///
    /// # Errors
    /// There is no such role.
    pub fn permissions_of(&self, role: &str) -> Result<Vec<Permission>, Rejection> {
        Ok(self.shared.state.read().accounts.permissions(role)?)
    }

    /// The hash of a user's password, and the auth revision at which it was it.
    ///
    /// # Errors
    /// Accounts are not enforced; no such user; a user without a password.
    pub fn password_of(&self, user: &str) -> Result<(Vec<u8>, u64), Rejection> {
        let state = self.shared.state.read();
        Ok((state.accounts.password(user)?, state.accounts.revision()))
    }

    /// Whether a caller may do what only `root` may.
    ///
    /// # Errors
    /// It may not, or nobody knows who it is.
    pub fn may_administer(&self, caller: &Caller) -> Result<(), Rejection> {
        Ok(self.shared.state.read().check(caller).administer()?)
    }

    /// Whether a caller may read a range.
    ///
    /// # Errors
    /// It may not, or nobody knows (any more) who it is.
    pub fn may_read(&self, caller: &Caller, key: &Bytes, end: &Bytes) -> Result<(), Rejection> {
        Ok(self.shared.state.read().check(caller).range(Access::Read, key, end)?)
    }

    /// Whether a caller may delete a range, and see what it held if it asks to.
    ///
    /// # Errors
    /// It may not, or nobody knows (any more) who it is.
    pub fn may_delete(
        &self,
        caller: &Caller,
        deletion: &pb::DeleteRangeRequest,
    ) -> Result<(), Rejection> {
        Ok(self.shared.state.read().check(caller).delete(deletion)?)
    }

    /// Whether a caller may do whatever a txn could come to.
    ///
    /// # Errors
    /// It may not, or nobody knows (any more) who it is.
    pub fn may_txn(&self, caller: &Caller, txn: &pb::TxnRequest) -> Result<(), Rejection> {
        Ok(self.shared.state.read().check(caller).txn(txn)?)
    }

    /// Whether a caller may use all keys of a lease.
    ///
    /// # Errors
    /// It may not, or nobody knows (any more) who it is.
    pub fn may_use(&self, caller: &Caller, id: LeaseId, access: Access) -> Result<(), Rejection> {
        Ok(self.shared.state.read().check(caller).lease(id, access)?)
    }

    /// Events of a range from revision `from` on, at most about `bytes_max` of
    /// them and looking at a bounded number of rows: call again from `next`.
    ///
    /// # Errors
    /// `Compacted` when `from` lies below the compact revision.
    pub fn history(
        &self,
        range: &KeyRange,
        from: Revision,
        bytes_max: usize,
    ) -> Result<History, Rejection> {
        history::history(&self.shared, range, from, bytes_max)
    }

    /// What a key held before a revision; `None` too if that is compacted.
    pub fn before(&self, key: &[u8], revision: Revision) -> Option<KeyValue> {
        history::before(&self.shared, key, revision)
    }

    /// How much there is.
    pub fn sizes(&self) -> Sizes {
        let state = self.shared.state.read();
        Sizes {
            total: state.allocated.max(state.in_use()),
            in_use: state.in_use(),
            quota: self.shared.quota,
        }
    }

    /// Keys alive.
    pub fn keys_total(&self) -> u64 {
        self.shared.state.read().keyspace.len() as u64
    }

    /// Whether a request would not fit into the quota (etcd's cost estimate).
    pub fn exceeds_quota(&self, request: &Request) -> bool {
        let Sizes { total, quota, .. } = self.sizes();
        let cost = gate::cost(request);
        quota > 0 && cost > 0 && total.saturating_add(signed(cost)) >= quota
    }
}
