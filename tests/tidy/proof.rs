//! The proof that every rule of `tidy.rs` can fail, and that none cries wolf.

use super::*;

/// What is wrong, by rule: the name of a file, its text, the line of a finding.
const WRONG: &[(&str, &str, &str, usize)] = &[
    ("floors", "src/store/a.rs", "//! A.\nuse crate::replica::Replica;", 2),
    ("floors", "src/store/a.rs", "//! A.\nuse crate::{\n    ids::Term,\n    api,\n};", 2),
    ("floors", "src/store/a.rs", "//! A.\nfn f() -> crate::consensus::Core {}", 2),
    ("floors", "src/store/a.rs", "//! A.\nuse super::super::api::X;", 2),
    ("floors", "src/store/a.rs", "//! A.\nuse crate::Thing;", 2),
    ("floors", "src/consensus/a.rs", "//! A.\nuse crate::proto::{mvccpb::Event};", 2),
    ("floors", "src/engine/a.rs", "//! A.\nuse crate::ids::Term;", 2),
    ("floors", "src/state/a.rs", "//! A.\nuse crate::store::Store;", 2),
    ("floors", "src/main.rs", "//! A.\nuse kat::store::Store;", 2),
    ("floors", "src/cellar/a.rs", "//! A.", 1),
    ("doors", "src/replica/a.rs", "//! A.\nuse raft::RawNode;", 2),
    ("doors", "src/engine/memory.rs", "//! A.\nfn f(db: &rocksdb::DB) {}", 2),
    ("doors", "src/replica/a.rs", "//! A.\nuse tonic::Status;", 2),
    ("doors", "src/store/a.rs", "//! A.\n#[tokio::main]\nfn f() {}", 2),
    ("bans", "src/store/a.rs", "//! A.\nuse std::collections::HashMap;", 2),
    ("bans", "src/replica/a.rs", "//! A.\nfn f() { let t = Instant::now(); }", 2),
    ("bans", "src/consensus/a.rs", "//! A.\nfn f() { std::thread::spawn(g); }", 2),
    ("bans", "src/store/a.rs", "//! A.\nfn f() { rand::random() }", 2),
    ("bans", "src/api/a.rs", "//! A.\nfn f() { todo!() }", 2),
    ("bans", "tests/sim/a.rs", "//! A.\n#[ignore = \"slow\"]\nfn f() {}", 2),
    ("sleeps", "src/api/tests.rs", "//! A.\nfn f() { thread::sleep(D) }", 2),
    ("sleeps", "src/api/a.rs", "//! A.\nmod tests {\n    fn f() { sleep(D) }\n}", 3),
    ("sleeps", "tests/wire/a.rs", "//! A.\nfn f() { sleep(D) }\nfn g() { sleep(D) }", 3),
    ("opening", "src/api/a.rs", "use std::fs;", 1),
    ("opening", "proto/kat/a.proto", "syntax = \"proto3\";", 1),
    ("folders", "src/api/deep/a.rs", "//! A.", 1),
    ("folders", "src/store/c/tests.rs", "//! A.", 1),
    ("folders", "src/store/mod.rs", "//! A.\nmod a;", 1),
    ("folders", "src/store/mod.rs", "//! A.\n//!\n//! B.\nmod a;\nfn f() {}", 5),
    ("folders", "src/store/mod.rs", "//! A.\n//!\n//! B.\nuse a::A;", 4),
    ("names", "src/api/kv_helpers.rs", "//! A.", 1),
    ("names", "src/api/manager.rs", "//! A.", 1),
    ("names", "src/api/api_kv.rs", "//! A.", 1),
    ("sentences", "tests/sim/a.rs", "//! A.\n#[test]\nfn test_put() {}", 3),
    ("sentences", "tests/sim/a.rs", "//! A.\n#[tokio::test]\nasync fn puts() {}", 3),
    ("marks", "src/api/a.rs", "//! A.\n// TODO: more.", 2),
    ("marks", "README.md", "FIXME", 1),
    ("machines", "src/api/a.rs", "//! A.\nconst P: &str = \"/home/me/kat\";", 2),
    ("manifest", "Cargo.toml", "[dependencies]\n", 1),
];

