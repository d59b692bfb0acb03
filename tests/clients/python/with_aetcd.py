"""Drives a server with the package aetcd, which speaks gRPC from asyncio.

    with_aetcd.py http://HOST:PORT    (an empty server, which it leaves without accounts)
"""

import asyncio
import io
import os

import aetcd
from aetcd import rpc

from checks import address, equal, refused_async, run_async


def client(**options):
    host, port = address()
    return aetcd.Client(host=host, port=port, timeout=10, **options)


async def put_and_get(etcd):
    await etcd.put(b"greeting", b"hello")
    put = await etcd.put(b"greeting", b"hello again", prev_kv=True)
    equal(put.prev_kv.value, b"hello")
    found = await etcd.get(b"greeting")
    equal((found.value, found.version), (b"hello again", 2))
    equal(found.mod_revision, put.header.revision)
    equal(await etcd.get(b"nobody"), None)


async def read_ranges(etcd):
    for name in [b"a", b"b", b"c"]:
        await etcd.put(b"range/" + name, name)
    keys = lambda found: [kv.key for kv in found]
    equal(keys(await etcd.get_prefix(b"range/")), [b"range/a", b"range/b", b"range/c"])
    equal(keys(await etcd.get_range(b"range/a", b"range/c")), [b"range/a", b"range/b"])
    falling = await etcd.get_prefix(b"range/", sort_order="descend", sort_target="key")
    equal(keys(falling), [b"range/c", b"range/b", b"range/a"])


async def delete(etcd):
    gone = await etcd.delete(b"range/a", prev_kv=True)
    equal(gone.prev_kv.value, b"a")
    equal(await etcd.delete(b"range/a"), None)
    equal((await etcd.delete_prefix(b"range/")).deleted, 2)
    equal(len(await etcd.get_prefix(b"range/")), 0)


async def run_a_transaction(etcd):
    txn = etcd.transactions
    await etcd.put(b"txn", b"old")
    done, answers = await etcd.transaction(
        compare=[txn.value(b"txn") == b"old", txn.version(b"txn") > 0],
        success=[txn.put(b"txn", b"new"), txn.get(b"txn")],
        failure=[txn.delete(b"txn")],
    )
    assert done
    equal(answers[1][0][0], b"new")
    done, _ = await etcd.transaction(
        compare=[txn.create(b"txn") == 0], success=[], failure=[txn.delete(b"txn")])
    assert not done
    equal(await etcd.get(b"txn"), None)


async def watch(etcd):
    first = await etcd.put(b"watched/a", b"1")
    watcher = await etcd.watch_prefix(
        b"watched/", start_revision=first.header.revision, prev_kv=True)
    await etcd.put(b"watched/a", b"2")
    await etcd.delete(b"watched/a")
    seen = []
    async for event in watcher:
        seen.append(event)
        if len(seen) == 3:
            break
    await watcher.cancel()
    equal([str(event.kind) for event in seen], ["PUT", "PUT", "DELETE"])
    equal([event.kv.value for event in seen], [b"1", b"2", b""])
    equal(seen[2].prev_kv.value, b"2")


async def lease(etcd):
    lease = await etcd.lease(60, lease_id=4711)
    await etcd.put(b"leased", b"for a minute", lease=lease)
    equal(list(await lease.keys()), [b"leased"])
    equal(await lease.granted_ttl(), 60)
    equal((await lease.refresh()).TTL, 60)
    try:
        await etcd.lease(60, lease_id=4711)
        raise AssertionError("one id was granted twice")
    except aetcd.DuplicateLeaseError:
        pass
    await lease.revoke()
    equal(await etcd.get(b"leased"), None)
    equal(await lease.remaining_ttl(), -1)


async def lock(etcd):
    mine, theirs = etcd.lock(b"seat", ttl=30), etcd.lock(b"seat", ttl=30)
    assert await mine.acquire()
    assert not await theirs.acquire(timeout=0)
    await mine.refresh()
    waiting = asyncio.create_task(theirs.acquire(timeout=10))
    assert await mine.release()
    assert await waiting
    assert await theirs.is_acquired()
    assert await theirs.release()


async def compact(etcd):
    await etcd.put(b"compacted", b"1")
    now = (await etcd.put(b"compacted", b"2")).header.revision
    await etcd.compact(now, physical=True)
    await refused_async("compacted", etcd.compact(now))
    watcher = await etcd.watch(b"compacted", start_revision=1)
    try:
        async for event in watcher:
            raise AssertionError(f"saw the compacted past: {event}")
        raise AssertionError("was not refused")
    except aetcd.RevisionCompactedError as error:
        equal(error.compacted_revision, now)


async def maintain(etcd):
    status = await etcd.status()
    assert status.version.startswith("3."), status.version
    members = [member async for member in etcd.members()]
    equal([member.id for member in members], [status.leader.id])
    equal([alarm async for alarm in etcd.list_alarms()], [])
    await etcd.defragment()
    assert await etcd.hash()
    file = io.BytesIO()
    await etcd.snapshot(file)
    # A bbolt database begins with a page of meta data: its magic is at byte 16.
    equal(file.getvalue()[16:20], bytes.fromhex("edda0ced"))


async def use_accounts(etcd):
    auth = rpc.AuthStub(etcd.channel)
    for name in ["root", "alice"]:
        await auth.UserAdd(rpc.AuthUserAddRequest(name=name, password=f"{name}-secret"))
        await auth.RoleAdd(rpc.AuthRoleAddRequest(name=name))
        await auth.UserGrantRole(rpc.AuthUserGrantRoleRequest(user=name, role=name))
    await auth.RoleGrantPermission(rpc.AuthRoleGrantPermissionRequest(
        name="alice", perm={"permType": 2, "key": b"alice/", "range_end": b"alice0"}))
    await auth.AuthEnable(rpc.AuthEnableRequest())
    await refused_async("user name is empty", etcd.put(b"anybody", b"no"))
    stranger = client(username="alice", password="wrong")
    await refused_async("authentication failed", stranger.connect())
    await stranger.channel.close()
    async with client(username="alice", password="alice-secret") as alice:
        await alice.put(b"alice/note", b"mine")
        equal((await alice.get(b"alice/note")).value, b"mine")
        await refused_async("permission denied", alice.put(b"bob/note", b"his"))
        watcher = await alice.watch_prefix(b"alice/", start_revision=1 << 40)
        await watcher.cancel()
    async with client(username="root", password="root-secret") as root:
        equal((await root.get(b"alice/note")).value, b"mine")
        await rpc.AuthStub(root.channel).AuthDisable(
            rpc.AuthDisableRequest(), metadata=root.metadata)
    await etcd.put(b"anybody", b"again")


CHECKS = [put_and_get, read_ranges, delete, run_a_transaction, watch, lease, lock, compact,
          maintain, use_accounts]


async def main():
    async with client() as etcd:
        await run_async(CHECKS, etcd)
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
