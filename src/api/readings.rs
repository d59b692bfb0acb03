//! What is looked at only when somebody asks for metrics: the replica's
//! counters, which have no names until then, and the state of member and machine.

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::member::{Member, VERSION};
use crate::proto::etcdserverpb::AlarmType;
use crate::replica::Counters;

/// All of it.
pub(super) fn take(member: &Member) -> Vec<MetricFamily> {
    let mut families = counted_by_the_replica(member);
    families.extend(standing(member));
    families.extend(contents(member));
    families.extend(identity(member));
    families.extend(features(member));
    families.extend(machine());
    families
}

/// A counter of the replica, with its name and what it is.
type Named<'a> = (&'static str, &'static str, &'a dyn Collector);

/// The replica's counters, under etcd's names.
fn counted_by_the_replica(member: &Member) -> Vec<MetricFamily> {
    let counters = member.replica.counters();
    let named = [of_raft(counters), of_the_store(counters)].concat();
    let mut families: Vec<_> = named
        .iter()
        .flat_map(|(name, help, collector)| {
            collector.collect().into_iter().map(|mut family| {
                family.set_name((*name).to_owned());
                family.set_help((*help).to_owned());
                family
            })
        })
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let put = counters.put_bytes.get();
    let (name, help) = ("etcd_debugging_mvcc_total_put_size_in_bytes", "Bytes put.");
    families.push(gauge(name, help, put));
    let written = counters.log_bytes.get();
    families.push(gauge("etcd_disk_wal_write_bytes_total", "Bytes of the raft log.", written));
    families
}

fn of_raft(counters: &Counters) -> Vec<Named<'_>> {
    vec![
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
    ]
}

fn of_the_store(counters: &Counters) -> Vec<Named<'_>> {
    vec![
        ("etcd_mvcc_put_total", "Puts.", &counters.puts),
        ("etcd_mvcc_delete_total", "Deletions.", &counters.deletes),
        ("etcd_mvcc_txn_total", "Txns.", &counters.txns),
        ("etcd_mvcc_range_total", "Ranges.", &counters.ranges),
        ("etcd_debugging_lease_ttl_total", "Seconds of leases granted.", &counters.lease_ttls),
        (
            "etcd_server_apply_duration_seconds",
            "Time until an operation was applied, with all that stood in its entry.",
            &counters.operations,
        ),
        ("etcd_server_slow_apply_total", "Applications that were slow.", &counters.slow_applies),
        (
            "etcd_server_slow_read_indexes_total",
            "Rounds of reads that nobody answered in time.",
            &counters.slow_reads,
        ),
        ("etcd_server_read_indexes_failed_total", "Reads in vain.", &counters.reads_failed),
        (
            "etcd_debugging_mvcc_db_compaction_keys_total",
            "Rows that compactions removed.",
            &counters.purged_rows,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
            "Time for a slice of a compaction.",
            &counters.purge_slices,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "Time until the space of a compaction was back.",
            &counters.purges,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_last",
            "When the last compaction was finished.",
            &counters.last_purge,
        ),
        ("etcd_debugging_lease_granted_total", "Leases granted.", &counters.leases_granted),
        ("etcd_debugging_lease_revoked_total", "Leases revoked.", &counters.leases_revoked),
        ("etcd_debugging_lease_renewed_total", "Leases renewed.", &counters.leases_renewed),
        (
            "etcd_debugging_server_lease_expired_total",
            "Leases whose time was up.",
            &counters.leases_expired,
        ),
    ]
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
    let (behind, waiting) = member.replica.watchers_lag();
    let alarms = reader.alarms().into_iter().map(|alarm| {
        let kind = AlarmType::try_from(alarm.alarm);
        let labels = [
            ("server_id", format!("{:x}", alarm.member_id)),
            ("alarm_type", kind.map_or(alarm.alarm.to_string(), |kind| kind.as_str_name().into())),
        ];
        metric(&labels, 1_u64)
    });
    let alarms: Vec<_> = alarms.collect();
    let told = member.replica.events_told();
    let mut families = vec![
        counter("etcd_debugging_mvcc_events_total", "Events told to watchers.", told),
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
        gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that read history.", behind),
        gauge("etcd_debugging_mvcc_pending_events_total", "Revisions to be told.", waiting),
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
        named("etcd_server_go_version", "Go's version.", "server_go_version", "none".to_owned()),
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
    families
}

/// The switches of features.
fn features(member: &Member) -> Option<MetricFamily> {
    let states = member.options.features.iter().map(|feature| {
        let labels = [("name", feature.name.to_owned()), ("stage", feature.stage.to_owned())];
        metric(&labels, feature.is_on)
    });
    let states: Vec<_> = states.collect();
    let (name, help) = ("etcd_server_feature_enabled", "Whether a feature is on.");
    (!states.is_empty()).then(|| family(name, help, MetricType::GAUGE, states))
}

/// What the machine says of the process.
fn machine() -> Vec<MetricFamily> {
    let mut families = Vec::new();
    let limit = |resource| rustix::process::getrlimit(resource).current;
    if let Some(limit) = limit(rustix::process::Resource::Nofile) {
        families.push(gauge("os_fd_limit", "Files that may be open.", limit));
    }
    let memory = limit(rustix::process::Resource::As).unwrap_or(u64::MAX);
    let (name, help) = ("process_virtual_memory_max_bytes", "Memory that may be mapped.");
    families.push(gauge(name, help, memory));
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        let open = u64::try_from(open.count()).unwrap_or(u64::MAX);
        families.push(gauge("os_fd_used", "Files that are open.", open));
    }
    let traffic = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    for (name, help, octets) in [
        ("process_network_receive_bytes_total", "Bytes received by the machine.", "InOctets"),
        ("process_network_transmit_bytes_total", "Bytes sent by the machine.", "OutOctets"),
    ] {
        if let Some(bytes) = octets_of(&traffic, octets) {
            families.push(counter(name, help, bytes));
        }
    }
    families
}

/// A number of the table of traffic: a line of names, and a line of numbers.
fn octets_of(table: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|other| other == name)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
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

fn counter(name: &str, help: &str, value: impl Number) -> MetricFamily {
    let mut counter = prometheus::proto::Counter::default();
    counter.set_value(value.float());
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, vec![metric])
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
    use prometheus::TextEncoder;

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
    fn traffic_is_found_by_its_name() {
        let table = "TcpExt: A B\nTcpExt: 1 2\nIpExt: X InOctets OutOctets\nIpExt: 7 8 9\n";
        assert_eq!(octets_of(table, "InOctets"), Some(8));
        assert_eq!(octets_of(table, "OutOctets"), Some(9));
        assert_eq!((octets_of(table, "B"), octets_of("", "InOctets")), (None, None));
    }
}
