//! Sequences of operations that nobody thought of, each from a seed.
//!
//! A sequence begins and ends with an empty store, so that many are played with
//! one pair of servers; each [`BLOCK`] of them has a pair of its own. In the end
//! everything is asked for that there is and that there was: keys, history,
//! hashes, leases, accounts.
//!
//! `KAT_SEED` is the first seed, `KAT_SEQUENCES` how many are played. What makes
//! a difference is played again with fewer and fewer operations, until each of
//! those that are left matters.

mod dice;
mod game;
mod people;
mod shrink;
mod streams;

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
    let (first, count) = (number("KAT_SEED", 0), number("KAT_SEQUENCES", SEQUENCES));
    let is_told = std::env::var_os("KAT_SEQUENCES").is_some();
    let (begin, next, done) = (Instant::now(), AtomicU64::new(0), AtomicU64::new(0));
    let found: Mutex<Option<Vec<Sequence>>> = Mutex::new(None);
    let worker = || {
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed) * BLOCK;
            if block >= count {
                return;
            }
            let mut pair = Pair::new(start);
            let mut played = Vec::new();
            for seed in first + block..first + (block + BLOCK).min(count) {
                if found.lock().expect("nobody panics with it").is_some() {
                    return;
                }
                played.push(Sequence::new(seed, STEPS));
                if pair.play(&played[played.len() - 1]).is_some() {
                    found.lock().expect("nobody panics with it").get_or_insert(played);
                    return;
                }
                let done = 1 + done.fetch_add(1, Ordering::Relaxed);
                if is_told && done.is_multiple_of(TOLD_EVERY) {
                    tell(done, count, begin);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers = [(); PAIRS].map(|()| scope.spawn(worker));
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    if let Some(played) = found.into_inner().expect("nobody panics with it") {
        panic!("{}", shrink::report(start, played));
    }
}

#[allow(clippy::print_stdout, reason = "somebody waits for a long run")]
fn tell(done: u64, count: u64, begin: Instant) {
    let seconds = begin.elapsed().as_secs().max(1);
    println!("{done} of {count} sequences in {seconds} s, {} each minute", done * 60 / seconds);
}
