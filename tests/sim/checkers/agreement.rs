//! All members say the same: one raft leader in a term, one entry at an index,
//! one state behind it. Nothing of it changes with a restart.

use std::collections::BTreeMap;

use kat::consensus::Committed;
use kat::ids::{LogIndex, MemberId, Term};
use kat::replica::Standing;
use kat::store::Reader;

/// The state is compared behind every so many entries.
const COMPARE_EVERY: u64 = 16;

/// What any member ever said.
#[derive(Default)]
pub struct Agreement {
    leaders: BTreeMap<u64, MemberId>,
    entries: BTreeMap<LogIndex, Committed>,
    states: BTreeMap<LogIndex, String>,
}

impl Agreement {
    /// A member says where it stands.
    pub fn on_standing(&mut self, member: MemberId, standing: &Standing) -> Result<(), String> {
        if !standing.is_leader {
            return Ok(());
        }
        let term = standing.term.0;
        let leader = *self.leaders.entry(term).or_insert(member);
        if leader == member {
            return Ok(());
        }
        Err(format!("{leader} and {member} both lead in term {term}"))
    }

    /// A member says what was committed.
    pub fn on_committed(&mut self, member: MemberId, entry: &Committed) -> Result<(), String> {
        let held = self.entries.entry(entry.index).or_insert_with(|| entry.clone());
        if held == entry {
            return Ok(());
        }
        Err(format!("{member} committed {entry:?}, another member {held:?}"))
    }

    /// A member's store now stands at `index`.
    pub fn on_applied(
        &mut self,
        member: MemberId,
        index: LogIndex,
        reader: &Reader,
    ) -> Result<(), String> {
        if reader.applied() != index {
            return Err(format!("{member} applied {index} and says {}", reader.applied()));
        }
        if !index.0.is_multiple_of(COMPARE_EVERY) {
            return Ok(());
        }
        self.compare(member, index, reader)
    }

    /// Compares the state of a member with that of all before it at this index.
    pub fn compare(
        &mut self,
        member: MemberId,
        index: LogIndex,
        reader: &Reader,
    ) -> Result<(), String> {
        let state = describe(reader);
        let held = self.states.entry(index).or_insert_with(|| state.clone());
        if *held == state {
            return Ok(());
        }
        Err(format!("at index {index} {member} holds\n    {state}\n  another member\n    {held}"))
    }

    /// The term of the entry at an index.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        self.entries.get(&index).map(|entry| entry.term)
    }

    /// How many raft leaders there were.
    pub fn leaders(&self) -> usize {
        self.leaders.len()
    }

    /// How many entries there are.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }
}

fn describe(reader: &Reader) -> String {
    let mut leases = reader.leases();
    leases.sort();
    format!(
        "revision {} compacted {} hash {:?} leases {leases:?} members {:?} alarms {:?}",
        reader.revision(),
        reader.compact_revision(),
        reader.hash_kv(0).map(|hashed| hashed.hash),
        reader.membership(),
        reader.alarms(),
    )
}
