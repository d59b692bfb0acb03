//! Signatures on tokens: the methods that etcd knows, and the keys they take.
//!
//! Keys are those of an etcd: PEM with PKCS#1, SEC 1 or PKCS#8 inside, public
//! ones as SubjectPublicKeyInfo or in a certificate; for HMAC, the bytes of the
//! private key's file as they are.

use ed25519_dalek as ed25519;
use getrandom::SysRng;
use hmac::{Hmac, KeyInit, Mac};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey};
use rsa::sha2::digest::const_oid::AssociatedOid;
use rsa::sha2::digest::{Digest, FixedOutputReset, Update};
use rsa::sha2::{Sha256, Sha384, Sha512};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Signer, Verifier};
use rsa::{PrivateKey as RsaPrivateKey, PublicKey as RsaPublicKey, pkcs1v15, pss};
use x509_cert::Certificate;
use x509_cert::der::pem;
use x509_cert::der::{Decode as _, Encode as _};

/// Why keys cannot be used, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadKeys(pub String);

/// Why nothing can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// There is no private key.
    VerifyOnly,
    /// The key is not one for this method.
    UnfitKey,
}

type Sign = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Unsigned> + Send + Sync>;
type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// A method together with its keys.
pub(super) struct Keys {
    sign: Sign,
    verify: Verify,
}

impl Keys {
    /// Of a method, with what the files of its keys hold.
    ///
    /// # Errors
    /// An unknown method; keys that are missing, of another kind, or no pair.
    pub(super) fn new(method: &str, public: &[u8], private: &[u8]) -> Result<Keys, BadKeys> {
        match method {
            "RS256" => rsa(public, private, rs::<Sha256>),
            "RS384" => rsa(public, private, rs::<Sha384>),
            "RS512" => rsa(public, private, rs::<Sha512>),
            "PS256" => rsa(public, private, ps::<Sha256>),
            "PS384" => rsa(public, private, ps::<Sha384>),
            "PS512" => rsa(public, private, ps::<Sha512>),
            "ES256" | "ES384" | "ES512" => ecdsa(method, public, private),
            "EdDSA" => edwards(public, private),
            "HS256" => hs::<Hmac<Sha256>>(private),
            "HS384" => hs::<Hmac<Sha384>>(private),
            "HS512" => hs::<Hmac<Sha512>>(private),
            "none" => Err(bad("unsupported signing method: *jwt.signingMethodNone")),
            _ => Err(bad("auth: invalid auth options")),
        }
    }

    /// Signs a text.
    pub(super) fn sign(&self, text: &[u8]) -> Result<Vec<u8>, Unsigned> {
        (self.sign)(text)
    }

    /// Whether a signature is that of a text.
    pub(super) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        (self.verify)(text, signature)
    }
}

fn bad(text: impl Into<String>) -> BadKeys {
    BadKeys(text.into())
}

fn missing() -> BadKeys {
    bad("auth: missing key data")
}

/// What the first PEM block of a file holds.
fn unwrap_pem(file: &[u8]) -> Result<Vec<u8>, BadKeys> {
    let words = "invalid key: Key must be a PEM encoded PKCS1 or PKCS8 key";
    let width = pem::detect_base64_line_width(file).map_err(|_none| bad(words))?;
    let decoder = pem::Decoder::new_wrapped(file, width);
    let mut der = Vec::new();
    let decoded = decoder.and_then(|mut pem| pem.decode_to_end(&mut der).map(drop));
    decoded.map_err(|_broken| bad(words))?;
    Ok(der)
}

/// A pair of which one half may be missing; the other half follows, or does not.
fn pair<Private, Public: PartialEq>(
    (public, private): (&[u8], &[u8]),
    read_public: impl FnOnce(&[u8]) -> Result<Public, BadKeys>,
    read_private: impl FnOnce(&[u8]) -> Result<Private, BadKeys>,
    half: impl FnOnce(&Private) -> Public,
) -> Result<(Public, Option<Private>), BadKeys> {
    let read = |file: &[u8]| (!file.is_empty()).then(|| unwrap_pem(file)).transpose();
    let private = read(private)?.map(|der| read_private(&der)).transpose()?;
    let public = read(public)?.map(|der| read_public(&der)).transpose()?;
    match (public, private) {
        (None, None) => Err(missing()),
        (Some(public), None) => Ok((public, None)),
        (public, Some(private)) => {
            let own = half(&private);
            if public.is_some_and(|public| public != own) {
                return Err(bad("auth: public and private keys don't match"));
            }
            Ok((own, Some(private)))
        }
    }
}

