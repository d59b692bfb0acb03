//! Code about the code: floors, doors, sizes, names and bans.
//!
//! The tables come first: they are the rules of the house as data, and a change
//! of a rule is a change of a row. Then the rules, each a function from source
//! text to findings. `tidy/scanner.rs` tells code from prose, and
//! `tidy/proof.rs` shows that every rule can fail. Deliberately not here: what
//! the compiler, clippy or rustfmt refuse by themselves.

#[path = "tidy/proof.rs"]
mod proof;
#[path = "tidy/scanner.rs"]
mod scanner;

use std::path::Path;

use scanner::{File, Finding, read_house, words};

/// Who may import whom, from the roof down; everybody may import itself.
const FLOORS: &[(&str, &[&str])] = &[
    ("main", &["cli", "agent"]),
    ("cli", &["agent", "ids", "proto"]),
    ("fuzz", &["api", "store", "engine", "ids", "proto"]),
    ("agent", &["state", "api", "replica", "store", "engine", "ids", "proto"]),
    ("api", &["replica", "store", "ids", "proto"]),
    ("state", &["ids", "proto"]),
    ("replica", &["consensus", "store", "engine", "ids", "proto"]),
    ("consensus", &["engine", "ids", "proto::kat"]),
    ("store", &["engine", "ids", "proto"]),
    ("engine", &[]),
    ("proto", &[]),
    ("ids", &[]),
];

/// Each large dependency, and the only places in `src/` that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("raft", &["src/consensus/"]),
    ("protobuf", &["src/consensus/"]),
    ("slog", &["src/consensus/"]),
    ("rocksdb", &["src/engine/rocks.rs"]),
    ("prometheus", &["src/api/", "src/replica/counters.rs"]),
    ("hyper", &["src/api/"]),
    ("bcrypt", &["src/api/auth.rs"]),
    ("rsa", &["src/api/signing.rs"]),
    ("p256", &["src/api/signing.rs"]),
    ("p384", &["src/api/signing.rs"]),
    ("p521", &["src/api/signing.rs"]),
    ("ed25519_dalek", &["src/api/signing.rs"]),
    ("x509_cert", &["src/api/signing.rs"]),
    ("rustls", &["src/api/tls/"]),
    ("tokio_rustls", &["src/api/tls/"]),
    ("x509_parser", &["src/api/tls/"]),
    ("rcgen", &["src/agent/dropin/self_signed.rs", "src/api/tls/"]),
    ("axum", &["src/api/", "src/agent/peer.rs"]),
    ("saphyr_parser", &["src/agent/config/"]),
    ("clap", &["src/cli/"]),
    ("etcd_client", &["src/state/"]),
    (
        "tonic",
        &[
            "src/api/",
            "src/replica/peers.rs",
            "src/agent/",
            "src/cli/",
            "src/state/",
            "src/fuzz/",
            "src/proto.rs",
        ],
    ),
    ("tokio", &["src/main.rs", "src/cli/", "src/agent/", "src/state/", "src/api/", "src/replica/"]),
];

/// Words of code that are not wanted in some places, and what to do instead.
struct Ban {
    words: &'static [&'static str],
    inside: &'static [&'static str],
    except: &'static [&'static str],
    instead: &'static str,
}

const PURE: &[&str] = &["src/store/", "src/consensus/"];
const BELOW: &[&str] = &["src/store/", "src/consensus/", "src/engine/"];
const TIMED: &[&str] = &["src/store/", "src/consensus/", "src/engine/", "src/replica/"];
const ALL: &[&str] = &["src/", "tests/", "proto/"];

const BANS: &[Ban] = &[
    Ban {
        words: &["HashMap", "HashSet", "AHashMap", "AHashSet", "RandomState"],
        inside: PURE,
        except: &[],
        instead: "every member must iterate alike: use BTreeMap or BTreeSet",
    },
    Ban {
        words: &["Instant::now", "SystemTime::now", "Timestamp::now", "Zoned::now"],
        inside: TIMED,
        except: &["src/replica/clock.rs"],
        instead: "time enters through replica/clock.rs: take it as an argument",
    },
    Ban {
        words: &["thread::spawn", "thread::Builder", "thread::sleep", "thread::scope"],
        inside: BELOW,
        except: &["src/engine/tests.rs"],
        instead: "threads belong to replica/runtime.rs",
    },
    Ban {
        words: &["std::net", "rand::", "getrandom::", "Uuid::new_v4"],
        inside: PURE,
        except: &[],
        instead: "sockets and chance stay outside: take the outcome as an argument",
    },
    Ban {
        words: &["dbg!", "todo!", "unimplemented!"],
        inside: ALL,
        except: &[],
        instead: "finish it or leave it out",
    },
    Ban {
        words: &["#[ignore", "#[should_panic"],
        inside: ALL,
        except: &[],
        instead: "a test runs, slow ones behind KAT_SLOW=1, and returns",
    },
    Ban {
        words: &["allow(dead_code", "expect(dead_code"],
        inside: ALL,
        except: &[],
        instead: "code that nobody calls goes",
    },
];

