//! `--auth-token`: which kind, and for signed ones the method, keys and time.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::go::{Flags, Misread, unstartable};
use super::value::{go_error, nanoseconds};
use crate::api::{BadKeys, Jwt, TokenKind};

/// How long a signed token lives if nobody says otherwise.
const SIGNED_TTL: &str = "5m";

/// What it can be told.
const OPTIONS: &[&str] = &["sign-method", "pub-key", "priv-key", "ttl"];

/// What etcd says of all that it cannot make out.
const INVALID: &str = "auth: invalid auth options";

/// The kind of tokens, and what is worth a warning.
pub(super) fn kind(flags: &Flags) -> Result<(TokenKind, Option<String>), Misread> {
    let given = flags.text("auth-token");
    let (kind, options) = options(given).ok_or_else(invalid)?;
    match kind {
        "simple" => {
            let warning = "simple token is not cryptographically signed".to_owned();
            Ok((TokenKind::Simple(ttl(flags.number("auth-token-ttl"))), Some(warning)))
        }
        "jwt" => {
            let unknown = options.keys().filter(|name| !OPTIONS.contains(name));
            let unknown = unknown.copied().collect::<Vec<_>>().join(",");
            let warning = (!unknown.is_empty()).then(|| format!("unknown JWT options: {unknown}"));
            Ok((TokenKind::Signed(Arc::new(jwt(&options)?)), warning))
        }
        "" => Ok((TokenKind::None, None)),
        _ => Err(invalid()),
    }
}

/// A kind, and its options by name, each once.
fn options(given: &str) -> Option<(&str, BTreeMap<&str, &str>)> {
    let mut words = given.split(',');
    let kind = words.next()?;
    let mut options = BTreeMap::new();
    for word in words {
        let (name, value) = word.split_once('=')?;
        if value.contains('=') || options.insert(name, value).is_some() {
            return None;
        }
    }
    Some((kind, options))
}

fn jwt(options: &BTreeMap<&str, &str>) -> Result<Jwt, Misread> {
    let option = |name: &str| options.get(name).copied().filter(|value| !value.is_empty());
    let ttl = nanoseconds(option("ttl").unwrap_or(SIGNED_TTL)).ok_or_else(invalid)?;
    let read = |name: &str| match option(name) {
        None => Ok(Vec::new()),
        Some(path) => fs::read(path).map_err(|why| {
            let why = go_error(&why);
            tracing::error!(error = format!("open {path}: {why}"), "problem loading JWT options");
            invalid()
        }),
    };
    let (public, private) = (read("pub-key")?, read("priv-key")?);
    let method = option("sign-method").unwrap_or_default();
    Jwt::new(method, &public, &private, ttl).map_err(|BadKeys(why)| unstartable(why))
}

/// No time at all means the default, as in etcd.
fn ttl(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(0) | Err(_) => Duration::from_secs(300),
        Ok(seconds) => Duration::from_secs(seconds),
    }
}

fn invalid() -> Misread {
    unstartable(INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &str) -> Result<(TokenKind, Option<String>), Misread> {
        let arguments = [format!("--auth-token={given}")];
        kind(&Flags::read(&arguments)?)
    }

    fn refused(given: &str) -> String {
        read(given).unwrap_err().text
    }

    #[test]
    fn a_kind_is_followed_by_options_each_once() {
        assert!(matches!(read("simple"), Ok((TokenKind::Simple(_), Some(_)))));
        assert!(matches!(read("simple,a=b"), Ok((TokenKind::Simple(_), Some(_)))));
        assert!(matches!(read(""), Ok((TokenKind::None, None))));
        for wrong in ["simple,a", "jwt,a=b=c", "jwt,ttl=1s,ttl=1s", "tok", "jwt", "jwt,ttl=5"] {
            assert_eq!(refused(wrong), INVALID, "{wrong}");
        }
    }

    #[test]
    fn keys_are_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let given = |rest: &str| format!("jwt,priv-key={}{rest}", key.display());
        assert!(refused(&given(",sign-method=HS256")).starts_with(INVALID), "not there");
        fs::write(&key, "secret").unwrap();
        assert!(matches!(read(&given(",sign-method=HS256")), Ok((TokenKind::Signed(_), None))));
        let (_, warning) = read(&given(",sign-method=HS256,salt=1,ttl=-3s")).unwrap();
        assert_eq!(warning.as_deref(), Some("unknown JWT options: salt"));
        let not_pem = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
        for method in ["RS256", "PS384", "ES512", "EdDSA"] {
            assert_eq!(refused(&given(&format!(",sign-method={method}"))), not_pem);
            assert_eq!(refused(&format!("jwt,sign-method={method}")), "auth: missing key data");
        }
        assert_eq!(refused(&given("")), INVALID);
        assert_eq!(refused(&given(",sign-method=hs256")), INVALID);
        assert!(refused(&given(",sign-method=none")).starts_with("unsupported signing method"));
    }
}
