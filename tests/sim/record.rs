//! [`Record`]: everything that the checkers were told, in one place.

use std::collections::BTreeMap;

use crate::checkers::{Agreement, Kept, Leases, Linear, Order, Value};
use crate::trace::Trace;

/// The checkers, the trace, and what clients tell one another.
#[derive(Default)]
pub struct Record {
    /// Histories of registers.
    pub linear: Linear,
    /// Revisions and time.
    pub order: Order,
    /// Acknowledged changes.
    pub kept: Kept,
    /// What members agree on.
    pub agreement: Agreement,
    /// Leases.
    pub leases: Leases,
    /// What happened.
    pub trace: Trace,
    last_seen: BTreeMap<Vec<u8>, Option<Value>>,
    moments: u64,
}

impl Record {
    /// A record with nothing in it yet.
    pub fn new(trace: Trace) -> Record {
        Record { trace, ..Record::default() }
    }

    /// The next moment.
    pub fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }

    /// What a register held when anybody last looked.
    pub fn last_seen(&self, key: &[u8]) -> Option<Value> {
        self.last_seen.get(key).copied().flatten()
    }

    /// A change of a key was acknowledged.
    pub fn on_change(
        &mut self,
        key: &[u8],
        floor: i64,
        revision: i64,
        value: Option<Value>,
    ) -> Result<(), String> {
        self.last_seen.insert(key.to_vec(), value);
        self.kept.on_change(key, revision, value);
        self.order.on_answer(floor, revision, true)
    }

    /// A key was read.
    pub fn on_read(
        &mut self,
        key: &[u8],
        floor: i64,
        revision: i64,
        value: Option<Value>,
    ) -> Result<(), String> {
        self.last_seen.insert(key.to_vec(), value);
        self.order.on_answer(floor, revision, false)
    }
}
