//! Snapshots of stores with everything in them, and of a large one that is
//! written meanwhile: stock etcd goes on from the file.

use std::fs::File;
use std::path::Path;

use kat::engine::bolt::{self, Item};
use kat::proto::authpb::UserAddOptions;
use kat::proto::authpb::permission::Type::{Read, Readwrite, Write};
use kat::proto::etcdserverpb::alarm_request::AlarmAction;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kat::proto::etcdserverpb::{
    AlarmRequest, AlarmType, AuthUserAddRequest, HashKvRequest, HashKvResponse, PutRequest,
    RangeRequest, SnapshotRequest, TxnRequest,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::Channel;

use super::accounts::{
    add_role, enforce, grant_role, look_around, look_at_role, look_at_user, permit,
};
use super::etcdctl::restored;
use super::wire::Wire;
use super::words::{ON, Operation as _, all, compact, delete, get, put, range, txn};

/// Keys in a large store, and in each txn that fills it.
const KEYS: usize = 20_000;
const KEYS_A_TXN: usize = 100;

/// The value of one key in each txn.
const LARGE_BYTES: usize = 100 << 10;

/// Leases in a large store.
const LEASES: i64 = 300;

/// Restores a stock etcd from a file that was saved, and talks to it.
async fn go_on_from(file: &Path) -> Wire {
    let file = file.to_owned();
    let server = tokio::task::spawn_blocking(move || restored(&file)).await;
    let mut wire = Wire::new(server.expect("it is restored"));
    "restored: ".clone_into(&mut wire.chapter);
    wire
}

fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written")
}

/// Everything that a store may hold is in the file.
pub(super) async fn restoring_everything(wire: &mut Wire) {
    for lease in [5, 70_000_000_000, 1] {
        wire.lease_grant(600 + lease % 7, lease).await;
    }
    for key in ["a", "b", "c"] {
        wire.put(PutRequest { lease: 5, ..put(key, "1") }).await;
    }
    wire.put(put("large", "2")).await;
    wire.txn(txn([], [put("x", "1").op(), put("y", "").op(), delete("a").op()], [])).await;
    wire.put(PutRequest { lease: 1, ..put("b", "2") }).await;
    wire.compact(compact(4)).await;
    wire.delete_range(delete("c")).await;
    alarms(wire, AlarmAction::Activate).await;
    let folder = folder();
    wire.hide(folder.path().display().to_string(), "FOLDER");
    wire.program("etcdctl", "snapshot save FOLDER/file", "", None).await;
    look_into(wire, &folder.path().join("file"));
    let mut other = go_on_from(&folder.path().join("file")).await;
    for revision in [0, 3, 4, 5, 6, 7, 8] {
        other.range(RangeRequest { revision, ..all() }).await;
        other.hash_kv(HashKvRequest { revision }).await;
    }
    for lease in [5, 70_000_000_000, 1, 2] {
        other.lease_time_to_live(lease, true).await;
    }
    other.lease_leases(Default::default()).await;
    other.alarm(AlarmRequest::default()).await;
    other.member_list(Default::default()).await;
    alarms(&mut other, AlarmAction::Deactivate).await;
    other.put(put("z", "1")).await;
    other.compact(compact(8)).await;
    other.crash();
    other.range(all()).await;
    other.hash_kv(HashKvRequest { revision: 0 }).await;
    wire.said.append(&mut other.said);
}

/// Reads a file, which is stock etcd's own when stock etcd is asked.
fn look_into(wire: &mut Wire, file: &Path) {
    let file = File::open(file).expect("it was saved");
    let mut bucket = String::new();
    bolt::read(file, |item| {
        match item {
            Item::Bucket(name) => bucket = String::from_utf8_lossy(name).into_owned(),
            Item::Row(key, value) if ["key", "lease", "alarm"].contains(&bucket.as_str()) => {
                wire.write(format!("a row of {bucket}: {key:?}"), format!("{value:?}"));
            }
            Item::Row(..) | Item::End => {}
        }
        Ok(())
    })
    .expect("it is a file");
}

