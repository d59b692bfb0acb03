package kat;

import static kat.Checks.bytes;
import static kat.Checks.equal;
import static kat.Checks.must;
import static kat.Checks.next;
import static kat.Checks.refused;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Election;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.Lease;
import io.etcd.jetcd.Lock;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.auth.Permission;
import io.etcd.jetcd.common.exception.CompactedException;
import io.etcd.jetcd.election.CampaignResponse;
import io.etcd.jetcd.election.LeaderResponse;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.PutResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.lease.LeaseKeepAliveResponse;
import io.etcd.jetcd.lock.LockResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.CompactOption;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.LeaseOption;
import io.etcd.jetcd.options.PutOption;
import io.etcd.jetcd.options.WatchOption;
import io.etcd.jetcd.watch.WatchEvent;
import io.etcd.jetcd.watch.WatchResponse;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayOutputStream;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;

/**
 * Drives a server with jetcd, whose locks and elections are the server's own services.
 *
 * <p>WithJetcd http://HOST:PORT (an empty server, which it leaves without accounts)
 */
final class WithJetcd {
  private final String endpoint;
  private final Client client;
  private final KV kv;
  private final Lease leases;

  private WithJetcd(String endpoint) {
    this.endpoint = endpoint;
    this.client = Client.builder().endpoints(endpoint).build();
    this.kv = client.getKVClient();
    this.leases = client.getLeaseClient();
  }

  public static void main(String[] arguments) {
    WithJetcd etcd = new WithJetcd(arguments[0]);
    new Checks()
        .add("put and get", etcd::putAndGet)
        .add("read ranges", etcd::readRanges)
        .add("delete", etcd::delete)
        .add("run a transaction", etcd::transact)
        .add("watch", etcd::watch)
        .add("lease", etcd::lease)
        .add("keep a lease alive", etcd::keepAlive)
        .add("lock", etcd::lock)
        .add("elect", etcd::elect)
        .add("namespace", etcd::inNamespace)
        .add("compact", etcd::compact)
        .add("maintain", etcd::maintain)
        .add("use accounts", etcd::useAccounts)
        .runAll();
  }

  private PutResponse put(String key, String value) throws Exception {
    return must(kv.put(bytes(key), bytes(value)));
  }

  private GetResponse get(String key, GetOption.Builder option) throws Exception {
    return must(kv.get(bytes(key), option.build()));
  }

  private void putAndGet() throws Exception {
    long first = put("greeting", "hello").getHeader().getRevision();
    PutOption previous = PutOption.builder().withPrevKV().build();
    PutResponse second = must(kv.put(bytes("greeting"), bytes("hello again"), previous));
    equal(second.getPrevKv().getValue().toString(), "hello");
    KeyValue found = get("greeting", GetOption.builder()).getKvs().get(0);
    equal(found.getValue().toString(), "hello again");
    equal(found.getVersion(), 2L);
    equal(found.getCreateRevision(), first);
    equal(found.getModRevision(), second.getHeader().getRevision());
    equal(values(get("greeting", GetOption.builder().withRevision(first))), List.of("hello"));
    equal(get("nobody", GetOption.builder()).getCount(), 0L);
  }

  private void readRanges() throws Exception {
    for (String name : List.of("a", "b", "c")) {
      put("range/" + name, name);
    }
    GetOption.Builder falling =
        GetOption.builder()
            .isPrefix(true)
            .withSortField(GetOption.SortTarget.KEY)
            .withSortOrder(GetOption.SortOrder.DESCEND);
    equal(values(get("range/", falling)), List.of("c", "b", "a"));
    GetResponse some = get("range/", GetOption.builder().isPrefix(true).withLimit(2));
    equal(values(some), List.of("a", "b"));
    equal(some.isMore(), true);
    equal(get("range/", GetOption.builder().isPrefix(true).withCountOnly(true)).getCount(), 3L);
    GetOption.Builder part = GetOption.builder().withRange(bytes("range/c")).withKeysOnly(true);
    equal(values(get("range/a", part)), List.of("", ""));
  }

