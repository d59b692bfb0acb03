//! What is served over HTTP/1.1 beside the gateway's calls, held against stock
//! etcd: pages and their methods, who may ask, and WebSockets.

mod sockets;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::process::Server;

/// Headers that clients look at.
const HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "allow",
    "content-type",
    "location",
    "x-content-type-options",
];

/// An answer, as far as it matters.
#[derive(Debug, PartialEq)]
struct Page {
    status: String,
    headers: Vec<String>,
    body: String,
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.endpoint().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Asks for a page: a method and a path, further lines of the head, a body.
fn ask(server: &Server, what: &str, head: &str, body: &str) -> Page {
    let mut stream = connect(server);
    let length = body.len();
    let host = if head.contains("Host: ") { "" } else { "Host: 127.0.0.1\r\n" };
    let head = format!("{what} HTTP/1.1\r\n{host}{head}Connection: close\r\n");
    // At once: who hangs up over bytes that come late resets the connection.
    let request = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|why| panic!("{what}: {why}"));
    read(&String::from_utf8_lossy(&answer))
}

fn read(answer: &str) -> Page {
    let (head, body) = answer.split_once("\r\n\r\n").expect("the head ends");
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let mut headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value))
        .filter(|(name, _)| HEADERS.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    headers.sort_unstable();
    // Go spaces its JSON at random.
    let json = serde_json::from_str::<Value>(body).map(|value| value.to_string());
    Page { status, headers, body: json.unwrap_or_else(|_| body.to_owned()) }
}

/// Starts stock etcd and ours with the same flags.
fn both(flags: &[&str]) -> [Server; 2] {
    [Server::etcd_with(flags), Server::kat_with(flags)]
}

/// Asks both for a page, which must be the same.
fn check(servers: &[Server; 2], what: &str, head: &str, body: &str) -> Page {
    let [etcd, kat] = servers;
    let theirs = ask(etcd, what, head, body);
    assert_eq!(ask(kat, what, head, body), theirs, "{what} {head}");
    theirs
}

#[test]
fn pages_and_their_methods_are_those_of_etcd() {
    let servers = both(&[]);
    for what in [
        "GET /version",
        "POST /version",
        "HEAD /version",
        "GET /health",
        "PUT /health",
        "GET /health?serializable=true",
        "GET /health?exclude=NOSPACE&exclude=CORRUPT",
        "GET /health/",
        "GET /livez",
        "GET /livez?verbose",
        "POST /livez",
        "GET /livez/serializable_read",
        "GET /livez/serializable_read?verbose=true",
        "GET /livez/linearizable_read",
        "GET /livez/",
        "GET /livez?exclude=serializable_read&verbose",
        "GET /readyz",
        "DELETE /readyz",
        "GET /readyz?exclude=data_corruption&exclude=serializable_read&exclude=non_learner&verbose",
        "GET /readyz?exclude=unheard_of",
        "GET /readyz/data_corruption?verbose",
        "GET /readyz/serializable_read",
        "GET /readyz/linearizable_read?exclude=linearizable_read&verbose",
        "GET /readyz/non_learner?verbose",
        "POST /readyz/non_learner",
        "GET /readyz/unheard_of",
        "POST /debug/vars",
        "GET /debug/pprof/",
        "GET /debug/requests",
        "GET /config/local/log",
        "PUT /config/local/log",
        "GET /",
        "GET /v2/keys",
        "GET //version",
        "GET /v3",
        "POST /v3",
        "GET /v3/../version?a=b&c=d",
        "GET /%76ersion?a=b",
        "GET /%2e%2e/version",
        "GET /v3%2Fkv",
        "POST /v3/kv/r%61nge",
        "GET /%",
        "GET /%zz",
        "GET /v3beta",
        "OPTIONS /v3/kv/range",
        "OPTIONS /nowhere",
    ] {
        let page = check(&servers, what, "", "");
        if what == "OPTIONS /nowhere" {
            assert_eq!(page.status, "HTTP/1.1 200 OK");
        }
    }
    check(&servers, "POST /v3beta/maintenance/unheard_of", "", "{}");
    let head = |server: &Server, what: &str| {
        let Page { status, headers, .. } = ask(server, what, "", "");
        (status, headers)
    };
    for what in ["GET /metrics", "POST /metrics", "HEAD /metrics", "GET /debug/vars"] {
        assert_eq!(head(&servers[1], what), head(&servers[0], what), "{what}");
    }
}

#[test]
fn the_variables_tell_what_etcds_tell() {
    let servers = both(&[]);
    let variables = |server: &Server| -> Value {
        let page = server.http_get("/debug/vars").unwrap();
        let (from, to) = (page.find('{').unwrap(), page.rfind('}').unwrap());
        // The chunks of a longer page have their lengths between them.
        let body: String = page[from..=to].lines().filter(|line| !is_length(line)).collect();
        serde_json::from_str(&body).unwrap_or_else(|why| panic!("{why}: {body}"))
    };
    let [theirs, ours] = [&servers[0], &servers[1]].map(variables);
    for name in ["id", "lead", "raftState"] {
        assert_eq!(ours["raft.status"][name], theirs["raft.status"][name], "{name}");
    }
    for name in ["term", "commit", "applied"] {
        assert!(ours["raft.status"][name].as_u64().is_some_and(|number| number > 0), "{ours}");
    }
    assert_eq!(ours["file_descriptor_limit"], theirs["file_descriptor_limit"]);
    assert!(ours["cmdline"].as_array().unwrap().len() > 5, "{ours}");
}

fn is_length(line: &str) -> bool {
    !line.is_empty() && line.chars().all(|digit| digit.is_ascii_hexdigit())
}

