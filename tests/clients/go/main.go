// Drives a server with etcd's own client for Go, and what is built on it.
//
//	go HOST:PORT    (an empty server, which it leaves without accounts)
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	etcd := connect("", "")
	defer etcd.Close()
	runAll(etcd, []check{
		{"put and get", putAndGet},
		{"read ranges", readRanges},
		{"delete", remove},
		{"run a transaction", transact},
		{"watch", watch},
		{"watch with filters", watchWithFilters},
		{"lease", lease},
		{"keep a lease alive", keepAlive},
		{"lose a lease", loseLease},
		{"lock", lock},
		{"elect", elect},
		{"transact in software", transactInSoftware},
		{"namespace", inNamespace},
		{"cache under leases", cacheUnderLeases},
		{"order reads", orderReads},
		{"mirror", mirrored},
		{"queue and barrier", queueAndBarrier},
		{"compact", compact},
		{"maintain", maintain},
		{"list members", listMembers},
		{"use accounts", useAccounts},
	})
}

func connect(name, password string) *clientv3.Client {
	return must(tryToConnect(name, password))
}

func tryToConnect(name, password string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   []string{os.Args[1]},
		DialTimeout: 10 * time.Second,
		Username:    name,
		Password:    password,
	})
}

func putAndGet(ctx context.Context, etcd *clientv3.Client) {
	first := must(etcd.Put(ctx, "greeting", "hello"))
	second := must(etcd.Put(ctx, "greeting", "hello again", clientv3.WithPrevKV()))
	equal(string(second.PrevKv.Value), "hello")
	found := must(etcd.Get(ctx, "greeting"))
	equal(values(found), []string{"hello again"})
	equal(found.Kvs[0].Version, 2)
	equal(found.Kvs[0].CreateRevision, first.Header.Revision)
	equal(found.Kvs[0].ModRevision, second.Header.Revision)
	old := must(etcd.Get(ctx, "greeting", clientv3.WithRev(first.Header.Revision)))
	equal(values(old), []string{"hello"})
	equal(must(etcd.Get(ctx, "nobody")).Count, 0)
	_, err := etcd.Get(ctx, "")
	refused(rpctypes.ErrEmptyKey.Error(), err)
}

func readRanges(ctx context.Context, etcd *clientv3.Client) {
	for _, name := range []string{"a", "b", "c"} {
		must(etcd.Put(ctx, "range/"+name, strings.ToUpper(name)))
	}
	read := func(options ...clientv3.OpOption) *clientv3.GetResponse {
		return must(etcd.Get(ctx, "range/", append(options, clientv3.WithPrefix())...))
	}
	equal(keys(read()), []string{"range/a", "range/b", "range/c"})
	equal(values(read(clientv3.WithKeysOnly())), []string{"", "", ""})
	equal(read(clientv3.WithCountOnly()).Count, 3)
	some := read(clientv3.WithLimit(2))
	equal(fmt.Sprint(keys(some), some.More, some.Count), "[range/a range/b] true 3")
	falling := clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend)
	equal(values(read(falling)), []string{"C", "B", "A"})
	part := must(etcd.Get(ctx, "range/b", clientv3.WithFromKey(), clientv3.WithLimit(2)))
	equal(keys(part), []string{"range/b", "range/c"})
	newest := read(clientv3.WithLastRev()...)
	equal(keys(newest), []string{"range/c"})
	none := read(clientv3.WithMinModRev(newest.Kvs[0].ModRevision + 1))
	equal(keys(none), []string{})
}

func remove(ctx context.Context, etcd *clientv3.Client) {
	gone := must(etcd.Delete(ctx, "range/a", clientv3.WithPrevKV()))
	equal(string(gone.PrevKvs[0].Value), "A")
	equal(must(etcd.Delete(ctx, "range/a")).Deleted, 0)
	equal(must(etcd.Delete(ctx, "range/", clientv3.WithPrefix())).Deleted, 2)
}

func transact(ctx context.Context, etcd *clientv3.Client) {
	must(etcd.Put(ctx, "txn", "old"))
	nothing := clientv3.OpTxn([]clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision("nothing"), "=", 0),
	}, []clientv3.Op{clientv3.OpPut("nothing", "is here now")}, nil)
	done := must(etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("txn"), "=", "old"),
			clientv3.Compare(clientv3.Version("txn"), ">", 0)).
		Then(clientv3.OpPut("txn", "new"), clientv3.OpGet("txn"), nothing).
		Else(clientv3.OpDelete("txn")).
		Commit())
	equal(done.Succeeded, true)
	equal(string(done.Responses[1].GetResponseRange().Kvs[0].Value), "new")
	equal(done.Responses[2].GetResponseTxn().Succeeded, true)
	equal(values(must(etcd.Get(ctx, "nothing"))), []string{"is here now"})
	not := must(etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("txn"), "<", 1)).
		Else(clientv3.OpDelete("txn")).
		Commit())
	equal(not.Succeeded, false)
	equal(not.Responses[0].GetResponseDeleteRange().Deleted, 1)
	_, err := etcd.Txn(ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpPut("a", "2")).Commit()
	refused(rpctypes.ErrDuplicateKey.Error(), err)
}

