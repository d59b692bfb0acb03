//! Who vouches for a certificate that rustls does not look at.
//!
//! Its verifier refuses, as a client's own, the certificate of an authority,
//! one of the first version, and one that is for any purpose. All are in use
//! with etcd, so for those the chain is followed here: names, dates, purposes,
//! lengths, signatures. Authorities that vouch for some names alone are not
//! understood, and refused.

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

/// Certificates between that of a client and the authority's.
const DEPTH_MAX: usize = 8;

/// Signatures that are checked for one client; then it is refused.
const SIGNATURES_MAX: usize = 64;

type Verdict = Result<(), CertificateError>;

/// Whether rustls does not look at a certificate for its form.
pub(super) fn is_ours(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|certificate| {
        let usage = certificate.extended_key_usage().ok().flatten();
        let is_for_all = usage.is_some_and(|usage| usage.value.any);
        certificate.version() != X509Version::V3 || certificate.is_ca() || is_for_all
    })
}

/// Whether a certificate may be a client's at a time, apart from who vouches
/// for it.
pub(super) fn check_client(certificate: &CertificateDer<'_>, now: i64) -> Verdict {
    let certificate = parse(certificate)?;
    check_dates(&certificate, now)?;
    check_extensions(&certificate)?;
    if serves_clients(&certificate) { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
}

/// Whether a certificate is past its time, or before it.
pub(super) fn check_time(certificate: &CertificateDer<'_>, now: i64) -> Verdict {
    check_dates(&parse(certificate)?, now)
}

/// Follows the chain of a client's certificate to an authority.
pub(super) fn verify(
    client: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    now: i64,
) -> Verdict {
    check_client(client, now)?;
    if authorities.contains(client) {
        return Ok(());
    }
    let parsed = |list| <[_]>::iter(list).filter_map(|der| parse(der).ok()).collect::<Vec<_>>();
    let (between, authorities) = (parsed(between), parsed(authorities));
    let mut search = Search { between, authorities, now, signatures: 0 };
    search.follow(&parse(client)?, &mut Vec::new())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(CertificateError::BadEncoding),
    }
}

fn check_dates(certificate: &X509Certificate<'_>, now: i64) -> Verdict {
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

/// What must be understood, and is not, makes a certificate worthless.
fn check_extensions(certificate: &X509Certificate<'_>) -> Verdict {
    let is_known = |extension: &ParsedExtension<'_>| {
        matches!(
            extension,
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        )
    };
    let mut critical = certificate.extensions().iter().filter(|extension| extension.critical);
    if critical.any(|extension| !is_known(extension.parsed_extension())) {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    let is_constrained = certificate.name_constraints().map_or(true, |found| found.is_some());
    if is_constrained { Err(CertificateError::UnknownIssuer) } else { Ok(()) }
}

/// Whether the purposes of a certificate, if it names any, include clients.
fn serves_clients(certificate: &X509Certificate<'_>) -> bool {
    match certificate.extended_key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.any || usage.value.client_auth,
        Err(_) => false,
    }
}

/// A search for an authority that vouches.
struct Search<'a> {
    between: Vec<X509Certificate<'a>>,
    authorities: Vec<X509Certificate<'a>>,
    now: i64,
    signatures: usize,
}

