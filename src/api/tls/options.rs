//! [`TlsOptions`]: what an operator wants of a listener, and what is wrong with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};

/// What a listener is to demand, and to show.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// The certificate, with those that vouch for it, as PEM.
    pub cert_file: PathBuf,
    /// Its key, as PEM.
    pub key_file: PathBuf,
    /// What the member shows where it is the client itself: both, or neither.
    pub client_pair: (PathBuf, PathBuf),
    /// Authorities behind the certificates of clients; with it, each needs one.
    pub ca_file: Option<PathBuf>,
    /// Whether clients need a certificate, whose common name is their user.
    pub client_cert_auth: bool,
    /// Serial numbers that were taken back, as DER.
    pub crl_file: Option<PathBuf>,
    /// Common names of which a client must have one, if there are any.
    pub allowed_names: Vec<String>,
    /// Hosts for one of which a client's certificate must stand, if there are any.
    pub allowed_hosts: Vec<String>,
    /// Whether the addresses in a client's certificate must hold its own.
    pub checks_address: bool,
    /// The oldest version that is spoken.
    pub oldest: TlsVersion,
    /// The newest version that is spoken.
    pub newest: TlsVersion,
    /// Cipher suites of TLS 1.2 by their names; none means all.
    pub suites: Vec<String>,
    /// What the log says of a connection that is turned away.
    pub rejection: &'static str,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

/// What is wrong with what an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTls(pub(super) String);

/// Suites that a Go program knows by name; those of TLS 1.3 are always on.
const NAMES: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

impl TlsVersion {
    /// Reads a version; nothing is `None`.
    ///
    /// # Errors
    /// It is no version that is spoken.
    pub fn read(text: &str) -> Result<Option<TlsVersion>, BadTls> {
        match text {
            "" => Ok(None),
            "TLS1.2" => Ok(Some(TlsVersion::V12)),
            "TLS1.3" => Ok(Some(TlsVersion::V13)),
            _ => Err(BadTls(format!(
                "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
            ))),
        }
    }
}

impl TlsOptions {
    /// Checks names of cipher suites, before any file is read.
    ///
    /// # Errors
    /// Nobody knows such a suite.
    pub fn check_suites(names: &[String]) -> Result<(), BadTls> {
        match names.iter().find(|name| !NAMES.contains(&name.as_str())) {
            Some(name) => Err(BadTls(format!("unexpected TLS cipher suite {name:?}"))),
            None => Ok(()),
        }
    }

    /// The suites that are wanted and cannot be had.
    pub fn missing_suites(&self) -> Vec<&str> {
        let known = ring::default_provider().cipher_suites;
        let is_missing = |name: &&str| !known.iter().any(|suite| is_called(suite, name));
        self.suites.iter().map(String::as_str).filter(is_missing).collect()
    }

    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = ring::default_provider();
        if !self.suites.is_empty() {
            provider.cipher_suites.retain(|suite| {
                suite.tls13().is_some() || self.suites.iter().any(|name| is_called(suite, name))
            });
        }
        provider
    }

    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let spoken = [(TlsVersion::V12, &version::TLS12), (TlsVersion::V13, &version::TLS13)];
        let wanted = self.oldest..=self.newest;
        spoken.into_iter().filter(|(v, _)| wanted.contains(v)).map(|(_, v)| v).collect()
    }
}

/// Whether a suite has this name; two are also known by a short one.
fn is_called(suite: &SupportedCipherSuite, name: &str) -> bool {
    let own = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    own == name || own.strip_suffix("_SHA256").is_some_and(|short| short == name)
}

/// Reads a file; the error is in Go's words.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, BadTls> {
    fs::read(path).map_err(|why| {
        let words = match why.kind() {
            io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            io::ErrorKind::IsADirectory => "is a directory".to_owned(),
            _ => why.to_string(),
        };
        BadTls(format!("open {}: {words}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(suites: &[&str], oldest: TlsVersion, newest: TlsVersion) -> TlsOptions {
        TlsOptions {
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_pair: Default::default(),
            ca_file: None,
            client_cert_auth: false,
            crl_file: None,
            allowed_names: Vec::new(),
            allowed_hosts: Vec::new(),
            checks_address: false,
            oldest,
            newest,
            suites: suites.iter().map(|&name| name.to_owned()).collect(),
            rejection: "rejected",
        }
    }

    #[test]
    fn suites_are_named_as_in_go() {
        let check = |name: &str| TlsOptions::check_suites(&[name.to_owned()]);
        assert!(NAMES.iter().all(|name| check(name).is_ok()));
        let unknown = check("TLS_NONSENSE").unwrap_err();
        assert_eq!(unknown.to_string(), "unexpected TLS cipher suite \"TLS_NONSENSE\"");
        assert!(check("TLS13_AES_128_GCM_SHA256").is_err() && check("").is_err());
    }

    #[test]
    fn a_list_of_suites_is_about_the_older_version_alone() {
        let (old, new) = (TlsVersion::V12, TlsVersion::V13);
        let count = |names: &[&str]| options(names, old, new).provider().cipher_suites.len();
        assert_eq!(count(&[]), 9);
        assert_eq!(count(&["TLS_RSA_WITH_RC4_128_SHA"]), 3);
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), 4);
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]), 4);
        let some = ["TLS_RSA_WITH_RC4_128_SHA", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"];
        assert_eq!(options(&some, old, new).missing_suites(), ["TLS_RSA_WITH_RC4_128_SHA"]);
    }

    #[test]
    fn versions_are_a_range() {
        let count = |oldest, newest| options(&[], oldest, newest).versions().len();
        assert_eq!(count(TlsVersion::V12, TlsVersion::V13), 2);
        assert_eq!(count(TlsVersion::V12, TlsVersion::V12), 1);
        assert_eq!(count(TlsVersion::V13, TlsVersion::V13), 1);
        assert_eq!(TlsVersion::read(""), Ok(None));
        assert!(TlsVersion::read("TLS1.1").unwrap_err().0.contains("\"TLS1.1\" (must be one of"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let why = read(Path::new("nowhere/cert.pem")).unwrap_err();
        assert_eq!(why.to_string(), "open nowhere/cert.pem: no such file or directory");
    }
}
