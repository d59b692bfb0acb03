//! Large answers that cannot be read while they are sent, by the dozen: together
//! they take a bounded part of memory, each in its turn.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use h2::RecvStream;
use http::HeaderMap;
use kat::proto::etcdserverpb::auth_client::AuthClient;
use pb::range_request::{SortOrder, SortTarget};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::agent::block_on;
use super::*;

const KEYS: usize = 65_536;
const VALUE_BYTES: usize = 1024;

/// What the answers may take, and as much again for what was not foreseen: the
/// allocator's leavings, connections, the store's own.
const GROWTH_MAX: u64 = 2 * 256 * MIB;

/// Everything, in an order that only the values tell.
fn sorted() -> pb::RangeRequest {
    pb::RangeRequest {
        sort_order: SortOrder::Descend.into(),
        sort_target: SortTarget::Value.into(),
        ..everything()
    }
}

/// A txn that finds everything.
fn finding_everything() -> pb::TxnRequest {
    let range = pb::RequestOp { request: Some(Op::RequestRange(everything())) };
    pb::TxnRequest { success: vec![range], ..Default::default() }
}

/// Asks, and waits until the answer begins.
async fn ask(send: &SendRequest<Bytes>, request: http::Request<()>, body: Bytes) -> RecvStream {
    let mut send = send.clone().ready().await.unwrap();
    let (response, mut stream) = send.send_request(request, false).unwrap();
    stream.send_data(body, true).unwrap();
    let response = response.await.expect("it is answered");
    assert!(!response.headers().contains_key("grpc-status"), "{:?}", response.headers());
    response.into_body()
}

/// How many bytes an answer has, and how it ends.
async fn drain(mut body: RecvStream) -> (usize, HeaderMap) {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data.expect("it goes on").len();
        bytes += data;
        body.flow_control().release_capacity(data).unwrap();
    }
    (bytes, body.trailers().await.expect("it ends").unwrap_or_default())
}

/// A connection of somebody who reads quickly.
async fn eager(server: &Server) -> SendRequest<Bytes> {
    const WINDOW_BYTES: u32 = 4 << 20;
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (send, connection) = builder.handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(async move {
        // How it ends is seen by those who wait for answers.
        connection.await.ok();
    });
    send
}

/// The bytes of a call's answer.
async fn fetch(server: &Server, request: http::Request<()>, message: &impl Message) -> usize {
    let send = eager(server).await;
    let whole = async { drain(ask(&send, request, framed(message)).await).await };
    let (bytes, trailers) = timeout(PATIENCE * 4, whole).await.expect("everybody has a turn");
    assert_eq!(trailers["grpc-status"], "0", "{trailers:?}");
    bytes
}

/// The bytes of an answer in JSON, with what stands before it.
async fn fetch_json(server: &Server, path: &str, json: &str) -> usize {
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = json.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {length}\r\n\r\n{json}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let read = timeout(PATIENCE * 4, stream.read(&mut buffer)).await.expect("it goes on");
        let read = read.expect("it is not broken off");
        if bytes == 0 {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
        }
        bytes += read;
        if read == 0 {
            return bytes;
        }
    }
}

