//! Certificates that a member makes for itself, and keeps.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

const DAYS_OF_YEAR: i64 = 365;
const SECONDS_OF_DAY: i64 = 24 * 3600;

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What a certificate is made for.
pub(super) struct Purpose<'a> {
    /// Names and addresses that lead to the member.
    pub(super) hosts: Vec<&'a str>,
    /// For how many years.
    pub(super) years: i64,
    /// Whether the member is also known by it where it is the client.
    pub(super) is_clients: bool,
}

/// Finds the pair of a folder, or makes one; the error says what cannot be done.
pub(super) fn find_or_make(folder: &Path, purpose: &Purpose<'_>) -> Result<Pair, String> {
    if purpose.years <= 0 {
        let error = "selfSignedCertValidity is invalid,it should be greater than 0";
        tracing::warn!(error, "cannot generate cert");
        return Err(error.to_owned());
    }
    let folder = std::path::absolute(folder).map_err(|why| why.to_string())?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|why| format!("mkdir {}: {why}", folder.display()))?;
    let pair = Pair { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    if pair.cert.exists() && pair.key.exists() {
        return Ok(pair);
    }
    let (cert, key) = make(purpose)?;
    write(&pair.cert, &cert, 0o644)?;
    tracing::info!(path = pair.cert.display().to_string(), "created cert file");
    write(&pair.key, &key, 0o600)?;
    tracing::info!(path = pair.key.display().to_string(), "created key file");
    Ok(pair)
}

/// Makes a certificate and its key, both as PEM.
fn make(purpose: &Purpose<'_>) -> Result<(String, String), String> {
    let cannot = |why: rcgen::Error| format!("cannot generate x509 certificate: {why}");
    let mut hosts: Vec<String> = purpose.hosts.iter().map(|&host| host.to_owned()).collect();
    hosts.retain(|host| !host.is_empty());
    hosts.sort_unstable();
    hosts.dedup();
    let mut params = CertificateParams::new(hosts).map_err(cannot)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    let now = jiff::Timestamp::now().as_second();
    let life = purpose.years.saturating_mul(DAYS_OF_YEAR * SECONDS_OF_DAY);
    let (begin, end) = (date(now)?, date(now.saturating_add(life))?);
    let day = |date: jiff::civil::Date| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        date_time_ymd(date.year().into(), month, u8::try_from(date.day()).unwrap_or(1))
    };
    (params.not_before, params.not_after) = (day(begin), day(end));
    // An authority, so that a client can trust the file as it is.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::CrlSign,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if purpose.is_clients {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    tracing::warn!(
        "certificate-validity-bound-not-after" = format!("{end}T00:00:00Z"),
        "automatically generate certificates"
    );
    let key = KeyPair::generate().map_err(cannot)?;
    let certificate = params.self_signed(&key).map_err(cannot)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn date(second: i64) -> Result<jiff::civil::Date, String> {
    let time = jiff::Timestamp::from_second(second);
    let time = time.map_err(|why| format!("no certificate is valid for so long: {why}"))?;
    Ok(jiff::tz::TimeZone::UTC.to_datetime(time).date())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|why| format!("open {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("fixtures/client");
        let hosts = vec!["localhost", "127.0.0.1", ""];
        let mut purpose = Purpose { hosts, years: 0, is_clients: false };
        assert!(find_or_make(&place, &purpose).is_err_and(|why| why.contains("greater than 0")));
        assert!(!place.exists());
        purpose.years = 2;
        let pair = find_or_make(&place, &purpose).unwrap();
        let first = fs::read(&pair.cert).unwrap();
        let again = find_or_make(&place, &purpose).unwrap();
        assert_eq!(fs::read(again.cert).unwrap(), first);
        fs::remove_file(&pair.key).unwrap();
        find_or_make(&place, &purpose).unwrap();
        assert_ne!(fs::read(pair.cert).unwrap(), first);
        purpose.years = i64::MAX;
        fs::remove_file(&pair.key).unwrap();
        assert!(find_or_make(&place, &purpose).is_err());
    }
}