impl Search<'_> {
    /// Goes up from a certificate; `path` are those between, so far.
    fn follow(&mut self, from: &X509Certificate<'_>, path: &mut Vec<usize>) -> Verdict {
        let mut verdict = Err(CertificateError::UnknownIssuer);
        for i in 0..self.authorities.len() {
            match self.vouches(from, &self.authorities[i].clone(), path.len(), true) {
                Ok(()) => return Ok(()),
                Err(CertificateError::UnknownIssuer) => {}
                Err(why) => verdict = Err(why),
            }
        }
        for i in 0..self.between.len() {
            if path.len() >= DEPTH_MAX || path.contains(&i) {
                continue;
            }
            let issuer = self.between[i].clone();
            if self.vouches(from, &issuer, path.len(), false).is_err() {
                continue;
            }
            path.push(i);
            let further = self.follow(&issuer, path);
            path.pop();
            match further {
                Ok(()) => return Ok(()),
                Err(CertificateError::UnknownIssuer) => {}
                Err(why) => verdict = Err(why),
            }
        }
        verdict
    }

    /// Whether one certificate vouches for another, with so many between it
    /// and the client's.
    fn vouches(
        &mut self,
        for_it: &X509Certificate<'_>,
        issuer: &X509Certificate<'_>,
        between: usize,
        is_authority: bool,
    ) -> Verdict {
        if issuer.subject().as_raw() != for_it.issuer().as_raw() || self.signatures > SIGNATURES_MAX
        {
            return Err(CertificateError::UnknownIssuer);
        }
        // The first version had no way to say that it is an authority's.
        let is_old = is_authority && issuer.version() != X509Version::V3;
        let is_ca = is_old || issuer.is_ca();
        let signs = issuer.key_usage().ok().flatten().is_none_or(|u| u.value.key_cert_sign());
        if !is_ca || !signs {
            return Err(CertificateError::UnknownIssuer);
        }
        let constraints = issuer.basic_constraints().ok().flatten();
        let longest = constraints.and_then(|found| found.value.path_len_constraint);
        if longest.is_some_and(|longest| usize::try_from(longest).is_ok_and(|max| between > max)) {
            return Err(CertificateError::UnknownIssuer);
        }
        self.signatures += 1;
        if for_it.verify_signature(Some(issuer.public_key())).is_err() {
            return Err(CertificateError::UnknownIssuer);
        }
        check_dates(issuer, self.now)?;
        check_extensions(issuer)?;
        if serves_clients(issuer) { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose,
        IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
    };

    use super::*;

    const NOW: i64 = 1_767_225_600;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn params(name: &str, is_ca: IsCa) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = is_ca;
        params
    }

    fn ca(name: &str) -> CertificateParams {
        params(name, IsCa::Ca(BasicConstraints::Unconstrained))
    }

    fn root(params: CertificateParams) -> Issuer {
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn below(params: CertificateParams, issuer: &Issuer) -> Issuer {
        CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
    }

    fn ask(client: &Issuer, between: &[&Issuer], authorities: &[&Issuer]) -> Verdict {
        let der = |list: &[&Issuer]| list.iter().map(|one| one.der().clone()).collect::<Vec<_>>();
        verify(client.der(), &der(between), &der(authorities), NOW)
    }

    #[test]
    fn an_authority_may_be_a_client() {
        let root = root(ca("root"));
        let middle = below(ca("middle"), &root);
        let client = below(ca("client"), &middle);
        assert!(is_ours(root.der()) && is_ours(client.der()));
        assert_eq!(ask(&root, &[], &[&root]), Ok(()));
        assert_eq!(ask(&middle, &[], &[&root]), Ok(()));
        assert_eq!(ask(&client, &[&middle], &[&root]), Ok(()));
        assert_eq!(ask(&client, &[], &[&root]), Err(CertificateError::UnknownIssuer));
        assert_eq!(ask(&client, &[&middle], &[]), Err(CertificateError::UnknownIssuer));
    }

    #[test]
    fn a_name_is_not_enough_to_vouch() {
        let (good, evil) = (root(ca("root")), root(ca("root")));
        let client = below(ca("client"), &evil);
        assert_eq!(ask(&client, &[], &[&good]), Err(CertificateError::UnknownIssuer));
        assert_eq!(ask(&client, &[&evil], &[&good]), Err(CertificateError::UnknownIssuer));
        assert_eq!(ask(&client, &[], &[&good, &evil]), Ok(()));
    }

    #[test]
    fn only_authorities_vouch_and_only_so_far() {
        let top = root(ca("root"));
        let client = below(params("not a ca", IsCa::NoCa), &top);
        let under = below(ca("under"), &client);
        assert_eq!(ask(&under, &[&client], &[&top]), Err(CertificateError::UnknownIssuer));
        let short = root(params("short", IsCa::Ca(BasicConstraints::Constrained(0))));
        let middle = below(ca("middle"), &short);
        let client = below(ca("client"), &middle);
        assert_eq!(ask(&middle, &[], &[&short]), Ok(()));
        assert_eq!(ask(&client, &[&middle], &[&short]), Err(CertificateError::UnknownIssuer));
        let mut silent = ca("silent");
        silent.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let silent = root(silent);
        let client = below(ca("client"), &silent);
        assert_eq!(ask(&client, &[], &[&silent]), Err(CertificateError::UnknownIssuer));
    }

    #[test]
    fn dates_and_purposes_hold_for_all_of_a_chain() {
        let mut old = ca("old");
        old.not_after = date_time_ymd(2020, 1, 1);
        let old = root(old);
        let client = below(ca("client"), &old);
        assert_eq!(ask(&client, &[], &[&old]), Err(CertificateError::Expired));
        assert_eq!(ask(&old, &[], &[&old]), Err(CertificateError::Expired));
        let mut early = ca("early");
        early.not_before = date_time_ymd(2040, 1, 1);
        assert_eq!(ask(&root(early), &[], &[]), Err(CertificateError::NotValidYet));
        let mut server = ca("server");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = root(server);
        let client = below(ca("client"), &server);
        assert_eq!(ask(&server, &[], &[&server]), Err(CertificateError::InvalidPurpose));
        assert_eq!(ask(&client, &[], &[&server]), Err(CertificateError::InvalidPurpose));
    }

    #[test]
    fn any_purpose_is_that_of_clients_too() {
        let root = root(ca("root"));
        let mut any = ca("client");
        any.is_ca = IsCa::NoCa;
        any.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
        let any = below(any, &root);
        assert!(is_ours(any.der()));
        assert_eq!(ask(&any, &[], &[&root]), Ok(()));
    }

    #[test]
    fn a_circle_of_authorities_ends() {
        let one = root(ca("a"));
        let two = root(ca("a"));
        let client = below(ca("a"), &root(ca("a")));
        let refused = ask(&client, &[&one, &two, &client], &[&root(ca("b"))]);
        assert_eq!(refused, Err(CertificateError::UnknownIssuer));
    }
}
