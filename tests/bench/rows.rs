//! The rows of the table: what is asked of a server, and what is aimed at.
//!
//! Targets are ratios to stock etcd in the same run, since two runs, or two
//! machines, do not compare.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::runtime::Runtime;

use crate::accounts::Accounts;
use crate::clients::{self, Readers, fill, hammer, range_of};
use crate::load::{self, Clients, Load, MANY, ONE, Tool};
use crate::servers::{Disk, Group, Side, Usage, rest, wait};

const MIB: f64 = 1_048_576.0;
/// The keys that puts draw from, and the size of what they put.
const KEYS: &str = "100000";
const VALUE_BYTES: &str = "256";
const LISTED_KEYS: usize = 10_000;
/// The values of which a large store and its list are made.
const LARGE_VALUE_BYTES: usize = 8 << 10;
/// How many lists of all are under way at once.
const LARGE_LISTS: usize = 4;
/// Connections that change nothing before memory counts as idle.
const IDLE: Duration = Duration::from_secs(2);
/// What a start may take: a large store is read before it serves.
const START_MAX: Duration = Duration::from_secs(60);

/// How much is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// A few seconds a row: enough to see that all works.
    Quick,
    /// Large enough for figures, in minutes.
    Usual,
    /// The sizes that the design names, however long that takes.
    Full,
}

/// What rows need to measure.
pub(crate) struct Bench {
    /// Drives our own clients.
    pub(crate) runtime: Runtime,
    /// How much is asked.
    pub(crate) size: Size,
}

impl Bench {
    fn pick<T>(&self, quick: T, usual: T, full: T) -> T {
        match self.size {
            Size::Quick => quick,
            Size::Usual => usual,
            Size::Full => full,
        }
    }

    fn operations(&self, usual: usize) -> usize {
        self.pick((usual / 5).max(500), usual, usual)
    }

    fn span(&self) -> Duration {
        self.pick(Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(5))
    }

    fn counted_keys(&self) -> usize {
        self.pick(50_000, 200_000, 1_000_000)
    }

    fn listed_keys(&self) -> usize {
        self.pick(100_000, 300_000, 300_000)
    }

    fn large_bytes(&self) -> usize {
        self.pick(32 << 20, 128 << 20, 1 << 30)
    }

    fn large_keys(&self) -> usize {
        self.large_bytes() / LARGE_VALUE_BYTES
    }
}

/// What one line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Rate,
    Cpu,
    P50,
    P99,
    Idle,
    After,
    Written,
    Peak,
    Start,
    Growth,
    PerSync,
    Kept,
}

impl Metric {
    /// The words for it, with the unit.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Metric::Rate => "per second",
            Metric::Cpu => "server CPU, µs each",
            Metric::P50 => "p50, ms",
            Metric::P99 => "p99, ms",
            Metric::Idle => "memory idle, MiB",
            Metric::After => "memory after, MiB",
            Metric::Written => "written to disk, bytes each",
            Metric::Peak => "memory above before, MiB",
            Metric::Start => "start to first read, ms",
            Metric::Growth => "time of all : of a tenth",
            Metric::PerSync => "entries per sync",
            Metric::Kept => "of the rate without",
        }
    }
}

/// What is aimed at.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At least so many times etcd's figure.
    TimesEtcdMin(f64),
    /// At most so many times etcd's figure.
    TimesEtcdMax(f64),
    /// At least this figure.
    Min(f64),
    /// At most this figure.
    Max(f64),
    /// Shown, and judged by nobody.
    None,
}

/// What was measured at once.
pub(crate) type Sample = Vec<(Metric, f64)>;

/// How long a server lives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Through all rounds of a row, on the data that was prepared once.
    Row,
    /// Through one round: memory is measured from the start.
    Round,
}

/// One load, and the lines that it fills.
pub(crate) struct Row {
    pub(crate) title: String,
    pub(crate) lines: Vec<(Metric, Target)>,
    pub(crate) sides: &'static [Side],
    pub(crate) members: usize,
    pub(crate) disk: Disk,
    pub(crate) life: Life,
    pub(crate) prepare: fn(&Bench, &Group) -> Result<()>,
    pub(crate) measure: fn(&Bench, &mut Group) -> Result<Sample>,
}

