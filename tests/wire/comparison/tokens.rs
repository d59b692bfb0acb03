//! Tokens that are signed: which keys are taken, what they are worth, and that
//! stock etcd and ours believe each other's.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek as ed25519;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kat::proto::etcdserverpb::AuthenticateRequest;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::sha2::Sha256;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::accounts::{
    add_user, change_password, delete_user, enforce, forbid, look_around, look_at_user,
};
use super::wire::Wire;
use super::words::{Operation as _, absent, all, create, get, put, range, txn, watch};
use super::{Server, compare, talk};

/// What both servers share a key with, where a test signs as it likes.
const SECRET: &str = "a secret of the test's";

/// Each method, with the key that it takes.
const METHODS: &[(&str, &str)] = &[
    ("RS256", "rsa"),
    ("RS384", "rsa8"),
    ("RS512", "rsa"),
    ("PS256", "rsa8"),
    ("PS384", "rsa"),
    ("PS512", "rsa"),
    ("ES256", "p256"),
    ("ES384", "p384"),
    ("ES512", "p521"),
    ("EdDSA", "ed"),
    ("HS256", "hs"),
    ("HS384", "hs"),
    ("HS512", "hs"),
];

/// A folder with a pair of keys of each kind: `rsa`, `rsa.pub` and so on.
fn keys() -> TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("it can be written");
    };
    let mut random = getrandom::SysRng;
    for name in ["rsa", "rsa8"] {
        let key = rsa::PrivateKey::new(&mut random, 2048).expect("a key is made");
        let public = key.to_public_key();
        if name == "rsa" {
            write(name, &key.to_pkcs1_pem(LineEnding::LF).expect("it has a form"));
            write("rsa.pub", &public.to_public_key_pem(LineEnding::LF).expect("it has a form"));
        } else {
            write(name, &key.to_pkcs8_pem(LineEnding::LF).expect("it has a form"));
            write("rsa8.pub", &public.to_pkcs1_pem(LineEnding::LF).expect("it has a form"));
        }
    }
    macro_rules! curve {
        ($($curve:ident, $form:ident;)*) => {$(
            let key = $curve::SecretKey::try_generate_from_rng(&mut random);
            let key = key.expect("a key is made");
            let public = key.public_key().to_public_key_pem(LineEnding::LF);
            write(stringify!($curve), &key.$form(LineEnding::LF).expect("it has a form"));
            write(concat!(stringify!($curve), ".pub"), &public.expect("it has a form"));
        )*};
    }
    use p256::elliptic_curve::Generate as _;
    curve! { p256, to_sec1_pem; p384, to_pkcs8_pem; p521, to_pkcs8_pem; }
    let mut seed = ed25519::SecretKey::default();
    getrandom::fill(&mut seed).expect("there is chance");
    let key = ed25519::SigningKey::from_bytes(&seed);
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
    write("ed", &key.to_pkcs8_pem(LineEnding::LF).expect("it has a form"));
    write("ed.pub", &public.expect("it has a form"));
    write("hs", SECRET);
    folder
}

/// The flag, with the places of keys filled in.
fn flag(folder: &Path, options: &str) -> String {
    let folder = folder.display().to_string();
    format!("--auth-token=jwt,{}", options.replace("FOLDER", &folder))
}

fn both(arguments: &[&str]) -> (Server, Server) {
    (Server::etcd_with(arguments), Server::kat_with(arguments))
}

#[test]
fn signed_tokens_are_worth_the_same() {
    let folder = keys();
    let flag = flag(folder.path(), "sign-method=HS256,priv-key=FOLDER/hs,ttl=1h");
    let arguments = [flag.as_str(), "--bcrypt-cost=4"];
    compare(|| both(&arguments), &holding_a_signed_token);
    compare(|| both(&arguments), &saying_anything);
}

#[test]
fn a_time_to_live_that_is_over_at_once_is_one_too() {
    let folder = keys();
    let flag = flag(folder.path(), "sign-method=ES256,priv-key=FOLDER/p256,ttl=-1s");
    compare(|| both(&[&flag, "--bcrypt-cost=4"]), &being_late);
}

#[test]
fn who_has_the_public_key_alone_gives_nothing_out() {
    let folder = keys();
    let unfit = "sign-method=ES256,priv-key=FOLDER/p384";
    for options in ["sign-method=PS256,pub-key=FOLDER/rsa.pub", unfit] {
        let flag = flag(folder.path(), options);
        compare(|| both(&[&flag, "--bcrypt-cost=4"]), &asking_in_vain);
    }
    compare(|| both(&["--auth-token=", "--bcrypt-cost=4"]), &asking_in_vain);
}

