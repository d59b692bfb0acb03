//! The twins side by side, and what a crash leaves of each.

use std::ops::ControlFlow;
use std::path::Path;

use proptest::prelude::*;

use super::{Batch, Engine, Family, Memory, Options, Rocks};

const LOG: Options = Options { families: &["rows", "meta"], wal: true };
const STATE: Options = Options { families: &["rows", "meta"], wal: false };
const ROWS: Family = Family(0);
const META: Family = Family(1);

fn put(key: &str, value: &str) -> Batch {
    let mut batch = Batch::default();
    batch.put(ROWS, key.as_bytes(), value.as_bytes());
    batch
}

fn rows(engine: &dyn Engine, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    engine.scan(ROWS, from, to, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    rows
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn has(engine: &dyn Engine, key: &str) -> bool {
    engine.get(ROWS, key.as_bytes()).is_some()
}

fn change() -> impl Strategy<Value = (u8, u8, u8)> {
    (0..4u8, 0..24u8, 0..24u8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_twins_agree(
        batches in prop::collection::vec(prop::collection::vec(change(), 1..8), 1..24),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let rocks = Rocks::open(folder.path(), STATE).unwrap();
        let memory = Memory::new(STATE);
        for changes in batches {
            let mut batch = Batch::default();
            for (kind, first, second) in changes {
                match kind {
                    0 => batch.delete(ROWS, &[first]),
                    1 => batch.delete_range(ROWS, &[first.min(second)], &[first.max(second)]),
                    _ => batch.put(ROWS, &[first], &[second]),
                }
            }
            rocks.write(batch.clone());
            memory.write(batch);
            prop_assert_eq!(rows(&rocks, &[], None), rows(&memory, &[], None));
            prop_assert_eq!(rows(&rocks, &[5], Some(&[11])), rows(&memory, &[5], Some(&[11])));
            let keys: [&[u8]; 3] = [&[1], &[7], &[200]];
            prop_assert_eq!(rocks.get_many(ROWS, &keys), memory.get_many(ROWS, &keys));
        }
    }
}

#[test]
fn what_is_frozen_stands_at_one_batch_in_all_families() {
    let folder = tempfile::tempdir().unwrap();
    let (rocks, memory) = (Rocks::open(folder.path(), STATE).unwrap(), Memory::new(STATE));
    for engine in [&rocks as &dyn Engine, &memory] {
        let write = |number: &str| {
            let mut batch = put(number, number);
            batch.put(META, b"applied", number.as_bytes());
            engine.write(batch);
        };
        write("1");
        write("2");
        let frozen = engine.freeze();
        write("3");
        let mut batch = Batch::default();
        batch.delete_range(ROWS, b"", b"9");
        engine.write(batch);
        engine.flush();
        engine.compact();
        let mut seen = Vec::new();
        frozen.scan(ROWS, b"", None, &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(seen, [b"1", b"2"]);
        assert_eq!(frozen.get(META, b"applied").unwrap(), "2");
        assert!(rows(engine, &[], None).is_empty());
        let mut first = None;
        frozen.scan(ROWS, b"1a", Some(b"2a"), &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        });
        assert_eq!(first.as_deref(), Some(&b"2"[..]));
    }
}

#[test]
fn a_crash_keeps_what_was_synced_and_all_before_it() {
    let memory = Memory::new(LOG);
    memory.write(put("before", "1"));
    memory.write_synced(put("synced", "1"));
    memory.write(put("after", "1"));
    memory.crash();
    assert!(has(&memory, "before") && has(&memory, "synced") && !has(&memory, "after"));
}

#[test]
fn a_state_engine_comes_back_as_it_was_at_its_last_flush() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rocks = Rocks::open(folder.path(), STATE).unwrap();
    let mut batch = put("flushed", "1");
    batch.put(META, b"applied", b"7");
    rocks.write(batch);
    rocks.flush();
    rocks.write(put("lost", "1"));
    copy(folder.path(), other.path());
    let crashed = Rocks::open(other.path(), STATE).unwrap();
    assert!(has(&crashed, "flushed") && !has(&crashed, "lost"));
    assert_eq!(crashed.get(META, b"applied").unwrap().as_ref(), b"7");
}

/// The write-ahead log of a copy of an engine with 100 synced rows.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> Result<usize, super::Damage> {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let rocks = Rocks::open(folder.path(), LOG).unwrap();
    for row in 0..100 {
        rocks.write_synced(put(&format!("{row:03}"), &"x".repeat(500)));
    }
    copy(folder.path(), other.path());
    let files = std::fs::read_dir(other.path()).unwrap().map(|file| file.unwrap().path());
    let mut logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let path = logs.find(|path| path.metadata().unwrap().len() > 0).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    Rocks::open(other.path(), LOG).map(|engine| rows(&engine, &[], None).len())
}

#[test]
fn a_torn_tail_of_the_log_is_dropped() {
    assert_eq!(damaged(|bytes| bytes.truncate(bytes.len() - 100)).unwrap(), 99);
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_refused() {
    let outcome = damaged(|bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert!(matches!(outcome, Err(super::Damage::Corrupt(_))), "{outcome:?}");
}

#[test]
fn a_second_opener_is_told_that_the_engine_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Rocks::open(folder.path(), LOG).unwrap();
    assert!(matches!(Rocks::open(folder.path(), LOG), Err(super::Damage::Locked(_))));
}