  private void delete() throws Exception {
    DeleteOption previous = DeleteOption.builder().withPrevKV(true).build();
    KeyValue gone = must(kv.delete(bytes("range/a"), previous)).getPrevKvs().get(0);
    equal(gone.getValue().toString(), "a");
    DeleteOption prefix = DeleteOption.builder().isPrefix(true).build();
    equal(must(kv.delete(bytes("range/"), prefix)).getDeleted(), 2L);
    equal(must(kv.delete(bytes("range/"), prefix)).getDeleted(), 0L);
  }

  private void transact() throws Exception {
    put("txn", "old");
    Op write = Op.put(bytes("txn"), bytes("new"), PutOption.DEFAULT);
    Op read = Op.get(bytes("txn"), GetOption.DEFAULT);
    Cmp nothing = new Cmp(bytes("nothing"), Cmp.Op.EQUAL, CmpTarget.createRevision(0));
    Op inner =
        Op.txn(
            new Cmp[] {nothing},
            new Op[] {Op.put(bytes("nothing"), bytes("here"), PutOption.DEFAULT)},
            new Op[] {});
    TxnResponse done =
        must(
            kv.txn()
                .If(
                    new Cmp(bytes("txn"), Cmp.Op.EQUAL, CmpTarget.value(bytes("old"))),
                    new Cmp(bytes("txn"), Cmp.Op.GREATER, CmpTarget.version(0)))
                .Then(write, read, inner)
                .Else(Op.delete(bytes("txn"), DeleteOption.DEFAULT))
                .commit());
    equal(done.isSucceeded(), true);
    equal(values(done.getGetResponses().get(0)), List.of("new"));
    equal(done.getTxnResponses().get(0).isSucceeded(), true);
    TxnResponse not =
        must(
            kv.txn()
                .If(new Cmp(bytes("txn"), Cmp.Op.LESS, CmpTarget.modRevision(1)))
                .Else(Op.delete(bytes("txn"), DeleteOption.DEFAULT))
                .commit());
    equal(not.isSucceeded(), false);
    equal(not.getDeleteResponses().get(0).getDeleted(), 1L);
    refused("duplicate key given in txn request", kv.txn().Then(write, write).commit());
  }

  private void watch() throws Exception {
    long first = put("watched/a", "1").getHeader().getRevision();
    WatchOption option =
        WatchOption.builder().isPrefix(true).withPrevKV(true).withRevision(first).build();
    BlockingQueue<String> seen = new LinkedBlockingQueue<>();
    Watch.Listener listener =
        Watch.listener(
            answer -> answer.getEvents().forEach(event -> seen.add(describe(event))),
            error -> seen.add("failed: " + error));
    try (Watch.Watcher watcher = client.getWatchClient().watch(bytes("watched/"), option, listener)) {
      put("watched/a", "2");
      must(kv.delete(bytes("watched/a")));
      equal(next(seen), "PUT 1 after ");
      equal(next(seen), "PUT 2 after 1");
      equal(next(seen), "DELETE  after 2");
    }
  }

  private static String describe(WatchEvent event) {
    return event.getEventType() + " " + event.getKeyValue().getValue()
        + " after " + event.getPrevKV().getValue();
  }

  private void lease() throws Exception {
    long id = must(leases.grant(60)).getID();
    PutOption leased = PutOption.builder().withLeaseId(id).build();
    must(kv.put(bytes("leased"), bytes("for a minute"), leased));
    equal(get("leased", GetOption.builder()).getKvs().get(0).getLease(), id);
    LeaseOption keys = LeaseOption.builder().withAttachedKeys().build();
    equal(must(leases.timeToLive(id, keys)).getKeys(), List.of(bytes("leased")));
    equal(must(leases.timeToLive(id, keys)).getGrantedTTL(), 60L);
    must(leases.revoke(id));
    equal(get("leased", GetOption.builder()).getCount(), 0L);
    equal(must(leases.timeToLive(id, keys)).getTTL(), -1L);
    refused("requested lease not found", leases.revoke(id));
    refused("requested lease not found", kv.put(bytes("leased"), bytes("late"), leased));
  }

