//! [`run`]: one seed, from the founding of a cluster to its last check.
//!
//! First the plan is drawn, then there is trouble, then everything is mended
//! and must work again: every client is answered, all members agree, nothing
//! acknowledged is lost. At the end the power goes everywhere at once.

use std::time::Duration;

use kat::ids::MemberId;
use kat::proto::kat::peer::MessageType;

use crate::dice::Dice;
use crate::member::Member;
use crate::network::{self, Network};
use crate::plan::{MEMBERS, Plan, STEP};
use crate::record::Record;
use crate::requests::PHANTOM;
use crate::trace::Trace;
use crate::workload::Workload;

/// Once everything works again, everybody must have been served by then.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers that every client must get in that time.
const ANSWERS: u64 = 3;

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    /// Answers that clients were given.
    pub answers: u64,
    /// Acknowledged changes.
    pub changes: usize,
    /// Entries of the log.
    pub entries: usize,
    /// Terms that had a raft leader.
    pub leaders: usize,
    /// Members that crashed.
    pub crashes: usize,
}

/// Runs a seed.
///
/// # Errors
/// What a checker found.
pub fn run(seed: u64, trace: Trace) -> (Trace, Result<Sum, String>) {
    let mut world = World::new(seed, trace);
    let outcome = world.live();
    let record = world.record;
    let sum = Sum {
        answers: world.workload.answered(),
        changes: record.kept.len(),
        entries: record.agreement.entries(),
        leaders: record.agreement.leaders(),
        crashes: world.crashes,
    };
    (record.trace, outcome.map(|()| sum))
}

struct World {
    now: Duration,
    dice: Dice,
    plan: Plan,
    network: Network,
    members: Vec<Member>,
    /// When each that is down starts again.
    restarts: [Option<Duration>; MEMBERS],
    next_blow: Option<Duration>,
    workload: Workload,
    record: Record,
    crashes: usize,
}