#[test]
fn stock_etcd_and_ours_believe_each_others_tokens() {
    let folder = keys();
    for (method, key) in METHODS {
        let options =
            format!("sign-method={method},priv-key=FOLDER/{key},pub-key=FOLDER/{key}.pub");
        let options = options.replace(",pub-key=FOLDER/hs.pub", "");
        let flag = flag(folder.path(), &options);
        let servers = both(&[&flag, "--bcrypt-cost=4"]);
        talk(servers, async |stock: &mut Wire, ours: &mut Wire| {
            for wire in [&mut *stock, &mut *ours] {
                enforce(wire).await;
                wire.log_in("alice", "secret").await;
                assert!(wire.token.is_some(), "{method}: alice is let in");
            }
            std::mem::swap(&mut stock.token, &mut ours.token);
            for wire in [stock, ours] {
                let believed = wire.put(put("a/1", "1")).await.is_some();
                let tells = wire.range(get("a/1")).await.is_some();
                let forbids = wire.put(put("b", "1")).await.is_none();
                assert!(believed && tells && forbids, "{method}: {:?}", wire.said.last());
                let token = wire.token.as_mut().expect("it has one");
                token.truncate(token.len() - 4);
                assert!(wire.range(get("a/1")).await.is_none(), "{method}: it was cut short");
            }
        });
    }
}

#[test]
fn keys_that_will_not_do_end_the_start() {
    let folder = keys();
    fs::write(folder.path().join("empty"), "").expect("it can be written");
    for options in [
        "sign-method=RS256",
        "sign-method=HS256,pub-key=FOLDER/hs",
        "sign-method=HS256,priv-key=FOLDER/empty",
        "sign-method=RS257,priv-key=FOLDER/rsa",
        "sign-method=none,priv-key=FOLDER/rsa",
        "priv-key=FOLDER/rsa",
        "sign-method=RS256,priv-key=FOLDER/missing",
        "sign-method=RS256,priv-key=FOLDER/hs",
        "sign-method=RS256,priv-key=FOLDER/p384",
        "sign-method=RS256,priv-key=FOLDER/rsa,pub-key=FOLDER/rsa8.pub",
        "sign-method=ES256,priv-key=FOLDER/rsa8",
        "sign-method=EdDSA,priv-key=FOLDER/p384",
        "sign-method=RS256,priv-key=FOLDER/rsa,ttl=5",
        "sign-method=RS256,sign-method=RS256,priv-key=FOLDER/rsa",
        "sign-method",
        "sign-method=RS=256,priv-key=FOLDER/rsa",
    ] {
        let flag = flag(folder.path(), options);
        let (code, said) = Server::etcd_refuses(&[&flag]);
        let last: Value = serde_json::from_str(said.lines().last().unwrap_or_default())
            .unwrap_or_else(|why| panic!("{options}: {why}: {said}"));
        assert_eq!(last["level"], "fatal", "{options}: {said}");
        let why = last["error"].as_str().expect("there is a reason");
        let (our_code, our_words) = Server::kat_refuses(&[&flag]);
        assert_eq!(our_code, code, "{options}: {our_words}");
        assert!(our_words.contains(why), "{options}: {our_words} in place of {why}");
    }
}

async fn holding_a_signed_token(wire: &mut Wire) {
    enforce(wire).await;
    let root = wire.token.clone();
    wire.log_in("alice", "secret").await;
    let alice = wire.token.clone();
    wire.put(put("a/1", "1")).await;
    wire.put(put("b", "1")).await;
    // No token dies of anything but its age and changes of accounts.
    wire.crash();
    wire.put(put("a/1", "2")).await;
    wire.lease_grant(600, 1).await;
    let mut watching = wire.watching();
    wire.tell(&watching, create(watch("a/", "a0"))).await;
    wire.hear(&mut watching, 1).await;
    wire.token.clone_from(&root);
    change_password(wire, "alice", "other").await;
    wire.token.clone_from(&alice);
    being_out_of_date(wire).await;
    wire.tell(&watching, create(watch("a/", "a0"))).await;
    wire.hear(&mut watching, 1).await;
    wire.token.clone_from(&root);
    being_out_of_date(wire).await;
    // What only root may do, root may do with any token of its own.
    forbid(wire, "a", "a/", "a0").await;
    look_around(wire).await;
    delete_user(wire, "alice").await;
    wire.token.clone_from(&alice);
    being_out_of_date(wire).await;
    look_at_user(wire, "alice").await;
    look_around(wire).await;
    wire.token.clone_from(&root);
    wire.auth_disable(Default::default()).await;
    wire.put(put("b", "2")).await;
    wire.auth_enable(Default::default()).await;
    wire.put(put("b", "3")).await;
    wire.log_in("root", "r00t").await;
    wire.put(put("b", "4")).await;
}

