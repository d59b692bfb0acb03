//! [`Network`]: the wires between the members.
//!
//! Messages travel as the bytes that they have on a real wire. Each is lost,
//! doubled or late on its own, which is harder than what members promise one
//! another: an ordered stream per direction. One promise is kept all the same:
//! a forwarded proposal arrives at most once, because a store that meets the
//! same command twice carries it out twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kat::proto::kat::peer::{Message, MessageType};
use prost::Message as _;

use crate::dice::Dice;
use crate::plan::Plan;

/// A message that nothing delays takes at most so long.
const DELAY_MAX: Duration = Duration::from_millis(12);

/// The wires, and what is on them.
pub struct Network {
    dice: Dice,
    loss: u64,
    duplicate: u64,
    late: u64,
    late_max: Duration,
    /// Wires that carry nothing, by sender and receiver.
    cut: BTreeSet<(u64, u64)>,
    /// By time of arrival, and in order of sending among equals.
    travelling: BTreeMap<(Duration, u64), Vec<u8>>,
    sent: u64,
}

impl Network {
    /// A network as planned.
    pub fn new(dice: Dice, plan: &Plan) -> Network {
        Network {
            dice,
            loss: plan.loss,
            duplicate: plan.duplicate,
            late: plan.late,
            late_max: plan.late_max,
            cut: BTreeSet::new(),
            travelling: BTreeMap::new(),
            sent: 0,
        }
    }

    /// From now on everything arrives, once and soon; what is late stays late.
    pub fn calm(&mut self) {
        (self.loss, self.duplicate, self.late) = (0, 0, 0);
        self.mend();
    }

    /// Cuts one direction of a wire.
    pub fn cut(&mut self, from: u64, to: u64) {
        self.cut.insert((from, to));
    }

    /// Puts all wires together again.
    pub fn mend(&mut self) {
        self.cut.clear();
    }

    /// Takes a message.
    pub fn send(&mut self, now: Duration, message: &Message) {
        if self.cut.contains(&(message.from, message.to)) || self.dice.chance(self.loss) {
            return;
        }
        let bytes = message.encode_to_vec();
        let twice = message.r#type() != MessageType::MsgPropose;
        if twice && self.dice.chance(self.duplicate) {
            self.carry(now, bytes.clone());
        }
        self.carry(now, bytes);
    }

    fn carry(&mut self, now: Duration, bytes: Vec<u8>) {
        let late = self.dice.chance(self.late);
        let longest = if late { self.late_max } else { DELAY_MAX };
        self.sent += 1;
        self.travelling.insert((now + self.dice.time(longest), self.sent), bytes);
    }

    /// What arrives now. A wire that was cut in the meantime drops it.
    pub fn arrive(&mut self, now: Duration) -> Vec<Message> {
        let later = self.travelling.split_off(&(now, u64::MAX));
        let arrived = std::mem::replace(&mut self.travelling, later).into_values();
        let decode =
            |bytes: Vec<u8>| Message::decode(&*bytes).expect("a member's message is whole");
        let messages = arrived.map(decode);
        messages.filter(|message| !self.cut.contains(&(message.from, message.to))).collect()
    }
}

/// A message in a line.
pub fn describe(message: &Message) -> String {
    let Message { from, to, term, index, commit, reject, .. } = message;
    let (kind, entries) = (message.r#type(), message.entries.len());
    let reject = if *reject { " rejects" } else { "" };
    format!("{from} to {to} {kind:?} term {term} index {index} +{entries} commit {commit}{reject}")
}
