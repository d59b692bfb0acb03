//! [`Counters`]: what the member counts of itself, under no names yet.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, exponential_buckets,
};

/// Counters and histograms; `api/metrics.rs` gives them etcd's names.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Proposals that ended without being applied.
    pub proposals_failed: IntCounter,
    /// Changes of the raft leader seen.
    pub leader_changes: IntCounter,
    /// Seconds that syncs of the log took.
    pub log_syncs: Histogram,
    /// Bytes written to the log.
    pub log_bytes: IntCounter,
    /// Seconds that an entry's application took.
    pub applies: Histogram,
    /// Puts, deletions, ranges and txns applied or served.
    pub puts: IntCounter,
    /// Deletions.
    pub deletes: IntCounter,
    /// Txns.
    pub txns: IntCounter,
    /// Ranges, counted by the api.
    pub ranges: IntCounter,
    /// Leases granted, revoked, renewed, expired.
    pub leases_granted: IntCounter,
    /// Leases revoked.
    pub leases_revoked: IntCounter,
    /// Leases renewed.
    pub leases_renewed: IntCounter,
    /// Leases expired.
    pub leases_expired: IntCounter,
    /// Bytes of keys and values that were put.
    pub put_bytes: IntCounter,
    /// Seconds that leases were granted for.
    pub lease_ttls: Histogram,
    /// Seconds until a command was applied, by operation and success.
    pub operations: HistogramVec,
    /// Applications and reads that took long enough to be told.
    pub slow_applies: IntCounter,
    /// Rounds of reads that had to be asked for again.
    pub slow_reads: IntCounter,
    /// Linearizable reads that came to nothing.
    pub reads_failed: IntCounter,
    /// Milliseconds that a slice of a compaction took.
    pub purge_slices: Histogram,
    /// Milliseconds from a compaction until its space was back.
    pub purges: Histogram,
    /// Rows that compactions removed.
    pub purged_rows: IntCounter,
    /// When the last compaction was finished, in seconds since 1970.
    pub last_purge: IntGauge,
}

impl Counters {
    /// Everything at zero. The buckets of the histograms are etcd's.
    pub(super) fn new() -> Counters {
        Counters {
            proposals_failed: counter("proposals_failed"),
            leader_changes: counter("leader_changes"),
            log_syncs: histogram("log_syncs", 0.001, 14),
            log_bytes: counter("log_bytes"),
            applies: histogram("applies", 0.001, 14),
            puts: counter("puts"),
            deletes: counter("deletes"),
            txns: counter("txns"),
            ranges: counter("ranges"),
            leases_granted: counter("leases_granted"),
            leases_revoked: counter("leases_revoked"),
            leases_renewed: counter("leases_renewed"),
            leases_expired: counter("leases_expired"),
            put_bytes: counter("put_bytes"),
            lease_ttls: histogram("lease_ttls", 1.0, 24),
            operations: operations(),
            slow_applies: counter("slow_applies"),
            slow_reads: counter("slow_reads"),
            reads_failed: counter("reads_failed"),
            purge_slices: histogram("purge_slices", 1.0, 13),
            purges: histogram("purges", 100.0, 14),
            purged_rows: counter("purged_rows"),
            last_purge: IntGauge::new("last_purge", "last_purge").expect("the name is ours"),
        }
    }
}

/// How long operations took; each is looked up once, and there are few.
pub(super) struct Operations {
    family: HistogramVec,
    known: Vec<(&'static str, [Histogram; 2])>,
}

impl Operations {
    /// None is known yet.
    pub(super) fn new(counters: &Counters) -> Operations {
        Operations { family: counters.operations.clone(), known: Vec::new() }
    }

    /// One took so long.
    pub(super) fn observe(&mut self, name: &'static str, is_success: bool, took: Duration) {
        let at = self.known.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            let by = |success| self.family.with_label_values(&["v3", name, success]);
            self.known.push((name, ["false", "true"].map(by)));
            self.known.len() - 1
        });
        self.known[at].1[usize::from(is_success)].observe(took.as_secs_f64());
    }
}

fn counter(name: &str) -> IntCounter {
    IntCounter::new(name, name).expect("the name is one of ours")
}

fn operations() -> HistogramVec {
    let buckets = exponential_buckets(0.0001, 2.0, 20).expect("the bounds rise");
    let options = HistogramOpts::new("operations", "operations").buckets(buckets);
    let labels = ["version", "op", "success"];
    HistogramVec::new(options, &labels).expect("the names are ours")
}

/// Buckets from `first` seconds on, each twice as wide as the one before.
fn histogram(name: &str, first: f64, count: usize) -> Histogram {
    let buckets = exponential_buckets(first, 2.0, count).expect("the bounds rise");
    Histogram::with_opts(HistogramOpts::new(name, name).buckets(buckets))
        .expect("the name is one of ours")
}
