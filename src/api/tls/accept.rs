//! [`Tls`]: takes a connection, and gives a stream and who is at its other end.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::names::Names;
use super::options::{BadTls, TlsOptions};
use super::pair::Pair;
use super::revoked;
use super::verifier::Verifier;

/// The first byte of a connection that speaks TLS.
const HANDSHAKE: u8 = 0x16;

/// The protocol that clients negotiate; others are spoken without.
const H2: &[u8] = b"h2";

/// What is said of a certificate that is valid, and for another.
const NOT_ALLOWED: &str = "client certificate authentication failed";

const NO_HANDSHAKE: &str = "tls: first record does not look like a TLS handshake";

/// What a client is told when the fault is the server's: fatal, internal error.
const INTERNAL_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// How connections are secured; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    options: TlsOptions,
    pair: Arc<Pair>,
    /// For those who ask for HTTP/2.
    with_h2: Arc<ServerConfig>,
    /// For those who do not: a client whose wishes are all unknown is refused
    /// where any is known.
    without: Arc<ServerConfig>,
}

/// A connection that is secured.
pub(in crate::api) struct Handshake<I> {
    pub(in crate::api) stream: TlsStream<I>,
    /// The user that the client's certificate makes it, if it may.
    pub(in crate::api) common_name: Option<Arc<str>>,
}

/// Whether a connection that begins with this byte speaks TLS.
pub(in crate::api) fn is_handshake(first: u8) -> bool {
    first == HANDSHAKE
}

/// Why a connection is turned away, and who it was.
#[derive(Default)]
struct Rejection {
    server_name: String,
    names: Option<Names>,
    why: String,
    /// A client that simply hung up is hardly worth a line.
    is_end: bool,
}

impl Tls {
    /// Reads certificates, key and authorities.
    ///
    /// # Errors
    /// A file is missing or makes no sense.
    pub fn new(options: TlsOptions) -> Result<Tls, BadTls> {
        let provider = Arc::new(options.provider());
        let pair = Pair::open(&options.cert_file, &options.key_file, Arc::clone(&provider))?;
        let pair = Arc::new(pair);
        check_client_pair(&options.client_pair, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&options.versions())
            .map_err(|why| BadTls(format!("tls: {why}")))?;
        let builder = if options.ca_file.is_some() || options.client_cert_auth {
            builder.with_client_cert_verifier(Arc::new(Verifier::new(&options, provider)?))
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_cert_resolver(pair.clone());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let without = Arc::new(config.clone());
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Tls(Arc::new(Inside { options, pair, with_h2: Arc::new(config), without })))
    }

    /// Secures a connection, or says in the log why not.
    pub(in crate::api) async fn accept<I>(
        &self,
        io: I,
        remote: &str,
        address: Option<IpAddr>,
    ) -> Option<Handshake<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        match self.shake(io, address).await {
            Ok(handshake) => Some(handshake),
            Err(rejection) => {
                self.tell(remote, &rejection);
                None
            }
        }
    }

    /// Says that a client took too long.
    pub(in crate::api) fn tell_late(&self, remote: &str) {
        let why = "i/o timeout".to_owned();
        self.tell(remote, &Rejection { why, ..Rejection::default() });
    }

    /// Says that a client does not speak TLS.
    pub(in crate::api) fn tell_plain(&self, remote: &str) {
        let why = NO_HANDSHAKE.to_owned();
        self.tell(remote, &Rejection { why, ..Rejection::default() });
    }

    async fn shake<I>(&self, io: I, address: Option<IpAddr>) -> Result<Handshake<I>, Rejection>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await;
        let mut start = start.map_err(|why| Rejection::of(&why, ""))?;
        let (name, config) = {
            let hello = start.client_hello();
            let name = hello.server_name().unwrap_or_default().to_owned();
            let mut wishes: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
            wishes.retain(|wish| *wish != b"http/1.1");
            (name, if wishes.is_empty() { &self.0.without } else { &self.0.with_h2 })
        };
        if let Err(why) = self.0.pair.renew() {
            // It may be gone already.
            start.io.write_all(&INTERNAL_ERROR).await.ok();
            let (server_name, why) = (name, why.to_string());
            return Err(Rejection { server_name, why, ..Rejection::default() });
        }
        let stream = start.into_stream(Arc::clone(config)).await;
        let stream = stream.map_err(|why| Rejection::of(&why, &name))?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let names = shown.first().map(|certificate| Names::of(certificate));
        let checked = self.check(shown, names.as_ref(), address).await;
        checked.map_err(|why| Rejection {
            server_name: name,
            names: names.clone(),
            why: why.0,
            is_end: false,
        })?;
        let common_name = names.map(|names| names.common);
        let common_name = common_name.filter(|_| self.0.options.client_cert_auth);
        Ok(Handshake { common_name: common_name.map(Arc::from), stream })
    }

    /// What etcd asks of a certificate once the connection stands.
    async fn check(
        &self,
        shown: &[CertificateDer<'_>],
        names: Option<&Names>,
        address: Option<IpAddr>,
    ) -> Result<(), BadTls> {
        let options = &self.0.options;
        if let Some(list) = options.crl_file.as_deref().filter(|_| !shown.is_empty()) {
            revoked::check(list, shown)?;
        }
        if options.checks_address
            && let (Some(names), Some(address)) = (names, address)
        {
            stands_for(names, address).await?;
        }
        Ok(())
    }

    fn tell(&self, remote: &str, rejection: &Rejection) {
        let Rejection { server_name, names, why: error, is_end } = rejection;
        let text = self.0.options.rejection;
        match names {
            _ if *is_end => {
                tracing::debug!(
                    "remote-addr" = remote,
                    "server-name" = server_name,
                    error,
                    "{text}"
                );
            }
            None => {
                tracing::warn!(
                    "remote-addr" = remote,
                    "server-name" = server_name,
                    error,
                    "{text}"
                );
            }
            Some(names) => {
                let addresses = names.addresses.iter().map(IpAddr::to_string);
                tracing::warn!(
                    "remote-addr" = remote,
                    "server-name" = server_name,
                    "ip-addresses" = addresses.collect::<Vec<_>>().join(","),
                    "dns-names" = names.hosts.join(","),
                    error,
                    "{text}"
                );
            }
        }
    }
}

