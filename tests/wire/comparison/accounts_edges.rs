//! Where rights and passwords end: ranges that reach past a permission, what
//! may be in a password, and where a password must never be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kat::proto::authpb::UserAddOptions;
use kat::proto::authpb::permission::Type::{Read, Readwrite, Write};
use kat::proto::etcdserverpb::auth_client::AuthClient;
use kat::proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use kat::proto::etcdserverpb::{
    AuthUserAddRequest, AuthUserChangePasswordRequest, AuthenticateRequest, Compare,
    DeleteRangeRequest, PutRequest,
};
use tonic::transport::Channel;

use super::accounts::{
    add_role, add_user, change_password, enforce, forbid, grant_role, look_around, permit,
    revoke_role,
};
use super::wire::Wire;
use super::words::{ON, Operation as _, check, create, delete_range, get, put, range, txn, watch};
use super::{Server, alone};

/// Logins that are under way at once.
const LOGINS: usize = 100;

/// Behind every key of a test.
const LAST: &str = "\u{10ffff}";

/// Permissions of several forms, and ranges that lie in them, end with them, or
/// reach past them.
pub(super) async fn reaching_past_a_permission(wire: &mut Wire) {
    enforce(wire).await;
    let permissions = [
        ("one", "k", ""),
        ("some", "k", "m"),
        ("rest", "k", ON),
        ("all", "\0", ON),
        ("zero", "\0", ""),
    ];
    for (name, key, end) in permissions {
        add_role(wire, name).await;
        permit(wire, name, Readwrite, key, end).await;
        add_user(wire, name, "").await;
        grant_role(wire, name, name).await;
    }
    for (name, ..) in permissions {
        wire.log_in(name, "").await;
        wire.chapter = format!("{name}: ");
        let mut watching = wire.watching();
        for (key, end) in [
            ("k", ""),
            ("k", "k\0"),
            ("k", "l"),
            ("k", "m"),
            ("k", "m\0"),
            ("k", "n"),
            ("k", LAST),
            ("k", ON),
            ("l", "k"),
            ("l", "l"),
            ("l", ON),
            ("j", ""),
            ("j", "k"),
            ("j", ON),
            ("", ""),
            ("", "k"),
            ("", ON),
            ("\0", ""),
            ("\0", "k"),
            ("\0", LAST),
            ("\0", ON),
            (LAST, ON),
        ] {
            wire.range(range(key, end)).await;
            wire.delete_range(delete_range(key, end)).await;
            let compared = Compare {
                range_end: end.into(),
                ..check(key, CompareResult::Equal, TargetUnion::Version(0))
            };
            wire.txn(txn([compared], [], [])).await;
            wire.txn(txn([], [delete_range(key, end).op()], [])).await;
            wire.tell(&watching, create(watch(key, end))).await;
            wire.hear(&mut watching, 1).await;
        }
        wire.chapter.clear();
    }
}

/// Both branches count, however deep, and whatever shows a value.
pub(super) async fn hiding_in_a_txn(wire: &mut Wire) {
    enforce(wire).await;
    wire.lease_grant(600, 1).await;
    wire.lease_grant(600, 2).await;
    wire.put(PutRequest { lease: 1, ..put("a/1", "1") }).await;
    wire.put(PutRequest { lease: 2, ..put("b", "1") }).await;
    wire.put(put("drop", "1")).await;
    wire.log_in("alice", "secret").await;
    let mine = || put("a/1", "2").op();
    for forbidden in [
        put("b", "").op(),
        get("b").op(),
        range("a/", "a0\0").op(),
        delete_range("a/", ON).op(),
        PutRequest { prev_kv: true, ..put("drop", "") }.op(),
        PutRequest { lease: 2, ..put("a/1", "") }.op(),
        PutRequest { ignore_value: true, ..put("b", "") }.op(),
        DeleteRangeRequest { prev_kv: true, ..delete_range("drop", "") }.op(),
        txn([check("b", CompareResult::Equal, TargetUnion::Version(0))], [], []).op(),
        txn([], [], [put("b", "").op()]).op(),
        txn([], [txn([], [], [txn([], [get("b").op()], []).op()]).op()], []).op(),
        put("shared", "").op(),
    ] {
        wire.txn(txn([], [forbidden.clone()], [])).await;
        wire.txn(txn([], [], [forbidden.clone()])).await;
        wire.txn(txn([], [mine(), txn([], [], [forbidden.clone()]).op()], [])).await;
        let never = check("a/1", CompareResult::Less, TargetUnion::Version(0));
        wire.txn(txn([never], [forbidden], [mine()])).await;
    }
    for allowed in [
        PutRequest { lease: 1, prev_kv: true, ..put("a/1", "3") }.op(),
        PutRequest { lease: 1, ..put("drop", "3") }.op(),
        get("shared").op(),
        txn([check("shared", CompareResult::Equal, TargetUnion::Version(0))], [], []).op(),
    ] {
        wire.txn(txn([], [allowed.clone()], [])).await;
        wire.txn(txn([], [txn([], [allowed], []).op()], [])).await;
    }
}

