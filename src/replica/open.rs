//! Building a member's parts from what is on its disk.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::applier::Applier;
use super::clock::Clock;
use super::counters::Counters;
use super::driver::{Driver, Timings};
use super::inbox::Inbox;
use super::lessor::Lessor;
use super::pending::Pending;
use super::progress::Progress;
use super::queue::Queue;
use super::replica::{Replica, Standing};
use super::shared::{Alone, Shared};
use super::tokens::Tokens;
use super::watchers::Watchers;
use crate::consensus::{self, Change, Committed, Core, Identity, Log};
use crate::engine::Engine;
use crate::ids::{LogIndex, ProposalId, Term};
use crate::proto::kat::log::{MemberPromote, MemberRemove};
use crate::store::{self, Caller, Genesis, Membership, Request, Store};

/// Where the log of every cluster begins: behind the founding.
pub const GENESIS: (LogIndex, Term) = (LogIndex(1), Term(1));

/// The two engines of a member.
#[derive(Clone)]
pub struct Engines {
    /// The raft log's.
    pub log: Arc<dyn Engine>,
    /// The state's.
    pub state: Arc<dyn Engine>,
}

/// What an operator's configuration decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clocks.
    pub timings: Timings,
    /// The largest encoded proposal.
    pub request_bytes_max: usize,
    /// The store's.
    pub store: store::Options,
    /// From when on an application is slow, and told in the log.
    pub slow_apply: Duration,
    /// The exact election timeout in ticks, where chance is not wanted.
    pub election_ticks_exact: Option<usize>,
    /// Whether the member goes on alone, without asking the others.
    pub force_new_cluster: bool,
}

/// Why a member cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// A member without threads.
pub struct Parts {
    /// The handle.
    pub replica: Replica,
    /// Feeds the driver.
    pub inbox: Inbox,
    /// Turns.
    pub driver: Driver,
    /// Applies.
    pub applier: Applier,
    /// How far the store stood before the log was replayed.
    pub(super) durable: LogIndex,
}

/// Writes a new member's log and store.
///
/// - The log is written last: where there is a log there is a whole member.
pub fn found(engines: &Engines, identity: Identity, genesis: &Genesis) {
    Store::found(&*engines.state, genesis);
    Log::create(&*engines.log, identity, genesis.index, genesis.term);
}

/// Applies what the log knows to be committed behind a place; where the store
/// stands then.
fn replay(
    log: &Log,
    store: &mut Store,
    mut place: (LogIndex, Term),
) -> Result<(LogIndex, Term), consensus::Damaged> {
    log.replay(place.0, &mut |Committed { index, term, data, .. }| {
        store.apply(index, term, &data);
        place = (index, term);
    })?;
    Ok(place)
}

/// Removes all other members, without asking them; where the store stands then.
/// The removals are commands of the log like any other: the store stays a
/// function of it.
fn secede(
    log: &mut Log,
    store: &mut Store,
    place: (LogIndex, Term),
) -> Result<(LogIndex, Term), consensus::Damaged> {
    let (reader, me) = (store.reader(), log.identity().member);
    // A count of 0: nobody waits.
    let id = ProposalId { member: me, boot: log.boot(), count: 0 };
    let entry = |request| {
        let mut entry = store::begin_entry();
        store::append_command(&mut entry, id, &Caller::default(), request);
        entry
    };
    let Membership { voters, learners } = reader.membership();
    let promotion = learners.contains(&me).then(|| {
        let promote = Request::MemberPromote(MemberPromote { member: me.0 });
        (Change::Vote(me), entry(promote))
    });
    let others = voters.iter().chain(&learners).filter(|other| **other != me);
    let removals = others.map(|other| {
        let remove = Request::MemberRemove(MemberRemove { member: other.0 });
        (Change::Leave(*other), entry(remove))
    });
    log.force(promotion.into_iter().chain(removals).collect());
    replay(log, store, place)
}

/// Opens a member. What its log knows to be committed and its store lacks is
/// applied first, entry by entry, so that no queue ever holds it.
///
/// # Errors
/// A damaged log or store.
pub fn open(engines: Engines, clock: Arc<dyn Clock>, options: &Options) -> Result<Parts, Damaged> {
    let Engines { log, state } = engines;
    let damaged = |why: consensus::Damaged| Damaged(why.to_string());
    let mut store = Store::open(state.clone(), &options.store)
        .map_err(|why: store::Damaged| Damaged(why.to_string()))?;
    let reader = store.reader();
    let durable = reader.applied();
    let mut log = Log::open(log, &reader.voters(), durable).map_err(damaged)?;
    let (identity, boot) = (log.identity(), log.boot());
    let place = (durable, log.term_at(durable).map_err(damaged)?);
    let mut place = replay(&log, &mut store, place).map_err(damaged)?;
    // The commit index is written lazily while nobody else has a vote.
    if reader.voters() == [identity.member] {
        log.commit_all();
        place = replay(&log, &mut store, place).map_err(damaged)?;
    }
    if options.force_new_cluster {
        place = secede(&mut log, &mut store, place).map_err(damaged)?;
    }
    store.catch_up();
    let members = reader.membership();
    log.set_members(&members.voters, &members.learners);
    let core_options = consensus::Options {
        election_ticks: options.timings.election_ticks,
        heartbeat_ticks: 1,
        election_ticks_exact: options.election_ticks_exact,
        applied: place.0,
    };
    let mut core = Core::new(log, &core_options);
    if core.is_sole_voter() {
        core.campaign();
    }
    let inbox = Inbox::new(core.is_sole_voter());
    let shared = Arc::new(Shared {
        identity,
        boot,
        timings: options.timings,
        request_bytes_max: options.request_bytes_max,
        clock,
        state,
        inbox: inbox.clone(),
        committed: Queue::new(),
        pending: Pending::new(),
        progress: Progress::new(place.0, place.1),
        lessor: Lessor::new(reader.leases()),
        tokens: Tokens::new(),
        watchers: Watchers::new(reader.clone()),
        counters: Counters::new(),
        standing: Mutex::new(Standing::default()),
        alone: Alone::new(),
        settling: Mutex::default(),
        reader,
    });
    Ok(Parts {
        replica: Replica::new(shared.clone()),
        inbox,
        driver: Driver::new(core, shared.clone()),
        applier: Applier::new(store, shared, options.slow_apply),
        durable,
    })
}
