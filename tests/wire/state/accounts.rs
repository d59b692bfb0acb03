//! A store that wants to know who is calling.

use etcd_client::{Client, Permission};
use futures::StreamExt;
use kat::ids::Revision;
use kat::state::{Credentials, Denial, Error, EtcdStore, Options, StateStore};

use super::{Server, soon, store, stranger};

/// Opens accounts for root, and for alice, who may use what begins with `a/`.
async fn open_accounts(server: &Server) -> Client {
    let mut root = stranger(server).await;
    root.role_add("root").await.unwrap();
    root.user_add("root", "r00t", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("a").await.unwrap();
    let permission = Permission::read_write("a/").with_prefix();
    root.role_grant_permission("a", permission).await.unwrap();
    root.user_add("alice", "secret", None).await.unwrap();
    root.user_grant_role("alice", "a").await.unwrap();
    root.auth_enable().await.unwrap();
    root.update_user(Some(("root".into(), "r00t".into()))).await.unwrap();
    root
}

fn alice(server: &Server, password: &str) -> EtcdStore {
    let credentials = Credentials { user: "alice".into(), password: password.into() };
    let options = Options { credentials: Some(credentials), ..Options::default() };
    EtcdStore::connect(&[server.endpoint()], options).unwrap()
}

fn denial<T>(result: Result<T, Error>) -> Denial {
    match result {
        Err(Error::Denied { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

pub(super) async fn rights_end_where_they_end(server: &mut Server) {
    open_accounts(server).await;
    let alice = alice(server, "secret");
    let put = alice.put("a/1", b"1").await.unwrap();
    assert_eq!(alice.list("a/").await.unwrap().items.len(), 1);
    assert_eq!(denial(alice.put("b", b"1").await), Denial::Permission);
    assert_eq!(denial(alice.list("").await), Denial::Permission);
    assert_eq!(denial(alice.watch("b", Revision(0)).await), Denial::Permission);
    let mut watch = alice.watch("a/", put).await.unwrap();
    let event = soon("an event", watch.next()).await.unwrap().unwrap();
    assert_eq!(event.kv.version, put);
}

pub(super) async fn who_is_not_known_is_told_so(server: &mut Server) {
    let store = store(server);
    alice(server, "any").put("b", b"1").await.expect("nobody asks yet");
    open_accounts(server).await;
    assert_eq!(denial(store.put("a/1", b"1").await), Denial::Identity);
    assert_eq!(denial(store.watch("a/", Revision(0)).await), Denial::Identity);
    assert_eq!(denial(alice(server, "wrong").put("a/1", b"1").await), Denial::Identity);
}

pub(super) async fn an_old_token_is_renewed(server: &mut Server) {
    let mut root = open_accounts(server).await;
    let alice = alice(server, "secret");
    alice.put("a/1", b"1").await.unwrap();
    root.role_add("later").await.unwrap();
    alice.put("a/1", b"2").await.expect("what changed does not concern her");
    server.kill();
    server.start_again();
    super::until("the store answers", async || alice.get("a/1").await.ok()).await;
    alice.watch("a/", Revision(0)).await.expect("the old token died with the server");
}
