//! [`Metrics`]: what is counted, under the names of etcd's dashboards.
//!
//! The api's own counters are kept here; everything else is looked at only when
//! somebody asks (`readings.rs`). What this member does not do is left out rather
//! than shown as zero.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, exponential_buckets,
};

use super::calls::{Calls, Kind};
use super::exposition;
use super::member::Member;
use super::readings;
use super::server::Options;
use super::silent;

/// Versions of client libraries that are told apart; further ones count as
/// "other", so that a client cannot fill the memory with names.
const VERSIONS_MAX: usize = 64;

/// The longest version that is taken for one.
const VERSION_BYTES_MAX: usize = 64;

/// What the api counts.
pub(super) struct Metrics {
    registry: Registry,
    /// Every call.
    pub(super) calls: Calls,
    clients: IntCounterVec,
    versions: Mutex<BTreeSet<String>>,
    /// Bytes that came in on client connections.
    pub(super) received_bytes: IntCounter,
    /// Bytes that went out on them.
    pub(super) sent_bytes: IntCounter,
    /// Times that /health was fine.
    pub(super) health_successes: IntCounter,
    /// Times that it was not.
    pub(super) health_failures: IntCounter,
    /// Outcomes of the checks behind /livez and /readyz.
    pub(super) checks: IntCounterVec,
    /// The last outcome of each.
    pub(super) check_states: IntGaugeVec,
    /// Seconds that checksums took.
    pub(super) hashes: Histogram,
    /// Seconds that checksums of a revision took.
    pub(super) revision_hashes: Histogram,
    /// Defragmentations.
    pub(super) defragments: Defragments,
    /// Seconds that snapshots took.
    pub(super) snapshots: Histogram,
    /// Learners that got a vote here.
    pub(super) promotions: IntCounter,
    /// Learners that got none, by reason.
    pub(super) failed_promotions: IntCounterVec,
    /// Requests for these metrics.
    pub(super) scrapes: Scrapes,
}

/// Requests for metrics, under the names of the library that serves etcd's.
pub(super) struct Scrapes {
    /// Those under way.
    pub(super) running: IntGauge,
    /// Those that were answered.
    pub(super) answered: IntCounter,
}

impl Scrapes {
    fn new(on: &Registry) -> Scrapes {
        let (name, help) = ("promhttp_metric_handler_requests_total", "Requests by code.");
        let by_code = counters(on, name, help, &["code"]);
        // Nothing else can come of one here, and the others are asked for too.
        for code in ["500", "503"] {
            by_code.with_label_values(&[code]);
        }
        let (name, help) = ("promhttp_metric_handler_requests_in_flight", "Requests under way.");
        let running = gauges(on, name, help, &[]).with_label_values::<&str>(&[]);
        Scrapes { running, answered: by_code.with_label_values(&["200"]) }
    }
}

impl Metrics {
    /// All at zero.
    pub(super) fn new(options: &Options) -> Metrics {
        let registry = Registry::new();
        let calls = Calls::new(&registry, options.is_extensive);
        let on = &registry;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("no other has these names");
        silent::register(on);
        let count = |name, help| counters(on, name, help, &[]).with_label_values::<&str>(&[]);
        let times = |name, help, first, steps| {
            let buckets = exponential_buckets(first, 2.0, steps).expect("the bounds rise");
            histograms(on, name, help, buckets, &[]).with_label_values::<&str>(&[])
        };
        Metrics {
            calls,
            clients: counters(
                on,
                "etcd_server_client_requests_total",
                "Calls by the version of the client library.",
                &["type", "client_api_version"],
            ),
            versions: Mutex::default(),
            received_bytes: count(
                "etcd_network_client_grpc_received_bytes_total",
                "Bytes received from clients.",
            ),
            sent_bytes: count(
                "etcd_network_client_grpc_sent_bytes_total",
                "Bytes sent to clients.",
            ),
            health_successes: count("etcd_server_health_success", "Times found healthy."),
            health_failures: count("etcd_server_health_failures", "Times found not healthy."),
            checks: counters(
                on,
                "etcd_server_healthchecks_total",
                "Outcomes of health checks.",
                &["type", "name", "status"],
            ),
            check_states: gauges(
                on,
                "etcd_server_healthcheck",
                "The last outcome of a health check: 1 is good.",
                &["type", "name"],
            ),
            hashes: times("etcd_mvcc_hash_duration_seconds", "Time for a checksum.", 0.01, 15),
            revision_hashes: times(
                "etcd_mvcc_hash_rev_duration_seconds",
                "Time for a checksum at a revision.",
                0.01,
                15,
            ),
            defragments: Defragments::new(on),
            snapshots: times(
                "etcd_disk_backend_snapshot_duration_seconds",
                "Time for a snapshot.",
                0.01,
                17,
            ),
            promotions: count("etcd_server_learner_promote_successes", "Learners promoted."),
            failed_promotions: counters(
                on,
                "etcd_server_learner_promote_failures",
                "Learners not promoted, by reason.",
                &["Reason"],
            ),
            scrapes: Scrapes::new(on),
            registry,
        }
    }