func watch(ctx context.Context, etcd *clientv3.Client) {
	first := must(etcd.Put(ctx, "watched/a", "1"))
	events := etcd.Watch(clientv3.WithRequireLeader(ctx), "watched/", clientv3.WithPrefix(),
		clientv3.WithRev(first.Header.Revision), clientv3.WithPrevKV())
	must(etcd.Put(ctx, "watched/a", "2"))
	must(etcd.Delete(ctx, "watched/a"))
	var seen []string
	for len(seen) < 3 {
		answer := receive(ctx, events)
		no(answer.Err())
		for _, event := range answer.Events {
			before := ""
			if event.PrevKv != nil {
				before = string(event.PrevKv.Value)
			}
			seen = append(seen, fmt.Sprintf("%v %s %s", event.Type, event.Kv.Value, before))
		}
	}
	equal(seen, []string{"PUT 1 ", "PUT 2 1", "DELETE  2"})
}

func watchWithFilters(ctx context.Context, etcd *clientv3.Client) {
	events := etcd.Watch(ctx, "filtered", clientv3.WithCreatedNotify(), clientv3.WithFilterPut(),
		clientv3.WithProgressNotify())
	equal(receive(ctx, events).Created, true)
	put := must(etcd.Put(ctx, "filtered", "not seen"))
	no(etcd.RequestProgress(ctx))
	progress := receive(ctx, events)
	equal(progress.IsProgressNotify(), true)
	equal(progress.Header.Revision, put.Header.Revision)
	must(etcd.Delete(ctx, "filtered"))
	equal(receive(ctx, events).Events[0].Type, clientv3.EventTypeDelete)
}

func lease(ctx context.Context, etcd *clientv3.Client) {
	lease := must(etcd.Grant(ctx, 60))
	must(etcd.Put(ctx, "leased", "for a minute", clientv3.WithLease(lease.ID)))
	must(etcd.Put(ctx, "leased", "still", clientv3.WithIgnoreLease()))
	equal(must(etcd.Get(ctx, "leased")).Kvs[0].Lease, int64(lease.ID))
	left := must(etcd.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()))
	equal(fmt.Sprintf("%s %d", left.Keys, left.GrantedTTL), "[leased] 60")
	equal(must(etcd.Leases(ctx)).Leases[0].ID, lease.ID)
	must(etcd.Revoke(ctx, lease.ID))
	equal(must(etcd.Get(ctx, "leased")).Count, 0)
	equal(must(etcd.TimeToLive(ctx, lease.ID)).TTL, -1)
	_, err := etcd.Revoke(ctx, lease.ID)
	refused(rpctypes.ErrLeaseNotFound.Error(), err)
	_, err = etcd.Put(ctx, "leased", "late", clientv3.WithLease(lease.ID))
	refused(rpctypes.ErrLeaseNotFound.Error(), err)
}

func keepAlive(ctx context.Context, etcd *clientv3.Client) {
	lease := must(etcd.Grant(ctx, 30))
	equal(must(etcd.KeepAliveOnce(ctx, lease.ID)).TTL, 30)
	beats := must(etcd.KeepAlive(ctx, lease.ID))
	equal(receive(ctx, beats).TTL, 30)
	must(etcd.Revoke(ctx, lease.ID))
	_, err := etcd.KeepAliveOnce(ctx, lease.ID)
	refused(rpctypes.ErrLeaseNotFound.Error(), err)
}

