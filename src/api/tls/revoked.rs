//! Certificates that were taken back, by their serial numbers.
//!
//! As in etcd the list is read anew for each connection, nobody asks who signed
//! it or when the next one was due, and a list that cannot be read lets nobody in.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::options::{BadTls, read};

/// Refuses a client of whose certificates one stands in the list.
pub(super) fn check(list: &Path, shown: &[CertificateDer<'_>]) -> Result<(), BadTls> {
    check_in(&read(list)?, shown)
}

fn check_in(list: &[u8], shown: &[CertificateDer<'_>]) -> Result<(), BadTls> {
    let (rest, list) = CertificateRevocationList::from_der(list)
        .map_err(|why| BadTls(format!("x509: malformed crl: {why}")))?;
    if !rest.is_empty() {
        return Err(BadTls("x509: malformed crl: trailing data".to_owned()));
    }
    for certificate in shown {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Err(BadTls("x509: malformed certificate".to_owned()));
        };
        let serial = bare(certificate.raw_serial());
        let mut revoked = list.iter_revoked_certificates();
        if revoked.any(|revoked| bare(revoked.raw_serial()) == serial) {
            let hex: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(BadTls(format!("transport: certificate serial {hex} revoked")));
        }
    }
    Ok(())
}

/// A number without the zeros before it.
fn bare(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_list_lets_nobody_in() {
        for bad in [&b""[..], b"-----BEGIN X509 CRL-----", &[0x30, 0x00]] {
            let why = check_in(bad, &[]).unwrap_err();
            assert!(why.0.starts_with("x509: malformed crl"), "{why}");
        }
        let why = check(Path::new("nowhere.crl"), &[]).unwrap_err();
        assert_eq!(why.0, "open nowhere.crl: no such file or directory");
    }

    #[test]
    fn zeros_before_a_number_do_not_count() {
        assert_eq!(bare(&[0, 0, 1, 0]), [1, 0]);
        assert!(bare(&[0]).is_empty());
    }
}
