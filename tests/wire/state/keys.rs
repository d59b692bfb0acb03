//! Keys, listings and transactions.

use std::io;

use etcd_client::PutOptions;
use hyper_util::rt::TokioIo;
use kat::ids::Revision;
use kat::state::{Compare, Error, EtcdStore, Op, OpResult, StateStore, TxnResult};
use tokio::io::{copy_bidirectional, duplex};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tower::service_fn;

use super::{Server, store, stranger};

fn compare(key: &str, version: Revision) -> Compare {
    Compare { key: key.into(), expected_version: version }
}

fn is_misuse<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Misuse { .. }))
}

async fn txn(store: &EtcdStore, check: Compare, success: &[Op], failure: &[Op]) -> TxnResult {
    store.do_transaction(&[check], success, failure).await.unwrap()
}

pub(super) async fn what_was_put_is_read_back(server: &mut Server) {
    let store = store(server);
    assert_eq!(store.get("a").await.unwrap(), None);
    let first = store.put("a", b"1").await.unwrap();
    let found = store.get("a").await.unwrap().unwrap();
    assert_eq!(
        (found.key.as_str(), found.value.as_slice(), found.version),
        ("a", &b"1"[..], first)
    );

    let second = store.put("a", b"").await.unwrap();
    assert_eq!(second, Revision(first.0 + 1));
    let found = store.get("a").await.unwrap().expect("an empty value is a value");
    assert_eq!((found.value.as_slice(), found.version), (&b""[..], second));
}

