//! [`Core`]: raft itself, driven from outside.
//!
//! It does not wait, send, write or look at a clock. The caller feeds it ticks,
//! messages, proposals and what the disk has done, and takes one [`Turn`] after
//! each batch of them: what may leave now, what to write, what is committed.
//! Persist-before-send is visible in the types: messages that depend on a write
//! travel inside that [`LogWrite`] and come back with [`Persisted`].
//!
//! raft runs in its asynchronous form (raft thesis §10.2.1): entries are
//! readable through [`Log`] before they are on disk, and a leader sends them
//! before its own sync.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, HardState};
use raft::{Config, RawNode, ReadOnlyOption, StateRole, Storage as _};

use super::change::Change;
use super::codec;
use super::log::{Identity, Log, LogWrite, Persisted};
use super::logger::logger;
use crate::ids::{LogIndex, MemberId, Term};
use crate::proto::kat::peer;

/// The entries of one append message.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Append messages on their way to one peer; with the bytes of each, 256 MiB.
const INFLIGHT_MESSAGES_MAX: usize = 256;
/// Entries that are not yet committed; a proposal beyond is refused.
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
/// Committed entries that one ready carries.
const COMMITTED_BYTES_MAX: u64 = 16 << 20;

/// What an operator's profile and the simulator decide.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ticks without a leader after which a member campaigns.
    pub election_ticks: usize,
    /// Ticks between two heartbeats of a leader.
    pub heartbeat_ticks: usize,
    /// The exact election timeout in ticks, where chance is not wanted.
    pub election_ticks_exact: Option<usize>,
    /// How far the store had applied when it was opened.
    pub applied: LogIndex,
}

/// A committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log.
    pub index: LogIndex,
    /// The term in which it was proposed.
    pub term: Term,
    /// What was proposed; empty for the entry with which a leader begins.
    pub data: Bytes,
    /// What it does to those who take part, if the store carries it out.
    pub change: Option<Change>,
}

/// The answer to a read: everything acknowledged before it was asked for
/// stands at or below `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadReady {
    /// The number that was given to [`Core::read_index`].
    pub round: u64,
    /// The index that must be applied before the read may run.
    pub index: LogIndex,
}

/// What there is to do after a batch of inputs.
#[derive(Debug, Default)]
pub struct Turn {
    /// May leave at once.
    pub messages: Vec<peer::Message>,
    /// To the log's disk, in this order.
    pub writes: Vec<LogWrite>,
    /// To the store, in this order.
    pub committed: Vec<Committed>,
    /// Reads whose index is known.
    pub reads: Vec<ReadReady>,
}

/// Where this member stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The term it is in.
    pub term: Term,
    /// The raft leader that it knows.
    pub leader: Option<MemberId>,
    /// Whether that is itself.
    pub is_leader: bool,
    /// Whether it leads and has committed an entry of its own term.
    pub commits_own_term: bool,
    /// What it knows to be committed.
    pub commit: LogIndex,
    /// The last entry of its log.
    pub last: LogIndex,
}

/// One member's raft.
///
/// - Two rounds of reads never have the same name, whoever asked and however
///   often it was restarted: a raft leader counts the acknowledgements of a
///   name, and one that comes late must not vouch for another round.
pub struct Core {
    node: RawNode<Log>,
    /// The member and its boot, in the name of each of its rounds.
    asker: (u64, u64),
    /// Index and term up to which the store was durable when it last said so.
    durable: Option<(u64, u64)>,
    cut: Option<(u64, u64)>,
    /// A commit index that the disk has not heard of: it can wait for company.
    unwritten: Option<HardState>,
    /// The last ready that was handed to the writer, and the last it reported.
    handed: u64,
    reported: u64,
    /// Committed changes of members of which the store has not been heard yet.
    changing: VecDeque<(LogIndex, Change)>,
    voters: usize,
    /// Whether nobody else takes part, not even to listen.
    is_alone: bool,
}

impl Core {
    /// Starts raft on what the log and the store hold.
    pub fn new(log: Log, options: &Options) -> Core {
        let Identity { member, .. } = log.identity();
        let asker = (member.0, log.boot());
        let exact = options.election_ticks_exact;
        let config = Config {
            id: member.0,
            election_tick: exact.unwrap_or(options.election_ticks),
            heartbeat_tick: options.heartbeat_ticks,
            min_election_tick: exact.unwrap_or(options.election_ticks),
            max_election_tick: exact.map_or(2 * options.election_ticks, |ticks| ticks + 1),
            applied: options.applied.0,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            // raft 0.7 puts entries behind an empty append without looking
            // where they begin; the follower then acknowledges one too many.
            batch_append: false,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: COMMITTED_BYTES_MAX,
            ..Config::default()
        };
        let node = RawNode::new(&config, log, &logger()).expect("the configuration is legal");
        let mut core = Core {
            node,
            asker,
            durable: None,
            cut: None,
            unwritten: None,
            handed: 0,
            reported: 0,
            changing: VecDeque::new(),
            voters: 0,
            is_alone: false,
        };
        core.count();
        core
    }