/// Roles that only together allow a range, and one of them going away.
pub(super) async fn holding_several_roles(wire: &mut Wire) {
    enforce(wire).await;
    for (name, kind, key, end) in [
        ("first", Read, "m", "n"),
        ("second", Read, "n", "o"),
        ("third", Readwrite, "o", ""),
        ("fourth", Write, "m", "o"),
        ("empty", Read, "x", "y"),
    ] {
        add_role(wire, name).await;
        permit(wire, name, kind, key, end).await;
        grant_role(wire, "bob", name).await;
    }
    forbid(wire, "empty", "x", "y").await;
    let root = wire.token.clone();
    for lost in ["", "empty", "third", "second", "first", "fourth"] {
        wire.token.clone_from(&root);
        if !lost.is_empty() {
            revoke_role(wire, "bob", lost).await;
        }
        wire.log_in("bob", "").await;
        for (key, end) in [("m", "o"), ("m", "o\0"), ("n", "o"), ("o", ""), ("m", "n"), ("x", "")] {
            wire.range(range(key, end)).await;
            wire.delete_range(delete_range(key, end)).await;
        }
    }
}

/// What a password may be, and what is done with what a client says is a hash.
pub(super) async fn knowing_odd_passwords(wire: &mut Wire) {
    let hash = bcrypt::hash_with_salt("known", 4, [7; 16]).expect("it can be hashed").to_string();
    let (long, longer) = ("x".repeat(72), "x".repeat(72) + "y");
    for (name, password) in [
        ("long", long.as_str()),
        ("wide", "pässwörd ☃"),
        ("zero", "a\0b"),
        ("empty", ""),
        ("changed", "before"),
        ("kept", "before"),
    ] {
        add_user(wire, name, password).await;
    }
    // A hash in either of the forms in which it may be kept.
    for hashed_password in [hash.clone(), STANDARD.encode(&hash)] {
        for (name, password) in [("hashed", ""), ("both", "mine")] {
            let (name, password) = (format!("{name}{}", hashed_password.len()), password.into());
            let hashed_password = hashed_password.clone();
            let request = AuthUserAddRequest { name, password, hashed_password, options: None };
            wire.user_add(request).await;
        }
        for (name, password) in [("changed", ""), ("kept", "mine"), ("nobody", "")] {
            let (name, password) = (name.into(), password.into());
            let hashed_password = hashed_password.clone();
            let request = AuthUserChangePasswordRequest { name, password, hashed_password };
            wire.user_change_password(request).await;
        }
    }
    let options = Some(UserAddOptions { no_password: true });
    let (name, password) = ("certified".to_owned(), "known".to_owned());
    let hashed_password = hash.clone();
    wire.user_add(AuthUserAddRequest { name, password, hashed_password, options }).await;
    enforce(wire).await;
    for (name, password) in [
        ("long", long.as_str()),
        ("long", &longer),
        ("long", &long[1..]),
        ("wide", "pässwörd ☃"),
        ("wide", "password"),
        ("zero", "a\0b"),
        ("zero", "a"),
        ("empty", ""),
        ("empty", "\0"),
        ("hashed60", "known"),
        ("hashed80", "known"),
        ("hashed60", ""),
        ("hashed60", &hash),
        ("both60", "known"),
        ("both80", "known"),
        ("both80", "mine"),
        ("kept", "known"),
        ("kept", "mine"),
        ("changed", "known"),
        ("changed", "before"),
        ("changed", ""),
        ("certified", "known"),
        ("certified", ""),
        ("", ""),
        ("", "known"),
    ] {
        wire.log_in(name, password).await;
    }
}

