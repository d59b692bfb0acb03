//! [`Driver::turn`]: inbox → raft → writer, peers, applier.
//!
//! It knows no thread and no disk: it takes what came in and the time, and says
//! what is to be done. Whoever has something for it may turn it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::applier::{BACKLOG_BYTES_MAX, weight};
use super::failure::Unavailable;
use super::inbox::{Input, PROPOSAL_BYTES_MAX, Proposal};
use super::reads::Reads;
use super::replica::Standing;
use super::shared::Shared;
use crate::consensus::{Change, Committed, Core, LogWrite, Role};
use crate::ids::{LogIndex, MemberId, ProposalId, Term};
use crate::proto::kat::log::{LeaseExpire, command::Request};
use crate::proto::kat::peer;
use crate::store::{self, Caller};

/// The clock of raft, and how long a caller waits.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// One tick, and the time between two heartbeats.
    pub heartbeat: Duration,
    /// Ticks without a leader before a member campaigns.
    pub election_ticks: usize,
    /// How long a proposal or a read may take.
    pub request_timeout: Duration,
}

impl Timings {
    /// The shortest time without a raft leader before a member campaigns.
    pub(super) fn election_timeout(&self) -> Duration {
        self.heartbeat * u32::try_from(self.election_ticks).unwrap_or(u32::MAX)
    }
}

/// What a turn leaves to do.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To other members, now.
    pub messages: Vec<peer::Message>,
    /// To the log's disk.
    pub writes: Vec<LogWrite>,
    /// To the applier.
    pub committed: Vec<Committed>,
    /// The member was asked to stop, and may.
    pub stop: bool,
}

/// Commands of one raft entry; a larger one stands in an entry of its own.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// How often a raft leader looks for leases whose time is up.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// Leases that one look ends: a thousand a second, as etcd.
const EXPIRE_MAX: usize = 500;
/// How long a member that stops waits for what was proposed.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Raft, its clock, and the reads and proposals of this member.
pub struct Driver {
    core: Core,
    shared: Arc<Shared>,
    reads: Reads,
    /// What waits for a raft leader.
    held: VecDeque<Proposal>,
    held_bytes: usize,
    /// Changes of members, which are made one at a time.
    changes: VecDeque<(Option<Change>, Proposal)>,
    next_tick: Duration,
    next_expiry: Duration,
    /// The term in which it leads, and an index at or behind the first entry of
    /// that term.
    leads_since: Option<(Term, LogIndex)>,
    stop_by: Option<Duration>,
}

impl Driver {
    pub(super) fn new(core: Core, shared: Arc<Shared>) -> Driver {
        let now = shared.now();
        let heartbeat = shared.timings.heartbeat;
        // A lone voter has campaigned, and wants to be heard at once.
        let next_tick = if core.is_sole_voter() { now } else { now + heartbeat };
        Driver {
            core,
            reads: Reads::new(shared.timings.request_timeout),
            held: VecDeque::new(),
            held_bytes: 0,
            changes: VecDeque::new(),
            shared,
            next_tick,
            next_expiry: now,
            leads_since: None,
            stop_by: None,
        }
    }

    /// How long there is nothing to do, if nothing comes in.
    pub fn patience(&self, now: Duration) -> Duration {
        self.next_tick.saturating_sub(now)
    }

    /// Takes everything that came in, and says what is to be done.
    pub fn turn(&mut self, inputs: Vec<Input>, now: Duration) -> Outbox {
        let mut outbox = Outbox::default();
        let mut proposals = Vec::new();
        for input in inputs {
            match input {
                Input::Message(message) => self.on_message(message),
                Input::Persisted(mut persisted) => {
                    outbox.messages.append(&mut persisted.messages);
                    self.core.on_persisted(&persisted);
                }
                Input::Durable(index) => self.core.on_durable(index),
                Input::Proposals(more) => proposals.extend(more),
                Input::Reads(reads) => reads.into_iter().for_each(|read| self.reads.ask(read, now)),
                Input::Change(change, proposal) => self.changes.push_back((change, proposal)),
                Input::Changed(index, is_done) => self.on_changed(index, is_done),
                Input::Matched(answer) => drop(answer.send(self.core.matched())),
                Input::Transfer(to) => self.core.transfer_leader(to),
                Input::Stop => self.stop_by = Some(now + STOP_PATIENCE),
            }
        }
        self.core.on_applied(self.shared.progress.applied());
        self.maybe_tick(now);
        self.propose_changes();
        if !self.held.is_empty() && self.core.role().leader.is_some() {
            self.held_bytes = 0;
            proposals = self.held.drain(..).chain(proposals).collect();
        }
        self.propose(proposals);
        self.keep_leases(now);
        if let Some(round) = self.reads.next_round(now) {
            self.core.read_index(round);
        }
        let mut turn = self.core.turn();
        for read in &turn.reads {
            self.reads.on_ready(read.round, read.index);
        }
        self.shared.progress.expect(turn.committed.iter().map(weight).sum());
        self.stand();
        outbox.messages.append(&mut turn.messages);
        outbox.writes = turn.writes;
        outbox.committed = turn.committed;
        outbox.stop = self.may_stop(now);
        outbox
    }

