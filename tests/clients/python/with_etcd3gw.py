"""Drives a server with the package etcd3gw, which speaks JSON over HTTP/1.1.

    with_etcd3gw.py http://HOST:PORT    (an empty server, which it leaves without accounts)
"""

import base64
import json
import os
import threading

import requests
from etcd3gw import Etcd3Client
from etcd3gw.watch import Watcher

from checks import address, equal, refused, run


def connect(token=None):
    host, port = address()
    session = requests.Session()
    if token:
        session.headers["Authorization"] = token
    # Without a path it asks the server for its version, to find one.
    return Etcd3Client(host=host, port=port, timeout=10, api_path=None, session=session)


def ask(etcd, path, **body):
    return etcd.post(etcd.get_url(path), json=body)


def put_and_get(etcd):
    assert etcd.put("greeting", "hello")
    assert etcd.put("greeting", "hello again")
    [(value, found)] = etcd.get("greeting", metadata=True)
    equal((value, found["key"], found["version"]), (b"hello again", b"greeting", "2"))
    equal(etcd.get("nobody"), [])
    assert etcd.create("made", "once")
    assert not etcd.create("made", "twice")
    assert etcd.replace("made", "once", "replaced")
    assert not etcd.replace("made", "once", "again")


def read_ranges(etcd):
    for name in ["a", "b", "c"]:
        etcd.put(f"range/{name}", name)
    keys = lambda found: [kv["key"] for _, kv in found]
    equal(keys(etcd.get_prefix("range/")), [b"range/a", b"range/b", b"range/c"])
    falling = etcd.get_prefix("range/", sort_order="descend", sort_target="key")
    equal(keys(falling), [b"range/c", b"range/b", b"range/a"])
    limited = etcd.get("range/", metadata=True, range_end="range0", limit=2, keys_only=True)
    equal([(value, kv["key"]) for value, kv in limited], [(b"", b"range/a"), (b"", b"range/b")])
    assert len(etcd.get_all()) >= 3


def delete(etcd):
    assert etcd.delete("range/a")
    assert not etcd.delete("range/a")
    assert etcd.delete_prefix("range/")
    equal(etcd.get_prefix("range/"), [])


def watch(etcd):
    seen, all_there = [], threading.Event()

    def look(event):
        seen.append((event.get("type", "PUT"), event["kv"]["key"], event["kv"].get("value")))
        if len(seen) == 3:
            all_there.set()

    revision = ask(etcd, "/kv/put", key="d2F0Y2hlZA==", value="MQ==")["header"]["revision"]
    watcher = Watcher(etcd, "watched", look, start_revision=int(revision))
    etcd.put("watched", "2")
    etcd.delete("watched")
    assert all_there.wait(10), f"saw only {seen}"
    watcher.stop()
    equal(seen, [("PUT", b"watched", b"1"), ("PUT", b"watched", b"2"),
                 ("DELETE", b"watched", None)])


def lease(etcd):
    lease = etcd.lease(ttl=60)
    etcd.put("leased", "for a minute", lease=lease)
    equal(lease.keys(), [b"leased"])
    assert 0 < lease.ttl() <= 60
    equal(lease.refresh(), 60)
    assert lease.revoke()
    equal(etcd.get("leased"), [])
    refused("requested lease not found", lease.revoke)


def lock(etcd):
    with etcd.lock("seat", ttl=30) as mine:
        assert mine.is_acquired()
        theirs = etcd.lock("seat", ttl=30)
        assert not theirs.acquire()
        equal(mine.refresh(), 30)
    assert theirs.acquire()
    assert theirs.release()


def compact(etcd):
    revision = int(ask(etcd, "/kv/put", key="Yw==", value="MQ==")["header"]["revision"])
    ask(etcd, "/kv/compaction", revision=revision, physical=True)
    refused("required revision has been compacted", etcd.get, "c", revision=revision - 1)
    refused("future revision", ask, etcd, "/kv/compaction", revision=revision + 100)


def maintain(etcd):
    status = etcd.status()
    assert status["version"].startswith("3."), status
    equal([member["ID"] for member in etcd.members()], [status["leader"]])
    with etcd.session.post(etcd.get_url("/maintenance/snapshot"), json={}, stream=True) as answer:
        lines = (json.loads(line)["result"] for line in answer.iter_lines() if line)
        blob = b"".join(base64.b64decode(line.get("blob", "")) for line in lines)
    # A bbolt database begins with a page of meta data: its magic is at byte 16.
    equal(blob[16:20], bytes.fromhex("edda0ced"))


def use_accounts(etcd):
    for name in ["root", "alice"]:
        ask(etcd, "/auth/user/add", name=name, password=f"{name}-secret")
        ask(etcd, "/auth/role/add", name=name)
        ask(etcd, "/auth/user/grant", user=name, role=name)
    encode = lambda text: base64.b64encode(text).decode()
    permission = {"permType": "READWRITE", "key": encode(b"alice/"), "range_end": encode(b"alice0")}
    ask(etcd, "/auth/role/grant", name="alice", perm=permission)
    ask(etcd, "/auth/enable")
    refused("user name is empty", etcd.put, "anybody", "no")
    enter = lambda name, password: ask(etcd, "/auth/authenticate", name=name, password=password)
    refused("authentication failed", enter, "alice", "wrong")
    alice = connect(enter("alice", "alice-secret")["token"])
    assert alice.put("alice/note", "mine")
    equal(alice.get("alice/note"), [b"mine"])
    refused("permission denied", alice.put, "bob/note", "his")
    refused("invalid auth token", connect("made up").get, "alice/note")
    root = connect(enter("root", "root-secret")["token"])
    equal(root.get_prefix("alice/")[0][0], b"mine")
    ask(root, "/auth/disable")
    assert etcd.put("anybody", "again")


CHECKS = [put_and_get, read_ranges, delete, watch, lease, lock, compact, maintain, use_accounts]

if __name__ == "__main__":
    run(CHECKS, connect())
    os._exit(0)