/// Users whose tokens outlive, or do not, what is done to them.
pub(super) async fn changing_whom_a_token_names(wire: &mut Wire) {
    enforce(wire).await;
    let root = wire.token.clone();
    wire.log_in("alice", "secret").await;
    let alice = wire.token.clone();
    wire.token.clone_from(&root);
    change_password(wire, "bob", "other").await;
    wire.token.clone_from(&alice);
    wire.put(put("a/1", "1")).await;
    // Who asks for a password to be changed loses the token too.
    wire.token.clone_from(&root);
    change_password(wire, "root", "r00t").await;
    wire.put(put("a/1", "2")).await;
    wire.log_in("root", "r00t").await;
    wire.auth_disable(Default::default()).await;
    add_user(wire, "carol", "").await;
    wire.auth_enable(Default::default()).await;
    wire.token.clone_from(&alice);
    wire.put(put("a/1", "3")).await;
    wire.log_in("alice", "secret").await;
    wire.put(put("a/1", "4")).await;
    wire.crash();
    wire.log_in("alice", "secret").await;
    wire.put(put("a/1", "5")).await;
    look_around(wire).await;
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn holds(folder: &Path, text: &str) -> Option<PathBuf> {
    files(folder).into_iter().find(|path| {
        let bytes = fs::read(path).expect("it can be read");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn no_password_is_ever_written_down() {
    let server = Server::kat_with(&["--log-level=debug", "--bcrypt-cost=4"]);
    alone(server, async |wire: &mut Wire| {
        add_user(wire, "root", "PasswordOfTheFirstKind").await;
        add_user(wire, "alice", "PasswordOfTheSecondKind").await;
        change_password(wire, "alice", "PasswordOfTheThirdKind").await;
        grant_role(wire, "root", "root").await;
        wire.auth_enable(Default::default()).await;
        wire.log_in("alice", "PasswordOfTheFourthKind").await;
        wire.log_in("nobody", "PasswordOfTheFifthKind").await;
        wire.log_in("alice", "PasswordOfTheThirdKind").await;
        add_user(wire, "eve", "PasswordOfTheSixthKind").await;
        let body = r#"{"name":"root","password":"PasswordOfTheSeventhKind"}"#;
        super::gateway::ask(wire, "auth/authenticate", body);
        let broken = r#"{"name":"root","password":"PasswordOfTheEighthKind",}"#;
        super::gateway::ask(wire, "auth/authenticate", broken);
        wire.log_in("root", "PasswordOfTheFirstKind").await;
        let token = wire.token.clone().expect("root is let in");
        wire.put(put("WhatIsWrittenDown", "")).await;
        wire.crash();
        let folder = wire.server.folder();
        assert!(holds(folder, "WhatIsWrittenDown").is_some(), "what is kept is found");
        assert!(holds(folder, "alice").is_some(), "so are the names of users");
        assert_eq!(holds(folder, "OfThe"), None, "but no password");
        let letters = token.split('.').next().expect("a token has a first part");
        let log = wire.server.said();
        assert!(!log.is_empty() && !log.contains(letters), "nor does the log tell tokens");
    });
}

#[test]
fn a_hundred_logins_hold_up_nobody() {
    alone(Server::kat(), async |wire: &mut Wire| {
        enforce(wire).await;
        wire.put(put("a/1", "1")).await;
        let done = Arc::new(AtomicUsize::new(0));
        let logins = (0..LOGINS).map(|_| {
            let (channel, done) = (wire.channel(), Arc::clone(&done));
            tokio::spawn(async move {
                let token = log_in(channel, "alice", "secret").await;
                done.fetch_add(1, Ordering::SeqCst);
                token
            })
        });
        let logins: Vec<_> = logins.collect();
        for _ in 0..20 {
            assert!(wire.range(get("a/1")).await.is_some(), "others are served");
        }
        let finished = done.load(Ordering::SeqCst);
        assert!(finished < LOGINS, "they were served meanwhile");
        for login in logins {
            wire.token = login.await.expect("it does not panic");
            assert!(wire.token.is_some(), "who knows the password gets a token");
        }
        assert!(wire.put(put("a/1", "2")).await.is_some(), "which is good");
    });
}

#[test]
fn logins_survive_changes_of_accounts_meanwhile() {
    alone(Server::kat_with(&["--bcrypt-cost=6"]), async |wire: &mut Wire| {
        enforce(wire).await;
        let login = || tokio::spawn(log_in(wire.channel(), "alice", "secret"));
        let logins: Vec<_> = (0..10).map(|_| login()).collect();
        for _ in 0..20 {
            revoke_role(wire, "alice", "a").await;
            grant_role(wire, "alice", "a").await;
        }
        for login in logins {
            wire.token = login.await.expect("it does not panic");
            assert!(wire.token.is_some(), "it begins again, and ends well");
            assert!(wire.put(put("a/1", "1")).await.is_some(), "the token is good");
        }
    });
}

async fn log_in(channel: Channel, name: &str, password: &str) -> Option<String> {
    let request = AuthenticateRequest { name: name.into(), password: password.into() };
    let answer = AuthClient::new(channel).authenticate(request).await;
    answer.ok().map(|response| response.into_inner().token)
}