const STORES: &[Side] = &[Side::Kat, Side::Etcd];

/// Every row of the table, in its order.
pub(crate) fn rows(bench: &Bench) -> Vec<Row> {
    let mut rows = calls(bench);
    rows.extend(shapes(bench));
    rows
}

/// Rows of one small call over and over.
fn calls(bench: &Bench) -> Vec<Row> {
    let many = |usual| bench.operations(usual);
    let mut puts = row(
        format!("durable puts, 256 clients, {} × 256 bytes", many(100_000)),
        lines(Target::TimesEtcdMin(1.8), Target::TimesEtcdMax(0.38)),
        puts_of_many,
    );
    puts.life = Life::Round;
    puts.lines.extend([
        (Metric::Idle, Target::TimesEtcdMax(0.7)),
        (Metric::After, Target::TimesEtcdMax(1.0)),
        (Metric::Written, Target::TimesEtcdMax(1.5)),
    ]);
    let one = row(
        format!("durable puts, 1 client, {} × 256 bytes", many(2_000)),
        lines(Target::TimesEtcdMin(1.3), Target::None),
        puts_of_one,
    );
    let (rate, cpu) = (Target::TimesEtcdMin(1.7), Target::TimesEtcdMax(0.32));
    let title = format!("linearizable gets, 256 clients, {}", many(100_000));
    let mut linearizable = row(title, lines(rate, cpu), linearizable_gets);
    linearizable.prepare = one_key;
    let title = format!("serializable gets, 256 clients, {}", many(100_000));
    let mut serializable = row(title, lines(rate, cpu), serializable_gets);
    serializable.prepare = one_key;
    let title = format!("txn-put, 256 clients, {}", many(50_000));
    let txns = row(title, lines(rate, Target::None), txn_puts);
    let title = format!("mixed txns, 256 clients, {}, half lists of 10 keys", many(50_000));
    let mixed = row(title, lines(rate, Target::None), mixed_txns);
    let title = format!("lease keep-alives, 256 clients, {}", many(50_000));
    let leases = row(title, lines(Target::TimesEtcdMin(1.3), Target::None), keep_alives);
    let accounts = stores(
        format!("puts of a user with a token, 256 clients, {}", many(50_000)),
        vec![(Metric::Rate, Target::None), (Metric::Kept, Target::Min(0.85))],
        puts_of_a_user,
    );
    vec![puts, one, linearizable, serializable, txns, mixed, leases, accounts]
}

