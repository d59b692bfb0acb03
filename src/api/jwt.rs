//! [`Jwt`]: tokens that say whose they are, and are signed.
//!
//! They are kept by nobody: whoever has the keys believes them until they
//! expire, so a stock etcd and this server take each other's. A token says at
//! which auth revision it was given out, and is worth nothing for keys once
//! accounts have changed.
//!
//! What was verified is remembered, for verifying takes long.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::signing::{BadKeys, Keys, Unsigned};

/// Tokens that are remembered; when there are as many, all are verified anew.
const REMEMBERED_MAX: usize = 1024;

/// As etcd reads it: no padding, and the last bits may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Gives tokens out, and believes those that were signed with its keys.
pub struct Jwt {
    method: String,
    keys: Keys,
    ttl_nanos: i64,
    remembered: Mutex<BTreeMap<String, Claims>>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
struct Claims {
    user: String,
    auth_revision: u64,
    /// Seconds since 1970: from when, and until when.
    not_before: Option<f64>,
    expires: Option<f64>,
}

impl fmt::Debug for Jwt {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Jwt {
    /// Of a method (`RS256`), with what the files of its keys hold (nothing, if
    /// there is none), and how long its tokens live.
    ///
    /// # Errors
    /// An unknown method; keys that are missing, of another kind, or no pair.
    pub fn new(
        method: &str,
        public: &[u8],
        private: &[u8],
        ttl_nanos: i64,
    ) -> Result<Jwt, BadKeys> {
        let keys = Keys::new(method, public, private)?;
        Ok(Jwt { method: method.to_owned(), keys, ttl_nanos, remembered: Mutex::default() })
    }

    /// A token for a user.
    pub(super) fn sign(&self, user: &str, auth_revision: u64) -> Result<String, Unsigned> {
        let until = now_nanos().saturating_add(self.ttl_nanos.into());
        let expires = i64::try_from(until.div_euclid(1_000_000_000)).unwrap_or(i64::MAX);
        let header = json!({ "alg": self.method, "typ": "JWT" });
        let claims = json!({ "exp": expires, "revision": auth_revision, "username": user });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self.keys.sign(text.as_bytes())?;
        Ok(format!("{text}.{}", BASE64.encode(signature)))
    }

    /// Whose a token is, and as of which auth revision, if it was verified before
    /// and is still worth something.
    pub(super) fn remember(&self, token: &str) -> Option<(String, u64)> {
        let remembered = self.remembered.lock();
        remembered.get(token)?.hold_at(now_seconds())
    }

    /// Whose a token is, and as of which auth revision, if it is worth something.
    pub(super) fn verify(&self, token: &str) -> Option<(String, u64)> {
        let claims = self.claims(token)?;
        let found = claims.hold_at(now_seconds())?;
        let mut remembered = self.remembered.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(token.to_owned(), claims);
        Some(found)
    }

    /// What a token says that was signed with these keys.
    fn claims(&self, token: &str) -> Option<Claims> {
        let (text, signature) = token.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        let read = |part: &str| -> Option<Value> {
            serde_json::from_slice(&BASE64.decode(part).ok()?).ok()
        };
        if read(header)?.get("alg")?.as_str()? != self.method {
            return None;
        }
        let signature = BASE64.decode(signature).ok()?;
        if !self.keys.verify(text.as_bytes(), &signature) {
            return None;
        }
        let claims = read(claims)?;
        // A time of zero is none.
        let time = |name: &str| match claims.get(name) {
            None => Some(None),
            Some(time) => time.as_f64().map(|time| (time != 0.0).then(|| time.floor())),
        };
        Some(Claims {
            user: claims.get("username")?.as_str()?.to_owned(),
            auth_revision: whole(claims.get("revision")?.as_f64()?),
            not_before: time("nbf")?,
            expires: time("exp")?,
        })
    }
}

impl Claims {
    /// What they say, if they hold at a time. No clock is given leeway.
    fn hold_at(&self, now: f64) -> Option<(String, u64)> {
        let has_begun = self.not_before.is_none_or(|from| now >= from);
        let goes_on = self.expires.is_none_or(|until| now < until);
        (has_begun && goes_on).then(|| (self.user.clone(), self.auth_revision))
    }
}

/// A number of JSON as a revision; what is none is a very old one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "out of range, it is the nearest that there is"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

fn now_nanos() -> i128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(now.as_nanos()).unwrap_or(i128::MAX)
}

fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn jwt(secret: &str, ttl_nanos: i64) -> Jwt {
        Jwt::new("HS256", b"", secret.as_bytes(), ttl_nanos).unwrap()
    }

