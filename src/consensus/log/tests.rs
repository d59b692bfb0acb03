//! What a log keeps, what it forgets, and what it refuses to open.

use super::*;
use crate::engine::{Memory, Options};

const OURS: Identity = Identity { cluster: ClusterId(7), member: MemberId(1) };

fn new_engine() -> Arc<Memory> {
    let engine = Arc::new(Memory::new(Options { families: FAMILIES, wal: true }));
    Log::create(&*engine, OURS, LogIndex(1), Term(1));
    engine
}

fn open(engine: &Arc<Memory>, applied: u64) -> Result<Log, Damaged> {
    Log::open(engine.clone(), &[OURS.member], LogIndex(applied))
}

fn refusal(engine: &Arc<Memory>, applied: u64) -> String {
    open(engine, applied).err().map_or("opened".to_owned(), |why| why.to_string())
}

/// Entries by index and term.
fn entries(list: &[(u64, u64)]) -> Vec<Entry> {
    let entry = |(index, term)| Entry { index, term, ..Entry::default() };
    list.iter().copied().map(entry).collect()
}

/// As one turn of raft leaves them, on disk when it returns.
fn append(log: &mut Log, list: &[(u64, u64)]) {
    let entries = entries(list);
    let replaces = log.append(&entries);
    let write = LogWrite { number: 1, entries, replaces, sync: true, ..LogWrite::default() };
    let persisted = persist(&*log.engine, vec![write]);
    let (index, term) = persisted.last.expect("entries were written");
    log.on_persisted(index, term);
}

fn held(log: &Log) -> Vec<(u64, u64)> {
    let context = GetEntriesContext::empty(false);
    let (first, last) = (log.first_index().unwrap(), log.last_index().unwrap());
    let entries = log.entries(first, last + 1, None, context).unwrap();
    entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

#[test]
fn what_was_synced_is_there_after_a_crash() {
    let engine = new_engine();
    let mut log = open(&engine, 1).unwrap();
    append(&mut log, &[(2, 1), (3, 1)]);
    let late = entries(&[(4, 1)]);
    log.append(&late);
    persist(&*engine, vec![LogWrite { entries: late, ..LogWrite::default() }]);
    engine.crash();
    let log = open(&engine, 1).unwrap();
    assert_eq!(held(&log), [(2, 1), (3, 1)]);
    assert_eq!(log.boot(), 2);
}

#[test]
fn entries_that_were_replaced_by_fewer_do_not_come_back() {
    let engine = new_engine();
    let mut log = open(&engine, 1).unwrap();
    append(&mut log, &[(2, 1), (3, 1), (4, 1), (5, 1)]);
    append(&mut log, &[(3, 2)]);
    assert_eq!(held(&log), [(2, 1), (3, 2)]);
    engine.crash();
    assert_eq!(held(&open(&engine, 1).unwrap()), [(2, 1), (3, 2)]);
}

#[test]
fn a_report_of_entries_that_were_replaced_meanwhile_counts_for_nothing() {
    let engine = new_engine();
    let mut log = open(&engine, 1).unwrap();
    log.append(&entries(&[(2, 1), (3, 1)]));
    log.append(&entries(&[(3, 2)]));
    log.on_persisted(3, 1);
    assert_eq!(log.persisted, 1);
    log.on_persisted(3, 2);
    assert_eq!(log.persisted, 3);
}

#[test]
fn a_log_that_was_cut_begins_behind_the_cut() {
    let engine = new_engine();
    let mut log = open(&engine, 1).unwrap();
    append(&mut log, &[(2, 1), (3, 2), (4, 2)]);
    let cut = log.cut_to((3, 2));
    persist(&*engine, vec![LogWrite { cut: Some(cut), sync: true, ..LogWrite::default() }]);
    for log in [log, open(&engine, 3).unwrap()] {
        assert_eq!(held(&log), [(4, 2)]);
        assert_eq!(log.term(3), Ok(2));
        assert!(log.term(2).is_err());
    }
    let why = "raft log: it begins behind 3, the store stands at 2";
    assert_eq!(refusal(&engine, 2), why);
}

#[test]
fn a_hole_is_not_repaired_by_forgetting() {
    let engine = new_engine();
    append(&mut open(&engine, 1).unwrap(), &[(2, 1), (3, 1), (4, 1)]);
    let mut batch = Batch::default();
    batch.delete(ENTRIES, &3u64.to_be_bytes());
    engine.write_synced(batch);
    assert_eq!(refusal(&engine, 1), "raft log: entry 3 is missing before 4");
}

#[test]
fn an_entry_that_is_no_entry_is_refused() {
    let engine = new_engine();
    append(&mut open(&engine, 1).unwrap(), &[(2, 1)]);
    let mut batch = Batch::default();
    batch.put(ENTRIES, &2u64.to_be_bytes(), &[0xff; 9]);
    engine.write_synced(batch);
    let why = refusal(&engine, 1);
    assert!(why.starts_with("raft log: entry 2 cannot be read: "), "{why}");
}

#[test]
fn a_term_that_falls_is_refused() {
    let engine = new_engine();
    append(&mut open(&engine, 1).unwrap(), &[(2, 3), (3, 2)]);
    assert_eq!(refusal(&engine, 1), "raft log: entry 3 of term 2 is behind one of term 3");
}

#[test]
fn a_store_ahead_of_the_log_is_refused() {
    let engine = new_engine();
    append(&mut open(&engine, 1).unwrap(), &[(2, 1)]);
    assert_eq!(refusal(&engine, 3), "raft log: it ends at 2, the store stands at 3");
}

#[test]
fn a_commit_beyond_the_last_entry_is_refused() {
    let engine = new_engine();
    let hard_state = HardState { term: 1, commit: 9, ..HardState::default() };
    let write = LogWrite { hard_state: Some(hard_state), sync: true, ..LogWrite::default() };
    persist(&*engine, vec![write]);
    assert_eq!(refusal(&engine, 1), "raft log: it ends at 1, but 9 was committed");
}

#[test]
fn a_replay_shows_what_is_committed_and_not_applied() {
    let engine = new_engine();
    let mut log = open(&engine, 1).unwrap();
    append(&mut log, &[(2, 1), (3, 2), (4, 2), (5, 2)]);
    let hard_state = Some(HardState { term: 2, commit: 4, ..HardState::default() });
    persist(&*engine, vec![LogWrite { hard_state, sync: true, ..LogWrite::default() }]);
    let replayed = |applied| {
        let mut seen = Vec::new();
        let log = open(&engine, applied).unwrap();
        log.replay(LogIndex(applied), &mut |entry| seen.push((entry.index.0, entry.term.0)))
            .unwrap();
        seen
    };
    assert_eq!(replayed(1), [(2, 1), (3, 2), (4, 2)]);
    assert_eq!(replayed(3), [(4, 2)]);
    assert_eq!(replayed(4), []);
    // A store may be ahead of the commit index, which is written when it suits.
    assert_eq!(replayed(5), []);
    assert_eq!(open(&engine, 3).unwrap().term_at(LogIndex(2)).unwrap(), Term(1));
}
