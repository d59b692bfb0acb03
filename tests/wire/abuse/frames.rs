//! Messages that are none, floods, and bodies without end.

use std::io::{Read as _, Write as _};

use h2::Reason;

use super::super::agent::block_on;
use super::*;

const PUT: &str = "/etcdserverpb.KV/Put";
const LEASES: &str = "/etcdserverpb.Lease/LeaseGrant";
const TXN: &str = "/etcdserverpb.KV/Txn";

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