pub(super) async fn a_put_detaches_the_lease(server: &mut Server) {
    let (store, mut stranger) = (store(server), stranger(server).await);
    let lease = stranger.lease_grant(600, None).await.unwrap().id();
    for key in ["stays", "goes"] {
        stranger.put(key, "", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    }
    store.put("stays", b"for good").await.unwrap();
    stranger.lease_revoke(lease).await.unwrap();
    assert!(store.get("stays").await.unwrap().is_some());
    assert!(store.get("goes").await.unwrap().is_none());
}

pub(super) async fn a_delete_tells_whether_the_key_existed(server: &mut Server) {
    let store = store(server);
    let put = store.put("a", b"1").await.unwrap();
    assert!(store.delete("a").await.unwrap());
    assert!(!store.delete("a").await.unwrap());
    assert_eq!(store.get("a").await.unwrap(), None);
    let after = store.list("").await.unwrap().revision;
    assert_eq!(after, Revision(put.0 + 1), "deleting nothing makes no revision");
}

pub(super) async fn a_listing_holds_a_prefix_in_order(server: &mut Server) {
    let store = store(server);
    let empty = store.list("/kat/").await.unwrap();
    assert!(empty.items.is_empty() && empty.revision > Revision(0), "{empty:?}");

    let mut last = Revision(0);
    for key in ["/kat/nodes2", "/kat/nodes/b", "/kat/nodes/a", "/kat/node", "zoë", "zoë/1"] {
        last = store.put(key, key.as_bytes()).await.unwrap();
    }
    let list = async |prefix: &str| {
        let listing = store.list(prefix).await.unwrap();
        assert_eq!(listing.revision, last);
        listing.items.into_iter().map(|kv| kv.key).collect::<Vec<_>>()
    };
    assert_eq!(list("/kat/nodes/").await, ["/kat/nodes/a", "/kat/nodes/b"]);
    let nodes = ["/kat/nodes/a", "/kat/nodes/b", "/kat/nodes2"];
    assert_eq!(list("/kat/nodes").await, nodes, "no slash is added");
    assert_eq!(list("zoë").await, ["zoë", "zoë/1"]);
    assert_eq!(list("").await.len(), 6, "an empty prefix is everything");
    assert_eq!(list("nothing").await, [""; 0]);
}

pub(super) async fn a_listing_reads_many_pages_at_one_revision(server: &mut Server) {
    let store = store(server);
    let keys: Vec<String> = (0..2_500).map(|n| format!("many/{n:04}")).collect();
    let mut last = Revision(0);
    for some in keys.chunks(125) {
        let puts: Vec<Op> = some.iter().map(|key| Op::put(key, key.as_str())).collect();
        last = store.do_transaction(&[], &puts, &[]).await.unwrap().revision;
    }
    store.put("manz", b"beyond").await.unwrap();
    let listing = store.list("many/").await.unwrap();
    assert_eq!(listing.revision, Revision(last.0 + 1));
    let listed: Vec<String> = listing.items.iter().map(|kv| kv.key.clone()).collect();
    assert_eq!(listed, keys);
    assert!(listing.items.iter().all(|kv| kv.value == kv.key.as_bytes()));
}

pub(super) async fn a_transaction_runs_one_branch(server: &mut Server) {
    let store = store(server);
    let put = store.put("old", b"1").await.unwrap();
    let success =
        [Op::put("new", "2"), Op::delete("old"), Op::delete("none"), Op::get("new"), Op::get("x")];
    let failure = [Op::get("new"), Op::put("other", "3")];

    let absent = compare("new", Revision(0));
    let done = txn(&store, absent.clone(), &success, &failure).await;
    let new = store.get("new").await.unwrap();
    assert!(done.committed);
    assert_eq!(done.revision, Revision(put.0 + 1));
    assert_eq!(new.as_ref().unwrap().version, done.revision);
    let deleted = |existed| OpResult::Delete { existed };
    let wanted = vec![
        OpResult::Put,
        deleted(true),
        deleted(false),
        OpResult::Get(new.clone()),
        OpResult::Get(None),
    ];
    assert_eq!(done.results, wanted);

    let again = txn(&store, absent, &success, &failure).await;
    assert!(!again.committed, "which is a result and no error");
    assert_eq!(again.revision, Revision(done.revision.0 + 1));
    assert_eq!(again.results, vec![OpResult::Get(new), OpResult::Put]);
    assert!(store.get("other").await.unwrap().is_some());
}

pub(super) async fn a_transaction_compares_versions(server: &mut Server) {
    let store = store(server);
    let first = store.put("a", b"1").await.unwrap();
    let second = store.put("a", b"2").await.unwrap();
    for (version, holds) in [(first, false), (second, true), (Revision(0), false)] {
        let done = txn(&store, compare("a", version), &[], &[]).await;
        assert_eq!(done.committed, holds, "version {version}");
        assert_eq!(done.revision, second, "nothing was written");
    }
    store.delete("a").await.unwrap();
    assert!(txn(&store, compare("a", Revision(0)), &[], &[]).await.committed);
    let checks = [compare("a", Revision(0)), compare("b", Revision(7))];
    let done = store.do_transaction(&checks, &[Op::put("c", "")], &[]).await.unwrap();
    assert!(!done.committed, "every check must hold");
    assert_eq!(store.get("c").await.unwrap(), None);
    assert!(store.do_transaction(&[], &[Op::put("c", "")], &[]).await.unwrap().committed);
}

pub(super) async fn what_makes_no_sense_is_refused(server: &mut Server) {
    let store = store(server);
    assert!(is_misuse(&store.put("", b"").await));
    assert!(is_misuse(&store.get("").await));
    assert!(is_misuse(&store.delete("").await));
    assert!(is_misuse(&store.watch_key("", Revision(0)).await));
    assert!(is_misuse(&store.watch("a", Revision(-1)).await));
    assert!(is_misuse(&store.watch_prefix("a", Revision(-1)).await));
    let twice = [Op::put("a", "1"), Op::delete("a")];
    assert!(is_misuse(&store.do_transaction(&[], &[], &twice).await));
    assert!(is_misuse(&store.do_transaction(&[compare("a", Revision(-1))], &[], &[]).await));
    assert!(is_misuse(&store.campaign("", 15).await));
    assert!(is_misuse(&store.campaign("node-a", 0).await));

    let large = vec![b'x'; 1_600_000];
    assert!(is_misuse(&store.put("large", &large).await), "above 1.5 MiB");
    let huge = vec![b'x'; 3_000_000];
    assert!(is_misuse(&store.put("large", &huge).await), "above what gRPC takes");
    assert_eq!(store.get("large").await.unwrap(), None);
}

pub(super) async fn a_key_that_is_not_text_is_named(server: &mut Server) {
    let (store, mut stranger) = (store(server), stranger(server).await);
    stranger.put(b"odd\xff".to_vec(), "", None).await.unwrap();
    assert!(store.list("other").await.is_ok());
    match store.list("odd").await {
        Err(Error::Misuse { what }) => assert!(what.contains("odd"), "{what}"),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_closed_store_does_nothing(server: &mut Server) {
    let store = store(server);
    store.put("a", b"1").await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.get("a").await, Err(Error::Closed));
    assert_eq!(store.put("a", b"2").await, Err(Error::Closed));
    assert_eq!(store.resign().await, Err(Error::Closed));
    assert!(matches!(store.watch("a", Revision(0)).await, Err(Error::Closed)));
    assert!(matches!(store.campaign("node-a", 15).await, Err(Error::Closed)));
}

/// As the agent reaches the store inside itself, but for the last few steps.
pub(super) async fn a_channel_in_memory_will_do(server: &mut Server) {
    let address = server.endpoint().strip_prefix("http://").unwrap().to_owned();
    let connector = service_fn(move |_| {
        let address = address.clone();
        async move {
            let (near, mut far) = duplex(64 * 1024);
            let mut server = TcpStream::connect(address).await?;
            tokio::spawn(async move { copy_bidirectional(&mut far, &mut server).await });
            Ok::<_, io::Error>(TokioIo::new(near))
        }
    });
    let channel = Endpoint::from_static("http://embedded").connect_with_connector_lazy(connector);
    let store = EtcdStore::over(&channel);
    let mut watch = store.watch("a", Revision(0)).await.unwrap();
    let put = store.put("a", b"1").await.unwrap();
    assert_eq!(super::next(&mut watch).await.kv.version, put);
    store.campaign("node-a", 15).await.unwrap();
    store.close().await.unwrap();
}