impl World {
    fn new(seed: u64, trace: Trace) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let ids: [MemberId; MEMBERS] = std::array::from_fn(|at| MemberId(at as u64 + 1));
        let found = |(id, rate): (MemberId, u64)| {
            let mut member = Member::found(id, &ids, &plan, rate, dice.fork());
            member.start();
            member
        };
        let members = ids.into_iter().zip(plan.clocks).map(found).collect();
        let mut record = Record::new(trace);
        record.trace.note(Duration::ZERO, || format!("{plan:?}"));
        World {
            now: Duration::ZERO,
            network: Network::new(dice.fork(), &plan),
            workload: Workload::new(dice.fork(), &plan),
            members,
            restarts: [None; MEMBERS],
            next_blow: plan.blow_every,
            record,
            crashes: 0,
            dice,
            plan,
        }
    }

    fn live(&mut self) -> Result<(), String> {
        while self.now < self.plan.trouble {
            self.maybe_blow();
            self.step()?;
        }
        self.calm();
        let due = self.workload.answered_least() + ANSWERS;
        self.until("a client waits in vain", &|world| world.workload.answered_least() >= due)?;
        self.workload.end();
        self.until("an answer does not come", &|world| world.workload.is_idle())?;
        // A message from the time of trouble may still change the raft leader.
        let over = self.record.leases.over_by(self.now + self.plan.late_max);
        while self.now < over {
            self.step()?;
        }
        self.until("a member does not catch up", &World::is_even)?;
        for member in &self.members {
            let reader = member.reader().expect("everybody runs");
            self.record.leases.check_over(member.id(), reader)?;
        }
        self.check()?;
        for at in 0..MEMBERS {
            self.crash(at);
        }
        for at in 0..MEMBERS {
            self.start(at);
        }
        self.until("a member does not come back", &World::is_even)?;
        self.check()
    }

    /// Lets time pass.
    fn step(&mut self) -> Result<(), String> {
        self.now += STEP;
        for at in 0..MEMBERS {
            if self.restarts[at].is_some_and(|when| when <= self.now) {
                self.start(at);
            }
        }
        for message in self.network.arrive(self.now) {
            let at = self.members.iter().position(|member| member.id().0 == message.to);
            let at = at.expect("members write to members");
            self.record.trace.note(self.now, || network::describe(&message));
            self.members[at].deliver(message);
        }
        let first = self.dice.place(MEMBERS);
        for turn in 0..MEMBERS {
            self.step_member((first + turn) % MEMBERS)?;
        }
        self.workload.step(self.now, &self.members, &mut self.record)
    }

    fn step_member(&mut self, at: usize) -> Result<(), String> {
        let (now, record, member) = (self.now, &mut self.record, &mut self.members[at]);
        let id = member.id();
        let mut wrong = None;
        let step = member.step(now, &mut |index, reader| {
            let agreed = record.agreement.on_applied(id, index, reader);
            let lived = record.leases.on_applied(id, reader, now);
            wrong = wrong.take().or(agreed.and(lived).err());
        });
        wrong.map_or(Ok(()), Err)?;
        for entry in &step.committed {
            let (index, term, size) = (entry.index, entry.term, entry.data.len());
            record.trace.note(now, || format!("{id} committed {index} of {term}, {size} bytes"));
            record.agreement.on_committed(id, entry)?;
        }
        for index in step.applied {
            record.trace.note(now, || format!("{id} applied {index}"));
        }
        if let Some(replica) = member.replica() {
            record.agreement.on_standing(id, &replica.standing())?;
        }
        let mut faints = false;
        for message in &step.messages {
            if message.to >= PHANTOM {
                self.members[at].lose(message);
                continue;
            }
            self.network.send(now, message);
            faints |= match message.r#type() {
                MessageType::MsgRequestVoteResponse => self.dice.chance(self.plan.faint),
                MessageType::MsgAppendResponse => self.dice.chance(self.plan.faint / 10),
                _ => false,
            };
        }
        if faints {
            // Whatever it said it must still know.
            self.crash(at);
            self.restarts[at] = Some(now + self.dice.time(Duration::from_millis(50)));
        }
        Ok(())
    }

    fn until(&mut self, else_what: &str, done: &dyn Fn(&World) -> bool) -> Result<(), String> {
        let patience = self.now + PATIENCE;
        while !done(self) {
            if self.now > patience {
                let standings = self.members.iter().map(|member| {
                    let replica = member.replica().expect("everybody runs");
                    format!("\n    {} {:?}", member.id(), replica.standing())
                });
                return Err(format!("{else_what}:{}", standings.collect::<String>()));
            }
            self.step()?;
        }
        Ok(())
    }

    /// Whether all members have applied the same, and all that there is.
    fn is_even(&self) -> bool {
        let standings: Vec<_> = self
            .members
            .iter()
            .map(|member| member.replica().expect("everybody runs").standing())
            .collect();
        let Some(leader) = standings.iter().find(|standing| standing.is_leader) else {
            return false;
        };
        // Behind the first commit of its own term a raft leader knows them all.
        let own = self.record.agreement.term_at(leader.commit) == Some(leader.term);
        own && standings
            .iter()
            .all(|standing| standing.applied == leader.commit && standing.term == leader.term)
    }

    fn check(&mut self) -> Result<(), String> {
        for member in &self.members {
            let reader = member.reader().expect("everybody runs");
            self.record.agreement.compare(member.id(), reader.applied(), reader)?;
            self.record.kept.check(reader)?;
        }
        self.record.linear.check()
    }

    fn maybe_blow(&mut self) {
        if self.next_blow.is_none_or(|when| when > self.now) {
            return;
        }
        self.next_blow = self.plan.blow_every.map(|every| self.now + self.dice.time(every));
        let (at, other) = (self.dice.place(MEMBERS), self.dice.place(MEMBERS));
        let kind = self.dice.between(1, 7);
        self.record.trace.note(self.now, || format!("blow {kind} to {at} and {other}"));
        match kind {
            1 | 2 if self.members[at].replica().is_some() => {
                self.crash(at);
                // Some come back within an election, some are missed.
                let longest = [100, 1_000, 6_000][self.dice.place(3)];
                self.restarts[at] = Some(self.now + self.dice.time(Duration::from_millis(longest)));
            }
            3 => (0..MEMBERS).filter(|other| *other != at).for_each(|other| {
                self.cut(at, other);
                self.cut(other, at);
            }),
            4 => self.cut(at, other),
            5 => self.network.mend(),
            6 => {
                let until = self.now + self.dice.time(Duration::from_secs(4));
                self.members[at].stall(until);
            }
            _ => {
                if let Some(replica) = self.members[at].replica() {
                    replica.transfer_leader(self.members[other].id());
                }
            }
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(self.members[from].id().0, self.members[to].id().0);
    }

    fn crash(&mut self, at: usize) {
        let id = self.members[at].id();
        self.record.trace.note(self.now, || format!("{id} crashes"));
        self.workload.on_crash(at);
        self.record.leases.on_crash(id);
        self.members[at].crash();
        self.crashes += 1;
    }

    fn start(&mut self, at: usize) {
        self.members[at].start();
        self.restarts[at] = None;
        let member = &self.members[at];
        let applied = member.reader().expect("it runs").applied();
        self.record.trace.note(self.now, || format!("{} starts at {applied}", member.id()));
    }

    /// Mends everything.
    fn calm(&mut self) {
        self.plan.faint = 0;
        self.record.trace.note(self.now, || "calm".to_owned());
        self.network.calm();
        for at in 0..MEMBERS {
            self.members[at].calm();
            if self.members[at].replica().is_none() {
                self.start(at);
            }
        }
    }
}