/// Words that mark prose as unfinished.
const MARKS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Where paths of somebody's own machine begin.
const HOMES: &[&str] = &["/root/", "/home/", "/Users/", "/work/"];

/// Names of files that say nothing about their subject.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "manager", "handler", "misc", "v2"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
const PROSE_LINES_MIN: usize = 3;
const TEST_WORDS_MIN: usize = 3;

/// Functions that were longer before the rule came: `path name`. None joins.
const LONG_FUNCTIONS: &[&str] = &[];

/// Folders whose `mod.rs` holds code: the engine's trait is the folder's idea.
const MODS_WITH_CODE: &[&str] = &["src/engine/mod.rs"];

/// How far a re-export may reach short of everybody.
const IN_PART: [&str; 2] = ["(crate)", "(super)"];

/// The only test binaries, because each links RocksDB.
const TEST_BINARIES: &[&str] = &["tidy", "sim", "wire"];

type Rule = fn(&[File]) -> Vec<Finding>;

/// Every rule, by the name that its findings carry.
const RULES: &[(&str, Rule)] = &[
    ("floors", floors),
    ("doors", doors),
    ("bans", bans),
    ("sleeps", sleeps),
    ("opening", opening),
    ("folders", folders),
    ("names", names),
    ("sentences", sentences),
    ("sizes", sizes),
    ("functions", functions),
    ("marks", marks),
    ("machines", machines),
    ("manifest", manifest),
];

#[test]
fn the_house_is_tidy() {
    let files = read_house(Path::new(env!("CARGO_MANIFEST_DIR")));
    let found = inspect(&files);
    assert!(found.is_empty(), "{} findings\n{}", found.len(), found.join("\n"));
}

fn inspect(files: &[File]) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, rule) in RULES {
        for Finding { place, advice } in rule(files) {
            lines.push(format!("{name}: {place}: {advice}"));
        }
    }
    lines
}

// The rules.

fn floors(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_source() && file.path != "src/lib.rs") {
        let floor = file.floor();
        let Some((_, open)) = FLOORS.iter().find(|(name, _)| *name == floor) else {
            found.push(file.at(0, format!("`{floor}` is on no floor: add a row to FLOORS")));
            continue;
        };
        let root = if floor == "main" { "kat" } else { "crate" };
        for (at, path) in file.imports(root) {
            let covers = |open: &str| path == open || path.starts_with(&format!("{open}::"));
            if !covers(floor) && !open.iter().any(|open| covers(open)) {
                let open = if open.is_empty() { "nothing".into() } else { open.join(", ") };
                let advice = format!("`{floor}` may import {open}; not `{path}`");
                found.push(file.at(at, advice + ": move the code, or the need, to another floor"));
            }
        }
        for at in file.climbs_to_root() {
            found.push(file.at(at, "`super` leaves the floor: write `crate::`".into()));
        }
    }
    found
}

fn doors(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_source()) {
        for (dependency, open) in DOORS {
            let shut = !open.iter().any(|place| file.path.starts_with(place));
            for at in file.uses_of(dependency).into_iter().filter(|_| shut) {
                let open = open.join(", ");
                let advice = format!("`{dependency}` may be named only in {open}: ask there");
                found.push(file.at(at, advice));
            }
        }
    }
    found
}

fn bans(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        let lies = |places: &[&str]| places.iter().any(|place| file.path.starts_with(place));
        for ban in BANS.iter().filter(|ban| lies(ban.inside) && !lies(ban.except)) {
            for word in ban.words {
                for at in words(&file.code, word) {
                    found.push(file.at(at, format!("`{word}`: {}", ban.instead)));
                }
            }
        }
    }
    found
}

/// A test waits for a condition. In each test program one helper may poll.
fn sleeps(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut pollers: Vec<&str> = Vec::new();
    for file in files {
        for word in ["sleep(", "sleep_until("] {
            for at in words(&file.code, word).into_iter().filter(|at| file.is_test(*at)) {
                let program = file.path.strip_prefix("tests/").and_then(|p| p.split('/').next());
                if let Some(program) = program.filter(|program| !pollers.contains(program)) {
                    pollers.push(program);
                } else {
                    let advice = "a test sleeps: wait for a condition, through the one helper";
                    found.push(file.at(at, advice.into()));
                }
            }
        }
    }
    found
}

fn opening(files: &[File]) -> Vec<Finding> {
    let silent = |file: &&File| match file.extension() {
        "rs" => !file.text.starts_with("//! "),
        "proto" => !file.text.starts_with("// "),
        _ => false,
    };
    let advice = "open with a comment that says what this is, why, and what is not here";
    files.iter().filter(silent).map(|file| file.at(0, advice.into())).collect()
}