    /// A message to another member did not leave.
    pub fn lost(&mut self, to: MemberId) {
        self.core.on_unreachable(to);
    }

    /// A change of members is in force, or was refused.
    fn on_changed(&mut self, index: LogIndex, is_done: bool) {
        self.core.on_changed(index, is_done);
        if is_done {
            let is_alone = self.core.is_sole_voter();
            self.shared.inbox.set_alone(is_alone);
            if !is_alone {
                self.shared.alone.set(None);
            }
        }
    }

    /// Proposes the next change of members, if none is on its way and somebody
    /// still waits for it.
    fn propose_changes(&mut self) {
        let pending = &self.shared.pending;
        self.changes.retain(|(_, proposal)| pending.is_patient(proposal.count));
        while self.core.may_change()
            && let Some((change, Proposal { count, command })) = self.changes.pop_front()
        {
            let mut entry = store::begin_entry();
            entry.extend_from_slice(&command);
            let is_proposed = match change {
                Some(change) => self.core.propose_change(change, entry),
                None => self.core.propose(entry),
            };
            if !is_proposed {
                self.shared.counters.proposals_failed.inc();
                pending.fail(&[count], Unavailable::Overloaded);
            }
        }
    }

    fn on_message(&mut self, message: peer::Message) {
        let is_append = message.r#type() == peer::MessageType::MsgAppend;
        if is_append && self.shared.progress.backlog() > BACKLOG_BYTES_MAX {
            tracing::debug!("dropped an append: the applier is behind");
        } else {
            self.core.step(message);
        }
    }

    fn maybe_tick(&mut self, now: Duration) {
        if now < self.next_tick {
            return;
        }
        self.core.tick();
        self.next_tick += self.shared.timings.heartbeat;
        if self.next_tick <= now {
            // Time that was slept through is nobody's fault: no election for it.
            self.next_tick = now + self.shared.timings.heartbeat;
        }
        let pending = &self.shared.pending;
        while self.held.front().is_some_and(|proposal| pending.is_due(proposal.count, now)) {
            let Some(Proposal { count, command }) = self.held.pop_front() else { break };
            self.held_bytes -= command.len();
            self.shared.counters.proposals_failed.inc();
            pending.fail(&[count], Unavailable::NotProposed);
        }
        let expired = pending.expire(now);
        self.shared.counters.proposals_failed.inc_by(expired as u64);
        self.reads.expire(now);
        let (slow, failed) = self.reads.take_counts();
        self.shared.counters.slow_reads.inc_by(slow);
        self.shared.counters.reads_failed.inc_by(failed);
    }

    /// Keeps proposals until somebody leads.
    fn hold(&mut self, proposals: Vec<Proposal>) {
        for proposal in proposals {
            let bytes = proposal.command.len();
            if self.held_bytes + bytes > PROPOSAL_BYTES_MAX {
                self.shared.counters.proposals_failed.inc();
                self.shared.pending.fail(&[proposal.count], Unavailable::Overloaded);
                continue;
            }
            self.held_bytes += bytes;
            self.held.push_back(proposal);
        }
    }

