//! Messages that are none, floods, and bodies without end.

use std::io::{Read as _, Write as _};

use h2::Reason;

use super::super::agent::block_on;
use super::*;

const PUT: &str = "/etcdserverpb.KV/Put";
const LEASES: &str = "/etcdserverpb.Lease/LeaseGrant";
const TXN: &str = "/etcdserverpb.KV/Txn";
const RANGE: &str = "/etcdserverpb.KV/Range";
const PIECES: &str = "/etcdserverpb.KV/RangeStream";
const RENEWALS: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const USERS: &str = "/etcdserverpb.Auth/UserGet";

/// A key, in every kind of request that has one.
const KEY: &[u8] = b"\x0a\x01a";

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A txn in a txn in a txn, built from the inside.
fn nested(depth: usize) -> Vec<u8> {
    // Bytes are put in front, so they are gathered the wrong way round.
    let mut reversed = Vec::new();
    let wrap = |tag: u8, reversed: &mut Vec<u8>| {
        let length = varint(reversed.len());
        reversed.extend(length.iter().rev());
        reversed.push(tag);
    };
    for _ in 0..depth {
        // RequestOp.request_txn, TxnRequest.success.
        wrap(0x22, &mut reversed);
        wrap(0x12, &mut reversed);
    }
    reversed.reverse();
    reversed
}

/// What is sent, and to whom.
fn bad_messages() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    vec![
        ("nothing", PUT, vec![]),
        ("half a prefix", PUT, vec![0, 0, 0]),
        ("half a message", PUT, [&[0, 0, 0, 0, 9][..], b"x"].concat()),
        ("four gibibytes, it says", PUT, [&[0, 0xff, 0xff, 0xff, 0xff][..], b"x"].concat()),
        ("compressed, it says", PUT, vec![1, 0, 0, 0, 1, 0]),
        ("compressed, it says, to tonic", LEASES, vec![1, 0, 0, 0, 1, 0]),
        ("nothing, to tonic", LEASES, vec![]),
        ("half a message, to tonic", LEASES, [&[0, 0, 0, 0, 9][..], b"x"].concat()),
        ("no protobuf, to tonic", LEASES, framed(&[0x08])),
        ("no protobuf", PUT, framed(&[0x0a, 0x7f, 1])),
        ("no text", USERS, framed(&[0x0a, 1, 0xff])),
        ("one too many", RANGE, [framed(KEY), framed(b"")].concat()),
        ("a bit too many", RANGE, [framed(KEY), vec![7; 9]].concat()),
        ("one too many, to tonic", USERS, [framed(KEY), framed(b"")].concat()),
        ("a bit too many, to tonic", USERS, [framed(KEY), vec![7; 9]].concat()),
        ("half a prefix, to tonic", LEASES, vec![0, 0, 0]),
        ("no form", RANGE, [&[2, 0, 0, 0, 3][..], KEY].concat()),
        ("no form, to tonic", USERS, [&[255, 0, 0, 0, 3][..], KEY].concat()),
        ("half of no form", RANGE, [&[2, 0, 0, 0, 4][..], KEY].concat()),
        ("nothing, for a stream", PIECES, vec![]),
        ("half a prefix, for a stream", PIECES, vec![0, 0, 0]),
        ("half a message, for a stream", PIECES, [&[0, 0, 0, 0, 9][..], b"x"].concat()),
        ("no protobuf, for a stream", PIECES, framed(&[0x0a, 0x7f, 1])),
        ("no form, for a stream", PIECES, [&[2, 0, 0, 0, 3][..], KEY].concat()),
        ("one, for a stream", PIECES, framed(KEY)),
        ("one too many, for a stream", PIECES, [framed(KEY), framed(b"")].concat()),
        ("half a prefix too many, for a stream", PIECES, [framed(KEY), vec![0; 3]].concat()),
        ("half a prefix, as a stream", RENEWALS, vec![0, 0, 0]),
        ("half a message, as a stream", RENEWALS, [&[0, 0, 0, 0, 9][..], b"x"].concat()),
        ("no protobuf, as a stream", RENEWALS, framed(&[0x08])),
        ("no form, as a stream", RENEWALS, [&[2, 0, 0, 0, 3][..], KEY].concat()),
        ("too large, as a stream", RENEWALS, [&[0, 0xff, 0, 0, 0][..], b"x"].concat()),
        ("a txn 100,000 deep", TXN, framed(&nested(100_000))),
        ("a txn of 1,000,000 operations", TXN, framed(&[0x12, 0].repeat(1_000_000))),
    ]
}

