//! The one place where state changes.
//!
//! An entry is a batch: every command in it changes memory at once and leaves
//! its rows in the batch, the batch is written, and then readers see all of it.
//! What a command is refused for, it is refused for on every member.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::auth::TokenChange;
use super::command::{AccountChange, Caller, Reply, Request, operation, read_entry};
use super::compaction::{Jobs, Purged};
use super::gate;
use super::members::Membership;
use super::range::header;
use super::reader::Reader;
use super::rejection::Rejection;
use super::schema::{META, meta, pair_row};
use super::txn::{Decided, check_put};
use super::view::{Published, Shared};
use super::watch::Changes;
use super::write::{Work, Write};
use crate::ids::{LeaseId, LogIndex, ProposalId, Term};
use crate::proto::etcdserverpb as pb;

/// What a member may set for itself; nothing in here changes an outcome.
#[derive(Clone, Debug)]
pub struct Options {
    /// The quota of this member in bytes: 0 is 2 GiB, negative is none.
    pub quota_bytes: i64,
    /// Live values kept in memory.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { quota_bytes: 0, cache_bytes: 32 << 20 }
    }
}

/// The outcome of one command.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whose it is.
    pub id: ProposalId,
    /// What was asked for, by etcd's name.
    pub operation: &'static str,
    /// What came of it.
    pub outcome: Result<Reply, Rejection>,
}

/// What an entry did to leases, for whoever keeps their clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A new lease of so many seconds.
    Granted(LeaseId, i64),
    /// It is gone, and its keys with it.
    Ended(LeaseId),
    /// Its remaining seconds were recorded.
    Checkpointed(LeaseId, i64),
}

/// What an entry did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// One per command, in order.
    pub answers: Vec<Answer>,
    /// What watchers want to know, ascending.
    pub changes: Vec<Changes>,
    /// What the lessor wants to know.
    pub leases: Vec<LeaseChange>,
    /// What whoever keeps the tokens of users wants to know.
    pub tokens: Vec<TokenChange>,
    /// Whether there is something to purge: a compaction took effect.
    pub compacted: bool,
    /// Whether alarms changed.
    pub alarms: bool,
    /// Who belongs to the cluster from this entry on, if that may have changed.
    pub membership: Option<Membership>,
}

/// The state of one member.
pub struct Store {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Jobs,
}

impl Store {
    /// A view for other threads.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Carries out an entry: one engine batch. `data` is empty for the entry
    /// with which a raft leader begins.
    pub fn apply(&mut self, index: LogIndex, term: Term, data: &Bytes) -> Applied {
        let before = self.shared.state.read().published;
        assert!(index > before.applied, "entry {index} after {} is applied", before.applied);
        let commands = read_entry(data);
        let mut work = Work::default();
        work.applied.answers.reserve_exact(commands.len());
        for (id, request) in commands {
            let operation = request.as_ref().map_or("unknown", |(_, request)| operation(request));
            let outcome = match request {
                Some((caller, request)) => self.carry_out(index, &caller, request, &mut work),
                None => Err(Rejection::Malformed),
            };
            work.applied.answers.push(Answer { id, operation, outcome });
        }
        self.publish(index, term, before, work)
    }

    /// Writes the batch, and lets readers see it.
    fn publish(&self, applied: LogIndex, term: Term, before: Published, work: Work) -> Applied {
        let Work { mut batch, applied: done, .. } = work;
        let revision = self.shared.state.read().keyspace.revision;
        let place = pair_row(applied.0.cast_signed(), term.0.cast_signed());
        batch.put(META, meta::APPLIED, &place);
        if revision != before.revision {
            batch.put(META, meta::REVISION, &revision.to_be_bytes());
        }
        let (allocated, in_use) = {
            let state = self.shared.state.read();
            (state.allocated, state.in_use())
        };
        if in_use > allocated {
            batch.put(META, meta::ALLOCATED, &in_use.to_be_bytes());
        }
        self.shared.engine.write(batch);
        let mut state = self.shared.state.write();
        state.published = Published { applied, revision, compacted: self.jobs.scheduled };
        state.allocated = allocated.max(in_use);
        state.keyspace.settle();
        done
    }