/// Users come in with their old passwords, and may what they might.
pub(super) async fn restoring_accounts(wire: &mut Wire) {
    enforce(wire).await;
    add_role(wire, "root").await;
    add_role(wire, "bare").await;
    for (kind, key, end) in [(Write, "x", ""), (Read, "x", "y"), (Readwrite, "z", ON)] {
        permit(wire, "a", kind, key, end).await;
    }
    grant_role(wire, "bob", "bare").await;
    let options = Some(UserAddOptions { no_password: true });
    let name = "certified".to_owned();
    wire.user_add(AuthUserAddRequest { name, options, ..Default::default() }).await;
    wire.put(put("a/1", "1")).await;
    wire.put(put("b", "1")).await;
    let folder = folder();
    wire.hide(folder.path().display().to_string(), "FOLDER");
    wire.program("etcdctl", "--user=root:r00t snapshot save FOLDER/file", "", None).await;
    let mut other = go_on_from(&folder.path().join("file")).await;
    for wire in [&mut *wire, &mut other] {
        wire.token = None;
        look_around(wire).await;
        for (user, password) in [
            ("certified", ""),
            ("bob", "wrong"),
            ("bob", ""),
            ("alice", "secret"),
            ("root", "r00t"),
        ] {
            wire.log_in(user, password).await;
            wire.range(get("a/1")).await;
            wire.range(range("x", "z")).await;
            wire.put(put("a/1", "2")).await;
            wire.put(put("b", "2")).await;
        }
        for user in ["root", "alice", "bob", "certified"] {
            look_at_user(wire, user).await;
        }
        for role in ["a", "bare", "root"] {
            look_at_role(wire, role).await;
        }
        for line in [
            "user list",
            "user get alice --detail",
            "role list",
            "role get a",
            "auth status",
            "get a/ --prefix",
        ] {
            for form in ["simple", "json", "fields"] {
                let line = format!("--user=root:r00t {line} -w {form}");
                wire.program("etcdctl", &line, "", None).await;
            }
        }
        wire.program("etcdctl", "--user=alice:secret get a/1", "", None).await;
        wire.program("etcdctl", "--user=alice:secret get b", "", None).await;
        wire.program("etcdctl", "--user=alice:wrong get a/1", "", None).await;
        wire.program("etcdctl", "get a/1", "", None).await;
        wire.auth_disable(Default::default()).await;
        wire.token = None;
        look_around(wire).await;
    }
    wire.said.append(&mut other.said);
}

/// Two members are out of space.
async fn alarms(wire: &mut Wire, action: AlarmAction) {
    for member_id in [300, 7] {
        let (action, alarm) = (action.into(), AlarmType::Nospace.into());
        wire.alarm(AlarmRequest { action, member_id, alarm }).await;
    }
}

/// A large store, of which no write waits for the snapshot.
pub(super) async fn saving_a_large_store_under_load(wire: &mut Wire) {
    fill(wire).await;
    let (stop, stopped) = oneshot::channel();
    let load = tokio::spawn(write_until(wire.channel(), stopped));
    let folder = folder();
    wire.hide(folder.path().display().to_string(), "FOLDER");
    let before = hash(wire.channel(), 0).await.hash_revision;
    wire.program("etcdctl", "snapshot save FOLDER/file", "", None).await;
    stop.send(()).expect("it writes until it is stopped");
    let writes = load.await.expect("writes go well");
    let after = hash(wire.channel(), 0).await.hash_revision;
    wire.write("did writes go on?", (writes > 0 && after > before).to_string());

    let mut other = go_on_from(&folder.path().join("file")).await;
    let found = hash(other.channel(), 0).await;
    let within = (before..=after).contains(&found.hash_revision);
    wire.write("is it the store of that time?", within.to_string());
    let kept = hash(wire.channel(), found.hash_revision).await;
    let same = (found.hash, found.compact_revision) == (kept.hash, kept.compact_revision);
    wire.write("does it hash the same?", same.to_string());
    for lease in [1, LEASES] {
        let more = PutRequest { lease, ..put("more", "1") };
        let taken = KvClient::new(other.channel()).put(more).await.is_ok();
        other.write(format!("does it take writes under lease {lease}?"), taken.to_string());
    }
    wire.said.append(&mut other.said);
}

/// A client that goes away in the middle of a snapshot harms nobody.
pub(super) async fn leaving_a_snapshot(wire: &mut Wire) {
    fill(wire).await;
    let mut client = MaintenanceClient::new(wire.channel());
    for _ in 0..30 {
        let pieces = client.snapshot(SnapshotRequest {}).await;
        let mut pieces = pieces.expect("a snapshot begins").into_inner();
        let piece = pieces.message().await.expect("a piece comes").expect("it is not the end");
        assert!(piece.remaining_bytes > 0, "the store is large");
    }
    wire.put(put("a", "1")).await;
    wire.lease_time_to_live(1, false).await;
}

/// Many keys, some with large values; deletions, leases, and a compaction.
async fn fill(wire: &mut Wire) {
    let mut client = KvClient::new(wire.channel());
    for lease in 1..=LEASES {
        wire.lease_grant(600, lease).await;
    }
    for first in (0..KEYS).step_by(KEYS_A_TXN) {
        let puts = (first..first + KEYS_A_TXN).map(|key| {
            let bytes = if key == first { LARGE_BYTES } else { key % 50 };
            let (key, value) = (format!("key{key:06}").into(), vec![b'v'; bytes].into());
            PutRequest { key, value, ..PutRequest::default() }.op()
        });
        let request = TxnRequest { success: puts.collect(), ..TxnRequest::default() };
        client.txn(request).await.expect("it is filled");
    }
    wire.delete_range(super::words::delete_range("key001", "key002")).await;
    wire.compact(compact(50)).await;
}

/// Writes one key again and again; how often.
async fn write_until(channel: Channel, mut stopped: oneshot::Receiver<()>) -> usize {
    let mut client = KvClient::new(channel);
    let mut writes = 0;
    while stopped.try_recv().is_err() {
        let request = PutRequest { value: vec![b'v'; 1000].into(), ..put("load", "") };
        client.put(request).await.expect("it is written");
        writes += 1;
    }
    writes
}

async fn hash(channel: Channel, revision: i64) -> HashKvResponse {
    let mut client = MaintenanceClient::new(channel);
    client.hash_kv(HashKvRequest { revision }).await.expect("a hash").into_inner()
}
