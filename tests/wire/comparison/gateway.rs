//! JSON over HTTP: the same bodies, and what comes back as status, headers and JSON.
//!
//! Keys are single letters, as base64: `YQ==` is a, `Yg==` is b, `Yw==` is c.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

use serde_json::Value;

use super::wire::Wire;

/// Headers that clients look at.
const HEADERS: &[&str] = &[
    "content-type",
    "grpc-metadata-content-type",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
];

/// Numbers that no two servers need to have in common.
const PRIVATE: &[&str] =
    &["raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "dbSize", "dbSizeInUse"];

/// An answer that is being read.
pub(super) struct Answer {
    connection: BufReader<TcpStream>,
    /// The first line, and the headers that matter.
    head: String,
    is_chunked: bool,
    /// What of the body was read and not yet taken.
    body: Vec<u8>,
}

impl Answer {
    fn new(connection: TcpStream) -> Answer {
        let mut connection = BufReader::new(connection);
        let (mut head, mut is_chunked) = (Vec::new(), false);
        loop {
            let line = read_line(&mut connection);
            let lower = line.to_lowercase();
            if line.is_empty() {
                break;
            }
            is_chunked |= lower == "transfer-encoding: chunked";
            match lower.split_once(": ") {
                None => head.insert(0, line),
                Some((name, _)) if HEADERS.contains(&name) => head.push(lower),
                Some(_) => {}
            }
        }
        head[1..].sort_unstable();
        Answer { connection, head: head.join(", "), is_chunked, body: Vec::new() }
    }

    /// Reads more of the body; false when there is no more.
    fn more(&mut self) -> bool {
        if !self.is_chunked {
            let bytes = self.connection.read_to_end(&mut self.body);
            return bytes.expect("the body ends in time") > 0;
        }
        let length = read_line(&mut self.connection);
        let length = usize::from_str_radix(&length, 16).expect("a chunk has a length");
        let mut chunk = vec![0; length];
        self.connection.read_exact(&mut chunk).expect("a chunk is whole");
        read_line(&mut self.connection);
        self.body.extend_from_slice(&chunk);
        length > 0
    }

    pub(super) fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.body.iter().position(|byte| *byte == b'\n') {
                let rest = self.body.split_off(end + 1);
                return text(&std::mem::replace(&mut self.body, rest));
            }
            if !self.more() {
                return "(the end)".into();
            }
        }
    }

    pub(super) fn rest(&mut self) -> String {
        while self.more() {}
        text(&self.body)
    }
}

fn read_line(connection: &mut impl BufRead) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).expect("a line comes in time");
    line.trim_end().to_owned()
}

/// JSON in one form, without what may differ; other text as it is.
fn text(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let value = |line: &str| {
        let mut value = serde_json::from_str(line).ok()?;
        hide(&mut value);
        Some(value.to_string())
    };
    let lines: Option<Vec<_>> = body.lines().map(value).collect();
    lines.map_or_else(|| body.clone().into_owned(), |lines| lines.join("\n"))
}