func loseLease(ctx context.Context, etcd *clientv3.Client) {
	lease := must(etcd.Grant(ctx, 1))
	events := etcd.Watch(ctx, "short", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	receive(ctx, events)
	must(etcd.Put(ctx, "short", "lived", clientv3.WithLease(lease.ID)))
	equal(receive(ctx, events).Events[0].Type, clientv3.EventTypeDelete)
}

func compact(ctx context.Context, etcd *clientv3.Client) {
	must(etcd.Put(ctx, "compacted", "1"))
	now := must(etcd.Put(ctx, "compacted", "2")).Header.Revision
	must(etcd.Compact(ctx, now, clientv3.WithCompactPhysical()))
	_, err := etcd.Get(ctx, "compacted", clientv3.WithRev(now-1))
	refused(rpctypes.ErrCompacted.Error(), err)
	_, err = etcd.Compact(ctx, now)
	refused(rpctypes.ErrCompacted.Error(), err)
	_, err = etcd.Compact(ctx, now+100)
	refused(rpctypes.ErrFutureRev.Error(), err)
	late := receive(ctx, etcd.Watch(ctx, "compacted", clientv3.WithRev(1)))
	equal(late.CompactRevision, now)
	refused(rpctypes.ErrCompacted.Error(), late.Err())
}

func maintain(ctx context.Context, etcd *clientv3.Client) {
	endpoint := etcd.Endpoints()[0]
	status := must(etcd.Status(ctx, endpoint))
	equal(strings.HasPrefix(status.Version, "3."), true)
	equal(status.Leader, status.Header.MemberId)
	equal(len(must(etcd.AlarmList(ctx)).Alarms), 0)
	must(etcd.Defragment(ctx, endpoint))
	hash := must(etcd.HashKV(ctx, endpoint, 0))
	equal(must(etcd.HashKV(ctx, endpoint, 0)).Hash, hash.Hash)
	snapshot := must(etcd.SnapshotWithVersion(ctx))
	defer snapshot.Snapshot.Close()
	file := must(io.ReadAll(snapshot.Snapshot))
	// A bbolt database begins with a page of meta data: its magic is at byte 16.
	equal(bytes.HasPrefix(file[16:], []byte{0xed, 0xda, 0x0c, 0xed}), true)
}

func listMembers(ctx context.Context, etcd *clientv3.Client) {
	members := must(etcd.MemberList(ctx)).Members
	equal(len(members), 1)
	equal(members[0].ID, must(etcd.Status(ctx, etcd.Endpoints()[0])).Leader)
	_, err := etcd.MemberRemove(ctx, 4711)
	refused(rpctypes.ErrMemberNotFound.Error(), err)
}

func useAccounts(ctx context.Context, etcd *clientv3.Client) {
	for _, name := range []string{"root", "alice"} {
		must(etcd.UserAdd(ctx, name, name+"-secret"))
		must(etcd.RoleAdd(ctx, name))
		must(etcd.UserGrantRole(ctx, name, name))
	}
	must(etcd.RoleGrantPermission(ctx, "alice", "alice/", clientv3.GetPrefixRangeEnd("alice/"),
		clientv3.PermissionType(clientv3.PermReadWrite)))
	equal(string(must(etcd.RoleGet(ctx, "alice")).Perm[0].Key), "alice/")
	_, err := etcd.UserAdd(ctx, "alice", "twice")
	refused(rpctypes.ErrUserAlreadyExist.Error(), err)
	must(etcd.AuthEnable(ctx))
	_, err = etcd.Put(ctx, "anybody", "no")
	refused(rpctypes.ErrUserEmpty.Error(), err)
	_, err = tryToConnect("alice", "wrong")
	refused(rpctypes.ErrAuthFailed.Error(), err)
	alice, root := connect("alice", "alice-secret"), connect("root", "root-secret")
	defer alice.Close()
	defer root.Close()
	must(alice.Put(ctx, "alice/note", "mine"))
	equal(values(must(alice.Get(ctx, "alice/", clientv3.WithPrefix()))), []string{"mine"})
	_, err = alice.Put(ctx, "bob/note", "his")
	refused(rpctypes.ErrPermissionDenied.Error(), err)
	_, err = alice.UserList(ctx)
	refused(rpctypes.ErrPermissionDenied.Error(), err)
	stolen := receive(ctx, alice.Watch(ctx, "bob/note"))
	refused(rpctypes.ErrPermissionDenied.Error(), stolen.Err())
	equal(must(root.AuthStatus(ctx)).Enabled, true)
	// The token goes stale with every change of the accounts; the client takes a new one.
	must(root.UserChangePassword(ctx, "alice", "new-secret"))
	must(root.AuthDisable(ctx))
	must(etcd.Put(ctx, "anybody", "again"))
}

func keys(answer *clientv3.GetResponse) (keys []string) {
	for _, kv := range answer.Kvs {
		keys = append(keys, string(kv.Key))
	}
	return keys
}

func values(answer *clientv3.GetResponse) (values []string) {
	for _, kv := range answer.Kvs {
		values = append(values, string(kv.Value))
	}
	return values
}
