//! [`Metrics`]: what is counted, under the names of etcd's dashboards.
//!
//! The api's own counters are kept here; what the replica counts has no names
//! until it is read out; everything else is looked at only then. What this
//! member does not do is left out rather than shown as zero.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, exponential_buckets,
};

use super::calls::{Calls, Kind};
use super::member::{Member, VERSION};

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
}

impl Metrics {
    /// All at zero.
    pub(super) fn new() -> Metrics {
        let registry = Registry::new();
        let calls = Calls::new(&registry);
        let on = &registry;
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("no other has these names");
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
            defragments: Defragments {
                seconds: times(
                    "etcd_disk_backend_defrag_duration_seconds",
                    "Time for a defragmentation.",
                    0.1,
                    13,
                ),
                running: gauges(
                    on,
                    "etcd_disk_defrag_inflight",
                    "Whether a defragmentation is running.",
                    &[],
                )
                .with_label_values::<&str>(&[]),
            },
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
        families.extend(counted_by_the_replica(member));
        families.extend(standing(member));
        families.extend(contents(member));
        families.extend(identity(member));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families).expect("every family has a metric")
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

fn gauges(on: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let family = IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is good");
    on.register(Box::new(family.clone())).expect("no other has this name");
    family
}

/// The replica's counters, under etcd's names.
fn counted_by_the_replica(member: &Member) -> Vec<MetricFamily> {
    let counters = member.replica.counters();
    let named: &[(&str, &str, &dyn Collector)] = &[
        (
            "etcd_server_proposals_failed_total",
            "Proposals that came to nothing.",
            &counters.proposals_failed,
        ),
        (
            "etcd_server_leader_changes_seen_total",
            "Changes of the raft leader.",
            &counters.leader_changes,
        ),
        (
            "etcd_disk_wal_fsync_duration_seconds",
            "Time for a sync of the raft log.",
            &counters.log_syncs,
        ),
        (
            "etcd_disk_backend_commit_duration_seconds",
            "Time for applying an entry to the store.",
            &counters.applies,
        ),
        ("etcd_mvcc_put_total", "Puts.", &counters.puts),
        ("etcd_mvcc_delete_total", "Deletions.", &counters.deletes),
        ("etcd_mvcc_txn_total", "Txns.", &counters.txns),
        ("etcd_mvcc_range_total", "Ranges.", &counters.ranges),
        ("etcd_debugging_mvcc_events_total", "Events of watchable changes.", &counters.events),
        ("etcd_debugging_lease_granted_total", "Leases granted.", &counters.leases_granted),
        ("etcd_debugging_lease_revoked_total", "Leases revoked.", &counters.leases_revoked),
        ("etcd_debugging_lease_renewed_total", "Leases renewed.", &counters.leases_renewed),
        (
            "etcd_debugging_server_lease_expired_total",
            "Leases whose time was up.",
            &counters.leases_expired,
        ),
    ];
    let mut families: Vec<_> = named
        .iter()
        .flat_map(|(name, help, collector)| {
            collector.collect().into_iter().map(|mut family| {
                family.set_name((*name).to_owned());
                family.set_help((*help).to_owned());
                family
            })
        })
        .collect();
    let written = counters.log_bytes.get();
    families.push(gauge("etcd_disk_wal_write_bytes_total", "Bytes of the raft log.", written));
    families
}

/// Where the member stands in raft.
fn standing(member: &Member) -> Vec<MetricFamily> {
    let standing = member.replica.standing();
    let me = member.replica.identity().member.0;
    let members = member.reader().members();
    let is_learner = members.iter().any(|member| member.id == me && member.is_learner);
    let pending = u64::try_from(member.replica.pending()).unwrap_or(u64::MAX);
    vec![
        gauge(
            "etcd_server_has_leader",
            "Whether a raft leader is known.",
            standing.leader.is_some(),
        ),
        gauge("etcd_server_is_leader", "Whether this member leads.", standing.is_leader),
        gauge("etcd_server_is_learner", "Whether this member has no vote.", is_learner),
        gauge("etcd_server_proposals_committed_total", "The commit index.", standing.commit.0),
        gauge("etcd_server_proposals_applied_total", "The applied index.", standing.applied.0),
        gauge("etcd_server_proposals_pending", "Proposals that wait.", pending),
    ]
}

/// What the store holds.
fn contents(member: &Member) -> Vec<MetricFamily> {
    let reader = member.reader();
    let sizes = reader.sizes();
    let (watchers, streams) = member.replica.watchers();
    let alarms = reader.alarms().into_iter().map(|alarm| {
        let labels = [
            ("server_id", format!("{:x}", alarm.member_id)),
            ("alarm_type", { alarm.alarm().as_str_name().to_owned() }),
        ];
        metric(&labels, 1_u64)
    });
    let alarms: Vec<_> = alarms.collect();
    let mut families = vec![
        gauge("etcd_server_quota_backend_bytes", "The quota.", sizes.quota),
        gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes allocated.", sizes.total),
        gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes in use.", sizes.in_use),
        gauge("etcd_debugging_mvcc_keys_total", "Keys alive.", reader.keys_total()),
        gauge("etcd_debugging_mvcc_current_revision", "The revision.", reader.revision()),
        gauge(
            "etcd_debugging_mvcc_compact_revision",
            "The revision of the last compaction.",
            reader.compact_revision(),
        ),
        gauge("etcd_debugging_mvcc_watcher_total", "Watchers.", watchers),
        gauge("etcd_debugging_mvcc_watch_stream_total", "Streams of watchers.", streams),
        gauge("etcd_debugging_auth_revision", "The revision of accounts.", reader.auth_revision()),
    ];
    if !alarms.is_empty() {
        let (name, help) = ("etcd_debugging_server_alarms", "Active alarms.");
        families.push(family(name, help, MetricType::GAUGE, alarms));
    }
    families
}

/// Who the member is, and what it has open.
fn identity(member: &Member) -> Vec<MetricFamily> {
    let id = format!("{:x}", member.replica.identity().member.0);
    let named = |name, help, label, value: String| {
        family(name, help, MetricType::GAUGE, vec![metric(&[(label, value)], 1_u64)])
    };
    let mut families = vec![
        named("etcd_server_id", "This member.", "server_id", id.clone()),
        named("etcd_server_version", "The version served.", "server_version", VERSION.to_owned()),
    ];
    let known = member.reader().members().into_iter().map(|peer| {
        let peer = format!("{:x}", peer.id);
        metric(&[("Local", id.clone()), ("Remote", peer)], 1_u64)
    });
    let (name, help) = ("etcd_network_known_peers", "The members of the cluster.");
    families.push(family(name, help, MetricType::GAUGE, known.collect()));
    if let Some(version) = member.reader().cluster_version() {
        let short = version.rsplit_once('.').map_or(&version[..], |(short, _)| short);
        families.push(named(
            "etcd_cluster_version",
            "The version that all members speak.",
            "cluster_version",
            short.to_owned(),
        ));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        families.push(gauge("os_fd_limit", "Files that may be open.", limit));
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let open = u64::try_from(open.count()).unwrap_or(u64::MAX);
        families.push(gauge("os_fd_used", "Files that are open.", open));
    }
    families
}

/// Numbers that a metric can have.
trait Number {
    fn float(self) -> f64;
}

impl Number for bool {
    fn float(self) -> f64 {
        f64::from(u8::from(self))
    }
}

impl Number for u64 {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn float(self) -> f64 {
        self as f64
    }
}

impl Number for i64 {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
    fn float(self) -> f64 {
        self as f64
    }
}

fn gauge(name: &str, help: &str, value: impl Number) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![metric(&[], value)])
}

