//! WebSockets on the gateway's routes, spoken by hand: a frame is a byte or four
//! of head, a mask from the client, and the message.

use std::io::{ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{both, connect};
use crate::process::Server;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A WebSocket of a test.
struct Socket(TcpStream);

/// Asks for a WebSocket: the first line of the answer, its protocol, and the rest.
fn shake(server: &Server, path: &str, more: &str) -> (Vec<String>, Socket) {
    let mut stream = connect(server);
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the head comes in time");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let matters = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_lowercase();
        line.starts_with("HTTP") || name.starts_with("sec-websocket")
    };
    let mut lines: Vec<_> = head.lines().filter(matters).map(str::to_lowercase).collect();
    lines[1..].sort_unstable();
    (lines, Socket(stream))
}

impl Socket {
    fn send(&mut self, kind: u8, text: &str) {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x80 | kind, 0x80 | length];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).unwrap();
    }

    /// The next message: its kind and its text; `None` when there is no more.
    fn next(&mut self) -> Option<(u8, String)> {
        let mut head = [0; 2];
        if let Err(why) = self.0.read_exact(&mut head) {
            let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(ends.contains(&why.kind()), "{why}");
            return None;
        }
        assert!(head[0] & 0x80 != 0 && head[1] & 0x80 == 0, "a whole frame, without a mask");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                usize::from(u16::from_be_bytes(length))
            }
            length => length.into(),
        };
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).unwrap();
        Some((head[0] & 0xf, String::from_utf8(text).unwrap()))
    }

    /// The next message as JSON, without the raft term.
    fn json(&mut self) -> Value {
        let (kind, text) = self.next().expect("an answer comes");
        assert_eq!(kind, TEXT, "{text}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        if let Some(header) = value.pointer_mut("/result/header/raft_term") {
            *header = "_".into();
        }
        value
    }
}

fn post(server: &Server, path: &str, body: &str) -> String {
    let mut answer = String::new();
    let mut stream = server.http_begin(&format!("POST {path}"), "", body).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Holds the same conversation with both, and returns what etcd said.
fn compare<T: PartialEq + std::fmt::Debug>(talk: impl Fn(&Server) -> T) -> T {
    let [etcd, kat] = both(&[]);
    let theirs = talk(&etcd);
    assert_eq!(talk(&kat), theirs);
    theirs
}

#[test]
fn a_watch_over_a_websocket_is_that_of_etcd() {
    let said = compare(|server| {
        let (head, mut socket) = shake(server, "/v3/watch", "");
        socket.send(TEXT, r#"{"create_request":{"key":"YQ=="}}"#);
        let created = socket.json();
        socket.send(PING, "hello");
        assert_eq!(socket.next(), Some((10, "hello".to_owned())));
        // In two frames, as one line of the body after another.
        socket.send(TEXT, r#"{"create_request":"#);
        socket.send(TEXT, r#"{"key":"Yg==","watch_id":"7"}}"#);
        let second = socket.json();
        post(server, "/v3/kv/put", r#"{"key":"YQ==","value":"MQ=="}"#);
        let event = socket.json();
        socket.send(CLOSE, "");
        (head, created, second, event)
    });
    assert!(said.0[0].starts_with("http/1.1 101"), "{:?}", said.0);
    assert_eq!(said.3["result"]["events"][0]["kv"]["value"], "MQ==");
}

#[test]
fn other_streams_over_a_websocket_are_those_of_etcd() {
    compare(|server| {
        post(server, "/v3/lease/grant", r#"{"TTL":"60","ID":"5"}"#);
        let (_, mut socket) = shake(server, "/v3/lease/keepalive", "");
        socket.send(TEXT, r#"{"ID":"5"}"#);
        let alive = socket.json();
        socket.send(TEXT, r#"{"ID":"6"}"#);
        let unknown = socket.json();
        // A path of nothing is told, and the end is no more than an end.
        let (head, mut nowhere) = shake(server, "/v3/nowhere", "");
        let refused = nowhere.json();
        let end = nowhere.next().is_none();
        (alive, unknown, head, refused, end)
    });
}

/// etcd reads the body of a call that takes one message to its end, which a
/// WebSocket never has; whoever wants to observe an election this way waits.
#[test]
fn a_call_that_takes_one_message_waits_for_the_end() {
    compare(|server| {
        let mut waits = Vec::new();
        for path in ["/v3/kv/range", "/v3/election/observe", "/v3/maintenance/snapshot"] {
            let (head, mut socket) = shake(server, path, "");
            socket.send(TEXT, r#"{"name":"ZQ==","key":"YQ=="}"#);
            let soon = Duration::from_millis(200);
            socket.0.set_read_timeout(Some(soon)).unwrap();
            let silent = socket.0.read(&mut [0; 16]).map_err(|why| why.kind());
            waits.push((head, silent == Err(ErrorKind::WouldBlock)));
        }
        waits
    });
}

#[test]
fn a_token_comes_as_a_protocol_or_a_cookie() {
    let said = compare(|server| {
        for (path, body) in [
            ("/v3/auth/user/add", r#"{"name":"root","password":"p"}"#),
            ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
            ("/v3/auth/enable", "{}"),
        ] {
            post(server, path, body);
        }
        let answer = post(server, "/v3/auth/authenticate", r#"{"name":"root","password":"p"}"#);
        let body: Value = serde_json::from_str(&answer[answer.find('{').unwrap()..]).unwrap();
        let token = body["token"].as_str().unwrap();
        let mut told = Vec::new();
        for more in [
            String::new(),
            format!("Authorization: {token}\r\n"),
            format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"),
            format!("Sec-WebSocket-Protocol: Bearer,{token}\r\n"),
            format!("Cookie: a=b; token={token}\r\n"),
        ] {
            let (head, mut socket) = shake(server, "/v3/watch", &more);
            socket.send(TEXT, r#"{"create_request":{"key":"YQ=="}}"#);
            let answer = socket.json();
            let is_good =
                answer["result"]["created"] == true && answer["result"]["canceled"] != true;
            told.push((head, is_good));
        }
        told
    });
    let good: Vec<_> = said.iter().map(|(_, is_good)| *is_good).collect();
    assert_eq!(good, [false, false, true, true, true]);
}