fn hide(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => {
            for (name, value) in fields {
                if PRIVATE.contains(&name.as_str()) {
                    *value = "_".into();
                } else if name == "message" && value.as_str().is_some_and(is_about_json) {
                    // etcd's own words for it differ from build to build.
                    *value = "malformed".into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_about_json(message: &str) -> bool {
    message.starts_with("proto:") || message.starts_with("invalid character")
}

/// Begins to ask.
pub(super) fn begin(wire: &Wire, what: &str, headers: &str, body: &str) -> Answer {
    Answer::new(wire.server.http_begin(what, headers, body).expect("the server answers"))
}

/// Asks in any way, and writes the whole answer down.
pub(super) fn ask_with(wire: &mut Wire, what: &str, headers: &str, body: &str) {
    let mut answer = begin(wire, what, headers, body);
    let rest = answer.rest();
    wire.write(format!("{what} {headers}{body}"), format!("{}\n{rest}", answer.head));
}

/// Asks as the gateway wants to be asked.
pub(super) fn ask(wire: &mut Wire, path: &str, body: &str) {
    ask_with(wire, &format!("POST /v3/{path}"), "", body);
}

pub(super) fn ask_all(wire: &mut Wire, questions: &[(&str, &str)]) {
    for (path, body) in questions {
        ask(wire, path, body);
    }
}

pub(super) async fn keeping_keys(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("kv/range", r#"{"key":"YQ=="}"#),
            ("kv/put", r#"{"key":"YQ==","value":"MQ=="}"#),
            ("kv/put", r#"{"key":"YQ","value":"Mg","prev_kv":true}"#),
            ("kv/put", r#"{"key":"YQ==","value":"-_8","prevKv":true}"#),
            ("kv/put", r#"{"key":"Yg==","value":"+/8="}"#),
            ("kv/put", r#"{"key":"Yw==","value":""}"#),
            ("kv/range", r#"{"key":"YQ=="}"#),
            ("kv/range", r#"{"key":"YQ==","range_end":"AA=="}"#),
            ("kv/range", r#"{"key":"YQ==","rangeEnd":"AA==","limit":"2"}"#),
            ("kv/range", r#"{"key":"YQ==","range_end":"AA==","limit":2,"unknown":{"a":[1]}}"#),
            ("kv/range", r#"{"key":"AA==","range_end":"AA==","count_only":true}"#),
            ("kv/range", r#"{"key":"AA==","range_end":"AA==","keysOnly":true}"#),
            ("kv/range", r#"{"key":"AA==","range_end":"AA==","sort_order":"DESCEND"}"#),
            (
                "kv/range",
                r#"{"key":"AA==","range_end":"AA==","sortOrder":2,"sort_target":"VALUE"}"#,
            ),
            ("kv/range", r#"{"key":"AA==","range_end":"AA==","sort_order":"UPWARDS"}"#),
            ("kv/range", r#"{"key":"YQ==","revision":"2"}"#),
            ("kv/range", r#"{"key":"YQ==","revision":3.0,"serializable":true}"#),
            ("kv/range", r#"{"key":"YQ==","min_mod_revision":"100"}"#),
            ("kv/deleterange", r#"{"key":"Yg==","prev_kv":true}"#),
            ("kv/deleterange", r#"{"key":"Yg=="}"#),
            ("kv/compaction", r#"{"revision":"4","physical":true}"#),
            ("kv/compaction", r#"{"revision":"4"}"#),
            ("kv/compaction", r#"{"revision":"400"}"#),
            ("kv/range", r#"{"key":"YQ==","revision":"2"}"#),
            ("kv/range", r#"{"key":"YQ==","revision":"200"}"#),
            ("maintenance/hashkv", "{}"),
            ("kv/deleterange", r#"{"key":"AA==","range_end":"AA==","prevKv":true}"#),
        ],
    );
}

pub(super) async fn running_txns_as_json(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("kv/txn", r#"{"success":[{"requestPut":{"key":"YQ==","value":"MQ=="}}]}"#),
            (
                "kv/txn",
                r#"{"success":[{"request_put":{"key":"YQ==","value":"Mg==","prev_kv":true}}]}"#,
            ),
            (
                "kv/txn",
                r#"{"compare":[{"target":"VERSION","key":"YQ==","version":"2"}],
                "success":[{"request_range":{"key":"YQ=="}},{"requestDeleteRange":{"key":"Yg=="}}],
                "failure":[{"request_put":{"key":"Yg=="}}]}"#,
            ),
            (
                "kv/txn",
                r#"{"compare":[{"result":"GREATER","target":"CREATE","key":"YQ==",
                "createRevision":9}],
                "success":[],"failure":[{"request_txn":{"success":[
                {"request_range":{"key":"YQ==","range_end":"AA=="}}]}},
                {"request_put":{"key":"Yw==","value":"Mw=="}}]}"#,
            ),
            (
                "kv/txn",
                r#"{"compare":[{"result":3,"target":3,"key":"YQ==","value":"MQ=="},
                {"target":"LEASE","key":"YQ==","lease":"0"},
                {"target":"MOD","key":"YQ==","range_end":"AA==","result":"LESS","mod_revision":"9"}
                ],"success":[{"request_delete_range":{"key":"YQ==","prev_kv":true}}]}"#,
            ),
            ("kv/txn", r#"{"success":[{"requestPuts":{"key":"YQ=="}}]}"#),
            ("kv/txn", r#"{"success":[{"put":{"key":"YQ=="}}]}"#),
            ("kv/txn", r#"{"success":[{}]}"#),
            ("kv/txn", r#"{"success":[null]}"#),
            ("kv/txn", r#"{"success":{}}"#),
            (
                "kv/txn",
                r#"{"success":[{"request_put":{"key":"YQ=="},"requestRange":{"key":"YQ=="}}]}"#,
            ),
            (
                "kv/txn",
                r#"{"success":[{"request_put":{"key":"YQ=="}},{"request_put":{"key":"YQ=="}}]}"#,
            ),
            ("kv/txn", "{}"),
            ("kv/txn", ""),
        ],
    );
}

pub(super) async fn refusing_what_is_wrong(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("kv/put", ""),
            ("kv/put", "  \n"),
            ("kv/put", "{}"),
            ("kv/put", r#"{"key":null}"#),
            ("kv/put", "{"),
            ("kv/put", r#"{"key":"#),
            ("kv/put", "x"),
            ("kv/put", "[]"),
            ("kv/put", "null"),
            ("kv/put", r#""text""#),
            ("kv/put", r#"{"key":5}"#),
            ("kv/put", r#"{"key":"*"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"x"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":1.5}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"9223372036854775808"}"#),
            ("kv/put", r#"{"key":"YQ==","prev_kv":"true"}"#),
            ("kv/put", r#"{"key":"YQ==",}"#),
            ("kv/put", r#"{key:"YQ=="}"#),
            ("kv/put", r#"{"key":"YQ=="} and more"#),
            ("kv/put", r#"{"key":"YQ=="}}"#),
            ("kv/put", r#"{"key":"YQ=","value":"MQ=="}"#),
            ("kv/put", r#"{"key":"Y"}"#),
            ("kv/put", r#"{"key":"+_8="}"#),
            ("kv/put", r#"{"key":"YQ==","key":"YQ=="}"#),
            ("kv/put", r#"{"key":null,"key":"YQ=="}"#),
            ("kv/put", r#"{"key":"YQ==","prevKv":true,"prev_kv":true}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"00"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"+0"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":" 0"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":""}"#),
            ("kv/put", r#"{"key":"YQ==","x":1,"x":2}"#),
            ("kv/put", r#"{"key":"YQ==","x":"\ud800"}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"77"}"#),
            ("kv/put", r#"{"key":"YQ==","value":"MQ==","ignore_value":true}"#),
            ("kv/put", r#"{"key":"Yg==","ignore_value":true}"#),
            ("kv/range", r#"{"key":"YQ==","sort_order":77}"#),
            ("lease/revoke", r#"{"ID":"77"}"#),
            ("lease/grant", r#"{"TTL":"9000000001"}"#),
            ("cluster/member/remove", r#"{"ID":"77"}"#),
            ("maintenance/transfer-leadership", r#"{"targetID":"77"}"#),
            ("auth/enable", "{}"),
            ("auth/authenticate", r#"{"name":"somebody","password":"x"}"#),
            ("auth/user/get", r#"{"name":"somebody"}"#),
            ("auth/role/get", r#"{"role":"some"}"#),
        ],
    );
    let huge = format!(r#"{{"key":"YQ==","value":"{}"}}"#, "AAAA".repeat(540_000));
    let mut answer = begin(wire, "POST /v3/kv/put", "", &huge);
    let rest = answer.rest();
    wire.write("a put of 1.6 MB", format!("{}\n{rest}", answer.head));
}

pub(super) async fn finding_paths_and_methods(wire: &mut Wire) {
    let body = r#"{"key":"YQ=="}"#;
    for what in [
        "POST /v3/kv/range",
        "POST /v3beta/kv/range",
        "POST /v3alpha/kv/range",
        "POST /v3/kv/range/",
        "POST /v3/kv/range?key=Yg==",
        "POST /v3/kv/nothing",
        "POST /v3/kv/rangestream",
        "POST /v3/",
        "POST /v3beta/",
        "GET /v3/kv/range",
        "PUT /v3/kv/range",
        "DELETE /v3/watch",
        "GET /v3/kv/nothing",
        "OPTIONS /v3/kv/range",
        "OPTIONS /nothing",
    ] {
        ask_with(wire, what, "", body);
    }
    for headers in [
        "Content-Type: text/plain\r\n",
        "Origin: http://example.org\r\n",
        "Authorization: token\r\n",
        "Accept: text/html\r\n",
        "Grpc-Metadata-hasleader: true\r\n",
        "Grpc-Timeout: 5S\r\n",
        "Grpc-Timeout: bogus\r\n",
    ] {
        ask_with(wire, "POST /v3/kv/range", headers, body);
    }
    // Nobody leads, and the deadline comes first.
    let headers = "Grpc-Timeout: 300m\r\n";
    ask_with(wire, "POST /v3/election/observe", headers, r#"{"name":"YQ=="}"#);
}

pub(super) async fn granting_and_renewing(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("lease/grant", r#"{"TTL":"600","ID":"7"}"#),
            ("lease/grant", r#"{"TTL":600,"ID":7}"#),
            ("lease/grant", r#"{"TTL":0,"ID":8}"#),
            ("kv/put", r#"{"key":"YQ==","lease":"7"}"#),
            ("kv/range", r#"{"key":"YQ=="}"#),
            ("lease/leases", "{}"),
            ("kv/lease/leases", ""),
            ("lease/timetolive", r#"{"ID":"99"}"#),
            ("kv/lease/timetolive", r#"{"ID":"99","keys":true}"#),
            ("lease/keepalive", r#"{"ID":"7"}"#),
            ("lease/keepalive", r#"{"ID":"7"}{"ID":99} {"ID":"7"}"#),
            ("lease/keepalive", r#"{"ID":"7"}{"ID":"x"}{"ID":"7"}"#),
            ("lease/keepalive", r#"{"ID":"x"}"#),
            ("lease/keepalive", ""),
            ("lease/revoke", r#"{"ID":"7"}"#),
            ("kv/lease/revoke", r#"{"ID":"7"}"#),
            ("kv/range", r#"{"key":"YQ=="}"#),
        ],
    );
}

pub(super) async fn watching_lines(wire: &mut Wire) {
    ask(wire, "kv/put", r#"{"key":"YQ==","value":"MQ=="}"#);
    let requests = r#"{"create_request":{"key":"YQ==","start_revision":"1"}}
        {"createRequest":{"key":"Yg==","watch_id":5,"prev_kv":true,"filters":["NODELETE"]}}"#;
    let mut watching = begin(wire, "POST /v3/watch", "", requests);
    let head = watching.head.clone();
    wire.write("watch", head);
    // Which watcher is told first is chance.
    let mut first: Vec<_> = (0..3).map(|_| watching.line()).collect();
    first.sort_unstable();
    wire.write("watch begins", first.join("\n"));
    // The requests have ended, and the watchers are still there.
    for (path, body) in [
        ("kv/put", r#"{"key":"YQ==","value":"Mg=="}"#),
        ("kv/put", r#"{"key":"Yg==","value":"Mw=="}"#),
        ("kv/deleterange", r#"{"key":"YQ=="}"#),
        ("kv/put", r#"{"key":"Yg==","value":"NA=="}"#),
    ] {
        ask(wire, path, body);
        let line = watching.line();
        wire.write("watch goes on", line);
    }
    drop(watching);
    for requests in [
        r#"{"create_request":{"key":"YQ==","watch_id":"3"}}
            {"create_request":{"key":"YQ==","watch_id":"3"}}{"cancel_request":{"watch_id":3}}"#,
        r#"{"create_request":{"key":"Yg==","range_end":"YQ=="}}"#,
        r#"{"create_request":{"key":"YQ==","start_revision":"-5"}}"#,
        r#"{"create_request":{"key":"YQ=="}} nonsense"#,
    ] {
        let mut watching = begin(wire, "POST /v3/watch", "", requests);
        let count = requests.matches("_request").count();
        for _ in 0..count {
            let line = watching.line();
            wire.write(requests, line);
        }
    }
    ask(wire, "kv/range", r#"{"key":"AA==","range_end":"AA=="}"#);
}

pub(super) async fn holding_locks_and_seats(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("lease/grant", r#"{"TTL":"600","ID":"161"}"#),
            ("lock/lock", r#"{"name":"bG9jaw==","lease":"161"}"#),
            ("lock/lock", r#"{"name":"bG9jaw==","lease":161}"#),
            ("lock/lock", r#"{"name":"bG9jaw==","lease":"99"}"#),
            ("lock/unlock", r#"{"key":"bG9jay9hMQ=="}"#),
            ("lock/unlock", "{}"),
            ("election/leader", r#"{"name":"c2VhdA=="}"#),
            ("election/campaign", r#"{"name":"c2VhdA==","lease":"161","value":"MQ=="}"#),
            ("election/leader", r#"{"name":"c2VhdA=="}"#),
            ("election/proclaim", r#"{"value":"Mg=="}"#),
            ("election/resign", "{}"),
        ],
    );
    let mut seen = begin(wire, "POST /v3/election/observe", "", r#"{"name":"c2VhdA=="}"#);
    let head = seen.head.clone();
    wire.write("observe", head);
    let line = seen.line();
    wire.write("observe", line);
    let leader = r#""leader":{"name":"c2VhdA==","key":"c2VhdC9hMQ==","rev":"4","lease":"161"}"#;
    ask(wire, "election/proclaim", &format!(r#"{{{leader},"value":"Mg=="}}"#));
    let line = seen.line();
    wire.write("observe", line);
    ask(wire, "election/resign", &format!("{{{leader}}}"));
    ask(wire, "election/leader", r#"{"name":"c2VhdA=="}"#);
    ask(wire, "election/observe", r#"{"name":"#);
}

pub(super) async fn asking_the_member(wire: &mut Wire) {
    let own = wire.member_id().await;
    ask_all(
        wire,
        &[
            ("maintenance/status", "{}"),
            ("maintenance/status", ""),
            ("cluster/member/list", "{}"),
            ("cluster/member/list", r#"{"linearizable":true}"#),
            ("maintenance/alarm", "{}"),
            ("maintenance/alarm", r#"{"action":"ACTIVATE","memberID":"7","alarm":"NOSPACE"}"#),
            ("maintenance/alarm", r#"{"action":"GET","alarm":1}"#),
            ("kv/put", r#"{"key":"YQ=="}"#),
            ("maintenance/status", "{}"),
            ("maintenance/alarm", r#"{"action":2,"memberID":7,"alarm":"NOSPACE"}"#),
            ("maintenance/alarm", r#"{"action":"SHOUT","memberID":7,"alarm":"NOSPACE"}"#),
            ("maintenance/alarm", r#"{"action":"ACTIVATE","memberID":"7","alarm":"CORRUPT"}"#),
            ("kv/range", r#"{"key":"YQ=="}"#),
            ("kv/put", r#"{"key":"YQ=="}"#),
            ("maintenance/alarm", r#"{"action":"DEACTIVATE","memberID":"7","alarm":"CORRUPT"}"#),
            ("maintenance/defragment", "{}"),
            ("maintenance/hashkv", r#"{"revision":"0"}"#),
            ("maintenance/hashkv", r#"{"revision":"100"}"#),
            ("auth/status", "{}"),
            ("auth/disable", "{}"),
            ("auth/user/list", "{}"),
            ("auth/role/list", "{}"),
        ],
    );
    ask(wire, "maintenance/transfer-leadership", &format!(r#"{{"targetID":"{own}"}}"#));
}

pub(super) async fn changing_members_and_versions(wire: &mut Wire) {
    let own = wire.member_id().await;
    let urls = r#""peerURLs":["http://127.0.0.1:3"]"#;
    let moved = format!(r#"{{"ID":"{own}",{urls}}}"#);
    let itself = format!(r#"{{"ID":"{own}"}}"#);
    ask_all(
        wire,
        &[
            ("cluster/member/add", "{}"),
            ("cluster/member/add", r#"{"peerURLs":["nonsense"],"isLearner":true}"#),
            ("cluster/member/add", r#"{"peerURLs":["http://127.0.0.1:2380"]}"#),
            ("cluster/member/update", &moved),
            ("cluster/member/update", r#"{"ID":"7"}"#),
            ("cluster/member/promote", r#"{"ID":"7"}"#),
            ("cluster/member/promote", &itself),
            ("cluster/member/remove", r#"{"ID":7}"#),
            ("cluster/member/remove", &itself),
            ("cluster/member/list", r#"{"linearizable":false}"#),
            ("maintenance/transfer-leadership", r#"{"targetID":"7"}"#),
            ("maintenance/downgrade", r#"{"version":"3.6"}"#),
            ("maintenance/downgrade", r#"{"action":"VALIDATE","version":"3"}"#),
            ("maintenance/downgrade", r#"{"action":1,"version":"3.5"}"#),
            ("maintenance/downgrade", r#"{"action":"ENABLE","version":"3.6"}"#),
            ("maintenance/downgrade", r#"{"action":"ENABLE","version":"3.6"}"#),
            ("maintenance/status", "{}"),
            ("maintenance/downgrade", r#"{"action":"CANCEL"}"#),
            ("maintenance/downgrade", r#"{"action":"SHOUT"}"#),
        ],
    );
}
