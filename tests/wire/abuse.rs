//! What somebody may do to the client port: nobody else notices, and memory
//! stays bounded.
//!
//! A bystander puts and gets on a connection of its own in every test that has
//! no accounts, and is answered in time. Errors are those of stock etcd, wherever both answer.

mod budget;
mod frames;
mod readers;

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::HeaderValue;
use kat::proto::etcdserverpb as pb;
use kat::proto::etcdserverpb::kv_client::KvClient;
use pb::request_op::Request as Op;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::process::Server;

/// How long any single answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const MIB: u64 = 1 << 20;

/// A message as a call sends it.
fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.endpoint()).expect("the endpoint is a URL");
    timeout(PATIENCE, endpoint.connect()).await.expect("it answers").expect("it accepts")
}

/// A connection on which anything can be sent.
async fn raw(server: &Server) -> SendRequest<Bytes> {
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (send, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(async move {
        // How it ends is seen by those who wait for answers.
        connection.await.ok();
    });
    send
}

/// The head of a call.
fn head(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("it is a request")
}

/// Sends the bytes of a body and tells the end of the call: what kind of answer it
/// is, code and text; or that the stream broke.
async fn call(send: &SendRequest<Bytes>, request: http::Request<()>, body: Bytes) -> String {
    call_on(send, request, body, true).await
}

/// The same; `is_all` is whether the request ends with the body.
async fn call_on(
    send: &SendRequest<Bytes>,
    request: http::Request<()>,
    body: Bytes,
    is_all: bool,
) -> String {
    let whole = async {
        let mut send = send.clone().ready().await?;
        let (response, mut stream) = send.send_request(request, false)?;
        // A server that has seen enough does not take the rest.
        stream.send_data(body, is_all).ok();
        let (parts, mut body) = response.await?.into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        let field = |name| parts.headers.get(name).or(trailers.get(name));
        let text = |name| field(name).map_or("none".into(), plain);
        let (kind, code) = (text("content-type"), text("grpc-status"));
        let message = field("grpc-message").map(plain).unwrap_or_default();
        Ok::<_, h2::Error>(format!("{} {kind} {code} {message}", parts.status))
    };
    let end = timeout(PATIENCE, whole).await.expect("a call ends");
    end.unwrap_or_else(|error| match error.reason() {
        Some(reason) => format!("broke off: {reason:?}"),
        None => "broke off".into(),
    })
}

/// A field as text. Go's protobuf puts a blank of another kind into its errors
/// by chance, so that nobody compares them.
fn plain(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).replace("%C2%A0", " ")
}

/// Somebody who minds its own business: puts and gets, one after another.
struct Bystander {
    stop: CancellationToken,
    work: JoinHandle<usize>,
}

impl Bystander {
    async fn at(server: &Server) -> Bystander {
        let stop = CancellationToken::new();
        let mut client = KvClient::new(channel(server).await);
        let ended = stop.clone();
        let work = tokio::spawn(async move {
            let mut rounds = 0_usize;
            while !ended.is_cancelled() {
                let value = Bytes::from(rounds.to_string());
                let put =
                    pb::PutRequest { key: "by".into(), value: value.clone(), ..Default::default() };
                let put = timeout(PATIENCE, client.put(put)).await.expect("a put is answered");
                put.expect("a put succeeds");
                let get = pb::RangeRequest { key: "by".into(), ..Default::default() };
                let got = timeout(PATIENCE, client.range(get)).await.expect("a get is answered");
                assert_eq!(got.expect("a get succeeds").get_ref().kvs[0].value, value);
                rounds += 1;
            }
            rounds
        });
        Bystander { stop, work }
    }

    /// How often it put and got.
    async fn leave(self) -> usize {
        self.stop.cancel();
        self.work.await.expect("it was answered, always")
    }
}

/// Puts keys with values of so many bytes, in large txns.
async fn fill(server: &Server, keys: usize, value_bytes: usize) {
    const PER_TXN: usize = 100;
    let mut client = KvClient::new(channel(server).await);
    let value = Bytes::from(vec![b'v'; value_bytes]);
    for first in (0..keys).step_by(PER_TXN) {
        let put = |number| {
            let key = format!("k{number:08}").into();
            let put = pb::PutRequest { key, value: value.clone(), ..Default::default() };
            pb::RequestOp { request: Some(Op::RequestPut(put)) }
        };
        let success = (first..keys.min(first + PER_TXN)).map(put).collect();
        client.txn(pb::TxnRequest { success, ..Default::default() }).await.expect("it fits");
    }
}

/// All that [`fill`] has put.
fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}
