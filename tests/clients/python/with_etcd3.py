"""Drives a server with the package etcd3, which speaks gRPC from threads.

    with_etcd3.py http://HOST:PORT    (an empty server, which it leaves without accounts)
"""

import io
import itertools
import os

# Its generated messages are older than the protobuf package of today.
os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"

import etcd3
from etcd3 import etcdrpc

from checks import address, equal, refused, run


def connect(**options):
    host, port = address()
    client = etcd3.client(host=host, port=port, timeout=10, **options)
    # It sends the token as plain metadata too; gRPC refuses credentials without TLS.
    client.call_credentials = None
    client.watcher._credentials = None
    return client


def put_and_get(etcd):
    first = etcd.put("greeting", "hello")
    second = etcd.put("greeting", "hello again", prev_kv=True)
    equal(second.prev_kv.value, b"hello")
    value, found = etcd.get("greeting")
    equal(value, b"hello again")
    equal(found.version, 2)
    equal(found.create_revision, first.header.revision)
    equal(found.mod_revision, second.header.revision)
    equal(etcd.get("nobody"), (None, None))


def read_ranges(etcd):
    for name in ["a", "b", "c"]:
        etcd.put(f"range/{name}", name.upper())
    keys = lambda found: [meta.key for _, meta in found]
    equal(keys(etcd.get_prefix("range/")), [b"range/a", b"range/b", b"range/c"])
    equal(keys(etcd.get_range("range/a", "range/c")), [b"range/a", b"range/b"])
    falling = etcd.get_prefix("range/", sort_order="descend", sort_target="key")
    equal(keys(falling), [b"range/c", b"range/b", b"range/a"])
    bare = list(etcd.get_prefix("range/", keys_only=True))
    equal([value for value, _ in bare], [b"", b"", b""])


def delete(etcd):
    assert etcd.delete("range/a")
    assert not etcd.delete("range/a")
    equal(etcd.delete_prefix("range/").deleted, 2)
    equal(list(etcd.get_prefix("range/")), [])


def run_a_transaction(etcd):
    etcd.put("txn", "old")
    done, answers = etcd.transaction(
        compare=[
            etcd.transactions.value("txn") == "old",
            etcd.transactions.version("txn") > 0,
            etcd.transactions.create("nothing") == 0,
        ],
        success=[etcd.transactions.put("txn", "new"), etcd.transactions.get("txn")],
        failure=[etcd.transactions.delete("txn")],
    )
    assert done
    equal(answers[1][0][0], b"new")
    inner = etcd.transactions.txn(
        compare=[], success=[etcd.transactions.put("txn", "inner")], failure=[])
    done, _ = etcd.transaction(
        compare=[etcd.transactions.value("txn") == "old"], success=[], failure=[inner])
    assert not done
    equal(etcd.get("txn")[0], b"inner")
    assert etcd.replace("txn", "inner", "replaced")
    assert not etcd.replace("txn", "inner", "again")
    assert not etcd.put_if_not_exists("txn", "third")
    twice = [etcd.transactions.put("txn", "1"), etcd.transactions.put("txn", "2")]
    refused("duplicate key", etcd.transaction, compare=[], success=twice, failure=[])


def watch(etcd):
    start = etcd.put("watched/a", "1").header.revision
    events, cancel = etcd.watch_prefix("watched/", start_revision=start, prev_kv=True)
    etcd.put("watched/a", "2")
    etcd.delete("watched/a")
    seen = list(itertools.islice(events, 3))
    cancel()
    equal([type(event).__name__ for event in seen], ["PutEvent", "PutEvent", "DeleteEvent"])
    equal([event.value for event in seen], [b"1", b"2", b""])
    equal([event.prev_value for event in seen], [b"", b"1", b"2"])


def lease(etcd):
    lease = etcd.lease(60, lease_id=4711)
    equal(lease.id, 4711)
    etcd.put("leased", "for a minute", lease=lease)
    equal(etcd.get("leased")[1].lease_id, 4711)
    equal(list(lease.keys), [b"leased"])
    equal(lease.granted_ttl, 60)
    equal(next(iter(lease.refresh())).TTL, 60)
    refused("lease already exists", etcd.lease, 60, lease_id=4711)
    lease.revoke()
    equal(etcd.get("leased"), (None, None))
    equal(lease.remaining_ttl, -1)
    refused("requested lease not found", lease.revoke)


def lock(etcd):
    with etcd.lock("seat", ttl=30) as mine:
        assert mine.is_acquired()
        theirs = etcd.lock("seat", ttl=30)
        # The package cannot wait for a lock with the tenacity of today.
        assert not theirs.is_acquired()
        mine.refresh()
    assert theirs.acquire(timeout=10)
    assert theirs.release()


def compact(etcd):
    old = etcd.put("compacted", "1").header.revision
    now = etcd.put("compacted", "2").header.revision
    etcd.compact(now, physical=True)
    events, cancel = etcd.watch("compacted", start_revision=old)
    refused("", next, events)
    cancel()
    refused("required revision has been compacted", etcd.compact, now)
    refused("future revision", etcd.compact, now + 100)


def maintain(etcd):
    status = etcd.status()
    assert status.version.startswith("3."), status.version
    equal(status.leader.name, [member.name for member in etcd.members][0])
    assert status.db_size > 0
    equal(list(etcd.list_alarms()), [])
    etcd.defragment()
    assert etcd.hash()
    file = io.BytesIO()
    etcd.snapshot(file)
    # A bbolt database begins with a page of meta data: its magic is at byte 16.
    equal(file.getvalue()[16:20], bytes.fromhex("edda0ced"))


def use_accounts(etcd):
    auth = etcdrpc.AuthStub(etcd.channel)
    for name in ["root", "alice"]:
        auth.UserAdd(etcdrpc.AuthUserAddRequest(name=name, password=f"{name}-secret"))
        auth.RoleAdd(etcdrpc.AuthRoleAddRequest(name=name))
        auth.UserGrantRole(etcdrpc.AuthUserGrantRoleRequest(user=name, role=name))
    permission = {"permType": 2, "key": b"alice/", "range_end": b"alice0"}
    auth.RoleGrantPermission(etcdrpc.AuthRoleGrantPermissionRequest(name="alice", perm=permission))
    auth.AuthEnable(etcdrpc.AuthEnableRequest())
    refused("user name is empty", auth.UserList, etcdrpc.AuthUserListRequest())
    refused("authentication failed", connect, user="alice", password="wrong")
    alice = connect(user="alice", password="alice-secret")
    alice.put("alice/note", "mine")
    equal(alice.get("alice/note")[0], b"mine")
    refused("permission denied", alice.put, "bob/note", "his")
    refused("permission denied", list, alice.get_all())
    root = connect(user="root", password="root-secret")
    equal([meta.key for _, meta in root.get_prefix("alice/")], [b"alice/note"])
    auth.AuthDisable(etcdrpc.AuthDisableRequest(), metadata=root.metadata)
    etcd.put("anybody", "again")


CHECKS = [put_and_get, read_ranges, delete, run_a_transaction, watch, lease, lock, compact,
          maintain, use_accounts]

if __name__ == "__main__":
    with connect() as client:
        run(CHECKS, client)
        os._exit(0)