#[test]
fn sorted_lists_wait_in_line_for_memory() {
    const LISTS: usize = 24;
    block_on(async {
        let server = Server::kat();
        fill(&server, KEYS, VALUE_BYTES).await;
        let bystander = Bystander::at(&server).await;
        let before = server.memory_peak_from_now();
        let asked = &sorted();
        let fetch = || fetch(&server, head("/etcdserverpb.KV/Range"), asked);
        for bytes in join_all((0..LISTS).map(|_| fetch())).await {
            assert!(bytes > KEYS * VALUE_BYTES, "{bytes}");
        }
        let grown = server.memory_peak().saturating_sub(before);
        // They are 1.6 GiB together.
        assert!(grown < GROWTH_MAX, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn txns_and_gzip_and_json_wait_in_the_same_line() {
    const EACH: usize = 5;
    block_on(async {
        let server = Server::kat();
        fill(&server, KEYS, VALUE_BYTES).await;
        let bystander = Bystander::at(&server).await;
        let before = server.memory_peak_from_now();
        let txns = (0..EACH).map(async |_| {
            let bytes = fetch(&server, head("/etcdserverpb.KV/Txn"), &finding_everything()).await;
            assert!(bytes > KEYS * VALUE_BYTES, "{bytes}");
        });
        let zipped = (0..EACH).map(async |number| {
            let path = ["/etcdserverpb.KV/Range", "/etcdserverpb.KV/Txn"][number % 2];
            let mut request = head(path);
            request.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
            let bytes = match number % 2 {
                0 => fetch(&server, request, &everything()).await,
                _ => fetch(&server, request, &finding_everything()).await,
            };
            assert!((1000..KEYS * VALUE_BYTES / 10).contains(&bytes), "{bytes}");
        });
        let [key, range_end] = ["k", "l"].map(|key| STANDARD.encode(key));
        let range = &format!(r#"{{"key":"{key}","range_end":"{range_end}"}}"#);
        let written = (0..EACH).map(async |number| {
            let txn = format!(r#"{{"success":[{{"request_range":{range}}}]}}"#);
            let bytes = match number % 2 {
                0 => fetch_json(&server, "/v3/kv/range", range).await,
                _ => fetch_json(&server, "/v3/kv/txn", &txn).await,
            };
            assert!(bytes > KEYS * VALUE_BYTES * 4 / 3, "{bytes}");
        });
        tokio::join!(join_all(txns), join_all(zipped), join_all(written));
        let grown = server.memory_peak().saturating_sub(before);
        // They are several GiB together.
        assert!(grown < 2 * GROWTH_MAX, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn who_does_not_read_its_list_loses_it_to_those_who_wait() {
    const FEWER_KEYS: usize = 8_192;
    const LISTS: usize = 40;
    block_on(async {
        let server = Server::kat();
        fill(&server, FEWER_KEYS, VALUE_BYTES).await;
        let bystander = Bystander::at(&server).await;
        let asked = async |send| {
            let asked = ask(send, head("/etcdserverpb.KV/Range"), framed(&sorted()));
            timeout(PATIENCE, asked).await.expect("it has its turn")
        };
        let (alone, together) = (raw(&server).await, raw(&server).await);
        let first = asked(&alone).await;
        // They fill the budget, and some wait behind them.
        let mut unread = Vec::new();
        for _ in 0..LISTS {
            unread.push(asked(&together).await);
        }
        // The first is lost; what was sent before is there.
        let (bytes, trailers) = timeout(PATIENCE, drain(first)).await.expect("it ends");
        assert!(bytes < FEWER_KEYS * VALUE_BYTES, "{bytes}");
        assert_eq!(plain(&trailers["grpc-message"]), "etcdserver: too many requests");
        let bytes = fetch(&server, head("/etcdserverpb.KV/Range"), &sorted()).await;
        assert!(bytes > FEWER_KEYS * VALUE_BYTES, "{bytes}");
        assert!(bystander.leave().await > 0);
        drop(unread);
    });
}

/// Makes root and eve, who has no rights, has accounts enforced, and returns the
/// tokens of both.
async fn enforce_accounts(server: &Server) -> [HeaderValue; 2] {
    const NAMES: [&str; 2] = ["root", "eve"];
    let mut auth = AuthClient::new(channel(server).await);
    for name in NAMES {
        let (user, password) = (name.into(), name.into());
        let request = pb::AuthUserAddRequest { name: user, password, ..Default::default() };
        auth.user_add(request).await.expect("a user");
    }
    auth.role_add(pb::AuthRoleAddRequest { name: "root".into() }).await.expect("a role");
    let grant = pb::AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
    auth.user_grant_role(grant).await.expect("root has it");
    auth.auth_enable(pb::AuthEnableRequest {}).await.expect("accounts are enforced");
    let mut tokens = Vec::new();
    for name in NAMES {
        let request = pb::AuthenticateRequest { name: name.into(), password: name.into() };
        let token = auth.authenticate(request).await.expect("a token").into_inner().token;
        tokens.push(token.parse().expect("a token is text"));
    }
    tokens.try_into().expect("one for each")
}

#[test]
fn who_may_not_see_it_does_not_wait_for_it() {
    block_on(async {
        let server = Server::kat();
        fill(&server, KEYS, VALUE_BYTES).await;
        let [root, eve] = enforce_accounts(&server).await;
        let with_token = |path: &str, token: &HeaderValue| {
            let mut request = head(path);
            request.headers_mut().insert("token", token.clone());
            request
        };
        // Two lists that nobody takes leave no room for a third.
        let send = raw(&server).await;
        let mut unread = Vec::new();
        for _ in 0..2 {
            let request = with_token("/etcdserverpb.KV/Range", &root);
            let begun = ask(&send, request, framed(&sorted()));
            unread.push(timeout(PATIENCE, begun).await.expect("it has its turn"));
        }
        let pb::RangeRequest { key, range_end, .. } = everything();
        let deletion = pb::DeleteRangeRequest { key, range_end, prev_kv: true };
        let asked = [
            ("/etcdserverpb.KV/Range", framed(&sorted())),
            ("/etcdserverpb.KV/Txn", framed(&finding_everything())),
            ("/etcdserverpb.KV/DeleteRange", framed(&deletion)),
        ];
        let other = raw(&server).await;
        for (path, message) in asked {
            let end = call(&other, with_token(path, &eve), message.clone()).await;
            assert_eq!(end, "200 OK application/grpc 7 etcdserver: permission denied", "{path}");
            let end = call(&other, head(path), message).await;
            assert_eq!(end, "200 OK application/grpc 3 etcdserver: user name is empty", "{path}");
        }
        drop(unread);
    });
}
