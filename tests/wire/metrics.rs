//! Metrics: the names, types and labels of stock etcd, and equal numbers where the
//! same history leaves no choice. What is left out stands in `differences.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp,
};

use super::agent::{block_on, connect};
use super::process::Server;

/// A metric as it is told: its type, the names of its labels, and its values.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeSet<String>,
    values: BTreeMap<String, f64>,
}

type Metrics = BTreeMap<String, Metric>;

fn metrics(server: &Server) -> Metrics {
    // An older client gets the page in one piece.
    let mut stream = TcpStream::connect(server.endpoint().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: wire\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let mut metrics = Metrics::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
            continue;
        }
        let Some((series, value)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = name.strip_suffix(end)?;
            (metrics.get(family)?.kind == "histogram").then_some(family)
        });
        let family = of_histogram.unwrap_or(name).to_owned();
        let Some(metric) = metrics.get_mut(&family) else { continue };
        for label in labels.split("\",").filter_map(|label| label.split_once('=')) {
            metric.labels.insert(label.0.to_owned());
        }
        if !series.contains("grpc.health.v1") {
            metric.values.insert(series.to_owned(), value.parse().unwrap());
        }
    }
    metrics
}

/// The same history for everybody.
fn live(server: &Server) {
    block_on(async {
        let mut store = connect(&server.endpoint()).await;
        for count in 0..5 {
            store.put(format!("k{count}"), "value", None).await.unwrap();
        }
        store.lease_grant(60, Some(LeaseGrantOptions::new().with_id(7))).await.unwrap();
        store.lease_grant(60, Some(LeaseGrantOptions::new().with_id(8))).await.unwrap();
        store.put("leased", "v", Some(PutOptions::new().with_lease(7))).await.unwrap();
        store.lease_revoke(7).await.unwrap();
        store.get("k", Some(GetOptions::new().with_prefix())).await.unwrap();
        store.get("k1", Some(GetOptions::new().with_serializable())).await.unwrap();
        store.delete("k0", None).await.unwrap();
        let two = vec![TxnOp::put("t1", "1", None), TxnOp::put("t2", "2", None)];
        store.txn(Txn::new().and_then(two)).await.unwrap();
        let mixed = vec![
            TxnOp::get("k1", None),
            TxnOp::delete("k2", Some(DeleteOptions::new())),
            TxnOp::put("t3", "3", None),
        ];
        store.txn(Txn::new().and_then(mixed)).await.unwrap();
        store.get("", None).await.expect_err("a key is wanted");
        store.lease_revoke(999).await.expect_err("there is no such lease");
        let never = Compare::version("k1", CompareOp::Equal, 999);
        let put = TxnOp::put("never", "", None);
        store.txn(Txn::new().when([never]).and_then([put])).await.unwrap();
        let mut watch = store.watch("k1", None).await.unwrap();
        store.put("k1", "seen", None).await.unwrap();
        watch.message().await.unwrap();
        store.compact(5, None).await.unwrap();
        // The streams are open while the metrics are read.
        tokio::task::block_in_place(|| drop(watch));
    });
}

/// The list of what is left out, from the reviewed table.
fn left_out() -> Vec<String> {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/differences.md");
    let text = fs::read_to_string(table).unwrap();
    let section = text.split("\n## ").find(|part| part.starts_with("Metrics")).unwrap();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

fn is_left_out(name: &str, table: &[String]) -> bool {
    table.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == entry,
    })
}

