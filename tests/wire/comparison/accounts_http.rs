//! Accounts over JSON: every route, tokens in a header, and what is refused.
//!
//! Keys are base64: `YS8x` is `a/1`, `YS8=` is `a/`, `YTA=` is `a0`, `Yg==` is `b`.

use serde_json::Value;

use super::accounts::enforce;
use super::gateway::{ask, ask_all, ask_with, begin};
use super::wire::Wire;

/// Asks with a header line in which `TOKEN` is somebody's.
fn ask_as(wire: &mut Wire, headers: &str, path: &str, body: &str) {
    let mut headers = headers.to_owned();
    for (secret, name) in &wire.secrets {
        headers = headers.replace(name, secret);
    }
    ask_with(wire, &format!("POST /v3/{path}"), &format!("{headers}\r\n"), body);
}

/// Asks for a token, which is called by a name from now on.
fn log_in(wire: &mut Wire, user: &str, password: &str, name: &str) {
    let body = format!(r#"{{"name":"{user}","password":"{password}"}}"#);
    let mut answer = begin(wire, "POST /v3/auth/authenticate", "", &body);
    let text = answer.rest();
    let value: Value = serde_json::from_str(&text).expect("the answer is JSON");
    if let Some(token) = value["token"].as_str() {
        wire.hide(token.to_owned(), name);
    }
    wire.write(format!("authenticate {body}"), text);
}

pub(super) async fn writing_accounts_down_as_json(wire: &mut Wire) {
    ask_all(
        wire,
        &[
            ("auth/status", "{}"),
            ("auth/enable", "{}"),
            ("auth/disable", "{}"),
            ("auth/authenticate", r#"{"name":"root","password":"r00t"}"#),
            ("auth/user/add", r#"{"name":"root","password":"r00t"}"#),
            ("auth/user/add", r#"{"name":"root","password":"r00t"}"#),
            ("auth/user/add", r#"{"password":"r00t"}"#),
            ("auth/user/add", r#"{"name":"cert","options":{"no_password":true}}"#),
            ("auth/user/add", r#"{"name":"late","password":"x","hashedPassword":"aGFzaA=="}"#),
            ("auth/enable", ""),
            ("auth/user/get", r#"{"name":"root"}"#),
            ("auth/user/get", r#"{"name":"nobody"}"#),
            ("auth/user/list", "{}"),
            ("auth/user/changepw", r#"{"name":"late","password":"y"}"#),
            ("auth/user/changepw", r#"{"name":"nobody","password":"y"}"#),
            ("auth/role/add", r#"{"name":"r"}"#),
            ("auth/role/add", r#"{"name":"r"}"#),
            ("auth/role/add", "{}"),
            ("auth/role/list", "{}"),
            ("auth/role/grant", r#"{"name":"r","perm":{"permType":"READWRITE","key":"YS8="}}"#),
            ("auth/role/grant", r#"{"name":"r","perm":{"key":"YS8=","range_end":"YTA="}}"#),
            ("auth/role/grant", r#"{"name":"r","perm":{"permType":1,"key":"Yg=="}}"#),
            ("auth/role/grant", r#"{"name":"r","perm":{"permType":"ALL","key":"Yg=="}}"#),
            ("auth/role/grant", r#"{"name":"r","perm":{"permType":"READ"}}"#),
            ("auth/role/grant", r#"{"name":"r"}"#),
            ("auth/role/grant", r#"{"name":"s","perm":{"key":"Yg=="}}"#),
            ("auth/role/get", r#"{"role":"r"}"#),
            ("auth/role/get", r#"{"role":"root"}"#),
            ("auth/role/get", r#"{"role":"s"}"#),
            ("auth/role/revoke", r#"{"role":"r","key":"YS8="}"#),
            ("auth/role/revoke", r#"{"role":"r","key":"YS8="}"#),
            ("auth/user/grant", r#"{"user":"late","role":"r"}"#),
            ("auth/user/grant", r#"{"user":"late","role":"s"}"#),
            ("auth/user/grant", r#"{"user":"nobody","role":"r"}"#),
            ("auth/user/grant", r#"{"user":"root","role":"root"}"#),
            ("auth/user/revoke", r#"{"name":"late","role":"s"}"#),
            ("auth/user/revoke", r#"{"name":"late","role":"r"}"#),
            ("auth/role/delete", r#"{"role":"r"}"#),
            ("auth/role/delete", r#"{"role":"r"}"#),
            ("auth/user/delete", r#"{"name":"nobody"}"#),
            ("auth/user/delete", r#"{"name":"late"}"#),
            ("auth/status", ""),
            ("auth/enable", "{}"),
            ("auth/status", ""),
            ("auth/user/list", "{}"),
            ("auth/enable", "{}"),
            ("auth/disable", "{}"),
        ],
    );
    for (method, path) in [("GET", "status"), ("PUT", "enable"), ("POST", "user"), ("POST", "")] {
        ask_with(wire, &format!("{method} /v3/auth/{path}"), "", "{}");
    }
    log_in(wire, "root", "wrong", "NOTHING");
    log_in(wire, "nobody", "r00t", "NOTHING");
    log_in(wire, "cert", "r00t", "NOTHING");
    log_in(wire, "root", "r00t", "TOKEN");
    ask_as(wire, "Authorization: TOKEN", "auth/status", "{}");
    ask_as(wire, "Authorization: TOKEN", "auth/disable", "{}");
    ask(wire, "auth/status", "{}");
    ask_as(wire, "Authorization: TOKEN", "kv/put", r#"{"key":"YS8x"}"#);
}

pub(super) async fn showing_tokens_in_headers(wire: &mut Wire) {
    enforce(wire).await;
    log_in(wire, "root", "r00t", "ROOT");
    log_in(wire, "alice", "secret", "ALICE");
    let put = r#"{"key":"YS8x","value":"MQ=="}"#;
    for headers in [
        "Authorization: ALICE",
        "authorization: Bearer ALICE",
        "Authorization: bearer ALICE",
        "Authorization: Bearer  ALICE",
        "Authorization: Basic ALICE",
        "Authorization: ",
        "Authorization: nonsense",
        "Authorization: Bearer aaaaaaaaaaaaaaaa.1",
        "Token: ALICE",
        "Grpc-Metadata-Token: ALICE",
        "Grpc-Metadata-Authorization: ALICE",
        "Grpc-Metadata-Token: nonsense\r\nAuthorization: ALICE",
        "Authorization: ALICE\r\nAuthorization: nonsense",
    ] {
        ask_as(wire, headers, "kv/put", put);
        ask_as(wire, headers, "auth/user/list", "{}");
    }
    for user in ["ALICE", "ROOT"] {
        let header = format!("Authorization: {user}");
        for (path, body) in [
            ("kv/range", r#"{"key":"YS8x"}"#),
            ("kv/range", r#"{"key":"Yg=="}"#),
            ("kv/range", r#"{"key":"YS8=","range_end":"YTA="}"#),
            ("kv/range", r#"{"key":"YS8=","range_end":"AA=="}"#),
            ("kv/deleterange", r#"{"key":"YS8=","range_end":"AA=="}"#),
            ("kv/txn", r#"{"success":[{"requestPut":{"key":"Yg=="}}]}"#),
            ("kv/txn", r#"{"success":[{"requestPut":{"key":"YS8y"}}]}"#),
            ("kv/compaction", r#"{"revision":"2"}"#),
            ("lease/grant", r#"{"TTL":"600","ID":"7"}"#),
            ("kv/put", r#"{"key":"YS8z","lease":"7"}"#),
            ("lease/keepalive", r#"{"ID":"7"}"#),
            ("lease/timetolive", r#"{"ID":"7","keys":true}"#),
            ("kv/lease/timetolive", r#"{"ID":"7"}"#),
            ("lease/leases", "{}"),
            ("lease/revoke", r#"{"ID":"7"}"#),
            ("lease/grant", r#"{"TTL":"600","ID":"161"}"#),
            ("lock/lock", r#"{"name":"YS9s","lease":"161"}"#),
            ("lock/lock", r#"{"name":"Yg==","lease":"161"}"#),
            ("lock/unlock", r#"{"key":"YS9sL2Ex"}"#),
            ("lock/unlock", r#"{"key":"Yi9hMQ=="}"#),
            ("election/campaign", r#"{"name":"YS9l","lease":"161","value":"MQ=="}"#),
            ("election/leader", r#"{"name":"YS9l"}"#),
            ("election/leader", r#"{"name":"Yg=="}"#),
            ("lease/revoke", r#"{"ID":"161"}"#),
            ("maintenance/status", "{}"),
            ("maintenance/alarm", "{}"),
            ("maintenance/hashkv", "{}"),
            ("maintenance/defragment", "{}"),
            ("cluster/member/list", "{}"),
            ("auth/user/get", r#"{"name":"alice"}"#),
            ("auth/user/get", r#"{"name":"bob"}"#),
            ("auth/role/get", r#"{"role":"a"}"#),
            ("auth/user/add", r#"{"name":"eve","password":"x"}"#),
            ("auth/user/delete", r#"{"name":"root"}"#),
            ("auth/role/delete", r#"{"role":"root"}"#),
        ] {
            ask_as(wire, &header, path, body);
        }
    }
}

pub(super) async fn watching_lines_as_somebody(wire: &mut Wire) {
    enforce(wire).await;
    log_in(wire, "root", "r00t", "ROOT");
    log_in(wire, "alice", "secret", "ALICE");
    let alice = wire.secrets.last().expect("she is known").0.clone();
    let alice = format!("Authorization: Bearer {alice}\r\n");
    let mine = r#"{"create_request":{"key":"YS8=","range_end":"YTA="}}"#;
    let mut watching = begin(wire, "POST /v3/watch", &alice, mine);
    let line = watching.line();
    wire.write("watch begins", line);
    ask_as(wire, "Authorization: ROOT", "kv/put", r#"{"key":"YS8x","value":"MQ=="}"#);
    let line = watching.line();
    wire.write("watch goes on", line);
    drop(watching);
    for (headers, requests) in [
        (alice.as_str(), r#"{"create_request":{"key":"Yg=="}}"#),
        (&alice, r#"{"create_request":{"key":"YS8=","range_end":"AA=="}}"#),
        ("", mine),
        ("Authorization: nonsense.1\r\n", mine),
    ] {
        let mut watching = begin(wire, "POST /v3/watch", headers, requests);
        let line = watching.line();
        wire.write(format!("watch {requests}"), line);
    }
    let lease = r#"{"ID":"99"}"#;
    for headers in ["", "Authorization: nonsense.1", "Authorization: ALICE"] {
        ask_as(wire, headers, "lease/keepalive", lease);
    }
}