    /// The counter of calls of clients of a version.
    pub(super) fn client(&self, kind: Kind, version: &str) -> IntCounter {
        let kind = if kind == Kind::Unary { "unary" } else { "stream" };
        let mut versions = self.versions.lock();
        let is_told = versions.contains(version)
            || (version.len() <= VERSION_BYTES_MAX && versions.len() < VERSIONS_MAX);
        if !is_told {
            return self.clients.with_label_values(&[kind, "other"]);
        }
        if !versions.contains(version) {
            versions.insert(version.to_owned());
        }
        self.clients.with_label_values(&[kind, version])
    }

    /// Everything, in Prometheus' text format 0.0.4.
    pub(super) fn text(&self, member: &Member) -> String {
        let mut families = self.registry.gather();
        families.extend(readings::take(member));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        exposition::text(&families)
    }
}

/// Counts defragmentations.
pub(super) struct Defragments {
    seconds: Histogram,
    running: IntGauge,
}

/// A defragmentation under way; it ends with this.
pub(super) struct Defragment<'a> {
    counts: &'a Defragments,
    timer: Option<prometheus::HistogramTimer>,
}

impl Defragments {
    fn new(on: &Registry) -> Defragments {
        let buckets = exponential_buckets(0.1, 2.0, 13).expect("the bounds rise");
        let (name, help) = ("etcd_disk_defrag_inflight", "Whether a defragmentation is running.");
        let running = gauges(on, name, help, &[]).with_label_values::<&str>(&[]);
        let (name, help) =
            ("etcd_disk_backend_defrag_duration_seconds", "Time for a defragmentation.");
        let seconds = histograms(on, name, help, buckets, &[]).with_label_values::<&str>(&[]);
        Defragments { seconds, running }
    }

    /// One begins.
    pub(super) fn begin(&self) -> Defragment<'_> {
        self.running.inc();
        Defragment { counts: self, timer: Some(self.seconds.start_timer()) }
    }
}

impl Drop for Defragment<'_> {
    fn drop(&mut self) {
        self.counts.running.dec();
        if let Some(timer) = self.timer.take() {
            timer.observe_duration();
        }
    }
}

/// Registers a family of counters.
pub(super) fn counters(on: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let family = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is good");
    on.register(Box::new(family.clone())).expect("no other has this name");
    family
}

/// Registers a family of histograms.
pub(super) fn histograms(
    on: &Registry,
    name: &str,
    help: &str,
    buckets: Vec<f64>,
    labels: &[&str],
) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets);
    let family = HistogramVec::new(options, labels).expect("the name is good");
    on.register(Box::new(family.clone())).expect("no other has this name");
    family
}

/// Registers a family of gauges.
pub(super) fn gauges(on: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let family = IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is good");
    on.register(Box::new(family.clone())).expect("no other has this name");
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_version_up_to_a_limit() {
        let metrics = Metrics::new(&Options::default());
        metrics.client(Kind::Unary, "3.7.1").inc();
        metrics.client(Kind::BidiStream, "3.7.1").inc();
        for version in 0..2 * VERSIONS_MAX {
            metrics.client(Kind::Unary, &version.to_string()).inc();
        }
        metrics.client(Kind::Unary, &"9".repeat(VERSION_BYTES_MAX + 1)).inc();
        metrics.client(Kind::Unary, "3.7.1").inc();
        let count = |kind, version| metrics.clients.with_label_values(&[kind, version]).get();
        assert_eq!(count("unary", "3.7.1"), 2);
        assert_eq!(count("stream", "3.7.1"), 1);
        assert_eq!(count("unary", "other"), VERSIONS_MAX as u64 + 2);
    }

    #[test]
    fn a_defragmentation_is_counted_when_it_ends() {
        let metrics = Metrics::new(&Options::default());
        let running = metrics.defragments.begin();
        assert_eq!(metrics.defragments.running.get(), 1);
        drop(running);
        assert_eq!(metrics.defragments.running.get(), 0);
        assert_eq!(metrics.defragments.seconds.get_sample_count(), 1);
    }
}