#[test]
fn names_types_and_labels_are_those_of_etcd() {
    let table = left_out();
    let [theirs, ours] = [Server::etcd(), Server::kat()].map(|server| {
        live(&server);
        metrics(&server)
    });
    let mut wrong = Vec::new();
    for (name, metric) in theirs.iter().filter(|(name, _)| !is_left_out(name, &table)) {
        match ours.get(name) {
            None => wrong.push(format!("{name} is missing")),
            Some(own) if own.kind != metric.kind => {
                wrong.push(format!("{name} is a {}, not a {}", own.kind, metric.kind));
            }
            Some(own) if own.labels != metric.labels => {
                wrong.push(format!("{name} has {:?}, not {:?}", own.labels, metric.labels));
            }
            Some(own) => {
                let bounds = |metric: &Metric| -> BTreeSet<String> {
                    let values = metric.values.keys();
                    values.filter_map(|series| bound(series)).collect()
                };
                if bounds(own) != bounds(metric) {
                    wrong.push(format!("{name}: {:?}, not {:?}", bounds(own), bounds(metric)));
                }
            }
        }
    }
    let more = ours.keys().filter(|name| !theirs.contains_key(*name) && !is_left_out(name, &table));
    wrong.extend(more.map(|name| format!("{name} is ours alone")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused = table.iter().filter(|entry| {
        let names = theirs.keys().chain(ours.keys());
        !names.into_iter().any(|name| is_left_out(name, std::slice::from_ref(entry)))
    });
    assert_eq!(unused.collect::<Vec<_>>(), [""; 0], "the table lists what nobody tells");
    for name in theirs.keys().filter(|name| is_left_out(name, &table)) {
        assert!(!ours.contains_key(name), "{name} is told, and stands in the table");
    }
}

/// The upper bound of a bucket.
fn bound(series: &str) -> Option<String> {
    let (_, rest) = series.split_once("le=\"")?;
    rest.split('"').next().map(str::to_owned)
}

/// Metrics whose values follow from the history.
const EQUAL: &[&str] = &[
    "etcd_cluster_version",
    "etcd_debugging_auth_revision",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_ttl_total",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_server_lease_expired_total",
    "etcd_disk_defrag_inflight",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_txn_total",
    "etcd_network_known_peers",
    "etcd_server_client_requests_total",
    "etcd_server_feature_enabled",
    "etcd_server_has_leader",
    "etcd_server_health_failures",
    "etcd_server_id",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_version",
    "os_fd_limit",
    "process_max_fds",
    "promhttp_metric_handler_requests_in_flight",
];

#[test]
fn the_same_history_makes_the_same_numbers() {
    let [theirs, ours] = [Server::etcd(), Server::kat()].map(|server| {
        live(&server);
        metrics(&server)
    });
    let mut wrong = Vec::new();
    for name in EQUAL {
        let values = |metrics: &Metrics| metrics.get(*name).map(|metric| metric.values.clone());
        if values(&ours) != values(&theirs) {
            wrong.push(format!("{name}: {:?}, not {:?}", values(&ours), values(&theirs)));
        }
    }
    // Of what ended, zeros may be told or not.
    for (name, without) in [
        ("grpc_server_started_total", "none"),
        ("grpc_server_handled_total", "Watch"),
        ("grpc_server_msg_received_total", "Watch"),
        ("grpc_server_msg_sent_total", "Watch"),
    ] {
        let some = |metrics: &Metrics| -> BTreeMap<String, f64> {
            let values = metrics[name].values.clone().into_iter();
            let is_one = |(series, value): &(String, f64)| {
                *value > 0.0 && !series.contains(&format!("\"{without}\""))
            };
            values.filter(is_one).collect()
        };
        if some(&ours) != some(&theirs) {
            wrong.push(format!("{name}: {:?}, not {:?}", some(&ours), some(&theirs)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // How often something was done is the same where it is timed.
    for (name, label) in [
        ("etcd_server_apply_duration_seconds", "op"),
        ("etcd_server_request_duration_seconds", "type"),
    ] {
        let count = |metrics: &Metrics, kind: &str| {
            let values = metrics[name].values.iter();
            let one = values.filter(|(series, _)| {
                series.contains("_count{")
                    && series.contains(&format!("{label}=\"{kind}\""))
                    && series.contains("success=\"true\"")
            });
            one.map(|(_, value)| *value).next()
        };
        for kind in ["Put", "DeleteRange", "LeaseGrant", "LeaseRevoke", "Compaction"] {
            assert_eq!(count(&ours, kind), count(&theirs, kind), "{name} {kind}");
        }
    }
}

#[test]
fn extensive_metrics_tell_how_long_calls_were_open() {
    let extensive = ["--metrics=extensive"];
    let [theirs, ours] =
        [Server::etcd_with(&extensive), Server::kat_with(&extensive)].map(|server| {
            live(&server);
            metrics(&server)
        });
    let name = "grpc_server_handling_seconds";
    assert_eq!(ours[name].labels, theirs[name].labels);
    let puts = |metrics: &Metrics| {
        let series = "_count{grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",\
                      grpc_type=\"unary\"}";
        metrics[name].values[&format!("{name}{series}")]
    };
    assert_eq!(puts(&ours), puts(&theirs));
    let basic = Server::kat();
    assert!(!metrics(&basic).contains_key(name));
}

/// What etcd's own dashboards and alert rules look at, and `etcdctl check`.
const LOOKED_AT: [&str; 17] = [
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds",
    "grpc_server_started_total",
    "process_resident_memory_bytes",
];

/// What they look at too, and etcd tells of none but its peers.
const OF_PEERS: [&str; 4] = [
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
];

#[test]
fn what_dashboards_and_alerts_look_at_is_told() {
    let extensive = ["--metrics=extensive"];
    let [theirs, ours] =
        [Server::etcd_with(&extensive), Server::kat_with(&extensive)].map(|server| {
            live(&server);
            metrics(&server)
        });
    let table = left_out();
    for name in LOOKED_AT {
        assert!(theirs.contains_key(name), "etcd does not tell {name}");
        let own = ours.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(!own.values.is_empty(), "{name} has no values");
        assert!(!is_left_out(name, &table), "{name} is left out");
    }
    for name in OF_PEERS {
        assert!(!theirs.contains_key(name), "etcd tells {name} of one member");
        assert!(!is_left_out(name, &table), "{name} is left out");
    }
}