fn metric(labels: &[(&str, String)], value: impl Number) -> Metric {
    let mut pairs: Vec<_> = labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.clone());
            pair
        })
        .collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    let mut gauge = prometheus::proto::Gauge::default();
    gauge.set_value(value.float());
    let mut metric = Metric::from_label(pairs);
    metric.set_gauge(gauge);
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_is_told_with_name_type_and_value() {
        let labels = [("server_id", "8e9e05c52164694d".to_owned())];
        let families = [
            gauge("etcd_server_has_leader", "Known.", true),
            family("etcd_server_id", "Who.", MetricType::GAUGE, vec![metric(&labels, 1_u64)]),
        ];
        let text = TextEncoder::new().encode_to_string(&families).unwrap();
        let wanted = "# HELP etcd_server_has_leader Known.\n\
            # TYPE etcd_server_has_leader gauge\n\
            etcd_server_has_leader 1\n\
            # HELP etcd_server_id Who.\n\
            # TYPE etcd_server_id gauge\n\
            etcd_server_id{server_id=\"8e9e05c52164694d\"} 1\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn clients_are_told_apart_by_version_up_to_a_limit() {
        let metrics = Metrics::new();
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
        let metrics = Metrics::new();
        let running = metrics.defragments.begin();
        assert_eq!(metrics.defragments.running.get(), 1);
        drop(running);
        assert_eq!(metrics.defragments.running.get(), 0);
        assert_eq!(metrics.defragments.seconds.get_sample_count(), 1);
    }
}