/// What looks wrong and is not.
const RIGHT: &[(&str, &str)] = &[
    ("src/store/a.rs", "//! A.\nuse super::b;\nuse crate::{engine::Engine, ids};"),
    ("src/consensus/a.rs", "//! A.\nuse crate::proto::kat::{log, peer};\nuse raft::RawNode;"),
    ("src/store/a.rs", "//! A.\nmod tests {\n    use super::super::b;\n}"),
    ("src/ids.rs", "//! A.\nmod tests {\n    use super::*;\n}"),
    ("src/main.rs", "//! A.\nuse kat::cli;"),
    (
        "src/replica/a.rs",
        "//! A.\n// raft::RawNode, HashMap, Instant::now\nconst A: &str = \"raft::x\";",
    ),
    ("src/replica/a.rs", "//! A.\nuse super::raft::x;\nuse crate::consensus::raft::Y;"),
    ("src/replica/clock.rs", "//! A.\nfn f() { Instant::now(); }"),
    ("src/replica/a.rs", "//! A.\nfn f() { sleep(D) }"),
    ("src/store/a.rs", "//! A.\nstruct Operand; fn f() { Operand::new(); MyHashMapLike }"),
    ("src/store/a.rs", "//! A.\nconst A: char = '\"'; fn f<'a>(x: &'a str) { r#\"todo!()\"# }"),
    ("src/store/b/tests.rs", "//! A."),
    ("tests/wire/a.rs", "//! A.\nfn f() { sleep(D) }"),
    ("tests/sim/a.rs", "//! A.\n#[test]\nfn what_is_put_stays() {}"),
    ("tests/sim/a.rs", "//! A.\nmacro_rules! m {\n#[test]\nfn $case() {}\n}"),
    ("README.md", "https://example.org/home/"),
];

#[test]
fn every_rule_finds_what_is_wrong() {
    for (rule, path, text, line) in WRONG {
        let found = look(path, text);
        let wanted = format!("{rule}: {path}:{line}: ");
        assert!(found.iter().any(|f| f.starts_with(&wanted)), "{wanted}{text}\n{found:?}");
        let others: Vec<_> = found.iter().filter(|f| !f.starts_with(*rule)).collect();
        assert!(others.is_empty(), "{wanted}{text}\n{others:?}");
    }
}

#[test]
fn no_rule_finds_what_is_right() {
    for (path, text) in RIGHT {
        let found = look(path, text);
        assert!(found.is_empty(), "{path}: {text}\n{found:?}");
    }
}

#[test]
fn sizes_have_a_limit_that_can_be_passed() {
    let exact = |limit: usize| format!("//! A.\n{}", "\n".repeat(limit - 1));
    assert_eq!(rules("src/api/a.rs", &exact(FILE_LINES_MAX)), [""; 0]);
    assert_eq!(rules("src/api/a.rs", &exact(FILE_LINES_MAX + 1)), ["sizes"]);

    let wide = |columns: usize| format!("//! {}", "ä".repeat(columns - 4));
    assert_eq!(rules("src/api/a.rs", &wide(COLUMNS_MAX)), [""; 0]);
    assert_eq!(rules("src/api/a.rs", &wide(COLUMNS_MAX + 1)), ["sizes"]);

    let long = |lines: usize| format!("//! A.\nfn f() {{{}}}", "\n".repeat(lines - 1));
    assert_eq!(rules("src/api/a.rs", &long(FUNCTION_LINES_MAX)), [""; 0]);
    assert_eq!(rules("src/api/a.rs", &long(FUNCTION_LINES_MAX + 1)), ["functions"]);
}

#[test]
fn a_fourth_test_binary_is_refused() {
    let doors: String =
        DOORS.iter().map(|(name, _)| format!("\n{} = \"1\"", name.replace('_', "-"))).collect();
    let tests = |name: &str| format!("{doors}\n[[test]]\nname = \"{name}\"\n");
    assert_eq!(rules("Cargo.toml", &tests("sim")), [""; 0]);
    assert_eq!(rules("Cargo.toml", &tests("more")), ["manifest"]);
}

#[test]
fn every_rule_has_its_proof() {
    let proved = |rule: &str| WRONG.iter().any(|(name, ..)| *name == rule);
    let missing = RULES.iter().map(|(rule, _)| *rule).filter(|rule| !proved(rule));
    assert_eq!(missing.collect::<Vec<_>>(), ["sizes", "functions"], "proved by measure, above");
}

/// The findings on one file, in a house whose folders are all in order.
fn look(path: &str, text: &str) -> Vec<String> {
    let mut files = vec![File::new(path, text)];
    for floor in ["api", "store", "replica", "consensus", "engine", "state", "cellar"] {
        let contents = format!("src/{floor}/mod.rs");
        if contents != path && path.starts_with(&format!("src/{floor}/")) {
            files.push(File::new(&contents, "//! A.\n//!\n//! B."));
        }
    }
    files.push(File::new("src/store/b.rs", "//! B."));
    files.push(File::new("src/lib.rs", "//! A.\n//!\n//! B."));
    inspect(&files).into_iter().filter(|f| f.contains(&format!(": {path}:"))).collect()
}

fn rules(path: &str, text: &str) -> Vec<String> {
    let found = look(path, text);
    found.iter().filter_map(|f| f.split_once(": ")).map(|(rule, _)| rule.to_owned()).collect()
}
