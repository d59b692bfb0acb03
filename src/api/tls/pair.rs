//! [`Pair`]: a certificate and its key, as they are on disk now.
//!
//! Both files are read for each handshake, so that whoever replaces them need
//! not tell anybody. What costs time is not reading but understanding them, and
//! that is done again only for other bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::options::{BadTls, read};

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    understood: Mutex<Option<Understood>>,
}

/// What two files held, and what it means.
struct Understood {
    cert: Vec<u8>,
    key: Vec<u8>,
    pair: Arc<CertifiedKey>,
}

impl std::fmt::Debug for Understood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Understood").finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads a pair for the first time.
    pub(super) fn open(
        cert_file: &Path,
        key_file: &Path,
        provider: Arc<CryptoProvider>,
    ) -> Result<Pair, BadTls> {
        let (cert_file, key_file) = (cert_file.to_owned(), key_file.to_owned());
        let pair = Pair { cert_file, key_file, provider, understood: Mutex::new(None) };
        pair.now()?;
        Ok(pair)
    }

    /// Reads the pair anew, or says in the log why it cannot.
    pub(super) fn renew(&self) -> Result<(), BadTls> {
        self.now().map(drop).inspect_err(|error| {
            let (cert, key) = (self.cert_file.display(), self.key_file.display());
            let (cert, key) = (cert.to_string(), key.to_string());
            tracing::warn!(
                "cert-file" = cert,
                "key-file" = key,
                %error,
                "failed to create peer certificate"
            );
        })
    }

    fn now(&self) -> Result<Arc<CertifiedKey>, BadTls> {
        let (cert, key) = (read(&self.cert_file)?, read(&self.key_file)?);
        let mut understood = self.understood.lock();
        if let Some(known) = &*understood
            && known.cert == cert
            && known.key == key
        {
            return Ok(Arc::clone(&known.pair));
        }
        let pair = Arc::new(understand(&cert, &key, &self.provider)?);
        *understood = Some(Understood { cert, key, pair: Arc::clone(&pair) });
        Ok(pair)
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.now().ok()
    }
}

fn understand(cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, BadTls> {
    let bad = |what: &str, why: &str| BadTls(format!("tls: {what}: {why}"));
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|why| bad("failed to read the certificate", &why.to_string()))?;
    if chain.is_empty() {
        return Err(bad("failed to find any PEM data in certificate input", "no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|why| bad("failed to find PEM block with key", &why.to_string()))?;
    let key = provider.key_provider.load_private_key(key);
    let key = key.map_err(|why| bad("failed to parse private key", &why.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    // A certificate that is too old to be compared is used as it is.
    match pair.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(BadTls("tls: private key does not match public key".to_owned()))
        }
        Ok(()) | Err(_) => Ok(pair),
    }
}
