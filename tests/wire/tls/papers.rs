//! [`Papers`]: authorities, and the certificates that they sign.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// The authority that servers trust, another one, and what they sign, as files
/// in a folder.
pub(crate) struct Papers {
    folder: PathBuf,
    ours: Issuer,
    other: Issuer,
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

fn authority(name: &str) -> Issuer {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

impl Papers {
    /// Makes the authorities: `ca.pem` and `other-ca.pem`.
    pub(crate) fn new(folder: PathBuf) -> Papers {
        let papers = Papers { folder, ours: authority("wire"), other: authority("other") };
        papers.write("ca.pem", papers.ours.pem());
        papers.write("other-ca.pem", papers.other.pem());
        papers
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        // Whole or not at all, as who replaces a file of a living server does.
        let aside = self.folder.join(format!("{file}.new"));
        fs::write(&aside, bytes).unwrap();
        fs::rename(aside, self.folder.join(file)).unwrap();
    }

    fn sign(&self, file: &str, params: &CertificateParams, issuer: &Issuer) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        self.write(&format!("{file}.key"), key.serialize_pem());
        self.write(&format!("{file}.pem"), certificate.pem());
    }

    /// `server.pem` and its key, with a serial number to know it by.
    pub(crate) fn server(&self, serial: u64) {
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.sign("server", &params, &self.ours);
    }

    /// A client's certificate under the name of its file.
    pub(crate) fn client(&self, name: &str) {
        self.client_with(name, name, |_| {});
    }

    /// A client's certificate with a common name, changed in some way.
    pub(super) fn client_with(
        &self,
        file: &str,
        name: &str,
        change: impl Fn(&mut CertificateParams),
    ) {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        self.sign(file, &params, &self.ours);
    }

    /// A client's certificate that has expired.
    pub(super) fn expired(&self, file: &str) {
        self.client_with(file, file, |params| params.not_after = date_time_ymd(2020, 1, 1));
    }

    /// A certificate that would do for a server alone.
    pub(super) fn servers_only(&self, file: &str) {
        self.client_with(file, file, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
    }

    /// A certificate that makes its bearer an authority.
    pub(super) fn powerful(&self, file: &str) {
        self.client_with(file, file, |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        });
    }

    /// A client's certificate that the other authority signed.
    pub(super) fn stranger(&self, file: &str) {
        self.sign(file, &named(file), &self.other);
    }

    /// A client's own authority, used as its certificate, which is also trusted.
    pub(super) fn own_root(&self, file: &str) {
        let root = authority(file);
        self.write(&format!("{file}.key"), root.key().serialize_pem());
        self.write(&format!("{file}.pem"), root.pem());
        self.write("ca.pem", format!("{}{}", self.ours.pem(), root.pem()));
    }

    /// A folder among them.
    pub(super) fn folder(&self, name: &str) {
        fs::create_dir(self.folder.join(name)).unwrap();
    }

    /// A file that an earlier run left behind.
    pub(super) fn stale(&self, file: &str) {
        self.write(file, "stale");
    }

    /// A list of serial numbers that were taken back, due long ago.
    pub(super) fn revoke(&self, file: &str, serials: &[u64]) {
        let past = date_time_ymd(2021, 1, 1);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: past,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: past,
            next_update: date_time_ymd(2021, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write(file, list.signed_by(&self.ours).unwrap().der());
    }
}
