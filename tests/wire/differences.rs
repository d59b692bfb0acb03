//! Where ours is meant to differ from stock etcd: `differences.md` says why.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kat::proto::authpb::Permission;
use kat::proto::authpb::permission::Type;
use kat::proto::etcdserverpb::auth_client::AuthClient;
use kat::proto::etcdserverpb::cluster_client::ClusterClient;
use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use kat::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use kat::proto::etcdserverpb::request_op::Request as Op;
use kat::proto::etcdserverpb::watch_client::WatchClient;
use kat::proto::etcdserverpb::watch_request::RequestUnion;
use kat::proto::etcdserverpb::{
    AlarmRequest, AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest,
    AuthUserAddRequest, AuthUserGrantRoleRequest, AuthenticateRequest, DeleteRangeRequest,
    MemberListRequest, MemberRemoveRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::process::Server;

const DEEP: usize = 60;
/// How long an answer may take that may never come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks one server, over a connection of its own.
fn ask<T>(server: &Server, question: impl AsyncFnOnce(Channel) -> T) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(server.endpoint()).expect("the endpoint is a URL");
        question(endpoint.timeout(PATIENCE).connect_lazy()).await
    })
}

fn operation(op: Op) -> RequestOp {
    RequestOp { request: Some(op) }
}

fn put(server: &Server) -> Result<(), Status> {
    let request = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
    ask(server, async |channel| KvClient::new(channel).put(request).await.map(drop))
}

fn run(server: &Server, request: TxnRequest) -> Result<(), Status> {
    ask(server, async |channel| KvClient::new(channel).txn(request).await.map(drop))
}

fn value(server: &Server) -> String {
    let request = RangeRequest { key: "a".into(), ..RangeRequest::default() };
    let answer = ask(server, async |channel| KvClient::new(channel).range(request).await);
    let found = answer.expect("an answer").into_inner();
    String::from_utf8_lossy(&found.kvs[0].value).into_owned()
}

#[test]
fn keeping_what_the_txn_deleted() {
    let (mut etcd, ours) = (Server::etcd(), Server::kat());
    for (ignore_value, ignore_lease) in [(true, false), (false, true)] {
        let delete = DeleteRangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            ..DeleteRangeRequest::default()
        };
        let keep =
            PutRequest { key: "a".into(), ignore_value, ignore_lease, ..PutRequest::default() };
        let both = || {
            let keep = keep.clone();
            let delete = operation(Op::RequestDeleteRange(delete.clone()));
            let success = vec![delete, operation(Op::RequestPut(keep))];
            TxnRequest { success, ..TxnRequest::default() }
        };
        put(&ours).expect("a put");
        let refused = run(&ours, both()).expect_err("it is refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(refused.message(), "etcdserver: key not found");
        assert_eq!(value(&ours), "1");
        if !etcd.has_ended() {
            put(&etcd).expect("a put");
            run(&etcd, both()).expect_err("etcd ends itself");
            etcd.ends();
        }
    }
}

#[test]
fn raising_an_alarm_in_no_known_way() {
    let (mut etcd, ours) = (Server::etcd(), Server::kat());
    let request = AlarmRequest { action: 9, alarm: 1, member_id: 0 };
    let raise = |server: &Server| {
        ask(server, async |channel| MaintenanceClient::new(channel).alarm(request).await)
    };
    let refused = raise(&ours).expect_err("it is refused");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "malformed request"));
    put(&ours).expect("a put");
    raise(&etcd).expect_err("etcd ends itself");
    etcd.ends();
}

#[test]
fn nesting_without_end() {
    let (etcd, ours) = (Server::etcd(), Server::kat());
    // What is nested is not run, so that the answer is not nested.
    let nested = || {
        let txn = |success| operation(Op::RequestTxn(TxnRequest { success, ..Default::default() }));
        let request = PutRequest { key: "a".into(), value: "1".into(), ..Default::default() };
        let put = operation(Op::RequestPut(request));
        let failure = vec![(0..DEEP).fold(put.clone(), |inner, _| txn(vec![inner]))];
        TxnRequest { success: vec![put], failure, ..TxnRequest::default() }
    };
    run(&etcd, nested()).expect("etcd runs it");
    assert_eq!(value(&etcd), "1");
    let refused = run(&ours, nested()).expect_err("it is refused");
    assert_eq!(refused.code(), Code::Internal);
    let why = "grpc: error unmarshalling request: proto: exceeded maximum recursion depth";
    assert_eq!(refused.message(), why);
    put(&ours).expect("a put");
}

#[test]
fn removing_the_last_voter() {
    let unchecked = ["--strict-reconfig-check=false"];
    let (mut etcd, ours) = (Server::etcd_with(&unchecked), Server::kat_with(&unchecked));
    let remove = |server: &Server| {
        ask(server, async |channel| {
            let mut client = ClusterClient::new(channel);
            let listed = client.member_list(MemberListRequest::default()).await;
            let id = listed.expect("a list").into_inner().members[0].id;
            client.member_remove(MemberRemoveRequest { id }).await
        })
    };
    let refused = remove(&ours).expect_err("it is refused");
    let why = "etcdserver: re-configuration failed due to not enough started members";
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, why));
    put(&ours).expect("a put");
    remove(&etcd).expect_err("etcd ends itself");
    etcd.ends();
}

