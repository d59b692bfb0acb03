//! Sequences of operations that nobody thought of, each from a seed.
//!
//! A sequence begins and ends with an empty store, so that many are played with
//! one pair of servers; each [`BLOCK`] of them has a pair of its own. In the end
//! everything is asked for that there is and that there was: keys, history,
//! hashes, leases, accounts.
//!
//! Nothing is asked whose answer depends on the moment: whoever goes on waits
//! until both servers have told all that they have to tell. So a difference that
//! is not seen again is a difference too.
//!
//! `KAT_SEED` is the first seed, `KAT_SEQUENCES` how many are played. What makes
//! a difference is played again with fewer and fewer operations, until each of
//! those that are left matters.

mod dice;
mod game;
mod people;
mod shrink;
mod streams;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};

use super::super::process::Server;
use super::wire::{Exchange, IN_VAIN};
use game::{Game, Sequence};

/// Passwords need not be safe here, and no machine loses its power.
pub(super) const QUICK: [&str; 2] = ["--bcrypt-cost=4", "--unsafe-no-fsync"];

const SEQUENCES: u64 = 500;
const STEPS: usize = 60;
/// Sequences that are played with the same pair of servers.
const BLOCK: u64 = 25;
/// Pairs at once: while one waits for its disks, the other is asked.
const PAIRS: usize = 3;
const TOLD_EVERY: u64 = 250;
/// Differences after which nobody plays on.
const FOUND_MAX: usize = 5;

/// Starts stock etcd and what it is compared with.
pub(super) type Start = fn() -> (Server, Server);

/// Two servers that play the same.
struct Pair {
    stock: Game,
    ours: Game,
    runtime: Runtime,
}

/// What both said of one sequence; not the same.
struct Difference {
    stock: Vec<Exchange>,
    ours: Vec<Exchange>,
}

impl Pair {
    fn new(start: Start) -> Pair {
        let (stock, ours) = start();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _context = runtime.enter();
        let (stock, ours) = (Game::new(stock), Game::new(ours));
        drop(_context);
        Pair { stock, ours, runtime }
    }

    /// Plays a sequence with both; an answer that etcd owes is a difference too.
    fn play(&mut self, sequence: &Sequence) -> Option<Difference> {
        let (stock, ours) = self
            .runtime
            .block_on(async { tokio::join!(self.stock.play(sequence), self.ours.play(sequence)) });
        let is_owed = stock.iter().any(|exchange| exchange.answered.contains(IN_VAIN));
        (is_owed || stock != ours).then_some(Difference { stock, ours })
    }
}

impl Difference {
    /// The questions up to the first difference, and both answers.
    fn report(&self) -> String {
        let silent = Exchange { asked: "(nothing)".into(), answered: "(nothing)".into() };
        let mut report = String::new();
        for place in 0..self.stock.len().max(self.ours.len()) {
            let stock = self.stock.get(place).unwrap_or(&silent);
            let ours = self.ours.get(place).unwrap_or(&silent);
            report += &format!("{}\n", stock.asked);
            if stock == ours && !stock.answered.contains(IN_VAIN) {
                continue;
            }
            if stock.asked != ours.asked {
                report += &format!("  ours:  {}\n", ours.asked);
            }
            report += &format!("  etcd:  {}\n  ours:  {}\n", stock.answered, ours.answered);
            break;
        }
        report
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().expect("a number in the environment"))
}

/// Plays random sequences with pairs of servers, and fails at a difference.
pub(super) fn play(start: Start) {
    let found = search(start, number("KAT_SEED", 0), number("KAT_SEQUENCES", SEQUENCES), FOUND_MAX);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Plays with servers that differ where one operation shows it, and fails if that
/// one is not found.
pub(super) fn find(start: Start) {
    let found = search(start, 0, BLOCK, 1);
    assert!(!found.is_empty(), "no difference was found");
    for report in found {
        let is_least = report.contains(" with 1 of its steps, ");
        assert!(is_least && report.contains("\n  etcd:  "), "{report}");
    }
}

/// What makes differences among so many sequences, in words; after some that are
/// found, nobody plays on.
fn search(start: Start, first: u64, count: u64, found_max: usize) -> Vec<String> {
    let run = Run {
        start,
        first,
        count,
        found_max,
        is_told: std::env::var_os("KAT_SEQUENCES").is_some(),
        begin: Instant::now(),
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        found: Mutex::new(Vec::new()),
    };
    std::thread::scope(|scope| {
        let workers = [(); PAIRS].map(|()| scope.spawn(|| run.work()));
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    run.found.into_inner().expect("nobody panics with it")
}

/// All sequences of a test.
struct Run {
    start: Start,
    first: u64,
    count: u64,
    found_max: usize,
    is_told: bool,
    begin: Instant,
    /// The next block.
    next: AtomicU64,
    done: AtomicU64,
    /// What made differences, in words.
    found: Mutex<Vec<String>>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.found.lock().expect("nobody panics with it").len() >= self.found_max
    }

    fn work(&self) {
        loop {
            let block = self.next.fetch_add(1, Ordering::Relaxed) * BLOCK;
            let mut seeds = self.first + block..self.first + (block + BLOCK).min(self.count);
            if block >= self.count || self.is_over() {
                return;
            }
            while !seeds.is_empty() && !self.is_over() {
                self.play(&mut seeds);
            }
        }
    }

    /// Plays with one pair, until something makes a difference.
    fn play(&self, seeds: &mut Range<u64>) {
        let mut pair = Pair::new(self.start);
        let mut played = Vec::new();
        for seed in seeds {
            played.push(Sequence::new(seed, STEPS));
            let difference = pair.play(&played[played.len() - 1]);
            let done = 1 + self.done.fetch_add(1, Ordering::Relaxed);
            if self.is_told && done.is_multiple_of(TOLD_EVERY) {
                let seconds = self.begin.elapsed().as_secs().max(1);
                let pace = done * 60 / seconds;
                tell(&format!("{done} of {} in {seconds} s, {pace} each minute", self.count));
            }
            if let Some(difference) = difference {
                drop(pair);
                return self.judge(played, &difference);
            }
            if self.is_over() {
                return;
            }
        }
    }

    /// Looks for the least that makes the same difference.
    fn judge(&self, played: Vec<Sequence>, seen: &Difference) {
        let seed = played[played.len() - 1].seed;
        let report = shrink::report(self.start, played).unwrap_or_else(|| {
            format!("seed {seed} made a difference that was not seen again\n{}", seen.report())
        });
        tell(&report);
        self.found.lock().expect("nobody panics with it").push(report);
    }
}

#[allow(clippy::print_stdout, reason = "somebody waits for a long run")]
fn tell(text: &str) {
    println!("{text}");
}