  private void keepAlive() throws Exception {
    long id = must(leases.grant(30)).getID();
    equal(must(leases.keepAliveOnce(id)).getTTL(), 30L);
    BlockingQueue<Long> beats = new LinkedBlockingQueue<>();
    leases.keepAlive(
        id,
        new StreamObserver<LeaseKeepAliveResponse>() {
          @Override
          public void onNext(LeaseKeepAliveResponse answer) {
            beats.add(answer.getTTL());
          }

          @Override
          public void onError(Throwable error) {
            beats.add(-1L);
          }

          @Override
          public void onCompleted() {
            beats.add(-2L);
          }
        });
    equal(next(beats), 30L);
    must(leases.revoke(id));
  }

  private void lock() throws Exception {
    Lock locks = client.getLockClient();
    long mine = must(leases.grant(30)).getID();
    long theirs = must(leases.grant(30)).getID();
    ByteSequence key = must(locks.lock(bytes("seat"), mine)).getKey();
    equal(must(locks.lock(bytes("seat"), mine)).getKey(), key);
    equal(get(key.toString(), GetOption.builder()).getKvs().get(0).getLease(), mine);
    CompletableFuture<LockResponse> waiting = locks.lock(bytes("seat"), theirs);
    equal(waiting.isDone(), false);
    must(locks.unlock(key));
    must(locks.unlock(must(waiting).getKey()));
    // A lock goes with its lease.
    must(locks.lock(bytes("seat"), mine));
    must(leases.revoke(mine));
    must(locks.lock(bytes("seat"), theirs));
    must(leases.revoke(theirs));
    refused("requested lease not found", locks.lock(bytes("seat"), theirs));
  }

  private void elect() throws Exception {
    Election elections = client.getElectionClient();
    ByteSequence office = bytes("office");
    long one = must(leases.grant(30)).getID();
    long other = must(leases.grant(30)).getID();
    refused("NoLeaderException", elections.leader(office));
    CampaignResponse first = must(elections.campaign(office, one, bytes("first")));
    BlockingQueue<String> leaders = new LinkedBlockingQueue<>();
    elections.observe(
        office,
        new Election.Listener() {
          @Override
          public void onNext(LeaderResponse answer) {
            leaders.add(answer.getKv().getValue().toString());
          }

          @Override
          public void onError(Throwable error) {
            leaders.add("failed: " + error);
          }

          @Override
          public void onCompleted() {
            leaders.add("ended");
          }
        });
    equal(next(leaders), "first");
    must(elections.proclaim(first.getLeader(), bytes("first again")));
    equal(next(leaders), "first again");
    CompletableFuture<CampaignResponse> second =
        elections.campaign(office, other, bytes("second"));
    must(elections.resign(first.getLeader()));
    must(second);
    equal(must(elections.leader(office)).getKv().getValue().toString(), "second");
    refused("NotLeaderException", elections.proclaim(first.getLeader(), bytes("too late")));
    must(leases.revoke(one));
    must(leases.revoke(other));
  }

  private void inNamespace() throws Exception {
    try (Client tenant = Client.builder().endpoints(endpoint).namespace(bytes("tenant/")).build()) {
      must(tenant.getKVClient().put(bytes("a"), bytes("1")));
      equal(values(get("tenant/a", GetOption.builder())), List.of("1"));
      GetOption all = GetOption.builder().isPrefix(true).build();
      GetResponse found = must(tenant.getKVClient().get(bytes(""), all));
      equal(found.getKvs().get(0).getKey().toString(), "a");
    }
  }

