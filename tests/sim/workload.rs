//! What the clients do: a few at a time, each one operation after the other,
//! at any member, and what they make of the answers.
//!
//! Most operations are on a few registers, for which every client remembers
//! what it saw, so that its swaps have a chance. The rest are pairs of keys
//! written in one txn, leases with keys, and compactions.

use std::time::Duration;

use kat::ids::{LeaseId, LogIndex};
use kat::proto::kat::log::command::Request;
use kat::replica::{Failure, Outcome, Replica};
use kat::store::{Caller, Reader, Rejection, Reply};
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::checkers::{Answer, Call, Value};
use crate::dice::Dice;
use crate::member::{Member, TIMINGS};
use crate::plan::Plan;
use crate::record::Record;
use crate::requests;

/// Registers in use at a time.
const REGISTERS: usize = 3;

/// All clients.
pub struct Workload {
    dice: Dice,
    pause: Duration,
    clients: Vec<Client>,
    registers: Vec<Vec<u8>>,
    count: u64,
    ended: bool,
}

#[derive(Default)]
struct Client {
    task: Option<Task>,
    next: Duration,
    answered: u64,
    lease: Option<LeaseId>,
}

struct Task {
    member: usize,
    what: What,
    waits: Waits,
    /// No answer may be older.
    floor: i64,
    deadline: Duration,
}

/// What a client is about.
#[derive(Clone, Debug)]
enum What {
    /// An operation on a register; the last is its place in the history.
    Register(Vec<u8>, Call, usize),
    PutPair(Value),
    GetPair,
    Grant(LeaseId),
    /// To put a key with a lease.
    Attach(Vec<u8>, Value),
    Compact,
    /// Of members that never come.
    Members(Request),
}

enum Waits {
    Outcome(Receiver<Outcome>),
    Index(Receiver<LogIndex>),
    Applied(LogIndex),
}

/// How a wait went on.
enum Progress {
    Waits,
    /// Nobody will ever know.
    Lost,
    Ended(Outcome),
    Readable,
}

impl Workload {
    /// Clients as planned.
    pub fn new(dice: Dice, plan: &Plan) -> Workload {
        let clients = std::iter::repeat_with(Client::default).take(plan.clients).collect();
        let registers = (0..REGISTERS).map(|at| format!("register/{at}/0").into_bytes()).collect();
        Workload { dice, pause: plan.pause, clients, registers, count: 0, ended: false }
    }

    /// Nobody begins anything any more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nobody waits for anything.
    pub fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| client.task.is_none())
    }

    /// The fewest answers that any client has had.
    pub fn answered_least(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).min().expect("there are clients")
    }

    /// How many answers there were.
    pub fn answered(&self) -> u64 {
        self.clients.iter().map(|client| client.answered).sum()
    }

    /// A member went down: whoever waits there waits in vain.
    pub fn on_crash(&mut self, member: usize) {
        for client in &mut self.clients {
            client.task.take_if(|task| task.member == member);
        }
    }

    /// Lets every client go on.
    pub fn step(
        &mut self,
        now: Duration,
        members: &[Member],
        record: &mut Record,
    ) -> Result<(), String> {
        for at in 0..self.clients.len() {
            match self.clients[at].task.take() {
                Some(task) => self.go_on(at, task, now, members, record)?,
                None if now >= self.clients[at].next && !self.ended => {
                    self.begin(at, now, members, record);
                    let pause = self.dice.time(self.pause);
                    self.clients[at].next = now + pause;
                }
                None => {}
            }
        }
        Ok(())
    }

    fn begin(&mut self, at: usize, now: Duration, members: &[Member], record: &mut Record) {
        let member = self.dice.place(members.len());
        let Some(replica) = members[member].replica() else { return };
        let what = self.choose(at, members[member].reader(), record);
        let (floor, deadline) = (record.order.floor(), now + TIMINGS.request_timeout * 2);
        let waits = match self.request(at, &what, now, record) {
            Some(request) => match submit(replica, &what, request) {
                Ok(outcome) => Waits::Outcome(outcome),
                // It never left; nobody will hear of it, as of one that is lost.
                Err(_) => return,
            },
            None => Waits::Index(replica.read_index()),
        };
        record.trace.note(now, || format!("client {at} at {} {what:?}", members[member].id()));
        self.clients[at].task = Some(Task { member, what, waits, floor, deadline });
    }

    fn choose(&mut self, at: usize, reader: Option<&Reader>, record: &mut Record) -> What {
        self.count += 1;
        let value = self.count;
        match self.dice.between(1, 100) {
            1..=70 => self.choose_register(value, record),
            71..=78 => What::PutPair(value),
            79..=88 => What::GetPair,
            89..=92 => What::Grant(LeaseId(i64::try_from(value).expect("a short run"))),
            93..=98 => match self.clients[at].lease {
                Some(lease) => What::Attach(requests::lease_key(lease, value), value),
                None => What::GetPair,
            },
            99 => What::Compact,
            _ => match reader {
                Some(reader) => What::Members(requests::change_members(reader, value)),
                None => What::GetPair,
            },
        }
    }

    fn choose_register(&mut self, value: Value, record: &mut Record) -> What {
        let place = self.dice.place(REGISTERS);
        if !record.linear.has_room(&self.registers[place]) {
            self.registers[place] = format!("register/{place}/{value}").into_bytes();
        }
        let key = self.registers[place].clone();
        let call = match self.dice.between(1, 100) {
            1..=45 => Call::Get,
            46..=75 => Call::Put(value),
            76..=80 => Call::Delete,
            _ => Call::Swap(record.last_seen(&key), value),
        };
        let moment = record.moment();
        let op = record.linear.call(&key, call, moment);
        What::Register(key, call, op)
    }

    /// The change that is asked for; a read has none.
    fn request(
        &mut self,
        at: usize,
        what: &What,
        now: Duration,
        record: &mut Record,
    ) -> Option<Request> {
        match what {
            What::Register(_, Call::Get, _) | What::GetPair => None,
            What::Register(key, Call::Put(value), _) => Some(requests::put(key, *value, None)),
            What::Register(key, Call::Delete, _) => Some(requests::delete(key)),
            What::Register(key, Call::Swap(from, to), _) => Some(requests::swap(key, *from, *to)),
            What::PutPair(value) => Some(requests::put_pair(*value)),
            What::Grant(id) => {
                let ttl = self.dice.between(2, 9);
                record.leases.on_ask(*id, Duration::from_secs(ttl), now);
                Some(requests::grant(*id, ttl))
            }
            What::Attach(key, value) => Some(requests::put(key, *value, self.clients[at].lease)),
            What::Members(request) => Some(request.clone()),
            What::Compact => {
                let back = i64::try_from(self.dice.between(1, 100)).expect("a small number");
                Some(requests::compact((record.order.floor() - back).max(1)))
            }
        }
    }

    fn go_on(
        &mut self,
        at: usize,
        mut task: Task,
        now: Duration,
        members: &[Member],
        record: &mut Record,
    ) -> Result<(), String> {
        let reader = members[task.member].reader().expect("its clients know of a crash");
        let answer = match task.progress(now, reader) {
            Progress::Waits => {
                self.clients[at].task = Some(task);
                return Ok(());
            }
            Progress::Lost => None,
            Progress::Ended(outcome) => learn(&task.what, task.floor, outcome, record)?,
            Progress::Readable => Some(read(&task.what, task.floor, reader, record)?),
        };
        record.trace.note(now, || format!("client {at} {:?} {answer:?}", task.what));
        let client = &mut self.clients[at];
        if let Some(answer) = answer {
            client.answered += 1;
            if let What::Register(key, _, op) = &task.what {
                let moment = record.moment();
                record.linear.answer(key, *op, answer, moment);
            }
            if let What::Grant(id) = task.what {
                client.lease = Some(id);
            }
        }
        Ok(())
    }
}

