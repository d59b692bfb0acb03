//! [`Member`]: one member of the cluster, its threads replaced by calls.
//!
//! The parts are those that `replica::start` gives threads to; a step lets each
//! of them do a little, as the dice say.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kat::consensus::{Committed, Identity};
use kat::ids::{ClusterId, LogIndex, MemberId};
use kat::proto::etcdserverpb;
use kat::proto::kat::peer;
use kat::replica::{self, Clock, Input, Outbox, Parts, Replica, Timings};
use kat::store::{Genesis, Reader};

use crate::dice::Dice;
use crate::disk::Disk;
use crate::plan::Plan;

/// The clock of raft and how long a caller waits for a commit.
pub const TIMINGS: Timings = Timings {
    heartbeat: Duration::from_millis(100),
    election_ticks: 10,
    request_timeout: Duration::from_secs(5),
};

const CLUSTER: ClusterId = ClusterId(0xca7);

/// A clock that the world sets.
#[derive(Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// What a step of a member leaves for the world.
#[derive(Default)]
pub struct Step {
    /// To the network.
    pub messages: Vec<peer::Message>,
    /// What it learnt to be committed.
    pub committed: Vec<Committed>,
    /// What its store did.
    pub applied: Vec<LogIndex>,
}

/// One member, running or down.
pub struct Member {
    id: MemberId,
    rate: u64,
    clock: Arc<SetClock>,
    disk: Disk,
    dice: Dice,
    sync_max: Duration,
    stalled_until: Duration,
    apply_pause: u64,
    flush: u64,
    running: Option<Running>,
}

struct Running {
    parts: Parts,
    inputs: Vec<Input>,
    committed: VecDeque<Committed>,
}

impl Member {
    /// A member at the beginning of its cluster.
    pub fn found(id: MemberId, others: &[MemberId], plan: &Plan, rate: u64, dice: Dice) -> Member {
        let disk = Disk::new();
        let (index, term) = replica::GENESIS;
        let genesis = Genesis {
            cluster: CLUSTER,
            members: others.iter().map(|member| row(*member)).collect(),
            index,
            term,
        };
        replica::found(&disk.engines(), Identity { cluster: CLUSTER, member: id }, &genesis);
        Member {
            id,
            rate,
            clock: Arc::default(),
            disk,
            dice,
            sync_max: plan.sync_max,
            stalled_until: Duration::ZERO,
            apply_pause: plan.apply_pause,
            flush: plan.flush,
            running: None,
        }
    }

    /// Opens what is on its disk.
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "{} runs", self.id);
        // Other ticks for each member, because raft's own dice have one side;
        // near enough for two to campaign at once.
        let ticks = TIMINGS.election_ticks + self.dice.place(2) * 3;
        let own = usize::try_from(self.id.0 % 3).expect("a remainder of 3");
        let options = replica::Options {
            timings: TIMINGS,
            request_bytes_max: 1 << 20,
            store: kat::store::Options::default(),
            slow_apply: Duration::from_secs(1),
            election_ticks_exact: Some(ticks + own),
            force_new_cluster: false,
        };
        let parts = replica::open(self.disk.engines(), self.clock.clone(), &options);
        let parts = parts.unwrap_or_else(|why| panic!("member {} does not start: {why}", self.id));
        self.running = Some(Running { parts, inputs: Vec::new(), committed: VecDeque::new() });
    }

    /// Ends without a warning; what was not on the disk is gone.
    pub fn crash(&mut self) {
        assert!(self.running.take().is_some(), "{} is down", self.id);
        self.disk.crash(&mut self.dice);
    }

    /// Its disk does nothing until then.
    pub fn stall(&mut self, until: Duration) {
        self.stalled_until = until;
    }

    /// From now on it has all the time that it wants.
    pub fn calm(&mut self) {
        self.stalled_until = Duration::ZERO;
        self.sync_max = Duration::from_millis(5);
        self.apply_pause = 0;
    }

    /// Its id.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Its handle, while it runs.
    pub fn replica(&self) -> Option<&Replica> {
        self.running.as_ref().map(|running| &running.parts.replica)
    }

    /// Its store, while it runs.
    pub fn reader(&self) -> Option<&Reader> {
        self.replica().map(Replica::reader)
    }

    /// Hears from another member; a member that is down hears nothing.
    pub fn deliver(&mut self, message: peer::Message) {
        if let Some(running) = &mut self.running {
            running.inputs.push(Input::Message(message));
        }
    }

    /// A message of its own came to nobody.
    pub fn lose(&mut self, message: &peer::Message) {
        if let Some(running) = &mut self.running {
            running.parts.driver.lost(MemberId(message.to));
        }
    }

    /// Does what there is to do. `seen` looks at the store behind each entry.
    pub fn step(&mut self, now: Duration, seen: &mut dyn FnMut(LogIndex, &Reader)) -> Step {
        let micros = u64::try_from(now.as_micros()).expect("the simulation is short");
        self.clock.0.store(micros * self.rate / 1000, Ordering::Relaxed);
        let mut step = Step::default();
        if self.running.is_some() {
            self.write(now, &mut step);
            self.drive(&mut step);
            self.apply(&mut step, seen);
            self.maybe_flush();
        }
        step
    }

    fn write(&mut self, now: Duration, step: &mut Step) {
        let running = self.running.as_mut().expect("only a running member writes");
        if now < self.stalled_until {
            return;
        }
        let takes = self.dice.time(self.sync_max);
        if let Some(mut persisted) = self.disk.turn(now, takes) {
            step.messages.append(&mut persisted.messages);
            running.inputs.push(Input::Persisted(persisted));
        }
    }

    fn drive(&mut self, step: &mut Step) {
        let running = self.running.as_mut().expect("only a running member drives");
        let now = self.clock.now();
        let mut inputs = std::mem::take(&mut running.inputs);
        inputs.extend(running.parts.inbox.take(Duration::ZERO));
        if inputs.is_empty() && !running.parts.driver.patience(now).is_zero() {
            return;
        }
        let Outbox { messages, writes, committed, stop } = running.parts.driver.turn(inputs, now);
        assert!(!stop, "nobody asked {} to stop", self.id);
        step.messages.extend(messages);
        step.committed.clone_from(&committed);
        running.committed.extend(committed);
        self.disk.write(writes);
    }

    fn apply(&mut self, step: &mut Step, seen: &mut dyn FnMut(LogIndex, &Reader)) {
        let running = self.running.as_mut().expect("only a running member applies");
        if self.dice.chance(self.apply_pause) {
            return;
        }
        for _ in 0..self.dice.between(1, 20) {
            let Some(entry) = running.committed.pop_front() else { break };
            let index = entry.index;
            running.parts.applier.turn(vec![entry]);
            seen(index, running.parts.replica.reader());
            step.applied.push(index);
        }
        running.parts.applier.maybe_purge();
    }

    fn maybe_flush(&mut self) {
        let running = self.running.as_mut().expect("only a running member flushes");
        if self.dice.chance(self.flush) {
            let applied = running.parts.replica.reader().applied();
            self.disk.flush();
            running.inputs.push(Input::Durable(applied));
        }
    }
}

fn row(member: MemberId) -> etcdserverpb::Member {
    etcdserverpb::Member {
        id: member.0,
        name: format!("node-{member}"),
        peer_ur_ls: vec![format!("http://127.0.0.1:{}", 2380 + member.0)],
        ..etcdserverpb::Member::default()
    }
}