/// Rows of large answers, large stores, and of several things at once.
fn shapes(bench: &Bench) -> Vec<Row> {
    let title = format!("watch fan-out, 1,000 watchers, {} events", 1_000 * watched_puts(bench));
    let watch = stores(
        title,
        vec![(Metric::Rate, Target::None), (Metric::Cpu, Target::TimesEtcdMax(0.33))],
        watch_events,
    );
    let mut list = stores(
        format!("list of {LISTED_KEYS} keys of 256 bytes, 4 clients"),
        lines(Target::TimesEtcdMin(3.0), Target::None),
        |bench, group| ask(bench, group, LISTED_KEYS),
    );
    list.prepare = |bench, group| prepare_keys(bench, group, LISTED_KEYS, 256);
    let mut count = stores(
        format!("count of {} keys, 4 clients", bench.counted_keys()),
        lines(Target::TimesEtcdMin(3.0), Target::None),
        counts,
    );
    count.lines.push((Metric::Growth, Target::Max(2.0)));
    count.prepare = |bench, group| prepare_keys(bench, group, bench.counted_keys(), 8);
    let beside = stores(
        "linearizable gets, paced, while 256 clients put".into(),
        vec![(Metric::P50, Target::None), (Metric::P99, Target::TimesEtcdMax(0.25))],
        gets_beside_puts,
    );
    let mut lists = stores(
        format!("puts, and lists of {} keys of 1 KiB beside them", bench.listed_keys()),
        vec![(Metric::Kept, Target::Min(0.7)), (Metric::Peak, Target::Max(128.0))],
        puts_beside_lists,
    );
    lists.prepare = |bench, group| prepare_keys(bench, group, bench.listed_keys(), 1 << 10);
    let mut slow = stores(
        "puts, 1,000 clients, a disk of 10 ms per sync".into(),
        vec![(Metric::Rate, Target::None), (Metric::PerSync, Target::Min(1000.0))],
        puts_on_a_slow_disk,
    );
    // Stock etcd is linked statically: nothing can stand between it and the disk.
    slow.sides = &[Side::Kat];
    slow.disk = Disk::SlowToSync;
    let size = bench.large_bytes() >> 20;
    let mut large = stores(
        format!("{LARGE_LISTS} lists of {size} MiB at once, then a restart"),
        vec![(Metric::Peak, Target::None), (Metric::Start, Target::TimesEtcdMax(0.7))],
        large_lists_and_start,
    );
    large.prepare =
        |bench, group| prepare_keys(bench, group, bench.large_keys(), LARGE_VALUE_BYTES);
    let mut three = stores(
        format!("three members on one host, puts, {}", bench.operations(30_000)),
        lines(Target::TimesEtcdMin(1.5), Target::None),
        |bench, group| put_many(bench, group, MANY, bench.operations(30_000)),
    );
    three.members = 3;
    vec![watch, list, count, beside, lists, slow, large, three]
}

type Measure = fn(&Bench, &mut Group) -> Result<Sample>;

fn row(title: String, lines: Vec<(Metric, Target)>, measure: Measure) -> Row {
    Row {
        title,
        lines,
        sides: &Side::ALL,
        members: 1,
        disk: Disk::AsItIs,
        life: Life::Row,
        prepare: |_, _| Ok(()),
        measure,
    }
}

fn stores(title: String, lines: Vec<(Metric, Target)>, measure: Measure) -> Row {
    Row { sides: STORES, ..row(title, lines, measure) }
}

fn lines(rate: Target, cpu: Target) -> Vec<(Metric, Target)> {
    vec![
        (Metric::Rate, rate),
        (Metric::Cpu, cpu),
        (Metric::P50, Target::None),
        (Metric::P99, Target::None),
    ]
}

// Loads.

fn puts_of_many(bench: &Bench, group: &mut Group) -> Result<Sample> {
    rest(IDLE)?;
    let idle = group.usage()?;
    let total = bench.operations(100_000);
    let mut sample = put_many(bench, group, MANY, total)?;
    let after = group.usage()?;
    let written = after.written_bytes - idle.written_bytes;
    sample.extend([
        (Metric::Idle, idle.resident_bytes / MIB),
        (Metric::After, after.resident_bytes / MIB),
        (Metric::Written, written / total as f64),
    ]);
    Ok(sample)
}

fn puts_of_one(bench: &Bench, group: &mut Group) -> Result<Sample> {
    put_many(bench, group, ONE, bench.operations(2_000))
}

fn put_many(_: &Bench, group: &Group, clients: Clients, total: usize) -> Result<Sample> {
    let total = total.to_string();
    let command = ["put", "--total", &total, "--val-size", VALUE_BYTES, "--key-space-size", KEYS];
    measured(group, || tool(group, clients, &command))
}

fn linearizable_gets(bench: &Bench, group: &mut Group) -> Result<Sample> {
    gets(bench, group, "l")
}

fn serializable_gets(bench: &Bench, group: &mut Group) -> Result<Sample> {
    gets(bench, group, "s")
}

fn gets(bench: &Bench, group: &Group, consistency: &str) -> Result<Sample> {
    let total = bench.operations(100_000).to_string();
    let command = ["range", "foo", "--total", &total, "--consistency", consistency];
    measured(group, || tool(group, MANY, &command))
}