fn submit(replica: &Replica, what: &What, request: Request) -> Result<Receiver<Outcome>, Failure> {
    match what {
        What::Members(_) => replica.submit_change(&Caller::default(), request),
        _ => replica.submit(&Caller::default(), request),
    }
}

impl Task {
    fn progress(&mut self, now: Duration, reader: &Reader) -> Progress {
        if let Waits::Index(index) = &mut self.waits
            && let Ok(index) = index.try_recv()
        {
            self.waits = Waits::Applied(index);
        }
        match &mut self.waits {
            Waits::Outcome(outcome) => match outcome.try_recv() {
                Ok(outcome) => Progress::Ended(outcome),
                Err(TryRecvError::Empty) if now < self.deadline => Progress::Waits,
                Err(_) => Progress::Lost,
            },
            Waits::Applied(index) if reader.applied() >= *index => Progress::Readable,
            _ if now < self.deadline => Progress::Waits,
            _ => Progress::Lost,
        }
    }
}

/// What the answer to a change says; nothing if it does not say whether it
/// happened.
fn learn(
    what: &What,
    floor: i64,
    outcome: Outcome,
    record: &mut Record,
) -> Result<Option<Answer>, String> {
    let reply = match (what, outcome) {
        (What::Members(_), Ok(Reply::Members(_)) | Err(Failure::Rejected(_)))
        | (_, Err(Failure::Unavailable(_)))
        | (What::Attach(..), Err(Failure::Rejected(Rejection::LeaseNotFound)))
        | (What::Compact, Err(Failure::Rejected(Rejection::Compacted { .. }))) => return Ok(None),
        (_, Ok(reply)) => reply,
        (_, Err(why)) => return Err(format!("{what:?} was refused: {why}")),
    };
    let revision = requests::revision(&reply);
    match (what, reply) {
        (What::Register(key, Call::Put(value), _) | What::Attach(key, value), Reply::Put(_)) => {
            record.on_change(key, floor, revision, Some(*value))?;
        }
        (What::Register(key, ..), Reply::DeleteRange(response)) if response.deleted > 0 => {
            record.on_change(key, floor, revision, None)?;
        }
        (What::Register(key, Call::Swap(_, to), _), Reply::Txn(response)) => {
            if !response.succeeded {
                let saw = requests::seen_by_txn(&response);
                record.on_read(key, floor, revision, saw)?;
                return Ok(Some(Answer::Saw(saw)));
            }
            record.on_change(key, floor, revision, Some(*to))?;
        }
        (What::PutPair(value), Reply::Txn(_)) => {
            record.order.on_answer(floor, revision, true)?;
            for key in requests::PAIR {
                record.kept.on_change(key.as_bytes(), revision, Some(*value));
            }
        }
        _ => record.order.on_answer(floor, revision, false)?,
    }
    Ok(Some(Answer::Done))
}

/// What the store of the member that was asked says, now that it may be read.
fn read(what: &What, floor: i64, reader: &Reader, record: &mut Record) -> Result<Answer, String> {
    let What::Register(key, ..) = what else {
        let (revision, pair) = requests::read_pair(reader)?;
        record.order.on_answer(floor, revision, false)?;
        return match pair[..] {
            [] => Ok(Answer::Saw(None)),
            [first, second] if first == second => Ok(Answer::Saw(Some(first.0))),
            _ => Err(format!("half of a txn was seen: {pair:?}")),
        };
    };
    let (revision, saw) = requests::read(reader, key)?;
    record.on_read(key, floor, revision, saw)?;
    Ok(Answer::Saw(saw))
}
