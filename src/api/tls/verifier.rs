//! [`Verifier`]: whether a client's certificate lets it in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::chain;
use super::names::Names;
use super::options::{BadTls, TlsOptions, read};

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Looks at certificates of clients; each must have one.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Vec<CertificateDer<'static>>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    algorithms: WebPkiSupportedAlgorithms,
    /// That of rustls, while no authority is past its time.
    usual: Option<Arc<dyn ClientCertVerifier>>,
    allowed_names: Vec<String>,
    allowed_hosts: Vec<String>,
}

impl Verifier {
    /// Reads the authorities of a file, or those of the system.
    pub(super) fn new(
        options: &TlsOptions,
        provider: Arc<CryptoProvider>,
    ) -> Result<Verifier, BadTls> {
        let authorities = match &options.ca_file {
            Some(path) => authorities(&read(path)?)
                .map_err(|why| BadTls(format!("{}: {}", path.display(), why.0)))?,
            None => system_authorities(),
        };
        let subject = |der: &CertificateDer<'_>| {
            let parsed = X509Certificate::from_der(der).ok();
            parsed.map(|(_, found)| DistinguishedName::from(found.subject().as_raw().to_vec()))
        };
        Ok(Verifier {
            subjects: authorities.iter().filter_map(subject).collect(),
            usual: usual(&authorities, &provider),
            algorithms: provider.signature_verification_algorithms,
            authorities,
            provider,
            allowed_names: options.allowed_names.clone(),
            allowed_hosts: options.allowed_hosts.clone(),
        })
    }

    fn trust(
        &self,
        client: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if self.authorities.contains(client) {
            return Ok(chain::check_client(client, seconds)?);
        }
        if chain::is_ours(client) {
            return Ok(chain::verify(client, between, &self.authorities, seconds)?);
        }
        let mut living = self.authorities.clone();
        living.retain(|authority| chain::check_time(authority, seconds).is_ok());
        let verifier = match living.len() == self.authorities.len() {
            true => self.usual.clone(),
            false => usual(&living, &self.provider),
        };
        let Some(verifier) = verifier else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        verifier.verify_client_cert(client, between, now).map(|_verified| ())
    }

    fn is_allowed(&self, client: &CertificateDer<'_>) -> bool {
        if self.allowed_names.is_empty() && self.allowed_hosts.is_empty() {
            return true;
        }
        let names = Names::of(client);
        self.allowed_names.contains(&names.common)
            || self.allowed_hosts.iter().any(|host| names.has(host))
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        client: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust(client, between, now)?;
        if self.is_allowed(client) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, client, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        client: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, client, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The verifier of rustls over some authorities, if it can use any.
fn usual(
    authorities: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(authorities.iter().cloned());
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    builder.build().ok()
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadTls> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|why| BadTls(format!("bad PEM: {why}")))?;
        X509Certificate::from_der(&certificate)
            .map_err(|why| BadTls(format!("x509: malformed certificate: {why}")))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(BadTls("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

fn system_authorities() -> Vec<CertificateDer<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE");
    let named = named.as_deref().map(Path::new);
    let places = named.into_iter().chain(SYSTEM_BUNDLES.iter().map(Path::new));
    let pem = places.into_iter().find_map(|path| fs::read(path).ok()).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect()
}