/// Whether what the member would show as a client could be shown.
fn check_client_pair(
    (cert, key): &(PathBuf, PathBuf),
    provider: &Arc<CryptoProvider>,
) -> Result<(), BadTls> {
    match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => Ok(()),
        (false, false) => Pair::open(cert, key, Arc::clone(provider)).map(drop),
        (true, false) | (false, true) => {
            let (key, cert) = (key.display(), cert.display());
            Err(BadTls(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {key}, \
                 cert: {cert}]"
            )))
        }
    }
}

/// Whether a certificate stands for the host that shows it; one without names
/// stands for any.
async fn stands_for(names: &Names, address: IpAddr) -> Result<(), BadTls> {
    if names.addresses.contains(&address) || names.addresses.is_empty() && names.hosts.is_empty() {
        return Ok(());
    }
    for host in &names.hosts {
        let found = tokio::net::lookup_host((host.as_str(), 0)).await;
        if found.is_ok_and(|mut found| found.any(|found| found.ip().to_canonical() == address)) {
            return Ok(());
        }
    }
    Err(BadTls(match names.hosts.is_empty() {
        true => {
            let valid = names.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>();
            format!("x509: certificate is valid for {}, not {address}", valid.join(", "))
        }
        false => {
            let (address, hosts) = (address.to_string(), &names.hosts);
            format!("tls: {address:?} does not match any of DNSNames {hosts:?}")
        }
    }))
}

impl Rejection {
    fn of(why: &io::Error, server_name: &str) -> Rejection {
        let inner = why.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        Rejection {
            server_name: server_name.to_owned(),
            names: None,
            is_end: why.kind() == io::ErrorKind::UnexpectedEof,
            why: match inner {
                Some(error) => words(error),
                None if why.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
                None => why.to_string(),
            },
        }
    }
}

/// An error as Go's library puts it, where people look for it.
fn words(error: &Error) -> String {
    let verify = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match error {
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidMessage(_) => NO_HANDSHAKE.to_owned(),
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_words(*alert)),
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "tls: client offered only unsupported versions".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "tls: no cipher suite supported by both client and server".to_owned()
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            verify("certificate signed by unknown authority")
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => verify("certificate has expired or is not yet valid"),
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => verify("certificate specifies an incompatible key usage"),
        Error::InvalidCertificate(CertificateError::NotValidForName) => NOT_ALLOWED.to_owned(),
        _ => format!("tls: {error}"),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    let name = match alert {
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::InternalError => "internal error",
        AlertDescription::UserCanceled => "user canceled",
        other => return format!("{other:?}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_in_the_words_of_go() {
        let alert = Error::AlertReceived(AlertDescription::BadCertificate);
        assert_eq!(words(&alert), "remote error: tls: bad certificate");
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(words(&unknown).ends_with("x509: certificate signed by unknown authority"));
        let other = Error::InvalidCertificate(CertificateError::NotValidForName);
        assert_eq!(words(&other), "client certificate authentication failed");
    }

    #[test]
    fn a_client_that_hangs_up_is_no_warning() {
        let end = Rejection::of(&io::Error::from(io::ErrorKind::UnexpectedEof), "a");
        assert!(end.is_end && end.why == "EOF" && end.server_name == "a");
        let other = io::Error::new(io::ErrorKind::InvalidData, Error::NoCertificatesPresented);
        let other = Rejection::of(&other, "");
        assert!(!other.is_end);
        assert_eq!(other.why, "tls: client didn't provide a certificate");
    }
}