    /// A token that says anything, signed.
    fn saying(jwt: &Jwt, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64.encode(value.to_string());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = jwt.keys.sign(text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64.encode(signature))
    }

    #[test]
    fn a_token_is_believed_by_whoever_has_the_key() {
        let (ours, same, other) = (jwt("a", HOUR), jwt("a", 0), jwt("b", HOUR));
        let token = ours.sign("alice", 7).unwrap();
        assert_eq!(same.remember(&token), None);
        assert_eq!(same.verify(&token), Some(("alice".into(), 7)));
        assert_eq!(same.remember(&token), Some(("alice".into(), 7)));
        assert_eq!(other.verify(&token), None);
        assert_eq!(ours.verify(&token[..token.len() - 2]), None);
        assert_eq!(ours.verify(&format!("{token}.")), None);
        assert_eq!(ours.verify(&format!("{token}=")), None);
    }

    #[test]
    fn a_token_lives_as_long_as_it_says() {
        assert_eq!(jwt("a", 0).verify(&jwt("a", 0).sign("alice", 1).unwrap()), None);
        assert_eq!(jwt("a", 0).verify(&jwt("a", -HOUR).sign("alice", 1).unwrap()), None);
        let claims = |not_before, expires| Claims {
            user: "alice".into(),
            auth_revision: 1,
            not_before,
            expires,
        };
        assert!(claims(None, None).hold_at(5.0).is_some());
        assert!(claims(Some(5.0), Some(6.0)).hold_at(5.9).is_some());
        assert!(claims(Some(5.0), Some(6.0)).hold_at(6.0).is_none());
        assert!(claims(Some(5.0), None).hold_at(4.9).is_none());
    }

    #[test]
    fn what_is_remembered_expires_all_the_same() {
        let jwt = jwt("a", HOUR);
        let expires = Some(1.0);
        let claims = Claims { user: "alice".into(), auth_revision: 1, not_before: None, expires };
        jwt.remembered.lock().insert("old".into(), claims);
        assert_eq!(jwt.remember("old"), None);
    }

    #[test]
    fn claims_are_of_the_kind_they_must_be() {
        let jwt = jwt("a", HOUR);
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        let check = |claims: Value, believed: bool| {
            let token = saying(&jwt, &header, &claims);
            assert_eq!(jwt.verify(&token).is_some(), believed, "{claims}");
        };
        check(json!({ "username": "a", "revision": 1 }), true);
        check(json!({ "username": "a", "revision": 1.5, "exp": 0, "more": [] }), true);
        check(json!({ "username": "a", "revision": "1" }), false);
        check(json!({ "username": "a" }), false);
        check(json!({ "username": 1, "revision": 1 }), false);
        check(json!({ "revision": 1 }), false);
        check(json!({ "username": "a", "revision": 1, "exp": 5 }), false);
        check(json!({ "username": "a", "revision": 1, "exp": "never" }), false);
        check(json!({ "username": "a", "revision": 1, "nbf": 99_999_999_999_u64 }), false);
        for alg in ["HS512", "none", "RS256"] {
            let token = saying(
                &jwt,
                &json!({ "alg": alg }),
                &json!({
                    "username": "a", "revision": 1,
                }),
            );
            assert_eq!(jwt.verify(&token), None, "{alg}");
        }
    }

    #[test]
    fn no_more_is_remembered_than_there_is_place_for() {
        let jwt = jwt("a", HOUR);
        for revision in 0..=REMEMBERED_MAX as u64 {
            let token = jwt.sign("alice", revision).unwrap();
            assert!(jwt.verify(&token).is_some());
        }
        assert_eq!(jwt.remembered.lock().len(), 1);
    }

    #[test]
    fn keys_are_never_printed() {
        assert!(!format!("{:?}", jwt("hush", HOUR)).contains("hush"));
    }
}