fn txn_puts(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let total = bench.operations(50_000).to_string();
    let sizes = ["--val-size", VALUE_BYTES, "--key-space-size", KEYS];
    let command = [&["txn-put", "--total", &total], &sizes[..]].concat();
    measured(group, || tool(group, MANY, &command))
}

fn mixed_txns(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let total = bench.operations(50_000).to_string();
    let sizes = ["--val-size", VALUE_BYTES, "--key-space-size", KEYS, "--limit", "10"];
    let command = [&["txn-mixed", "", "--total", &total], &sizes[..]].concat();
    measured(group, || {
        // Reads and writes are reported apart, and went on together.
        let loads = load::run(group, MANY, &command)?;
        let worst = |of: fn(&Load) -> f64| loads.iter().map(of).fold(0.0, f64::max);
        Ok(Load {
            operations: loads.iter().map(|load| load.operations).sum(),
            per_second: loads.iter().map(|load| load.per_second).sum(),
            p50_ms: worst(|load| load.p50_ms),
            p99_ms: worst(|load| load.p99_ms),
        })
    })
}

fn keep_alives(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let total = bench.operations(50_000).to_string();
    measured(group, || tool(group, MANY, &["lease-keepalive", "--total", &total]))
}

fn watched_puts(bench: &Bench) -> usize {
    bench.pick(200, 500, 1_000)
}

fn watch_events(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let puts = watched_puts(bench).to_string();
    measured(group, || tool(group, ONE, &["watch", "--put-total", &puts]))
}

fn counts(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let count = |keys| {
        let request = kat::proto::etcdserverpb::RangeRequest { count_only: true, ..range_of(keys) };
        let readers = Readers { count: 4, span: bench.span(), every: None };
        let endpoints = group.endpoints();
        measured(group, || bench.runtime.block_on(hammer(&endpoints, &request, readers)))
    };
    let tenth = count(bench.counted_keys() / 10)?;
    let mut all = count(bench.counted_keys())?;
    let (all_ms, tenth_ms) = (of(&all, Metric::P50)?, of(&tenth, Metric::P50)?);
    all.push((Metric::Growth, all_ms / tenth_ms));
    Ok(all)
}

fn ask(bench: &Bench, group: &Group, keys: usize) -> Result<Sample> {
    let readers = Readers { count: 4, span: bench.span(), every: None };
    let endpoints = group.endpoints();
    let request = range_of(keys);
    measured(group, || bench.runtime.block_on(hammer(&endpoints, &request, readers)))
}

fn gets_beside_puts(bench: &Bench, group: &mut Group) -> Result<Sample> {
    one_key(bench, group)?;
    // More than can be done in the time: the tool is ended, not awaited.
    let sizes = ["--val-size", VALUE_BYTES, "--key-space-size", KEYS];
    let command = [&["put", "--total", "100000000"], &sizes[..]].concat();
    let _writers = Tool::start(group, MANY, &command)?;
    rest(Duration::from_secs(1))?;
    let request =
        kat::proto::etcdserverpb::RangeRequest { key: "foo".into(), ..Default::default() };
    let readers =
        Readers { count: 32, span: bench.span(), every: Some(Duration::from_millis(100)) };
    let load = bench.runtime.block_on(hammer(&group.endpoints(), &request, readers))?;
    Ok(vec![(Metric::P50, load.p50_ms), (Metric::P99, load.p99_ms)])
}

/// Both kinds of list, one after the other, while puts go on.
fn puts_beside_lists(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let total = bench.operations(100_000);
    let alone = of(&put_many(bench, group, MANY, total)?, Metric::Rate)?;
    group.forget_peak()?;
    let before = group.usage()?;
    let (endpoints, keys) = (group.endpoints(), bench.listed_keys());
    let lists = bench.runtime.spawn(async move {
        let whole = clients::read(&endpoints, range_of(keys)).await?;
        let pieces = clients::read_stream(&endpoints, range_of(keys)).await?;
        ensure!(whole.min(pieces) > keys << 10, "a list was cut short");
        Ok(())
    });
    let beside = of(&put_many(bench, group, MANY, total)?, Metric::Rate)?;
    bench.runtime.block_on(lists)??;
    let peak = group.usage()?.peak_bytes - before.resident_bytes;
    Ok(vec![(Metric::Kept, beside / alone), (Metric::Peak, peak / MIB)])
}