/// Every folder has a `mod.rs`: prose, modules and re-exports, no other code.
/// A file may keep its `tests.rs` in a folder of its own name.
fn folders(files: &[File]) -> Vec<Finding> {
    let exists = |path: &str| files.iter().any(|file| file.path == path);
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.is_source()) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let contents = match (folder, file.path.ends_with("/tests.rs")) {
            ("src", _) => "src/lib.rs".into(),
            (_, true) if exists(&format!("{folder}.rs")) => format!("{folder}.rs"),
            _ => format!("{folder}/mod.rs"),
        };
        if !exists(&contents) {
            found.push(file.at(0, format!("its folder lacks {contents}")));
        }
        if file.path != contents {
            continue;
        }
        let prose = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        if prose < PROSE_LINES_MIN {
            let advice = "a folder opens with its idea and its laws: write them at the top";
            found.push(file.at(0, advice.into()));
        }
        if MODS_WITH_CODE.contains(&file.path.as_str()) {
            continue;
        }
        for (at, item) in file.items() {
            let visible = item.strip_prefix("pub").map(|rest| {
                IN_PART.iter().find_map(|part| rest.strip_prefix(part)).unwrap_or(rest)
            });
            let is_export = visible.is_some_and(|rest| rest.starts_with(" use "));
            if !is_export && !visible.unwrap_or(item).trim_start().starts_with("mod ") {
                let advice = "only prose, `mod` and re-exports stand here: give it its own file";
                found.push(file.at(at, advice.into()));
            }
        }
    }
    found
}

fn names(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        let mut parts = file.path.trim_end_matches(".rs").rsplit('/');
        let (stem, folder) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if let Some(part) = stem.split('_').find(|part| EMPTY_NAMES.contains(part)) {
            found.push(file.at(0, format!("`{part}` names no subject: name the one inside")));
        }
        if stem.starts_with(&format!("{folder}_")) {
            found.push(file.at(0, format!("the name repeats its folder: drop `{folder}_`")));
        }
    }
    found
}

fn sentences(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for (at, name, _) in file.functions() {
            let line = file.code[..at].rfind('\n').unwrap_or(0);
            let attribute = file.code[..line].lines().next_back().unwrap_or("").trim();
            let is_test = attribute == "#[test]" || attribute.starts_with("#[tokio::test");
            // Inside a macro the name is a parameter, and empty here.
            let is_named = !name.is_empty();
            if is_test && is_named && name.split('_').count() < TEST_WORDS_MIN {
                let advice = format!("test `{name}` is no sentence: say what it shows");
                found.push(file.at(at, advice));
            }
        }
    }
    found
}

fn sizes(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| ["rs", "proto"].contains(&file.extension())) {
        let count = file.text.lines().count();
        if file.extension() == "rs" && count > FILE_LINES_MAX {
            let advice =
                format!("{count} lines, {FILE_LINES_MAX} allowed: which subject moved in?");
            found.push(file.at(0, advice));
        }
        let mut start = 0;
        for line in file.text.split('\n') {
            if line.chars().count() > COLUMNS_MAX {
                found.push(file.at(start, format!("over {COLUMNS_MAX} columns: break the line")));
            }
            start += line.len() + 1;
        }
    }
    found
}

fn functions(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for (at, name, end) in file.functions() {
            let lines = file.code[at..=end].lines().count();
            let entry = format!("{} {name}", file.path);
            if lines > FUNCTION_LINES_MAX && !LONG_FUNCTIONS.contains(&entry.as_str()) {
                let advice = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} allowed");
                found.push(file.at(at, advice + ": keep the branches, move the leaves out"));
            }
        }
    }
    found
}

fn marks(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files {
        for mark in MARKS {
            for at in words(&file.prose, mark) {
                found.push(file.at(at, format!("`{mark}`: finish it or leave it out")));
            }
        }
    }
    found
}

fn machines(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with("tests/tidy")) {
        for home in HOMES {
            for (at, _) in file.text.match_indices(home) {
                let before = file.text[..at].chars().next_back().unwrap_or(' ');
                if !before.is_alphanumeric() && !"/.-_}".contains(before) {
                    let advice = format!("`{home}` is a path of one machine: say it relatively");
                    found.push(file.at(at, advice));
                }
            }
        }
    }
    found
}

/// What the tables name must exist, or a slip of the pen would open a door.
fn manifest(files: &[File]) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.path == "Cargo.toml") {
        for (dependency, _) in DOORS {
            let line = format!("\n{} = ", dependency.replace('_', "-"));
            if !file.text.contains(&line) {
                found.push(file.at(0, format!("`{dependency}` is gone: take down its door")));
            }
        }
        for (at, section) in file.text.match_indices("[[test]]\nname = \"") {
            let name = file.text[at + section.len()..].split('"').next().unwrap_or("");
            if !TEST_BINARIES.contains(&name) {
                let advice = format!("test binary `{name}` links RocksDB once more: join another");
                found.push(file.at(at, advice));
            }
        }
    }
    found
}
