//! The crate `etcd-client`, from this process: what its documentation shows.

use std::future::Future;
use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, ConnectOptions,
    DeleteOptions, Error, EventType, GetOptions, KvClientPrefix, LockOptions, Permission,
    ProclaimOptions, PutOptions, ResignOptions, SortOrder, SortTarget, Txn, TxnOp, WatchOptions,
};
use tokio::time::timeout;

use super::super::process::Server;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_client_etcd_client_is_served() {
    for (server, whose) in [(Server::etcd(), "stock etcd"), (Server::kat(), "ours")] {
        let endpoint = server.endpoint();
        let mut etcd = Client::connect([endpoint.as_str()], None).await.expect("it serves");
        check(whose, "keys", keys(&mut etcd)).await;
        check(whose, "txns", transactions(&mut etcd)).await;
        check(whose, "watches", watches(&mut etcd)).await;
        check(whose, "leases", leases(&mut etcd)).await;
        check(whose, "locks", locks(&mut etcd)).await;
        check(whose, "elections", elections(&mut etcd)).await;
        check(whose, "maintenance", maintenance(&mut etcd)).await;
        check(whose, "accounts", Box::pin(accounts(&mut etcd, &endpoint))).await;
    }
}

async fn check(whose: &str, name: &str, work: impl Future<Output = Result<(), Error>>) {
    let outcome = timeout(PATIENCE, work).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("{name} of {whose} take for ever"));
    outcome.unwrap_or_else(|error| panic!("{name} of {whose}: {error}"));
}

fn refused<T>(text: &str, outcome: Result<T, Error>) {
    let error = outcome.err().unwrap_or_else(|| panic!("it should be refused: {text}"));
    assert!(error.to_string().contains(text), "refused with {error}, not {text}");
}

async fn keys(etcd: &mut Client) -> Result<(), Error> {
    for (name, age) in [("Alice", "15"), ("Bob", "20"), ("Chris", "16")] {
        etcd.put(name, age, None).await?;
    }
    let previous = etcd.put("Bob", "21", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(previous.prev_key().expect("the one before").value(), b"20");
    let newest = previous.header().expect("a header").revision();
    let options = GetOptions::new()
        .with_all_keys()
        .with_sort(SortTarget::Value, SortOrder::Descend)
        .with_limit(2);
    let found = etcd.get("", Some(options)).await?;
    let names: Vec<_> = found.kvs().iter().map(|kv| kv.key_str().expect("text")).collect();
    assert_eq!((names, found.more(), found.count()), (vec!["Bob", "Chris"], true, 3));
    let gone = etcd.delete("Chris", Some(DeleteOptions::new().with_prev_key())).await?;
    assert_eq!((gone.deleted(), gone.prev_kvs()[0].value()), (1, &b"16"[..]));
    let mut tenant = KvClientPrefix::new(etcd.kv_client(), "tenant/".into());
    tenant.put("a", "1", None).await?;
    assert_eq!(etcd.get("tenant/a", None).await?.kvs()[0].value(), b"1");
    etcd.compact(newest, Some(CompactionOptions::new().with_physical())).await?;
    let old = GetOptions::new().with_revision(newest - 1);
    let compacted = "required revision has been compacted";
    refused(compacted, etcd.get("Bob", Some(old)).await);
    refused("future revision", etcd.compact(newest + 100, None).await);
    Ok(())
}

async fn transactions(etcd: &mut Client) -> Result<(), Error> {
    let birthday = Txn::new()
        .when([Compare::value("Alice", CompareOp::Equal, "15")])
        .and_then([
            TxnOp::put("Alice", "16", Some(PutOptions::new().with_ignore_lease())),
            TxnOp::txn(Txn::new().and_then([TxnOp::get("Alice", None)])),
        ])
        .or_else([TxnOp::delete("Alice", None)]);
    let first = etcd.txn(birthday.clone()).await?;
    assert!(first.succeeded());
    assert_eq!(first.op_responses().len(), 2);
    assert_eq!(etcd.get("Alice", None).await?.kvs()[0].value(), b"16");
    assert!(!etcd.txn(birthday).await?.succeeded());
    assert!(etcd.get("Alice", None).await?.kvs().is_empty());
    let twice = [TxnOp::put("Alice", "1", None), TxnOp::put("Alice", "2", None)];
    refused("duplicate key", etcd.txn(Txn::new().and_then(twice)).await);
    Ok(())
}

async fn watches(etcd: &mut Client) -> Result<(), Error> {
    let start = etcd.put("foo", "bar", None).await?.header().expect("a header").revision();
    let options = WatchOptions::new()
        .with_watch_id(1)
        .with_prefix()
        .with_prev_key()
        .with_start_revision(start);
    let mut stream = etcd.watch("foo", Some(options)).await?;
    etcd.put("foo1", "bar1", None).await?;
    etcd.delete("foo", None).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let answer = stream.message().await?.expect("the stream goes on");
        assert_eq!(answer.watch_id(), 1);
        for event in answer.events() {
            let key = event.kv().expect("a key").key_str()?.to_owned();
            seen.push((event.event_type() == EventType::Put, key, event.prev_kv().is_some()));
        }
    }
    let event = |is_put, key: &str, has_previous| (is_put, key.to_owned(), has_previous);
    assert_eq!(
        seen,
        [event(true, "foo", false), event(true, "foo1", false), event(false, "foo", true)]
    );
    // One stream carries many, and says where it stands.
    stream.watch("other", Some(WatchOptions::new().with_watch_id(2))).await?;
    let answer = stream.message().await?.expect("the stream goes on");
    assert_eq!((answer.created(), answer.watch_id()), (true, 2));
    stream.request_progress().await?;
    let answer = stream.message().await?.expect("the stream goes on");
    assert_eq!((answer.watch_id(), answer.events().len()), (-1, 0));
    stream.cancel(1).await?;
    let answer = stream.message().await?.expect("the stream goes on");
    assert_eq!((answer.canceled(), answer.watch_id()), (true, 1));
    Ok(())
}