/// The public key within a certificate, if it is one.
fn certified(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    certificate.tbs_certificate().subject_public_key_info().to_der().ok()
}

/// Signs with what can sign, if it is there.
fn signing<S: Send + Sync + 'static>(
    signer: Option<S>,
    sign: impl Fn(&S, &[u8]) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Sign {
    Box::new(move |text| {
        let signer = signer.as_ref().ok_or(Unsigned::VerifyOnly)?;
        sign(signer, text).ok_or(Unsigned::UnfitKey)
    })
}

fn rsa(
    public: &[u8],
    private: &[u8],
    keys: fn(RsaPublicKey, Option<RsaPrivateKey>) -> Keys,
) -> Result<Keys, BadKeys> {
    let read_public = |der: &[u8]| {
        let spki = certified(der).unwrap_or_else(|| der.to_owned());
        let key = RsaPublicKey::from_public_key_der(&spki);
        key.or_else(|_| RsaPublicKey::from_pkcs1_der(der))
            .map_err(|_other| bad("key is not a valid RSA public key"))
    };
    let read_private = |der: &[u8]| {
        let key = RsaPrivateKey::from_pkcs1_der(der);
        key.or_else(|_| RsaPrivateKey::from_pkcs8_der(der))
            .map_err(|_other| bad("key is not a valid RSA private key"))
    };
    let half = |key: &RsaPrivateKey| key.to_public_key();
    let (public, private) = pair((public, private), read_public, read_private, half)?;
    Ok(keys(public, private))
}

/// A hash that RSA can sign.
trait RsaHash: Digest + AssociatedOid + FixedOutputReset + Update + Send + Sync + 'static {}

impl RsaHash for Sha256 {}
impl RsaHash for Sha384 {}
impl RsaHash for Sha512 {}

fn rs<D: RsaHash>(public: RsaPublicKey, private: Option<RsaPrivateKey>) -> Keys {
    let verifier = pkcs1v15::VerifyingKey::<D>::new(public);
    let sign = |signer: &pkcs1v15::SigningKey<D>, text: &[u8]| {
        // With chance in it, nobody learns the key from the time it takes.
        signer.try_sign_with_rng(&mut SysRng, text).ok().map(|signature| signature.to_vec())
    };
    let verify = move |text: &[u8], signature: &[u8]| {
        let signature = pkcs1v15::Signature::try_from(signature);
        signature.is_ok_and(|signature| verifier.verify(text, &signature).is_ok())
    };
    let signer = private.map(pkcs1v15::SigningKey::<D>::new);
    Keys { sign: signing(signer, sign), verify: Box::new(verify) }
}

fn ps<D: RsaHash>(public: RsaPublicKey, private: Option<RsaPrivateKey>) -> Keys {
    // Others may have salted with another length, which is told from the signature.
    let verifier = pss::VerifyingKey::<D>::new_with_auto_salt_len(public);
    let sign = |signer: &pss::SigningKey<D>, text: &[u8]| {
        signer.try_sign_with_rng(&mut SysRng, text).ok().map(|signature| signature.to_vec())
    };
    let verify = move |text: &[u8], signature: &[u8]| {
        let signature = pss::Signature::try_from(signature);
        signature.is_ok_and(|signature| verifier.verify(text, &signature).is_ok())
    };
    let signer = private.map(pss::SigningKey::<D>::new);
    Keys { sign: signing(signer, sign), verify: Box::new(verify) }
}