    fn count(&mut self) {
        let members = self.node.raft.prs();
        self.voters = members.conf().voters().ids().iter().count();
        self.is_alone = self.voters == 1 && members.conf().learners().is_empty();
    }

    /// Whether nobody else has a vote.
    pub fn is_sole_voter(&self) -> bool {
        self.voters == 1
    }

    /// Campaigns now instead of after a timeout: right for a sole voter, who has
    /// nobody to wait for.
    pub fn campaign(&mut self) {
        self.node.campaign().expect("campaigning is a local message");
    }

    /// One tick of the member's clock.
    pub fn tick(&mut self) {
        self.node.tick();
    }

    /// Takes a message from another member; one that raft refuses is dropped, as
    /// the network might have done.
    pub fn step(&mut self, message: peer::Message) {
        match codec::message_to_raft(message) {
            Ok(message) => {
                if let Err(why) = self.node.step(message) {
                    tracing::debug!(%why, "raft dropped a message");
                }
            }
            Err(why) => tracing::warn!(%why, "a peer sent what this version does not know"),
        }
    }

    /// Proposes an entry; false if raft dropped it (no leader, too much
    /// uncommitted, a transfer under way).
    #[must_use]
    pub fn propose(&mut self, data: Vec<u8>) -> bool {
        assert!(!data.is_empty(), "an empty entry is raft's own");
        self.node.propose(Vec::new(), data).is_ok()
    }

    /// Whether a change of members can be proposed: a leader is known, and none
    /// is on its way that the leader is known to have.
    pub fn may_change(&self) -> bool {
        let raft = &self.node.raft;
        let is_busy = raft.state == StateRole::Leader && raft.has_pending_conf();
        raft.leader_id != 0 && !is_busy
    }

    /// Proposes a change of members, with the entry that the store carries out;
    /// false if raft dropped it.
    #[must_use]
    pub fn propose_change(&mut self, change: Change, data: Vec<u8>) -> bool {
        self.node.propose_conf_change(data, change.to_raft()).is_ok()
    }

    /// The store has carried out the change of members at `index`, or refused it.
    pub fn on_changed(&mut self, index: LogIndex, is_done: bool) {
        let (at, change) = self.changing.pop_front().expect("a change was committed");
        assert_eq!(at, index, "changes of members are carried out in their order");
        if is_done {
            let taken = self.node.apply_conf_change(&change.to_raft());
            taken.expect("the store refuses what raft cannot do");
            self.count();
        }
        self.on_applied(index);
    }

    /// What a leader knows the members to have of its log; `None` elsewhere.
    pub fn matched(&self) -> Option<Vec<(MemberId, LogIndex)>> {
        let raft = &self.node.raft;
        let each = || raft.prs().iter().map(|(id, pr)| (MemberId(*id), LogIndex(pr.matched)));
        (raft.state == StateRole::Leader).then(|| each().collect())
    }

    /// A message to another member was lost, and more would be.
    pub fn on_unreachable(&mut self, member: MemberId) {
        self.node.report_unreachable(member.0);
    }

    /// Asks for a read index under the caller's number. raft may drop it without
    /// a word (no leader, no commit in this term): the caller has a timer.
    pub fn read_index(&mut self, round: u64) {
        let (member, boot) = self.asker;
        self.node.read_index([member, boot, round].map(u64::to_be_bytes).concat());
    }

    /// Hands leadership to another voter.
    pub fn transfer_leader(&mut self, to: MemberId) {
        self.node.transfer_leader(to.0);
    }

    /// The store has applied up to `index`. raft hears of a change of members
    /// with [`Core::on_changed`], and not before of the entries behind it.
    pub fn on_applied(&mut self, index: LogIndex) {
        let before = self.changing.front().map(|(at, _)| LogIndex(at.0 - 1));
        let index = before.map_or(index, |before| before.min(index));
        if index.0 > self.node.raft.raft_log.applied() {
            self.node.advance_apply_to(index.0);
        }
    }

    /// The log's disk has done what a turn asked for.
    pub fn on_persisted(&mut self, persisted: &Persisted) {
        if let Some((index, term)) = persisted.last {
            self.node.mut_store().on_persisted(index, term);
        }
        self.reported = self.reported.max(persisted.number);
        self.node.on_persist_ready(persisted.number);
    }

