//! Side by side: ours, stock etcd and an empty handler, in turn, in one run.
//!
//! ```text
//!   rows ──▶ for each round: kat, etcd, floor ──▶ table
//!              │                    │
//!           servers              load (etcd's tool), clients (our own)
//! ```
//!
//! Whatever else the machine does, it does to all of them: only the ratios
//! count. `make bench BENCH='--quick --rows puts'` passes arguments:
//!
//! - `--quick`: small loads, one round; `--full`: the sizes that the design names;
//! - `--rounds N`: how often each side has its turn (3);
//! - `--rows TEXT`: only rows whose title holds the text;
//! - `--only SIDE`: kat, etcd or floor; may be given again.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a person reads it")]

mod accounts;
mod clients;
mod floor;
mod load;
mod rows;
mod servers;
mod table;

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rows::{Bench, Life, Row, Sample, Size, rows};
use servers::{Group, INTERRUPTED, Side};
use table::Outcome;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The usual run ends before this: rounds are left out first, then rows.
const RUN_MAX: Duration = Duration::from_secs(660);
const RUN_MAX_FULL: Duration = Duration::from_secs(4 * 3600);

struct Options {
    size: Size,
    rounds: usize,
    rows: String,
    sides: Vec<Side>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == "floor") {
        let port = arguments.nth(1).context("the empty handler needs a port")?;
        return floor::run(port.parse()?);
    }
    let options = options(arguments)?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let bench = Bench { runtime, size: options.size };
    println!("{}\n", machine()?);
    let mut rows = rows(&bench);
    rows.retain(|row| row.title.contains(&options.rows));
    let begin = Instant::now();
    let run_max = if options.size == Size::Full { RUN_MAX_FULL } else { RUN_MAX };
    let mut text = table::heading() + "\n";
    for (at, row) in (1..).zip(&rows) {
        // Each row may use its share of the time and what others left of theirs.
        let share = run_max * at / u32::try_from(rows.len())?;
        let deadlines = Deadlines { row: begin + share, run: begin + run_max };
        let outcome = take_turns(&bench, &options, row, &deadlines);
        text += &table::render(row, &outcome);
    }
    println!("{text}");
    println!(
        "median [least most] of up to {} rounds; {} s in all; load average now {}",
        options.rounds,
        begin.elapsed().as_secs(),
        std::fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or("unknown"),
    );
    Ok(())
}

struct Deadlines {
    /// No further round begins after this.
    row: Instant,
    /// Nothing begins after this.
    run: Instant,
}

fn options(arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options =
        Options { size: Size::Usual, rounds: 0, rows: String::new(), sides: Vec::new() };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            // Cargo says so to every bench.
            "--bench" => {}
            "--quick" => options.size = Size::Quick,
            "--full" => options.size = Size::Full,
            "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
            "--rows" => options.rows = value()?,
            "--only" => {
                let name = value()?;
                let side = Side::ALL.into_iter().find(|side| side.name() == name);
                options.sides.push(side.context("--only takes kat, etcd or floor")?);
            }
            other => bail!("unknown argument {other}: see tests/bench/main.rs"),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.size == Size::Quick { 1 } else { 3 };
    }
    if options.sides.is_empty() {
        options.sides = Side::ALL.to_vec();
    }
    Ok(options)
}

/// Measures every side in every round: A B C, A B C. A side that fails once is
/// out of the row, and the row says why.
fn take_turns(bench: &Bench, options: &Options, row: &Row, deadlines: &Deadlines) -> Outcome {
    eprintln!("==> {}", row.title);
    let mut outcome = Outcome::default();
    let mut groups: BTreeMap<Side, Group> = BTreeMap::new();
    let sides: Vec<Side> =
        row.sides.iter().copied().filter(|side| options.sides.contains(side)).collect();
    for round in 1..=options.rounds {
        let now = Instant::now();
        if round > 1 && deadlines.row < now {
            break;
        }
        for side in &sides {
            if outcome.reasons.contains_key(side) {
                continue;
            }
            match take_turn(bench, row, *side, groups.remove(side), deadlines.run) {
                Ok((group, sample)) => {
                    eprintln!("    {round} {:<6} {}", side.name(), table::progress(&sample));
                    outcome.samples.entry(*side).or_default().push(sample);
                    if row.life == Life::Row {
                        groups.insert(*side, group);
                    }
                }
                Err(error) => {
                    eprintln!("    {round} {:<6} {error:#}", side.name());
                    outcome.reasons.insert(*side, format!("{error:#}"));
                }
            }
        }
    }
    outcome
}

fn take_turn(
    bench: &Bench,
    row: &Row,
    side: Side,
    running: Option<Group>,
    deadline: Instant,
) -> Result<(Group, Sample)> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    ensure!(Instant::now() < deadline, "the time of the run is over");
    let mut group = match running {
        Some(group) => group,
        None => {
            let group = Group::start(side, row.members, row.disk)?;
            (row.prepare)(bench, &group).context("it could not be prepared")?;
            group
        }
    };
    let sample = (row.measure)(bench, &mut group)?;
    Ok((group, sample))
}

/// What the figures were measured on.
fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let model = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut latencies = Vec::new();
    for _ in 0..100 {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&[1; 4096])?;
        let begin = Instant::now();
        file.sync_data()?;
        latencies.push(begin.elapsed());
    }
    latencies.sort_unstable();
    Ok(format!(
        "{cores} cores of {}; load average {}; sync of 4 KiB: p50 {:.2} ms, p99 {:.2} ms",
        model.map_or("an unknown model", |(_, name)| name),
        load.split(' ').next().unwrap_or("unknown"),
        clients::percentile_ms(&latencies, 50),
        clients::percentile_ms(&latencies, 99),
    ))
}