/// What an elliptic curve can do; the curves are types of three crates.
macro_rules! curve {
    ($curve:ident, $name:ident, $method:literal) => {
        mod $name {
            use $curve::ecdsa::{Signature, SigningKey, VerifyingKey};
            use $curve::{PublicKey, SecretKey};

            use super::*;

            /// Keys of this curve, `None` if they are of another.
            pub(super) fn keys(
                method: &str,
                files: (&[u8], &[u8]),
            ) -> Option<Result<Keys, BadKeys>> {
                let read_public = |der: &[u8]| {
                    let spki = certified(der).unwrap_or_else(|| der.to_owned());
                    PublicKey::from_public_key_der(&spki).map_err(|_other| bad(ANOTHER_CURVE))
                };
                let read_private = |der: &[u8]| {
                    let key = SecretKey::from_sec1_der(der).ok();
                    key.or_else(|| SecretKey::from_pkcs8_der(der).ok())
                        .ok_or_else(|| bad(ANOTHER_CURVE))
                };
                match pair(files, read_public, read_private, SecretKey::public_key) {
                    Err(BadKeys(why)) if why == ANOTHER_CURVE => None,
                    Err(why) => Some(Err(why)),
                    // It is found out when something is to be signed.
                    Ok((_, private)) if method != $method => Some(Ok(unfit(private.is_some()))),
                    Ok((public, private)) => Some(Ok(fit(&public, private.as_ref()))),
                }
            }

            fn fit(public: &PublicKey, private: Option<&SecretKey>) -> Keys {
                let verifier = VerifyingKey::from(public);
                let sign = |signer: &SigningKey, text: &[u8]| {
                    let signature: Signature = signer.try_sign(text).ok()?;
                    Some(signature.to_vec())
                };
                let verify = move |text: &[u8], signature: &[u8]| {
                    let signature = Signature::from_slice(signature);
                    signature.is_ok_and(|signature| verifier.verify(text, &signature).is_ok())
                };
                let signer = private.map(SigningKey::from);
                Keys { sign: signing(signer, sign), verify: Box::new(verify) }
            }
        }
    };
}

curve!(p256, smallest, "ES256");
curve!(p384, middle, "ES384");
curve!(p521, largest, "ES512");

const ANOTHER_CURVE: &str = "another curve";

/// A key of another curve than the method's signs nothing.
fn unfit(is_private: bool) -> Keys {
    let sign = signing(is_private.then_some(()), |(), _| None);
    Keys { sign, verify: Box::new(|_, _| false) }
}

fn ecdsa(method: &str, public: &[u8], private: &[u8]) -> Result<Keys, BadKeys> {
    let files = (public, private);
    let keys = smallest::keys(method, files)
        .or_else(|| middle::keys(method, files))
        .or_else(|| largest::keys(method, files));
    let kind = if private.is_empty() { "public" } else { "private" };
    keys.unwrap_or_else(|| Err(bad(format!("key is not a valid ECDSA {kind} key"))))
}

fn edwards(public: &[u8], private: &[u8]) -> Result<Keys, BadKeys> {
    let read_public = |der: &[u8]| {
        let key = ed25519::VerifyingKey::from_public_key_der(der);
        key.map_err(|_other| bad("key is not a valid Ed25519 public key"))
    };
    let read_private = |der: &[u8]| {
        let key = ed25519::SigningKey::from_pkcs8_der(der);
        key.map_err(|_other| bad("key is not a valid Ed25519 private key"))
    };
    let half = |key: &ed25519::SigningKey| key.verifying_key();
    let (public, private) = pair((public, private), read_public, read_private, half)?;
    let sign = |signer: &ed25519::SigningKey, text: &[u8]| {
        signer.try_sign(text).ok().map(|signature| signature.to_vec())
    };
    let verify = move |text: &[u8], signature: &[u8]| {
        let signature = ed25519::Signature::from_slice(signature);
        signature.is_ok_and(|signature| public.verify(text, &signature).is_ok())
    };
    Ok(Keys { sign: signing(private, sign), verify: Box::new(verify) })
}

/// A public key has no meaning here.
fn hs<M: Mac + KeyInit + Clone + Send + Sync + 'static>(secret: &[u8]) -> Result<Keys, BadKeys> {
    if secret.is_empty() {
        return Err(missing());
    }
    let begun = <M as KeyInit>::new_from_slice(secret).map_err(|_length| missing())?;
    let mac = move |text: &[u8]| {
        let mut mac = begun.clone();
        mac.update(text);
        mac
    };
    let verify = mac.clone();
    let sign = move |(): &(), text: &[u8]| Some(mac(text).finalize().into_bytes().to_vec());
    Ok(Keys {
        sign: signing(Some(()), sign),
        verify: Box::new(move |text, signature| verify(text).verify_slice(signature).is_ok()),
    })
}