  private void compact() throws Exception {
    put("compacted", "1");
    long now = put("compacted", "2").getHeader().getRevision();
    must(kv.compact(now, CompactOption.builder().withCompactPhysical(true).build()));
    String compacted = "required revision has been compacted";
    GetOption old = GetOption.builder().withRevision(now - 1).build();
    refused(compacted, kv.get(bytes("compacted"), old));
    refused(compacted, kv.compact(now));
    refused("required revision is a future revision", kv.compact(now + 100));
    BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();
    WatchOption late = WatchOption.builder().withRevision(1).build();
    Watch.Listener listener = Watch.listener((WatchResponse answer) -> {}, errors::add);
    try (Watch.Watcher w = client.getWatchClient().watch(bytes("compacted"), late, listener)) {
      CompactedException error = (CompactedException) next(errors);
      equal(error.getCompactedRevision(), now);
    }
  }

  private void maintain() throws Exception {
    var maintenance = client.getMaintenanceClient();
    var status = must(maintenance.statusMember(endpoint));
    equal(status.getVersion().startsWith("3."), true);
    var members = must(client.getClusterClient().listMember()).getMembers();
    equal(members.size(), 1);
    equal(members.get(0).getId(), status.getLeader());
    equal(must(maintenance.listAlarms()).getAlarms(), List.of());
    must(maintenance.defragmentMember(endpoint));
    int hash = must(maintenance.hashKV(endpoint, 0)).getHash();
    equal(must(maintenance.hashKV(endpoint, 0)).getHash(), hash);
    ByteArrayOutputStream snapshot = new ByteArrayOutputStream();
    must(maintenance.snapshot(snapshot));
    // A bbolt database begins with a page of meta data: its magic is at byte 16.
    byte[] magic = {(byte) 0xed, (byte) 0xda, 0x0c, (byte) 0xed};
    equal(Arrays.equals(Arrays.copyOfRange(snapshot.toByteArray(), 16, 20), magic), true);
  }

  private void useAccounts() throws Exception {
    var auth = client.getAuthClient();
    for (String name : List.of("root", "alice")) {
      must(auth.userAdd(bytes(name), bytes(name + "-secret")));
      must(auth.roleAdd(bytes(name)));
      must(auth.userGrantRole(bytes(name), bytes(name)));
    }
    must(
        auth.roleGrantPermission(
            bytes("alice"), bytes("alice/"), bytes("alice0"), Permission.Type.READWRITE));
    equal(must(auth.userGet(bytes("alice"))).getRoles(), List.of("alice"));
    refused("user name already exists", auth.userAdd(bytes("alice"), bytes("twice")));
    must(auth.authEnable());
    refused("user name is empty", kv.put(bytes("anybody"), bytes("no")));
    try (Client stranger = enter("alice", "wrong");
        Client alice = enter("alice", "alice-secret");
        Client root = enter("root", "root-secret")) {
      refused("authentication failed", stranger.getKVClient().get(bytes("alice/note")));
      must(alice.getKVClient().put(bytes("alice/note"), bytes("mine")));
      equal(values(must(alice.getKVClient().get(bytes("alice/note")))), List.of("mine"));
      refused("permission denied", alice.getKVClient().put(bytes("bob/note"), bytes("his")));
      refused("permission denied", alice.getAuthClient().userList());
      equal(must(root.getAuthClient().userList()).getUsers(), List.of("alice", "root"));
      must(root.getAuthClient().authDisable());
    }
    put("anybody", "again");
  }

  private Client enter(String name, String password) {
    return Client.builder()
        .endpoints(endpoint)
        .user(bytes(name))
        .password(bytes(password))
        .retryMaxAttempts(1)
        .build();
  }

  private static List<String> values(GetResponse answer) {
    return answer.getKvs().stream().map(kv -> kv.getValue().toString()).toList();
  }
}