    fn carry_out(
        &mut self,
        index: LogIndex,
        caller: &Caller,
        request: Request,
        work: &mut Work,
    ) -> Result<Reply, Rejection> {
        gate::admit(&self.shared.state.read(), caller, &request)?;
        match request {
            Request::Put(put) => self.put(&put, work),
            Request::DeleteRange(delete) => {
                let mut write = Write::begin(&self.shared, work);
                let response = write.delete_range(&delete);
                write.end();
                Ok(Reply::DeleteRange(response))
            }
            Request::Txn(txn) => self.txn(&txn, work),
            Request::Compact(compact) => self.compact(compact, work),
            Request::LeaseGrant(grant) => self.grant(grant, work),
            Request::LeaseRevoke(revoke) => self.revoke(LeaseId(revoke.id), work),
            Request::LeaseCheckpoint(checkpoint) => Ok(self.checkpoint(&checkpoint, work)),
            Request::LeaseExpire(expire) => {
                for id in expire.ids {
                    // Whoever proposed it may have been late: it is gone already.
                    self.end_lease(LeaseId(id), work);
                }
                Ok(Reply::Done)
            }
            Request::Alarm(alarm) => self.alarm(&alarm, work),
            Request::MemberAttributes(attributes) => {
                let members = &mut self.shared.state.write().members;
                members.describe(attributes, &mut work.batch).map(|()| Reply::Done)
            }
            Request::ClusterVersion(version) => {
                self.shared.state.write().members.decide(version, &mut work.batch);
                Ok(Reply::Done)
            }
            Request::MemberAdd(_)
            | Request::MemberRemove(_)
            | Request::MemberPromote(_)
            | Request::MemberUpdate(_) => self.change_members(request, work),
            Request::Downgrade(downgrade) => {
                self.shared.state.write().members.put_back(downgrade, &mut work.batch);
                Ok(Reply::Done)
            }
            Request::Accounts(accounts) => {
                self.account(accounts.change.ok_or(Rejection::Malformed)?, index, work)
            }
        }
    }

    fn revision(&self) -> i64 {
        self.shared.state.read().keyspace.revision
    }

    fn put(&self, put: &pb::PutRequest, work: &mut Work) -> Result<Reply, Rejection> {
        check_put(work.tip(&self.shared), put)?;
        let mut write = Write::begin(&self.shared, work);
        let response = write.put(put);
        write.end();
        Ok(Reply::Put(response))
    }

    fn txn(&self, txn: &pb::TxnRequest, work: &mut Work) -> Result<Reply, Rejection> {
        let source = work.tip(&self.shared);
        let decided = Decided::new(source, txn)?;
        let current = Published {
            applied: LogIndex(0),
            revision: self.revision(),
            compacted: self.jobs.scheduled,
        };
        decided.check(source, current)?;
        let mut write = Write::begin(&self.shared, work);
        let response = decided.carry_out(&mut write);
        let header = header(write.end());
        Ok(Reply::Txn(pb::TxnResponse { header, ..response }))
    }

    fn compact(
        &mut self,
        compact: pb::CompactionRequest,
        work: &mut Work,
    ) -> Result<Reply, Rejection> {
        let revision = self.revision();
        self.jobs.schedule(compact.revision, revision, &mut work.batch)?;
        work.applied.compacted = true;
        Ok(Reply::Compact(pb::CompactionResponse { header: header(revision) }))
    }

