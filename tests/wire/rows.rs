//! What etcd does, row by row, and who asks both servers for it: `rows.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// How many rows each table has, so that none gets lost.
const TABLES: [(&str, usize); 19] = [
    ("Revisions and headers", 15),
    ("Ranges", 16),
    ("Streamed ranges", 10),
    ("Puts", 8),
    ("Deletions", 5),
    ("Txns", 15),
    ("Compactions", 7),
    ("Watchers: requests", 9),
    ("Watchers: responses", 15),
    ("Leases", 11),
    ("Members", 8),
    ("Accounts", 24),
    ("Maintenance", 15),
    ("Locks and elections", 11),
    ("Errors", 4),
    ("HTTP", 20),
    ("Connections", 15),
    ("Process", 8),
    ("What others got wrong", 105),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire")
}

/// The tables: their names, and their rows of two cells.
fn tables(text: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let table = |part| {
        let lines = str::lines(part);
        let rows = lines.filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let cells = rows.map(|row| row.split_once(" | ").unwrap_or((row, "")));
        (part.lines().next().unwrap_or_default(), cells.skip(1).collect())
    };
    text.split("\n## ").skip(1).map(table).collect()
}

/// Whether a subject is played with ours, or a test is there.
fn is_played(name: &str, comparison: &str) -> bool {
    let (path, name) = name.rsplit_once("::").expect("module::name");
    let module = path.rsplit("::").next().expect("a module");
    if module == "kat_answers_as_etcd" {
        return comparison.contains(&format!("fn {name}("));
    }
    let played = [format!(" {module}::{name}\n"), format!("&{module}::{name})")];
    let path = path.replace("::", "/");
    let mut files = ["", "comparison", "abuse", "dropin", "pages"]
        .map(|folder| tests().join(folder).join(&path).with_extension("rs"))
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    files.any(|source| {
        let is_test = source.contains(&format!("#[test]\nfn {name}("));
        let is_there = source.contains(&format!("fn {name}("));
        is_test || is_there && played.iter().any(|call| comparison.contains(call))
    })
}

#[test]
fn each_row_names_who_asks_or_says_why_nobody_does() {
    let text = fs::read_to_string(tests().join("rows.md")).expect("the tables");
    let comparison = fs::read_to_string(tests().join("comparison.rs")).expect("the subjects");
    let tables = tables(&text);
    let counts: Vec<_> = tables.iter().map(|(name, rows)| (*name, rows.len())).collect();
    assert_eq!(counts, TABLES);
    for (what, who) in tables.iter().flat_map(|(_, rows)| rows) {
        if let Some(why) = who.strip_prefix("nobody: ") {
            assert!(why.len() > 20, "{what}: {why}");
            continue;
        }
        for name in who.split(", ") {
            let name = name.trim_matches('`');
            assert!(is_played(name, &comparison), "{what}: {name} is not played");
        }
    }
}