#[test]
fn what_is_no_message_gets_etcds_error() {
    block_on(async {
        let (etcd, kat) = (Server::etcd(), Server::kat());
        let bystander = Bystander::at(&kat).await;
        let before = kat.memory_peak_from_now();
        let (to_etcd, to_kat) = (raw(&etcd).await, raw(&kat).await);
        let mut differences = Vec::new();
        for (name, path, body) in bad_messages() {
            let body = Bytes::from(body);
            let expected = call(&to_etcd, head(path), body.clone()).await;
            let answered = call(&to_kat, head(path), body).await;
            if expected != answered {
                differences.push(format!("{name}\n  etcd: {expected}\n  ours: {answered}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        let grown = kat.memory_peak().saturating_sub(before);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

/// Calls that are no calls, or odd ones.
fn odd_heads() -> Vec<(String, http::Request<()>)> {
    let mut odd = Vec::new();
    let mut add = |what: String, change: &dyn Fn(&mut http::Request<()>)| {
        for path in [RANGE, USERS, PIECES] {
            let mut request = head(path);
            change(&mut request);
            odd.push((format!("{path} {what}"), request));
        }
    };
    for kind in [
        "",
        "application/grpc+proto",
        "application/grpc+",
        "application/grpc;charset=utf-8",
        "application/grpc-web",
        "application/json",
        "Application/GRPC",
        "application/grpcx",
        "application/grpc ",
        "application/grpc+\"x\"",
    ] {
        add(format!("is {kind:?}"), &|request| {
            request.headers_mut().insert("content-type", kind.parse().unwrap());
        });
    }
    for method in ["GET", "PUT", "OPTIONS", "post", "DELETE"] {
        add(method.to_owned(), &|request| *request.method_mut() = method.parse().unwrap());
    }
    for (name, value) in [
        ("grpc-timeout", "0S"),
        ("grpc-timeout", "00000000n"),
        ("grpc-timeout", "9H"),
        ("grpc-timeout", ""),
        ("grpc-timeout", "S"),
        ("grpc-timeout", "1s"),
        ("grpc-timeout", "-1S"),
        ("grpc-timeout", "1.5S"),
        ("grpc-timeout", "123456789S"),
        ("grpc-timeout", "\"S"),
        ("x-bin", "!!!"),
        ("x-bin", "AAA"),
        ("x-bin", "AAAAA"),
        ("x-bin", "AA=A"),
        ("x-bin", "AA=="),
        ("x-bin", "AA-_"),
        ("x-bin", ""),
        ("host", "another"),
        ("grpc-encoding", ""),
        ("grpc-encoding", "snappy"),
        ("content-type", "application/json"),
        ("content-type", "application/grpc+x"),
    ] {
        add(format!("{name}: {value:?}"), &|request| {
            request.headers_mut().append(name, value.parse().unwrap());
        });
    }
    add("two hosts".to_owned(), &|request| {
        request.headers_mut().append("host", "one".parse().unwrap());
        request.headers_mut().append("host", "another".parse().unwrap());
    });
    add("a query".to_owned(), &|request| {
        *request.uri_mut() = format!("{}?a=b", request.uri()).parse().unwrap();
    });
    add("wrong in every way".to_owned(), &|request| {
        *request.method_mut() = http::Method::GET;
        request.headers_mut().insert("grpc-timeout", "1".parse().unwrap());
        request.headers_mut().append("x-bin", "?".parse().unwrap());
    });
    odd
}

#[test]
fn what_is_out_of_form_gets_etcds_error() {
    block_on(async {
        let (etcd, kat) = (Server::etcd(), Server::kat());
        let (to_etcd, to_kat) = (raw(&etcd).await, raw(&kat).await);
        let mut differences = Vec::new();
        for (name, request) in odd_heads() {
            let body = Bytes::from(framed(KEY));
            let expected = call(&to_etcd, request.clone(), body.clone()).await;
            let answered = call(&to_kat, request, body).await;
            if expected != answered {
                differences.push(format!("{name}\n  etcd: {expected}\n  ours: {answered}"));
            }
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

#[test]
fn a_field_in_the_form_of_another_type_is_refused() {
    block_on(async {
        let (etcd, kat) = (Server::etcd(), Server::kat());
        // A number where the key belongs.
        let body = Bytes::from(framed(&[0x08, 1]));
        let passed_over = call(&raw(&etcd).await, head(RANGE), body.clone()).await;
        assert!(passed_over.ends_with(" 3 etcdserver: key is not provided"), "{passed_over}");
        let refused = call(&raw(&kat).await, head(RANGE), body).await;
        assert!(refused.ends_with("proto: cannot parse invalid wire-format data"), "{refused}");
    });
}

/// A frame of HTTP/2 on the first stream.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = u8::from(kind != SETTINGS);
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// Sends a call with such fields as no library would send, and tells the kind of
/// the frame that ends the wait for an answer.
fn answer_to_fields(server: &Server, fields: &[(&str, &str)]) -> u8 {
    let address = server.endpoint().trim_start_matches("http://").to_owned();
    let mut stream = std::net::TcpStream::connect(address).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let literal = |(name, value): &(&str, &str)| [vec![0], text(name), text(value)].concat();
    let block: Vec<u8> = fields.iter().flat_map(literal).collect();
    let whole = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, &[]),
        frame(HEADERS, 4, &block),
        frame(DATA, 1, &framed(KEY)),
    ];
    stream.write_all(&whole.concat()).expect("it takes it");
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).expect("a frame comes");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).expect("a frame is whole");
        if [HEADERS, RST_STREAM].contains(&head[3]) {
            return head[3];
        }
    }
}

#[test]
fn fields_that_http2_forbids_end_a_call() {
    let (etcd, kat) = (Server::etcd(), Server::kat());
    let usual = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", RANGE),
        (":authority", "a"),
        ("content-type", "application/grpc"),
    ];
    for odd in [("te", "trailers"), ("te", "gzip"), ("upgrade", "h2c"), ("keep-alive", "1")] {
        let fields = [&usual[..], &[odd]].concat();
        assert_eq!(answer_to_fields(&etcd, &fields), HEADERS, "{odd:?}");
        let is_lawful = odd == ("te", "trailers");
        let ours = if is_lawful { HEADERS } else { RST_STREAM };
        assert_eq!(answer_to_fields(&kat, &fields), ours, "{odd:?}");
    }
    let unlawful = [("connection", "close")];
    let fields = [&usual[..], &unlawful].concat();
    for server in [&etcd, &kat] {
        assert_eq!(answer_to_fields(server, &fields), RST_STREAM);
    }
}

#[test]
fn a_stream_that_nobody_asks_anything_ends_in_time() {
    block_on(async {
        let (etcd, kat) = (Server::etcd(), Server::kat());
        for server in [&etcd, &kat] {
            let mut request = head(PIECES);
            request.headers_mut().insert("grpc-timeout", "300m".parse().unwrap());
            // etcd ends it one way or the other.
            let end = call_on(&raw(server).await, request, Bytes::new(), false).await;
            let ends = ["broke off: CANCEL", "200 OK application/grpc 4 context deadline exceeded"];
            assert!(ends.contains(&&*end), "{end}");
        }
    });
}

#[test]
fn a_call_is_its_first_message() {
    block_on(async {
        let (etcd, kat) = (Server::etcd(), Server::kat());
        let (to_etcd, to_kat) = (raw(&etcd).await, raw(&kat).await);
        for path in [RANGE, USERS] {
            for message in [KEY, &[0x08]] {
                let body = Bytes::from(framed(message));
                let expected = call_on(&to_etcd, head(path), body.clone(), false).await;
                assert_eq!(call_on(&to_kat, head(path), body, false).await, expected, "{path}");
            }
        }
    });
}

#[test]
fn streams_that_are_reset_at_once_are_no_way_to_stop_a_server() {
    const STREAMS: usize = 50_000;
    block_on(async {
        let kat = Server::kat();
        let bystander = Bystander::at(&kat).await;
        let before = kat.memory_peak_from_now();
        let send = raw(&kat).await;
        let mut sent = 0;
        for _ in 0..STREAMS {
            let Ok(mut ready) = send.clone().ready().await else { break };
            let Ok((_, mut stream)) = ready.send_request(head(PUT), false) else { break };
            stream.send_reset(Reason::CANCEL);
            sent += 1;
        }
        assert!(sent > 0);
        let grown = kat.memory_peak().saturating_sub(before);
        assert!(grown < 128 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    const CONNECTIONS: usize = 3000;
    block_on(async {
        let kat = Server::kat();
        let bystander = Bystander::at(&kat).await;
        let before = kat.memory_peak_from_now();
        for number in 0..CONNECTIONS {
            if number % 2 == 0 {
                drop(raw(&kat).await);
            } else {
                let address = kat.endpoint().trim_start_matches("http://").to_owned();
                drop(TcpStream::connect(address).await.unwrap());
            }
        }
        let grown = kat.memory_peak().saturating_sub(before);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn a_body_without_end_is_cut_off() {
    block_on(async {
        let kat = Server::kat();
        let bystander = Bystander::at(&kat).await;
        let before = kat.memory_peak_from_now();
        let address = kat.endpoint().trim_start_matches("http://").to_owned();
        let (sent, answer) = tokio::task::spawn_blocking(move || endless(&address)).await.unwrap();
        // Either it was refused while it was sent, or the connection was closed.
        assert!(sent < 100 * MIB || !answer.starts_with("HTTP/1.1 200"), "{sent}: {answer}");
        let grown = kat.memory_peak().saturating_sub(before);
        assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

/// Sends a value of up to 100 MiB in chunks; how much of it was taken, and what
/// was answered.
fn endless(address: &str) -> (u64, String) {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let begin = br#"{"key":"YQ==","value":""#;
    write!(stream, "{:x}\r\n", begin.len()).unwrap();
    stream.write_all(begin).unwrap();
    stream.write_all(b"\r\n").unwrap();
    let chunk = [format!("{:x}\r\n", 64 << 10).as_bytes(), &[b'A'; 64 << 10], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 100 * MIB && stream.write_all(&chunk).is_ok() {
        sent += 64 << 10;
    }
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    // A connection that was reset has said what it had to say.
    stream.read_to_end(&mut answer).ok();
    (sent, String::from_utf8_lossy(&answer).into_owned())
}
