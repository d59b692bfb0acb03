//! What stands in the headers of calls, and how messages are packed.

use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::lease_client::LeaseClient;
use kat::proto::etcdserverpb::watch_client::WatchClient;
use kat::proto::etcdserverpb::{LeaseKeepAliveRequest, PutRequest, RangeResponse, WatchRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};

use super::wire::Wire;
use super::words::{all, create, get, put, watch};

const SHORT: &str = "it is short";

/// A server does not mind under which name it is called.
pub(super) async fn being_called_anything(wire: &mut Wire) {
    for name in ["http://anything", "http://127.0.0.1:1", "http://[::1]:2379", "http://a_b.c"] {
        let endpoint = Endpoint::from_shared(wire.server.endpoint()).expect("a URL");
        let channel = endpoint.origin(name.parse().expect("a URL")).connect_lazy();
        let answer = KvClient::new(channel).put(put("a", "1")).await;
        wire.note(format!("a put to {name}"), answer);
    }
}

/// Nor is it a matter of what a name is at all: etcd's client 3.5.0 sends the first
/// of these. h2's client sends none of them, so frames are made by hand.
pub(super) async fn being_called_what_is_no_name(wire: &mut Wire) {
    for name in [
        "#initially=[http://127.0.0.1:2379]",
        "127.0.0.1:2379",
        "%2Ftmp%2Fetcd.sock",
        "/tmp/etcd.sock",
        "[fe80::1%25eth0]:2379",
        "two words",
        "",
    ] {
        let endpoint = wire.server.endpoint();
        let address = endpoint.strip_prefix("http://").expect("a plain URL");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        socket.write_all(&two_puts(name)).await.expect("room for them");
        let mut kinds: [Vec<&str>; 2] = Default::default();
        while kinds.iter().any(|kinds| !matches!(kinds.last(), Some(&"the end" | &"a reset"))) {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.expect("a frame");
            let [_, length @ .., kind, flags, _, _, _, stream] = head;
            let mut payload = vec![0; usize::from(u16::from_be_bytes(length))];
            socket.read_exact(&mut payload).await.expect("all of it");
            let of = match stream {
                1 => &mut kinds[0],
                3 => &mut kinds[1],
                _ => continue,
            };
            match kind {
                0 => of.push("data"),
                1 if flags & 1 == 0 => of.push("headers"),
                1 => of.push("the end"),
                3 => of.push("a reset"),
                _ => {}
            }
        }
        wire.write(format!("two puts to {name:?}"), format!("{kinds:?}"));
        wire.range(all()).await;
    }
}

/// All that a client says that puts twice: the second time, the name comes from the
/// table of headers.
fn two_puts(name: &str) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).expect(SHORT)], text.as_bytes()].concat();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, u8::try_from(payload.len()).expect(SHORT), kind, flags, 0, 0, 0, stream], payload]
            .concat()
    };
    let headers = |name: &[u8]| {
        let path = string("/etcdserverpb.KV/Put");
        let kind = string("application/grpc");
        let te = [string("te"), string("trailers")].concat();
        [&[0x83, 0x86][..], name, &[0x04], &path, &[0x0f, 0x10], &kind, &[0], &te].concat()
    };
    let body = [0, 0, 0, 0, 3, 0x0a, 1, b'a'];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, 4, 1, &headers(&[&[0x41], &string(name)[..]].concat())),
        frame(0, 1, 1, &body),
        frame(1, 4, 3, &headers(&[0xbe])),
        frame(0, 1, 3, &body),
    ]
    .concat()
}

fn with<T>(message: T, header: &'static str, value: &'static str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(header, MetadataValue::from_static(value));
    request
}

/// There is a leader, so whoever wants one is served.
pub(super) async fn wanting_a_leader(wire: &mut Wire) {
    wire.lease_grant(600, 1).await;
    for value in ["true", "false", ""] {
        let wanting = |message| with(message, "hasleader", value);
        let answer = KvClient::new(wire.channel()).put(wanting(put("a", "1"))).await;
        wire.note(format!("a put with hasleader {value:?}"), answer);
        let answer = KvClient::new(wire.channel()).range(with(all(), "hasleader", value)).await;
        wire.note(format!("a range with hasleader {value:?}"), answer);
        let requests = tokio_stream::iter([LeaseKeepAliveRequest { id: 1 }]);
        let answer = LeaseClient::new(wire.channel())
            .lease_keep_alive(with(requests, "hasleader", value))
            .await;
        wire.drain(format!("a keep-alive with hasleader {value:?}"), answer).await;
        let requests = [WatchRequest { request_union: Some(create(watch("a", ""))) }];
        let requests = with(tokio_stream::iter(requests), "hasleader", value);
        let answer = WatchClient::new(wire.channel()).watch(requests).await;
        let mut stream = answer.expect("a stream").into_inner();
        let created = stream.message().await.map(|created| Response::new(created.expect("one")));
        wire.note(format!("a watch with hasleader {value:?}"), created);
    }
}

/// What comes packed is answered packed; what nobody can unpack is refused.
pub(super) async fn packing_messages(wire: &mut Wire) {
    let channel = wire.channel();
    let packed = || KvClient::new(channel.clone()).send_compressed(Gzip);
    let value = "much of the same, ".repeat(500);
    let long = || PutRequest { value: value.clone().into(), ..put("a", "") };
    let answers = [
        packed().put(long()).await.map(drop_answer),
        packed().put(PutRequest { prev_kv: true, ..long() }).await.map(drop_answer),
    ];
    for answer in answers {
        wire.note("a packed put of a long value, where no packed answer is taken", answer);
    }
    let both = || packed().accept_compressed(Gzip);
    let answers = [
        ("packed, packed answers taken", both().range(get("a")).await),
        ("packed answers taken", {
            KvClient::new(wire.channel()).accept_compressed(Gzip).range(get("a")).await
        }),
        ("packed in no known way", range_packed(wire, "snappy").await),
        ("packed not at all, and says so", range_packed(wire, "identity").await),
    ];
    for (how, answer) in answers {
        let encoding = answer.as_ref().ok().map(|answer| encoding(answer.metadata()));
        wire.write(format!("the packing of the answer: {how}"), format!("{encoding:?}"));
        wire.note(format!("a range: {how}"), answer);
    }
}

fn drop_answer<T>(answer: Response<T>) -> Response<String> {
    let (metadata, _, _) = answer.into_parts();
    Response::new(encoding(&metadata))
}

fn encoding(metadata: &tonic::metadata::MetadataMap) -> String {
    format!("{:?}", metadata.get("grpc-encoding"))
}

async fn range_packed(
    wire: &Wire,
    encoding: &'static str,
) -> Result<Response<RangeResponse>, Status> {
    KvClient::new(wire.channel()).range(with(get("a"), "grpc-encoding", encoding)).await
}