    /// Proposes all commands, as many to an entry as it takes.
    fn propose(&mut self, proposals: Vec<Proposal>) {
        if !proposals.is_empty() && self.core.role().leader.is_none() {
            return self.hold(proposals);
        }
        let mut entry = Vec::new();
        let mut counts = Vec::with_capacity(proposals.len());
        let total: usize = proposals.iter().map(|proposal| proposal.command.len()).sum();
        for Proposal { count, command } in proposals {
            if !counts.is_empty() && entry.len() + command.len() > ENTRY_BYTES_MAX {
                self.propose_entry(std::mem::take(&mut entry), &counts);
                counts.clear();
            }
            if counts.is_empty() {
                entry = store::begin_entry();
                entry.reserve_exact(total.min(ENTRY_BYTES_MAX).max(command.len()));
            }
            entry.extend_from_slice(&command);
            counts.push(count);
        }
        if !counts.is_empty() {
            self.propose_entry(entry, &counts);
        }
    }

    fn propose_entry(&mut self, entry: Vec<u8>, counts: &[u64]) {
        let is_behind = self.shared.progress.backlog() > BACKLOG_BYTES_MAX;
        if !is_behind && self.core.propose(entry) {
            return;
        }
        self.shared.counters.proposals_failed.inc_by(counts.len() as u64);
        self.shared.pending.fail(counts, Unavailable::Overloaded);
    }

    /// Keeps the clock of leases while this member leads, and ends those whose
    /// time is up.
    ///
    /// - The clock starts behind the first entry of the term: what an earlier
    ///   raft leader ended is applied by then, and nobody renews it in between.
    /// - An expiry is never forwarded: only who leads may judge by its clock.
    fn keep_leases(&mut self, now: Duration) {
        let role = self.core.role();
        let lessor = &self.shared.lessor;
        if self.leads_since.is_some_and(|(term, _)| !role.is_leader || term != role.term) {
            self.leads_since = None;
            lessor.demote();
            self.shared.alone.set(None);
        }
        if !role.commits_own_term {
            return;
        }
        if self.leads_since.is_none() {
            self.reads.ask_again();
        }
        let since = *self.leads_since.get_or_insert((role.term, role.commit));
        if self.core.is_sole_voter() {
            self.shared.alone.set(Some(since.1));
        }
        if !lessor.leads() {
            if self.shared.progress.applied() < since.1 {
                return;
            }
            lessor.promote(now, self.shared.timings.election_timeout());
            self.shared.progress.ring();
        }
        if now >= self.next_expiry {
            self.next_expiry = now + EXPIRE_EVERY;
            self.expire_leases(now);
        }
    }

    fn expire_leases(&mut self, now: Duration) {
        let ids = self.shared.lessor.take_expired(now, EXPIRE_MAX);
        if ids.is_empty() {
            return;
        }
        let count = ids.len();
        let request =
            Request::LeaseExpire(LeaseExpire { ids: ids.into_iter().map(|id| id.0).collect() });
        // A count of 0: nobody waits.
        let (member, boot) = (self.shared.identity.member, self.shared.boot);
        let id = ProposalId { member, boot, count: 0 };
        let mut entry = store::begin_entry();
        store::append_command(&mut entry, id, &Caller::default(), request);
        if self.core.propose(entry) {
            self.shared.counters.leases_expired.inc_by(count as u64);
        }
    }

    /// Lets everybody see where the member stands.
    fn stand(&mut self) {
        let Role { term, leader, is_leader, commit, .. } = self.core.role();
        let applied = LogIndex::default();
        let now = Standing { term, leader, is_leader, commit, applied };
        let before = std::mem::replace(&mut *self.shared.standing.lock(), now);
        if (before.term, before.leader, before.is_leader) != (term, leader, is_leader) {
            self.shared.progress.ring();
            self.reads.ask_again();
        }
        match leader {
            Some(leader) if before.leader != Some(leader) => {
                self.shared.counters.leader_changes.inc();
                let event = "raft_leader_changed";
                tracing::info!(event, %leader, %term, is_leader, "raft leader is now {leader}");
            }
            None if before.leader.is_some() => {
                tracing::warn!(event = "raft_leader_lost", %term, "there is no raft leader");
            }
            _ => {}
        }
    }

    /// Whether the member was asked to stop and nothing is left to wait for.
    fn may_stop(&mut self, now: Duration) -> bool {
        let Some(by) = self.stop_by else { return false };
        self.shared.pending.close();
        self.shared.inbox.close();
        let may = self.shared.pending.len() == 0 || now >= by;
        if may {
            self.reads.abandon();
            self.shared.alone.set(None);
        }
        may
    }
}
