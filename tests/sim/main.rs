//! The simulator: a whole cluster in one thread, under one seed.
//!
//! ```text
//!   plan ── drawn first ──┐
//!                         ▼
//!   workload ──▶ world: members ◀──▶ network
//!       │           │      └──▶ disk
//!       └─ calls,   └─ commits, states
//!          answers         │
//!             └────────────┴──▶ checkers
//! ```
//!
//! The members are made of the parts that `replica::start` gives threads to;
//! sockets, clocks and disks are simulated. What is not simulated yet: changes
//! of the membership and snapshots between members, which do not exist yet,
//! and watchers.
//!
//! `SEED=7 cargo test --release --test sim` runs one seed and, if it fails,
//! prints what happened before; `KAT_SLOW=1` runs ten thousand.

#![expect(unreachable_pub, reason = "a test binary exports nothing")]

mod checkers;
mod dice;
mod disk;
mod member;
mod network;
mod plan;
mod record;
mod requests;
mod trace;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use trace::Trace;
use world::{Sum, run};

/// Seeds in every run of the tests, and in the long one.
const SEEDS: u64 = 200;
const SEEDS_SLOW: u64 = 10_000;

/// Seeds that once found something, and what.
const REGRESSIONS: &[(u64, &str)] = &[
    (1, "raft put entries behind an append that did not end before them"),
    (8, "two rounds of reads had the same name"),
    (9426, "a late order to campaign, met by a checker in a hurry"),
];

/// Lines of the trace that a failure shows.
const LINES: usize = 400;

/// Runs a seed; a failure names it.
fn try_seed(seed: u64) -> Sum {
    let run_it = || run(seed, Trace::default());
    match catch_unwind(AssertUnwindSafe(run_it)) {
        Ok((_, Ok(sum))) => sum,
        Ok((_, Err(why))) => panic!("SEED={seed}: {why}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map_or("a panic, see above", String::as_str);
            panic!("SEED={seed}: {text}");
        }
    }
}

/// Runs a seed again, to see how it came about.
fn explain(seed: u64) {
    let (trace, outcome) = run(seed, Trace::kept());
    let lines = trace.lines();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    outcome.unwrap_or_else(|why| panic!("{last}\nSEED={seed}: {why}"));
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        return explain(seed.parse().expect("SEED is a number"));
    }
    let slow = std::env::var_os("KAT_SLOW").is_some();
    let seeds = if slow { SEEDS_SLOW } else { SEEDS };
    let mut all = Sum::default();
    for seed in 1..=seeds {
        let sum = try_seed(seed);
        all.answers += sum.answers;
        all.changes += sum.changes;
        all.entries += sum.entries;
        all.leaders += sum.leaders;
        all.crashes += sum.crashes;
    }
    println!("{seeds} seeds: {all:?}");
    // A world in which nothing happens keeps every promise.
    assert!(all.answers > 200 * seeds && all.leaders as u64 > 2 * seeds, "{all:?}");
    assert!(all.crashes as u64 > 4 * seeds, "{all:?}");
}

#[test]
fn no_old_fault_comes_back() {
    for (seed, fault) in REGRESSIONS {
        println!("{seed}: {fault}");
        try_seed(*seed);
    }
}

#[test]
fn a_seed_is_the_whole_story() {
    for seed in [3, 14, 15] {
        let (first, second) = (run(seed, Trace::kept()).0, run(seed, Trace::kept()).0);
        let differ = first.lines().iter().zip(second.lines()).find(|(a, b)| a != b);
        assert_eq!(differ, None, "SEED={seed}");
        assert_eq!(first.lines().len(), second.lines().len(), "SEED={seed}");
    }
}
