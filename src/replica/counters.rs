//! [`Counters`]: what the member counts of itself, under no names yet.

use prometheus::{Histogram, HistogramOpts, IntCounter, exponential_buckets};

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
    /// Events of applied entries.
    pub events: IntCounter,
}

impl Counters {
    /// Everything at zero. The buckets of the histograms are etcd's.
    pub(super) fn new() -> Counters {
        Counters {
            proposals_failed: counter("proposals_failed"),
            leader_changes: counter("leader_changes"),
            log_syncs: histogram("log_syncs", 0.001, 14),
            log_bytes: counter("log_bytes"),
            applies: histogram("applies", 0.0001, 20),
            puts: counter("puts"),
            deletes: counter("deletes"),
            txns: counter("txns"),
            ranges: counter("ranges"),
            leases_granted: counter("leases_granted"),
            leases_revoked: counter("leases_revoked"),
            leases_renewed: counter("leases_renewed"),
            leases_expired: counter("leases_expired"),
            events: counter("events"),
        }
    }
}

fn counter(name: &str) -> IntCounter {
    IntCounter::new(name, name).expect("the name is one of ours")
}

/// Buckets from `first` seconds on, each twice as wide as the one before.
fn histogram(name: &str, first: f64, count: usize) -> Histogram {
    let buckets = exponential_buckets(first, 2.0, count).expect("the bounds rise");
    Histogram::with_opts(HistogramOpts::new(name, name).buckets(buckets))
        .expect("the name is one of ours")
}