/// Puts with accounts off, and again with accounts on.
fn puts_of_a_user(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let total = bench.operations(50_000);
    let free = of(&put_many(bench, group, MANY, total)?, Metric::Rate)?;
    let endpoints = group.endpoints();
    let accounts = bench.runtime.block_on(Accounts::enforce(&endpoints))?;
    let (total, user) = (total.to_string(), format!("{}:{}", Accounts::USER, Accounts::PASSWORD));
    let sizes = ["--val-size", VALUE_BYTES, "--key-space-size", KEYS, "--user", &user];
    let command = [&["put", "--total", &total], &sizes[..]].concat();
    let mut sample = measured(group, || tool(group, MANY, &command))?;
    bench.runtime.block_on(accounts.end())?;
    sample.push((Metric::Kept, of(&sample, Metric::Rate)? / free));
    Ok(sample)
}

fn puts_on_a_slow_disk(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let before = group.syncs()?;
    let total = bench.operations(50_000);
    let clients = Clients { clients: 1_000, connections: 16 };
    let mut sample = put_many(bench, group, clients, total)?;
    let counted = group.syncs()? - before;
    ensure!(counted > 0, "no sync was counted");
    sample.push((Metric::PerSync, total as f64 / counted as f64));
    Ok(sample)
}

fn large_lists_and_start(bench: &Bench, group: &mut Group) -> Result<Sample> {
    let endpoints = group.endpoints();
    group.forget_peak()?;
    let before = group.usage()?;
    let lists = (0..LARGE_LISTS).map(|_| clients::read(&endpoints, range_of(bench.large_keys())));
    let lengths = bench.runtime.block_on(futures::future::try_join_all(lists))?;
    ensure!(lengths.iter().all(|length| *length > bench.large_bytes()), "a list was cut short");
    let peak = group.usage()?.peak_bytes - before.resident_bytes;
    group.stop()?;
    let begin = Instant::now();
    group.start_again()?;
    let first = kat::proto::etcdserverpb::RangeRequest { limit: 1, ..range_of(1) };
    wait("the first read", START_MAX, || {
        let read = clients::read(&endpoints, first.clone());
        Ok(bench.runtime.block_on(read).ok())
    })?;
    let start = begin.elapsed();
    Ok(vec![(Metric::Peak, peak / MIB), (Metric::Start, start.as_secs_f64() * 1000.0)])
}

// Preparation.

fn one_key(bench: &Bench, group: &Group) -> Result<()> {
    bench.runtime.block_on(clients::put(&group.endpoints(), "foo", 256))
}

fn prepare_keys(bench: &Bench, group: &Group, keys: usize, value_bytes: usize) -> Result<()> {
    bench.runtime.block_on(fill(&group.endpoints(), keys, value_bytes))
}

// Measuring.

fn tool(group: &Group, clients: Clients, command: &[&str]) -> Result<Load> {
    load::run(group, clients, command)?.pop().context("the tool reported nothing")
}

fn measured(group: &Group, load: impl FnOnce() -> Result<Load>) -> Result<Sample> {
    let before = group.usage()?;
    let load = load()?;
    let Usage { cpu_seconds, .. } = group.usage()?;
    Ok(vec![
        (Metric::Rate, load.per_second),
        (Metric::Cpu, (cpu_seconds - before.cpu_seconds) / load.operations * 1e6),
        (Metric::P50, load.p50_ms),
        (Metric::P99, load.p99_ms),
    ])
}

/// The figure of a sample for one line.
pub(crate) fn of(sample: &Sample, metric: Metric) -> Result<f64> {
    let found = sample.iter().find(|(one, _)| *one == metric);
    found.map(|(_, value)| *value).with_context(|| format!("no {}", metric.label()))
}