/// A user who may read three ranges asks for one that ends before it begins.
async fn asks_for_no_keys(channel: Channel) -> Result<usize, Code> {
    let mut auth = AuthClient::new(channel.clone());
    for (name, role) in [("root", "root"), ("bob", "b")] {
        let (user, password) = (name.to_owned(), "1".to_owned());
        let request = AuthUserAddRequest { name: user, password, ..Default::default() };
        auth.user_add(request).await.expect("a user");
        let request = AuthRoleAddRequest { name: role.into() };
        auth.role_add(request).await.expect("a role");
        let request = AuthUserGrantRoleRequest { user: name.into(), role: role.into() };
        auth.user_grant_role(request).await.expect("a right");
    }
    for (key, end) in [("a", ""), ("b", ""), ("c", "f")] {
        let perm_type = Type::Read.into();
        let perm = Some(Permission { perm_type, key: key.into(), range_end: end.into() });
        let request = AuthRoleGrantPermissionRequest { name: "b".into(), perm };
        auth.role_grant_permission(request).await.expect("a permission");
    }
    auth.auth_enable(AuthEnableRequest {}).await.expect("accounts are enforced");
    let request = AuthenticateRequest { name: "bob".into(), password: "1".into() };
    let token = auth.authenticate(request).await.expect("a token").into_inner().token;
    let request =
        RangeRequest { key: "e".into(), range_end: "a".into(), ..RangeRequest::default() };
    let mut request = Request::new(request);
    request.metadata_mut().insert("token", token.parse().expect("a token is text"));
    let answer = KvClient::new(channel).range(request).await;
    answer.map(|answer| answer.into_inner().kvs.len()).map_err(|status| status.code())
}

#[test]
fn asking_for_no_keys() {
    let (etcd, ours) = (Server::etcd(), Server::kat());
    assert_eq!(ask(&etcd, asks_for_no_keys), Err(Code::PermissionDenied));
    assert_eq!(ask(&ours, asks_for_no_keys), Ok(0));
}

/// Forty keys of two versions, sorted by version.
async fn sorts_what_is_equal(channel: Channel) -> Vec<String> {
    let mut kv = KvClient::new(channel);
    for i in (0..40).chain((0..40).step_by(3)) {
        let key = format!("{i:02}").into();
        kv.put(PutRequest { key, ..PutRequest::default() }).await.expect("a put");
    }
    let request = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        sort_order: SortOrder::Ascend.into(),
        sort_target: SortTarget::Version.into(),
        ..RangeRequest::default()
    };
    let found = kv.range(request).await.expect("an answer").into_inner();
    found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

#[test]
fn sorting_what_is_equal() {
    let (etcd, ours) = (Server::etcd(), Server::kat());
    let (mut theirs, ours) = (ask(&etcd, sorts_what_is_equal), ask(&ours, sorts_what_is_equal));
    let (once, twice) = ours.split_at(26);
    assert!(once.is_sorted() && twice.is_sorted(), "{ours:?}");
    assert_ne!(theirs, ours);
    let (once_to_them, twice_to_them) = theirs.split_at_mut(26);
    once_to_them.sort_unstable();
    twice_to_them.sort_unstable();
    assert_eq!(theirs, ours);
}

#[test]
fn sending_metadata_without_end() {
    let (etcd, ours) = (Server::etcd(), Server::kat());
    let ask_at_length = |server: &Server, bytes: usize| {
        let mut request = Request::new(MemberListRequest::default());
        let value = "v".repeat(bytes).parse().expect("it is text");
        request.metadata_mut().insert("at-length", value);
        ask(server, async |channel| ClusterClient::new(channel).member_list(request).await)
    };
    for server in [&etcd, &ours] {
        ask_at_length(server, 60_000).expect("an answer");
    }
    ask_at_length(&etcd, 300_000).expect("an answer");
    ask_at_length(&ours, 300_000).expect_err("it hangs up");
    put(&ours).expect("a put");
}

/// Asks every moment whether the server is there, and watches.
async fn pings(server: &Server) -> (mpsc::Sender<WatchRequest>, Streaming<WatchResponse>) {
    let endpoint = Endpoint::from_shared(server.endpoint()).expect("the endpoint is a URL");
    let channel = endpoint.http2_keep_alive_interval(Duration::from_millis(50)).connect_lazy();
    let (requests, inbox) = mpsc::channel(1);
    let create = WatchCreateRequest { key: "a".into(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.expect("the stream is to be opened");
    let answer = WatchClient::new(channel).watch(ReceiverStream::new(inbox)).await;
    let mut stream = answer.expect("a stream").into_inner();
    assert!(stream.message().await.expect("an answer").is_some_and(|answer| answer.created));
    (requests, stream)
}

#[test]
fn pinging_without_pause() {
    let (etcd, ours) = (Server::etcd(), Server::kat());
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (asked, mut stream) = pings(&ours).await;
        let (_open, mut theirs) = pings(&etcd).await;
        let end = timeout(PATIENCE, theirs.message()).await.expect("etcd hangs up");
        end.expect_err("etcd calls it an error");
        let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let progress = WatchRequest { request_union: Some(progress) };
        asked.send(progress).await.expect("the stream is open");
        let answer = timeout(PATIENCE, stream.message()).await.expect("an answer in time");
        assert_eq!(answer.expect("an answer").map(|answer| answer.watch_id), Some(-1));
    });
}

#[test]
fn each_row_names_a_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let text = fs::read_to_string(tests.join("differences.md")).expect("the table");
    let section = text.split("\n## ").find(|part| part.starts_with("API\n")).expect("a section");
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        for test in cells[4].split(", ") {
            let (module, name) = test.trim_matches('`').rsplit_once("::").expect("module::name");
            let file = tests.join(module.replace("::", "/")).with_extension("rs");
            let source = fs::read_to_string(&file).unwrap_or_default();
            let is_there = source.contains(&format!("fn {name}("));
            assert!(is_there, "{row} names {test}, which is not there");
        }
    }
}