    fn grant(&self, grant: pb::LeaseGrantRequest, work: &mut Work) -> Result<Reply, Rejection> {
        let id = self.shared.state.write().leases.grant(grant, &mut work.batch)?;
        work.applied.leases.push(LeaseChange::Granted(id, grant.ttl));
        Ok(Reply::LeaseGrant(pb::LeaseGrantResponse {
            header: header(self.revision()),
            id: grant.id,
            ttl: grant.ttl,
            error: String::new(),
        }))
    }

    fn revoke(&self, id: LeaseId, work: &mut Work) -> Result<Reply, Rejection> {
        if !self.end_lease(id, work) {
            return Err(Rejection::LeaseNotFound);
        }
        Ok(Reply::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.revision()) }))
    }

    /// Ends a lease, and its keys with it, in one revision; whether there was one.
    fn end_lease(&self, id: LeaseId, work: &mut Work) -> bool {
        let Some(lease) = self.shared.state.read().leases.view(id) else { return false };
        let mut write = Write::begin(&self.shared, work);
        write.delete_keys(&lease.keys);
        write.end();
        self.shared.state.write().leases.end(id, &mut work.batch);
        work.applied.leases.push(LeaseChange::Ended(id));
        true
    }

    fn checkpoint(&self, request: &pb::LeaseCheckpointRequest, work: &mut Work) -> Reply {
        let mut state = self.shared.state.write();
        for checkpoint in &request.checkpoints {
            if let Some(remaining) = state.leases.checkpoint(checkpoint, &mut work.batch) {
                let change = LeaseChange::Checkpointed(LeaseId(checkpoint.id), remaining);
                work.applied.leases.push(change);
            }
        }
        let header = header(state.keyspace.revision);
        Reply::LeaseCheckpoint(pb::LeaseCheckpointResponse { header })
    }

    fn alarm(&self, request: &pb::AlarmRequest, work: &mut Work) -> Result<Reply, Rejection> {
        let mut state = self.shared.state.write();
        let (alarms, changed) = state.alarms.carry_out(request, &mut work.batch)?;
        work.applied.alarms |= changed;
        let header = header(state.keyspace.revision);
        Ok(Reply::Alarm(pb::AlarmResponse { header, alarms }))
    }

    fn change_members(&self, request: Request, work: &mut Work) -> Result<Reply, Rejection> {
        let members = &mut self.shared.state.write().members;
        members.change(request, &mut work.batch)?;
        work.applied.membership = Some(members.membership());
        Ok(Reply::Members(members.all().cloned().collect()))
    }

    fn account(
        &self,
        change: AccountChange,
        index: LogIndex,
        work: &mut Work,
    ) -> Result<Reply, Rejection> {
        let mut state = self.shared.state.write();
        let token = state.accounts.change(change, index, work)?;
        self.shared.is_auth_on.store(state.accounts.is_on(), Ordering::Release);
        let revision = state.keyspace.revision;
        Ok(match token {
            Some(token) => Reply::Token { token, revision },
            None => Reply::Accounts(revision),
        })
    }

    /// Gives back the space of a slice of what was compacted; true while there
    /// is more to do.
    pub fn purge(&mut self) -> bool {
        self.jobs.purge(&self.shared)
    }

    /// To be said once what a log knows has been applied again: the hashes of
    /// compactions in it are not kept. etcd makes a compaction durable before it
    /// answers, so after a crash it knows none of them.
    pub fn catch_up(&mut self) {
        self.jobs.forget_hashes();
    }

    /// The compaction that was finished since the last time, if one was.
    pub fn take_purged(&mut self) -> Option<Purged> {
        self.jobs.take_finished()
    }

    /// Resets the high-water mark of the allocated size (defragmentation).
    pub fn settle(&mut self) {
        let mut state = self.shared.state.write();
        state.allocated = state.in_use();
        let allocated = state.allocated;
        drop(state);
        let mut batch = crate::engine::Batch::default();
        batch.put(META, meta::ALLOCATED, &allocated.to_be_bytes());
        self.shared.engine.write(batch);
    }
}