async fn leases(etcd: &mut Client) -> Result<(), Error> {
    let lease = etcd.lease_grant(60, None).await?.id();
    etcd.put("leased", "for a minute", Some(PutOptions::new().with_lease(lease))).await?;
    let left = etcd.lease_time_to_live(lease, None).await?;
    assert_eq!((left.id(), left.granted_ttl()), (lease, 60));
    let (mut keeper, mut stream) = etcd.lease_keep_alive(lease).await?;
    keeper.keep_alive().await?;
    assert_eq!(stream.message().await?.expect("the stream goes on").ttl(), 60);
    let known = etcd.leases().await?;
    assert_eq!((known.leases().len(), known.leases()[0].id()), (1, lease));
    etcd.lease_revoke(lease).await?;
    assert!(etcd.get("leased", None).await?.kvs().is_empty());
    assert_eq!(etcd.lease_time_to_live(lease, None).await?.ttl(), -1);
    refused("requested lease not found", etcd.lease_revoke(lease).await);
    // A lease that is gone beats no more.
    assert!(etcd.lease_keep_alive(lease).await.is_err());
    Ok(())
}

async fn locks(etcd: &mut Client) -> Result<(), Error> {
    let key = etcd.lock("anybody", None).await?.key().to_vec();
    etcd.unlock(key).await?;
    let lease = etcd.lease_grant(60, None).await?.id();
    let options = LockOptions::new().with_lease(lease);
    let mine = etcd.lock("seat", Some(options)).await?.key().to_vec();
    assert_eq!(mine, format!("seat/{lease:x}").into_bytes());
    let mut other = etcd.clone();
    let waiting = tokio::spawn(async move { other.lock("seat", None).await });
    etcd.lease_revoke(lease).await?;
    let theirs = waiting.await.expect("it does not panic")?;
    etcd.unlock(theirs.key()).await?;
    Ok(())
}

async fn elections(etcd: &mut Client) -> Result<(), Error> {
    let lease = etcd.lease_grant(60, None).await?.id();
    refused("election: no leader", etcd.leader("office").await);
    let mut won = etcd.campaign("office", "first", lease).await?;
    let leader = won.take_leader().expect("whoever won leads");
    let mut observer = etcd.observe("office").await?;
    let mut seen = async || observer.message().await.map(|answer| answer.expect("it goes on"));
    assert_eq!(seen().await?.kv().expect("a leader").value(), b"first");
    let options = ProclaimOptions::new().with_leader(leader.clone());
    etcd.proclaim("first again", Some(options.clone())).await?;
    assert_eq!(seen().await?.kv().expect("a leader").value(), b"first again");
    etcd.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    refused("election: not leader", etcd.proclaim("too late", Some(options)).await);
    etcd.lease_revoke(lease).await?;
    Ok(())
}

async fn maintenance(etcd: &mut Client) -> Result<(), Error> {
    assert!(etcd.alarm(AlarmAction::Get, AlarmType::None, None).await?.alarms().is_empty());
    let status = etcd.status().await?;
    assert!(status.version().starts_with("3.") && status.db_size() > 0);
    let members = etcd.member_list().await?;
    assert_eq!(members.members().len(), 1);
    assert_eq!(members.members()[0].id(), status.leader());
    etcd.move_leader(status.leader()).await?;
    etcd.defragment().await?;
    assert_ne!(etcd.hash().await?.hash(), 0);
    assert_eq!(etcd.hash_kv(0).await?.hash(), etcd.hash_kv(0).await?.hash());
    let mut snapshot = etcd.snapshot().await?;
    let mut file = Vec::new();
    while let Some(piece) = snapshot.message().await? {
        file.extend_from_slice(piece.blob());
    }
    // A bbolt database begins with a page of meta data: its magic is at byte 16.
    assert_eq!(file[16..20], [0xed, 0xda, 0x0c, 0xed]);
    Ok(())
}

async fn accounts(etcd: &mut Client, endpoint: &str) -> Result<(), Error> {
    for name in ["root", "alice"] {
        etcd.user_add(name, format!("{name}-secret"), None).await?;
        etcd.role_add(name).await?;
        etcd.user_grant_role(name, name).await?;
    }
    let own = Permission::read_write("alice/").with_prefix();
    etcd.role_grant_permission("alice", own.clone()).await?;
    assert_eq!(etcd.role_get("alice").await?.permissions(), [own]);
    assert_eq!(etcd.user_get("alice").await?.roles(), ["alice"]);
    refused("user name already exists", etcd.user_add("alice", "twice", None).await);
    etcd.auth_enable().await?;
    refused("user name is empty", etcd.put("anybody", "no", None).await);
    let enter = |name: &str, password: &str| {
        let options = ConnectOptions::new().with_user(name, password);
        Client::connect([endpoint.to_owned()], Some(options))
    };
    refused("authentication failed", enter("alice", "wrong").await);
    let mut alice = enter("alice", "alice-secret").await?;
    alice.put("alice/note", "mine", None).await?;
    assert_eq!(alice.get("alice/note", None).await?.kvs()[0].value(), b"mine");
    refused("permission denied", alice.put("bob/note", "his", None).await);
    let mut root = enter("root", "root-secret").await?;
    assert_eq!(root.user_list().await?.users(), ["alice", "root"]);
    root.user_change_password("alice", "new-secret").await?;
    root.auth_disable().await?;
    etcd.put("anybody", "again", None).await?;
    Ok(())
}