    /// The store holds everything up to and including `index` durably: the log
    /// is cut where it was durable the last time, and so keeps between one and
    /// two flushes of entries. Nothing is cut while there are other members: they
    /// may still need those entries, and no snapshot can be sent to them yet.
    pub fn on_durable(&mut self, index: LogIndex) {
        // Asked for now, while the entry is in memory.
        let term = self.node.store().term(index.0).expect("what is applied is in the log");
        let before = self.durable.replace((index.0, term));
        if let Some(place) = before.filter(|place| place.0 > self.node.store().cut())
            && self.is_alone
        {
            self.cut = Some(self.node.mut_store().cut_to(place));
        }
    }

    /// Where this member stands.
    pub fn role(&self) -> Role {
        let raft = &self.node.raft;
        let is_leader = raft.state == StateRole::Leader;
        Role {
            term: Term(raft.term),
            leader: Some(raft.leader_id).filter(|id| *id != 0).map(MemberId),
            is_leader,
            commits_own_term: is_leader && raft.commit_to_current_term(),
            commit: LogIndex(raft.raft_log.committed),
            last: LogIndex(raft.raft_log.last_index()),
        }
    }

    /// Takes what there is to do.
    pub fn turn(&mut self) -> Turn {
        let mut turn = Turn::default();
        while self.node.has_ready() {
            self.take_ready(&mut turn);
        }
        // Others may go on without this member: what it knows to be committed is
        // then kept apart from what only it has, should it ever leave them.
        if !self.is_sole_voter()
            && let Some(hard_state) = self.unwritten.take()
        {
            turn.writes.push(LogWrite { hard_state: Some(hard_state), ..LogWrite::default() });
        }
        if let Some(cut) = self.cut.take() {
            turn.writes.push(LogWrite { cut: Some(cut), ..LogWrite::default() });
        }
        turn
    }

    fn take_ready(&mut self, turn: &mut Turn) {
        let mut ready = self.node.ready();
        turn.messages.extend(ready.take_messages().into_iter().map(codec::message_from_raft));
        // What an earlier boot asked for may be answered late; nobody waits.
        turn.reads.extend(ready.take_read_states().into_iter().filter_map(|state| {
            let (asker, round) = parse_round(&state.request_ctx);
            (asker == self.asker).then_some(ReadReady { round, index: LogIndex(state.index) })
        }));
        for entry in ready.take_committed_entries() {
            let committed = Committed::from_raft(entry);
            self.changing.extend(committed.change.map(|change| (committed.index, change)));
            turn.committed.push(committed);
        }
        assert!(ready.snapshot().is_empty(), "no member of this version sends a snapshot");
        let hard_state = ready.hs().cloned();
        if let Some(hard_state) = &hard_state {
            self.node.mut_store().set_hard_state(hard_state);
        }
        let entries = ready.take_entries();
        let write = LogWrite {
            number: ready.number(),
            replaces: self.node.mut_store().append(&entries),
            entries,
            hard_state: hard_state.or(self.unwritten.take()),
            cut: None,
            sync: ready.must_sync(),
            messages: {
                let messages = ready.take_persisted_messages();
                messages.into_iter().map(codec::message_from_raft).collect()
            },
        };
        self.node.advance_append_async(ready);
        if write.sync || !write.messages.is_empty() {
            self.handed = write.number;
            turn.writes.push(write);
            return;
        }
        // A commit index alone is not worth a write: what it says can be learnt
        // again. It goes with the next one.
        self.unwritten = write.hard_state;
        if self.handed == self.reported {
            // raft remembers each ready until it is reported, and the writer
            // would not hear of this one.
            self.node.on_persist_ready(write.number);
        }
    }
}

impl Committed {
    /// # Panics
    /// On what this version never proposes.
    pub(super) fn from_raft(entry: Entry) -> Committed {
        let (index, term) = (LogIndex(entry.index), Term(entry.term));
        match entry.entry_type {
            EntryType::EntryNormal => Committed { index, term, data: entry.data, change: None },
            EntryType::EntryConfChangeV2 => {
                let change = Change::decode(&entry.data);
                let change = change.unwrap_or_else(|why| panic!("entry {index}: {why}"));
                Committed { index, term, data: entry.context, change: Some(change) }
            }
            EntryType::EntryConfChange => panic!("entry {index} is of a kind never proposed"),
        }
    }
}

/// The member and the boot that asked, and the number of the round.
fn parse_round(context: &[u8]) -> ((u64, u64), u64) {
    let (words, rest) = context.as_chunks::<8>();
    assert!(words.len() == 3 && rest.is_empty(), "names of rounds are ours: three words");
    let [member, boot, round] = [0, 1, 2].map(|at| u64::from_be_bytes(words[at]));
    ((member, boot), round)
}
