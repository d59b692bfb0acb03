package main

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// What people build on the client: each of these packages has a protocol of its own.

func session(etcd *clientv3.Client) *concurrency.Session {
	return must(concurrency.NewSession(etcd, concurrency.WithTTL(30)))
}

func lock(ctx context.Context, etcd *clientv3.Client) {
	one, other := session(etcd), session(etcd)
	defer other.Close()
	mine, theirs := concurrency.NewMutex(one, "seat"), concurrency.NewMutex(other, "seat")
	no(mine.Lock(ctx))
	refused(concurrency.ErrLocked.Error(), theirs.TryLock(ctx))
	owned := must(etcd.Txn(ctx).If(mine.IsOwner()).Commit())
	equal(owned.Succeeded, true)
	got := make(chan error, 1)
	go func() { got <- theirs.Lock(ctx) }()
	// The end of a session revokes its lease, and that frees its locks.
	no(one.Close())
	no(receive(ctx, got))
	no(theirs.Unlock(ctx))
}

func elect(ctx context.Context, etcd *clientv3.Client) {
	one, other := session(etcd), session(etcd)
	defer one.Close()
	defer other.Close()
	first := concurrency.NewElection(one, "office")
	second := concurrency.NewElection(other, "office")
	_, err := first.Leader(ctx)
	refused(concurrency.ErrElectionNoLeader.Error(), err)
	no(first.Campaign(ctx, "first"))
	leaders := second.Observe(ctx)
	equal(values(receive(ctx, leaders)), []string{"first"})
	no(first.Proclaim(ctx, "first again"))
	equal(values(receive(ctx, leaders)), []string{"first again"})
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "second") }()
	no(first.Resign(ctx))
	no(receive(ctx, won))
	equal(values(must(first.Leader(ctx))), []string{"second"})
	refused(concurrency.ErrElectionNotLeader.Error(), first.Proclaim(ctx, "too late"))
	no(second.Resign(ctx))
}

func transactInSoftware(ctx context.Context, etcd *clientv3.Client) {
	must(etcd.Put(ctx, "counter", "0"))
	const many = 5
	done := make(chan error, many)
	for range many {
		go func() {
			_, err := concurrency.NewSTM(etcd, func(stm concurrency.STM) error {
				count, err := strconv.Atoi(stm.Get("counter"))
				stm.Put("counter", strconv.Itoa(count+1))
				return err
			}, concurrency.WithAbortContext(ctx))
			done <- err
		}()
	}
	for range many {
		no(receive(ctx, done))
	}
	equal(values(must(etcd.Get(ctx, "counter"))), []string{"5"})
}

func inNamespace(ctx context.Context, etcd *clientv3.Client) {
	kv := namespace.NewKV(etcd.KV, "tenant/")
	watcher := namespace.NewWatcher(etcd.Watcher, "tenant/")
	put := must(kv.Put(ctx, "a", "1"))
	equal(values(must(etcd.Get(ctx, "tenant/a"))), []string{"1"})
	equal(keys(must(kv.Get(ctx, "", clientv3.WithFromKey()))), []string{"a"})
	event := receive(ctx, watcher.Watch(ctx, "a", clientv3.WithRev(put.Header.Revision))).Events[0]
	equal(string(event.Kv.Key), "a")
	equal(must(kv.Delete(ctx, "", clientv3.WithFromKey())).Deleted, 1)
}

func cacheUnderLeases(ctx context.Context, etcd *clientv3.Client) {
	one, endOne, err := leasing.NewKV(etcd, "leasing/")
	no(err)
	defer endOne()
	other, endOther, err := leasing.NewKV(etcd, "leasing/")
	no(err)
	defer endOther()
	must(one.Put(ctx, "cached", "1"))
	equal(values(must(one.Get(ctx, "cached"))), []string{"1"})
	equal(must(etcd.Get(ctx, "leasing/cached")).Count, 1)
	// The owner has to give the key up before another may write it.
	must(other.Put(ctx, "cached", "2"))
	equal(values(must(one.Get(ctx, "cached"))), []string{"2"})
	swapped := must(other.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("cached"), "=", "2")).
		Then(clientv3.OpPut("cached", "3")).
		Commit())
	equal(swapped.Succeeded, true)
	equal(values(must(one.Get(ctx, "cached"))), []string{"3"})
	must(one.Delete(ctx, "cached"))
	equal(must(other.Get(ctx, "cached")).Count, 0)
}

func orderReads(ctx context.Context, etcd *clientv3.Client) {
	violated := func(clientv3.Op, clientv3.OpResponse, int64) error {
		panic("a read was older than the one before")
	}
	kv := ordering.NewKV(etcd.KV, violated)
	for count := range 20 {
		value := strconv.Itoa(count)
		must(etcd.Put(ctx, "ordered", value))
		equal(values(must(kv.Get(ctx, "ordered"))), []string{value})
		must(kv.Get(ctx, "ordered", clientv3.WithSerializable()))
	}
}

func mirrored(ctx context.Context, etcd *clientv3.Client) {
	must(etcd.Put(ctx, "mirror/a", "1"))
	must(etcd.Put(ctx, "mirror/b", "1"))
	syncer := mirror.NewSyncer(etcd, "mirror/", 0)
	pages, failed := syncer.SyncBase(ctx)
	copied := map[string]string{}
	for page := range pages {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	no(<-failed)
	equal(copied, map[string]string{"mirror/a": "1", "mirror/b": "1"})
	must(etcd.Put(ctx, "mirror/b", "2"))
	update := receive(ctx, syncer.SyncUpdates(ctx)).Events[0]
	equal(string(update.Kv.Key)+string(update.Kv.Value), "mirror/b2")
}

func queueAndBarrier(ctx context.Context, etcd *clientv3.Client) {
	queue := recipe.NewQueue(etcd, "queue")
	for _, item := range []string{"first", "second"} {
		no(queue.Enqueue(item))
	}
	equal(must(queue.Dequeue()), "first")
	equal(must(queue.Dequeue()), "second")
	barrier := recipe.NewBarrier(etcd, "barrier")
	no(barrier.Hold())
	refused("", barrier.Hold())
	gone := make(chan error, 1)
	go func() { gone <- barrier.Wait() }()
	no(barrier.Release())
	no(receive(ctx, gone))
}
