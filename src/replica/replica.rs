//! [`Replica`]: the handle that everything above holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::counters::Counters;
use super::failure::{Failure, Outcome, Unavailable};
use super::inbox::{Input, Proposal};
use super::lessor::Remaining;
use super::shared::Shared;
use super::watchers::{WatchOptions, WatchStream};
use crate::consensus::{Change, Identity};
use crate::ids::{LeaseId, LogIndex, MemberId, ProposalId, Term};
use crate::store::{Caller, Reader, Rejection, Request, append_command};

/// How long a raft leader waits for its own store before it says of a lease that
/// there is none; etcd's number.
const LEASE_PATIENCE: Duration = Duration::from_secs(1);
/// What a command is likely to take: one allocation for most.
const COMMAND_BYTES: usize = 512;

/// Where a member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The term.
    pub term: Term,
    /// The raft leader it knows.
    pub leader: Option<MemberId>,
    /// Whether that is itself.
    pub is_leader: bool,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// What its store has applied.
    pub applied: LogIndex,
}

/// A running member; cheap to clone.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

impl Replica {
    pub(super) fn new(shared: Arc<Shared>) -> Replica {
        Replica { shared }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whose it is.
    pub fn identity(&self) -> Identity {
        self.shared.identity
    }

    /// The store, to read.
    pub fn reader(&self) -> &Reader {
        &self.shared.reader
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.shared.standing()
    }

    /// What it counts.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Proposals that wait for their answer.
    pub fn pending(&self) -> usize {
        self.shared.pending.len()
    }

    /// Puts a proposal into the inbox; the receiver is dropped unanswered only
    /// if the member dies.
    ///
    /// # Errors
    /// A command that is too large, too much that waits already, a member that
    /// stops.
    pub fn submit(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<oneshot::Receiver<Outcome>, Failure> {
        let shared = &self.shared;
        let (answer, outcome) = oneshot::channel();
        let deadline = shared.now() + shared.timings.request_timeout;
        let count = shared.pending.register(answer, deadline)?;
        let id = ProposalId { member: shared.identity.member, boot: shared.boot, count };
        let mut command = Vec::with_capacity(COMMAND_BYTES);
        append_command(&mut command, id, caller, request);
        let accepted = if command.len() > shared.request_bytes_max {
            Err(Failure::TooLarge)
        } else {
            shared.inbox.propose(Proposal { count, command }).map_err(Failure::from)
        };
        if accepted.is_err() {
            shared.pending.forget(count);
        }
        accepted.map(|()| outcome)
    }

    /// Proposes, and waits for the outcome or the request timeout.
    ///
    /// # Errors
    /// A refusal of the store, or that nothing is known to have come of it.
    pub async fn propose(&self, caller: &Caller, request: Request) -> Outcome {
        match self.submit(caller, request)?.await {
            Ok(outcome) => outcome,
            // Its waiter went down with the member.
            Err(_) => Err(Unavailable::Stopped.into()),
        }
    }

    /// Has the members changed, and waits for as long as the caller does.
    ///
    /// # Errors
    /// A refusal of the store, too many who wait, a member that stops.
    pub async fn change_members(&self, caller: &Caller, request: Request) -> Outcome {
        let outcome = self.submit_change(caller, request)?;
        outcome.await.unwrap_or_else(|_| Err(Unavailable::Stopped.into()))
    }

    /// Hands in a change of members: one is made at a time, for as long as
    /// somebody waits for it.
    ///
    /// # Errors
    /// No change of members, too many who wait, a member that stops.
    pub fn submit_change(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<oneshot::Receiver<Outcome>, Failure> {
        let shared = &self.shared;
        let change = match &request {
            Request::MemberAdd(add) => {
                let member = add.member.as_ref().ok_or(Rejection::Malformed)?;
                let id = MemberId(member.id);
                Some(if member.is_learner { Change::Listen(id) } else { Change::Vote(id) })
            }
            Request::MemberPromote(promote) => Some(Change::Vote(MemberId(promote.member))),
            Request::MemberRemove(remove) => Some(Change::Leave(MemberId(remove.member))),
            Request::MemberUpdate(_) => None,
            _ => return Err(Rejection::Malformed.into()),
        };
        let (answer, outcome) = oneshot::channel();
        let count = shared.pending.register_patient(answer)?;
        let id = ProposalId { member: shared.identity.member, boot: shared.boot, count };
        let mut command = Vec::with_capacity(COMMAND_BYTES);
        append_command(&mut command, id, caller, request);
        shared.inbox.push(Input::Change(change, Proposal { count, command }));
        Ok(outcome)
    }

    /// How much of its log the members have, as a raft leader knows it; `None`
    /// elsewhere.
    pub async fn matched(&self) -> Option<Vec<(MemberId, LogIndex)>> {
        let (answer, matched) = oneshot::channel();
        self.shared.inbox.push(Input::Matched(answer));
        matched.await.ok().flatten()
    }

    /// Returns when this member was removed from its cluster.
    pub async fn removed(&self) {
        let shared = &self.shared;
        shared.progress.until(|| shared.reader.was_removed(shared.identity.member)).await;
    }

    /// Asks for the index behind which a read sees everything acknowledged.
    pub fn read_index(&self) -> oneshot::Receiver<LogIndex> {
        let (answer, index) = oneshot::channel();
        self.shared.inbox.read(answer);
        index
    }

    /// Returns when a read of the store is linearizable; a sole voter's is at once.
    ///
    /// # Errors
    /// No raft leader, or none that answers in time; a member that stops.
    pub async fn linearize(&self) -> Result<(), Unavailable> {
        let shared = &self.shared;
        if shared.alone.holds(shared.progress.applied()) {
            return Ok(());
        }
        let before = shared.standing();
        let Ok(index) = self.read_index().await else { return Err(self.why_not(before)) };
        let reached = timeout(shared.timings.request_timeout, self.applied(index)).await;
        reached.map_err(|_elapsed| Unavailable::TimedOut)
    }

    /// Why a call came to nothing that began when the member stood so.
    fn why_not(&self, before: Standing) -> Unavailable {
        let now = self.standing();
        if self.shared.inbox.is_closed() {
            Unavailable::Stopped
        } else if now.leader.is_some() && (now.leader, now.term) != (before.leader, before.term) {
            Unavailable::LeaderChanged
        } else {
            Unavailable::TimedOut
        }
    }

    /// Returns when the applied index has reached `index`.
    pub async fn applied(&self, index: LogIndex) {
        self.shared.progress.reach(index).await;
    }

    /// Returns once the member leads or knows a leader, and its store has
    /// applied the first entry of that leader's term.
    ///
    /// # Errors
    /// That this does not come about in time; a member that stops.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        let shared = &self.shared;
        let is_ready = || {
            let Standing { leader, term, .. } = shared.standing();
            (leader.is_some() && shared.progress.term() == term) || shared.inbox.is_closed()
        };
        let waited = timeout(shared.timings.request_timeout, shared.progress.until(is_ready)).await;
        match waited {
            _ if shared.inbox.is_closed() => Err(Unavailable::Stopped),
            Ok(()) => Ok(()),
            Err(_) if shared.standing().leader.is_none() => Err(Unavailable::NoLeader),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// A gRPC stream's watchers.
    pub fn watch(&self, options: WatchOptions) -> WatchStream {
        self.shared.watchers.stream(options)
    }

    /// Watchers and watch streams alive.
    pub fn watchers(&self) -> (u64, u64) {
        self.shared.watchers.counts()
    }

    /// Watchers that read history, and revisions that streams have yet to tell.
    pub fn watchers_lag(&self) -> (u64, u64) {
        self.shared.watchers.lag()
    }

    /// Events that watchers were told.
    pub fn events_told(&self) -> u64 {
        self.shared.watchers.told()
    }

    /// Renews a lease: its TTL, or 0 if there is no such lease (any more).
    ///
    /// - Where no raft leader is, renewals are not passed on yet: nobody leads.
    ///
    /// # Errors
    /// This member does not lead, or its store does not catch up in time.
    pub async fn keep_alive(&self, id: LeaseId) -> Result<i64, Failure> {
        let shared = &self.shared;
        self.keep_clock().await?;
        let renew = || shared.lessor.renew(id, shared.now());
        if let Some(ttl) = renew() {
            shared.counters.leases_renewed.inc();
            return Ok(ttl);
        }
        self.catch_up().await?;
        if let Some(ttl) = renew() {
            shared.counters.leases_renewed.inc();
            return Ok(ttl);
        }
        // Its time may be up: whoever asks is told when its keys are gone.
        let ended = async {
            while shared.lessor.remaining(id, shared.now()).is_some() {
                let applied = shared.progress.applied();
                shared.progress.reach(LogIndex(applied.0 + 1)).await;
            }
        };
        match timeout(shared.timings.request_timeout, ended).await {
            Ok(()) if shared.lessor.leads() => Ok(0),
            Ok(()) => Err(Unavailable::LeaderChanged.into()),
            Err(_) => Err(Unavailable::TimedOut.into()),
        }
    }

    /// What is left of a lease; `None` if there is no such lease.
    ///
    /// # Errors
    /// This member does not lead, or its store does not catch up in time.
    pub async fn time_to_live(&self, id: LeaseId) -> Result<Option<Remaining>, Failure> {
        self.keep_clock().await?;
        self.catch_up().await?;
        let remaining = self.shared.lessor.remaining(id, self.shared.now());
        if self.shared.lessor.leads() {
            Ok(remaining)
        } else {
            Err(Unavailable::LeaderChanged.into())
        }
    }

    /// Returns once this member keeps the clock of leases, which a raft leader
    /// does as soon as it has applied the first entry of its term.
    async fn keep_clock(&self) -> Result<(), Unavailable> {
        let shared = &self.shared;
        if shared.lessor.leads() {
            return Ok(());
        }
        let decided = || shared.lessor.leads() || !shared.standing.lock().is_leader;
        let waited = timeout(LEASE_PATIENCE, shared.progress.until(decided)).await;
        match waited {
            Ok(()) if shared.lessor.leads() => Ok(()),
            Ok(()) => Err(Unavailable::NoLeader),
            Err(_) => Err(Unavailable::TimedOut),
        }
    }

    /// Returns once everything is applied that is committed now.
    async fn catch_up(&self) -> Result<(), Unavailable> {
        let commit = self.standing().commit;
        let reached = timeout(LEASE_PATIENCE, self.applied(commit)).await;
        reached.map_err(|_elapsed| Unavailable::TimedOut)
    }

    /// Leases, soonest expiry first where this member leads.
    pub fn leases(&self) -> Vec<LeaseId> {
        self.shared.lessor.ids()
    }

    /// Whose a token is, if it is worth something. A token may come sooner than
    /// the entry that made it, whose index it ends with.
    pub async fn user_of(&self, token: &str, ttl: Duration) -> Option<String> {
        let (_, index) = token.rsplit_once('.')?;
        let index = LogIndex(index.parse().ok()?);
        let shared = &self.shared;
        if shared.progress.applied() < index {
            timeout(shared.timings.request_timeout, self.applied(index)).await.ok()?;
        }
        shared.tokens.user(token, shared.now(), ttl)
    }

    /// Returns when a compaction at `revision` has given its space back here.
    pub async fn purged(&self, revision: i64) {
        let shared = &self.shared;
        let is_purged = || shared.reader.purged_revision() >= revision || shared.inbox.has_ended();
        shared.progress.until(is_purged).await;
    }

    /// Compacts the engine in the background of traffic; returns when done.
    pub async fn defragment(&self) {
        let state = self.shared.state.clone();
        // Hours of disk at worst: not on a thread that serves others.
        let compacted = tokio::task::spawn_blocking(move || state.compact()).await;
        compacted.expect("a disk that fails ends the process");
        let (settled, when) = oneshot::channel();
        self.shared.settling.lock().push(settled);
        self.shared.committed.nudge();
        if self.shared.inbox.has_ended() {
            // Nobody is left to settle anything.
            self.shared.settling.lock().clear();
        }
        if when.await.is_err() {
            tracing::debug!("the member stopped before its sizes were settled");
        }
    }

    /// Hands raft leadership over.
    pub fn transfer_leader(&self, to: MemberId) {
        self.shared.inbox.push(Input::Transfer(to));
    }
}