#[test]
fn hosts_and_origins_are_those_of_a_list() {
    let servers =
        both(&["--host-whitelist=127.0.0.1,known,::1,wire", "--cors=http://a:1,http://b:2"]);
    for head in [
        "Host: known\r\nOrigin: http://a:1\r\n",
        "Host: known:80\r\nOrigin: http://b:2\r\n",
        "Host: [::1]:80\r\nOrigin: http://c:3\r\n",
        "",
    ] {
        for what in ["GET /version", "OPTIONS /v3/kv/range", "GET /nowhere"] {
            assert_ne!(check(&servers, what, head, "").status, "HTTP/1.1 421 Misdirected Request");
        }
    }
    for host in ["evil", "evil:80", "known.evil", "[::1]"] {
        let head = format!("Host: {host}\r\nOrigin: http://a:1\r\n");
        for what in ["GET /version", "POST /v3/kv/range", "OPTIONS /", "GET /metrics"] {
            // What it advises is in words of its own.
            let [theirs, ours] = [&servers[0], &servers[1]].map(|server| {
                let Page { status, headers, .. } = ask(server, what, &head, "");
                (status, headers)
            });
            assert_eq!(theirs.0, "HTTP/1.1 421 Misdirected Request", "{what} {host}");
            assert_eq!(ours, theirs, "{what} {host}");
        }
    }
}

#[test]
fn without_a_gateway_there_are_pages_alone() {
    let servers = both(&["--enable-grpc-gateway=false", "--enable-pprof"]);
    for what in ["POST /v3/kv/range", "POST /v3beta/kv/range", "GET /v3", "GET /version"] {
        check(&servers, what, "", "{}");
    }
    for what in ["GET /debug/pprof/", "GET /debug/pprof/cmdline"] {
        assert_eq!(ask(&servers[0], what, "", "").status, "HTTP/1.1 200 OK");
        assert_eq!(ask(&servers[1], what, "", "").status, "HTTP/1.1 200 OK");
    }
    let ours = ask(&servers[1], "GET /debug/pprof/heap", "", "");
    assert_eq!((&*ours.status, &*ours.body), ("HTTP/1.1 404 Not Found", "Unknown profile\n"));
}

/// Sends a head as it is, and tells status, the names of headers, and the body.
fn ask_plainly(server: &Server, head: &str) -> (String, Vec<String>, String) {
    let mut stream = connect(server);
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What comes before a reset counts.
    let _end = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().to_owned();
    let names = lines.filter_map(|line| line.split_once(": ")).map(|(name, _)| name.to_owned());
    // What is at fault has no time, at one of them.
    let mut names: Vec<_> =
        names.filter(|name| name != "Date" && name != "Content-Length").collect();
    names.sort_unstable();
    (status, names, body.to_owned())
}

#[test]
fn heads_are_refused_and_spelt_as_gos_are() {
    let servers = both(&[]);
    let end = "Connection: close\r\n\r\n";
    for head in [
        format!("GET /livez HTTP/1.1\r\n{end}"),
        format!("GET /livez HTTP/1.0\r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: a b\r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: a/b\r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: \r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n{end}"),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n{end}", "a".repeat(1_000_000)),
        format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}{end}", "X: a\r\n".repeat(500)),
        format!("GET /metric HTTP/1.1\r\nHost: a\r\n{end}"),
        format!("POST /livez HTTP/1.1\r\nHost: a\r\n{end}"),
        format!("GET /v3/kv/range HTTP/1.1\r\nHost: a\r\n{end}"),
        format!("POST /v3/auth/user/get HTTP/1.1\r\nHost: a\r\n{end}"),
        format!("POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{end}zz\r\n"),
    ] {
        let [theirs, ours] = [&servers[0], &servers[1]].map(|server| ask_plainly(server, &head));
        assert_eq!(ours.0, theirs.0, "{:.80}", head);
        assert_eq!(ours.1, theirs.1, "{:.80}", head);
        if !theirs.2.starts_with('{') {
            assert_eq!(ours.2, theirs.2, "{:.80}", head);
        }
    }
}

/// Calls of the gateway are those of one client, whose streams are limited: what
/// is too many waits.
#[test]
fn the_gateways_calls_wait_for_each_other() {
    for server in both(&["--max-concurrent-streams=2"]) {
        let watch = || {
            let mut stream = connect(&server);
            let body = r#"{"create_request":{"key":"YQ=="}}"#;
            let length = body.len();
            write!(
                stream,
                "POST /v3/watch HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .unwrap();
            stream
        };
        let answers = |stream: &mut TcpStream, within: Duration| {
            stream.set_read_timeout(Some(within)).unwrap();
            match stream.read(&mut [0; 4096]) {
                Ok(count) => count > 0,
                Err(why) if why.kind() == ErrorKind::WouldBlock => false,
                Err(why) => panic!("{why}"),
            }
        };
        let (soon, late) = (Duration::from_millis(300), Duration::from_secs(10));
        let mut first = watch();
        let mut second = watch();
        assert!(answers(&mut first, late) && answers(&mut second, late));
        let mut third = watch();
        assert!(!answers(&mut third, soon), "it waits for its turn");
        drop(first);
        assert!(answers(&mut third, late), "its turn has come");
    }
}

/// An answer that comes before the request is there reaches whoever still sends.
#[test]
fn a_refusal_is_not_overtaken_by_a_reset() {
    let server = Server::kat();
    let body = "x".repeat(3 << 20);
    for what in ["POST /version", "POST /nowhere", "GET /v3/kv/range", "POST /v3/nowhere"] {
        for _ in 0..10 {
            let page = ask(&server, what, "", &body);
            assert!(page.status.starts_with("HTTP/1.1 40") || page.status.contains("501"));
        }
    }
}
