//! Each key is a register, and its history must fit into one line.
//!
//! The search of Wing and Gong (1993) with Lowe's memory of what was tried: an
//! operation takes effect at one moment between its call and its answer; one
//! that was never answered at any later moment, or not at all. Only values are
//! looked at, no revisions.

use std::collections::{BTreeMap, BTreeSet};

/// What a key holds; every write has its own.
pub type Value = u64;

/// A key's history is at most this long, so that a set of operations is a word.
const OPS_MAX: usize = 128;

/// What a client asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The value.
    Get,
    /// To hold a value.
    Put(Value),
    /// To hold nothing.
    Delete,
    /// To hold the second if it holds the first, else what it holds.
    Swap(Option<Value>, Value),
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// It was found.
    Saw(Option<Value>),
}

/// A call and its answer. Moments are counted, no two alike.
#[derive(Clone, Copy, Debug)]
struct Op {
    /// What was asked.
    call: Call,
    /// When.
    called: u64,
    /// When it was answered, and how.
    answered: Option<(u64, Answer)>,
}

/// The histories, by key.
#[derive(Default)]
pub struct Linear {
    keys: BTreeMap<Vec<u8>, Vec<Op>>,
}

impl Linear {
    /// A call, which may never be answered; the handle is for its answer.
    pub fn call(&mut self, key: &[u8], call: Call, now: u64) -> usize {
        let ops = self.keys.entry(key.to_vec()).or_default();
        ops.push(Op { call, called: now, answered: None });
        ops.len() - 1
    }

    /// The answer to a call.
    pub fn answer(&mut self, key: &[u8], op: usize, answer: Answer, now: u64) {
        self.keys.get_mut(key).expect("it was called")[op].answered = Some((now, answer));
    }

    /// Whether a key can have another operation.
    pub fn has_room(&self, key: &[u8]) -> bool {
        self.keys.get(key).is_none_or(|ops| ops.len() < OPS_MAX)
    }

    /// Whether every history fits into one line.
    pub fn check(&self) -> Result<(), String> {
        for (key, ops) in &self.keys {
            if !is_linearizable(ops) {
                let key = String::from_utf8_lossy(key);
                let lines: Vec<_> = ops.iter().map(|op| format!("    {op:?}")).collect();
                return Err(format!("{key} is not linearizable:\n{}", lines.join("\n")));
            }
        }
        Ok(())
    }
}

/// Whether one register can have answered so.
fn is_linearizable(ops: &[Op]) -> bool {
    let seen = |value: Value| {
        ops.iter().any(|op| match (op.answered, op.call) {
            (Some((_, Answer::Saw(saw))), _) => saw == Some(value),
            (_, Call::Swap(from, _)) => from == Some(value),
            _ => false,
        })
    };
    // A write that was neither answered nor seen by anybody can be left out:
    // whoever looked in between would have seen it.
    let matters = |op: &&Op| match (op.answered, op.call) {
        (Some(_), _) | (None, Call::Delete) => true,
        (None, Call::Put(value) | Call::Swap(_, value)) => seen(value),
        (None, Call::Get) => false,
    };
    let ops: Vec<Op> = ops.iter().filter(matters).copied().collect();
    assert!(ops.len() <= OPS_MAX, "a set of operations is a word");
    search(&ops, 0, None, &mut BTreeSet::new())
}

type Tried = BTreeSet<(u128, Option<Value>)>;

fn search(ops: &[Op], done: u128, holds: Option<Value>, tried: &mut Tried) -> bool {
    let open = || ops.iter().enumerate().filter(|(at, _)| done & (1 << at) == 0);
    // The next one was called before any that is open was answered.
    let answers = open().filter_map(|(_, op)| op.answered.map(|(when, _)| when));
    let Some(first_answer) = answers.min() else { return true };
    open().filter(|(_, op)| op.called < first_answer).any(|(at, op)| {
        let done = done | 1 << at;
        effect(op, holds)
            .is_some_and(|holds| tried.insert((done, holds)) && search(ops, done, holds, tried))
    })
}

/// What the key holds afterwards; nothing if it cannot have happened here.
fn effect(op: &Op, holds: Option<Value>) -> Option<Option<Value>> {
    let answer = op.answered.map(|(_, answer)| answer);
    match (op.call, answer) {
        (Call::Put(value), _) => Some(Some(value)),
        (Call::Delete, _) => Some(None),
        (Call::Swap(from, to), None | Some(Answer::Done)) => (holds == from).then_some(Some(to)),
        (Call::Swap(from, _), Some(Answer::Saw(saw))) => {
            (holds == saw && saw != from).then_some(holds)
        }
        (Call::Get, Some(Answer::Saw(saw))) => (holds == saw).then_some(holds),
        (Call::Get, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(call: Call, called: u64, answered: u64, answer: Answer) -> Op {
        Op { call, called, answered: Some((answered, answer)) }
    }

    fn lost(call: Call, called: u64) -> Op {
        Op { call, called, answered: None }
    }

    const fn saw(value: Value) -> Answer {
        Answer::Saw(Some(value))
    }

    #[test]
    fn a_read_behind_a_write_sees_it() {
        let put = op(Call::Put(1), 1, 2, Answer::Done);
        assert!(is_linearizable(&[put, op(Call::Get, 3, 4, saw(1))]));
        assert!(!is_linearizable(&[put, op(Call::Get, 3, 4, Answer::Saw(None))]));
    }

    #[test]
    fn a_read_beside_a_write_sees_it_or_not() {
        let put = op(Call::Put(1), 1, 5, Answer::Done);
        assert!(is_linearizable(&[put, op(Call::Get, 2, 3, saw(1))]));
        assert!(is_linearizable(&[put, op(Call::Get, 2, 3, Answer::Saw(None))]));
        let back = [op(Call::Get, 2, 3, saw(1)), op(Call::Get, 4, 6, Answer::Saw(None))];
        assert!(!is_linearizable(&[put, back[0], back[1]]), "a value seen does not go away");
    }

    #[test]
    fn a_lost_write_may_come_late_but_not_twice() {
        let (put, lost) = (op(Call::Put(2), 3, 4, Answer::Done), lost(Call::Put(1), 1));
        assert!(is_linearizable(&[lost, put, op(Call::Get, 5, 6, saw(2))]));
        assert!(is_linearizable(&[lost, put, op(Call::Get, 5, 6, saw(1))]));
        let twice = [op(Call::Get, 5, 6, saw(1)), op(Call::Get, 7, 8, saw(2))];
        assert!(!is_linearizable(&[lost, put, twice[0], twice[1]]));
    }

    #[test]
    fn one_of_two_swaps_wins() {
        let first = op(Call::Swap(None, 1), 1, 4, Answer::Done);
        assert!(is_linearizable(&[first, op(Call::Swap(None, 2), 2, 3, saw(1))]));
        assert!(!is_linearizable(&[first, op(Call::Swap(None, 2), 2, 3, Answer::Done)]));
    }
}
