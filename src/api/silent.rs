//! Metrics of parts that etcd has and we do not: nothing ever happens in them, and
//! that is what they tell. Dashboards and checks look for the names.

use prometheus::{Registry, exponential_buckets};

use super::metrics::{counters, gauges, histograms};

/// Counters and what they would count.
const COUNTERS: &[(&str, &str)] = &[
    ("etcd_debugging_store_expires_total", "Keys of API v2 that expired; there are none."),
    ("etcd_debugging_store_watch_requests_total", "Watches of API v2; there are none."),
    ("etcd_grpc_proxy_events_coalescing_total", "Events a proxy joined; this is no proxy."),
    ("etcd_server_heartbeat_send_failures_total", "Heartbeats sent late; one alone sends none."),
];

/// Gauges and what they would tell.
const GAUGES: &[(&str, &str)] = &[
    ("etcd_debugging_store_watchers", "Watchers of API v2; there are none."),
    ("etcd_grpc_proxy_cache_hits_total", "Hits of a proxy's cache; this is no proxy."),
    ("etcd_grpc_proxy_cache_keys_total", "Keys in a proxy's cache; this is no proxy."),
    ("etcd_grpc_proxy_cache_misses_total", "Misses of a proxy's cache; this is no proxy."),
    ("etcd_grpc_proxy_watchers_coalescing_total", "Watchers a proxy joined; this is no proxy."),
    ("etcd_mvcc_db_open_read_transactions", "Transactions of bbolt; reads here block nobody."),
    ("etcd_server_snapshot_apply_in_progress_total", "Snapshots being applied; none is sent."),
];

/// Times of phases: the first bound, how many bounds, and what would take it.
const TIMES: &[(&str, f64, usize, &str)] = &[
    ("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", 0.001, 14, BBOLT),
    ("etcd_debugging_disk_backend_commit_spill_duration_seconds", 0.001, 14, BBOLT),
    ("etcd_debugging_disk_backend_commit_write_duration_seconds", 0.001, 14, BBOLT),
    ("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", 0.5, 14, INDEX),
    ("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", 0.001, 14, LOOP),
    ("etcd_debugging_server_watch_send_loop_progress_duration_seconds", 0.001, 14, LOOP),
    (
        "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
        0.001,
        14,
        LOOP,
    ),
    ("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", 0.001, 14, LOOP),
    ("etcd_debugging_snap_save_marshalling_duration_seconds", 0.001, 14, SNAP),
    ("etcd_debugging_snap_save_total_duration_seconds", 0.001, 14, SNAP),
    ("etcd_disk_wal_write_duration_seconds", 0.001, 14, LOG),
    ("etcd_snap_db_fsync_duration_seconds", 0.001, 14, SNAP),
    ("etcd_snap_db_save_total_duration_seconds", 0.1, 10, SNAP),
    ("etcd_snap_fsync_duration_seconds", 0.001, 14, SNAP),
];

const BBOLT: &str = "A phase of a commit of bbolt; commits here have no such phases.";
const INDEX: &str = "Pauses for the index; it is purged with its rows.";
const LOOP: &str = "A phase of a send loop; streams here are asked for what is next.";
const SNAP: &str = "Snapshot files beside the store; the store is its own snapshot.";
const LOG: &str = "Writing the log without the sync; both are one call, told as its fsync.";

/// Registers them all, at zero.
pub(super) fn register(on: &Registry) {
    for (name, help) in COUNTERS {
        counters(on, name, help, &[]).with_label_values::<&str>(&[]);
    }
    for (name, help) in GAUGES {
        gauges(on, name, help, &[]).with_label_values::<&str>(&[]);
    }
    for (name, first, count, help) in TIMES {
        let buckets = exponential_buckets(*first, 2.0, *count).expect("the bounds rise");
        histograms(on, name, help, buckets, &[]).with_label_values::<&str>(&[]);
    }
}