/// What a token is good for that was given out before accounts changed.
async fn being_out_of_date(wire: &mut Wire) {
    wire.put(put("a/1", "3")).await;
    wire.range(get("a/1")).await;
    wire.range(range("a/", "a1")).await;
    wire.range_stream(all()).await;
    wire.txn(txn([], [], [])).await;
    wire.txn(txn([absent("a/1")], [put("a/1", "4").op()], [])).await;
    wire.lease_grant(600, 2).await;
    wire.lease_time_to_live(1, true).await;
    wire.keep_alive(&[1]).await;
    wire.lease_leases(Default::default()).await;
    wire.member_list(Default::default()).await;
    wire.status(Default::default()).await;
    wire.auth_status(Default::default()).await;
}

/// Claims of a test's own, well signed.
async fn saying_anything(wire: &mut Wire) {
    enforce(wire).await;
    let plain = json!({ "alg": "HS256", "typ": "JWT" });
    for (name, claims) in [
        ("root", json!({ "username": "root", "revision": 13 })),
        ("a ghost", json!({ "username": "ghost", "revision": 13 })),
        ("nobody", json!({ "username": "", "revision": 13 })),
        ("of no revision", json!({ "username": "root", "revision": 0 })),
        ("of old", json!({ "username": "root", "revision": 12 })),
        ("of the future", json!({ "username": "root", "revision": 99 })),
        ("between", json!({ "username": "root", "revision": 13.5 })),
        ("revision as text", json!({ "username": "root", "revision": "13" })),
        ("without revision", json!({ "username": "root" })),
        ("without user", json!({ "revision": 13 })),
        ("user as number", json!({ "username": 1, "revision": 13 })),
        ("expired", json!({ "username": "root", "revision": 13, "exp": 1 })),
        ("expires late", json!({ "username": "root", "revision": 13, "exp": 99_999_999_999_u64 })),
        ("never expires", json!({ "username": "root", "revision": 13, "exp": 0 })),
        ("expires in words", json!({ "username": "root", "revision": 13, "exp": "soon" })),
        ("expires nowhere", json!({ "username": "root", "revision": 13, "exp": null })),
        ("too early", json!({ "username": "root", "revision": 13, "nbf": 99_999_999_999_u64 })),
        ("not too early", json!({ "username": "root", "revision": 13, "nbf": 5.5, "iat": 9e12 })),
        ("for others", json!({ "username": "root", "revision": 13, "aud": "x", "iss": 3 })),
        ("a list", json!(["root", 13])),
    ] {
        wire.token = Some(sign(&plain, &claims));
        using(wire, name).await;
    }
    let claims = json!({ "username": "root", "revision": 13 });
    for header in [
        json!({ "alg": "HS256" }),
        json!({ "alg": "hs256" }),
        json!({ "alg": "HS512" }),
        json!({ "alg": "none" }),
        json!({ "alg": 256 }),
        json!({ "typ": "JWT" }),
        json!({ "alg": "HS256", "typ": "other", "kid": "7" }),
        json!([]),
    ] {
        wire.token = Some(sign(&header, &claims));
        using(wire, &header.to_string()).await;
    }
    let good = sign(&plain, &claims);
    for (name, token) in [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", good[..good.rfind('.').unwrap_or(0)].to_owned()),
        ("four parts", format!("{good}.")),
        ("padding", format!("{good}=")),
        ("cut short", good[..good.len() - 4].to_owned()),
        ("bearer", format!("Bearer {good}")),
        ("bearer twice", format!("Bearer Bearer {good}")),
        ("in lower case", format!("bearer {good}")),
        ("simple", "aaaaaaaaaaaaaaaa.5".to_owned()),
    ] {
        wire.token = Some(token);
        using(wire, name).await;
    }
}

/// A token of which all but the signature is given.
fn sign(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes());
    let mut mac = mac.expect("a key may have any length");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

async fn using(wire: &mut Wire, name: &str) {
    wire.chapter = format!("{name}: ");
    wire.put(put("a/1", "1")).await;
    wire.range(get("a/1")).await;
    wire.user_list(Default::default()).await;
    wire.lease_grant(600, 0).await;
    wire.chapter.clear();
}

async fn being_late(wire: &mut Wire) {
    enforce(wire).await;
    wire.put(put("a/1", "1")).await;
    look_around(wire).await;
    wire.log_in("alice", "secret").await;
    wire.range(get("a/1")).await;
}

/// Nobody can log in, whatever is right.
async fn asking_in_vain(wire: &mut Wire) {
    enforce(wire).await;
    add_user(wire, "more", "").await;
    wire.token = Some("a.1".into());
    wire.put(put("a/1", "1")).await;
    for (name, password) in [("alice", "secret"), ("alice", "wrong"), ("ghost", "")] {
        let (name, password) = (name.into(), password.into());
        wire.authenticate(AuthenticateRequest { name, password }).await;
    }
}
