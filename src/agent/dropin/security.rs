//! [`Security`]: what the flags say about TLS, checked before anything is touched.

use super::go::{Flags, Misread, failed, unstartable};
use crate::api::{TlsOptions, TlsVersion};

/// What etcd says of suites without the one that HTTP/2 cannot do without.
const LACKS_HTTP2: &str = "http2: TLSConfig.CipherSuites is missing an HTTP/2-required \
                           AES_128_GCM_SHA256 cipher (need at least one of \
                           TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
                           TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)";

/// How both sides of a member are secured.
#[derive(Clone, Debug)]
pub(super) struct Security {
    /// Towards clients.
    pub(super) client: Side,
    /// Towards other members.
    pub(super) peer: Side,
}

/// One side of a member.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// What is demanded and shown; what is not given is empty.
    pub(super) options: TlsOptions,
    /// Whether a certificate is made if there is none.
    pub(super) is_auto: bool,
    /// For how many years it is made.
    pub(super) years: i64,
    /// `client` or `peer`.
    pub(super) name: &'static str,
}

impl Security {
    /// Takes the flags for what they mean.
    pub(super) fn of(flags: &Flags) -> Result<Security, Misread> {
        let version =
            |flag: &str| TlsVersion::read(flags.text(flag)).map_err(|w| failed(w.to_string()));
        let (oldest, newest) = (version("tls-min-version")?, version("tls-max-version")?);
        let oldest = oldest.unwrap_or(TlsVersion::V12);
        if newest.is_some_and(|newest| oldest > newest) {
            let (min, max) = (flags.text("tls-min-version"), flags.text("tls-max-version"));
            let text = format!("min version ({min}) is greater than max version ({max})");
            return Err(failed(text));
        }
        let suites = list(flags, "cipher-suites");
        if oldest == TlsVersion::V13 && !suites.is_empty() {
            let text = "cipher suites cannot be configured when only TLS1.3 is enabled";
            return Err(failed(text));
        }
        TlsOptions::check_suites(&suites).map_err(|why| unstartable(why.to_string()))?;
        let newest = newest.unwrap_or(TlsVersion::V13);
        let side = |name: &'static str, prefix: &str, crl: &str, rejection: &'static str| {
            let flag = |flag: &str| format!("{prefix}{flag}");
            let file = |flag: &str| Some(flags.text(flag)).filter(|path| !path.is_empty());
            let options = TlsOptions {
                cert_file: flags.text(&flag("cert-file")).into(),
                key_file: flags.text(&flag("key-file")).into(),
                client_pair: (
                    flags.text(&flag("client-cert-file")).into(),
                    flags.text(&flag("client-key-file")).into(),
                ),
                ca_file: file(&flag("trusted-ca-file")).map(Into::into),
                client_cert_auth: flags.is_on(&flag("client-cert-auth")),
                crl_file: file(crl).map(Into::into),
                allowed_names: Vec::new(),
                allowed_hosts: Vec::new(),
                checks_address: false,
                oldest,
                newest,
                suites: suites.clone(),
                rejection,
            };
            let years = flags.number("self-signed-cert-validity");
            Side { options, is_auto: flags.is_on(&flag("auto-tls")), years, name }
        };
        let mut client =
            side("client", "", "client-crl-file", "rejected connection on client endpoint");
        client.options.allowed_hosts = list(flags, "client-cert-allowed-hostname");
        let mut peer =
            side("peer", "peer-", "peer-crl-file", "rejected connection on peer endpoint");
        peer.options.allowed_names = list(flags, "peer-cert-allowed-cn");
        peer.options.allowed_hosts = list(flags, "peer-cert-allowed-hostname");
        peer.options.checks_address = !flags.is_on("peer-skip-client-san-verification");
        let (names, hosts) = (&peer.options.allowed_names, &peer.options.allowed_hosts);
        if !peer.is_empty() && !names.is_empty() && !hosts.is_empty() {
            let text = format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={names:?}, \
                 hostnames={hosts:?})"
            );
            return Err(failed(text));
        }
        Ok(Security { client, peer })
    }
}

impl Side {
    /// Whether there is no certificate, as far as it is known.
    pub(super) fn is_empty(&self) -> bool {
        let TlsOptions { cert_file, key_file, .. } = &self.options;
        cert_file.as_os_str().is_empty() && key_file.as_os_str().is_empty()
    }

    /// Says, if it is so, that half of a certificate is missing.
    pub(super) fn check_pair(&self) -> Result<(), String> {
        let TlsOptions { cert_file, key_file, .. } = &self.options;
        if !cert_file.as_os_str().is_empty() && !key_file.as_os_str().is_empty() {
            return Ok(());
        }
        let (key, cert) = (key_file.display(), cert_file.display());
        Err(format!("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]"))
    }

    /// Says, if it is so, that HTTP/2 is not to be had with these suites.
    pub(super) fn check_http2(&self) -> Result<(), String> {
        let suites = &self.options.suites;
        let is_needed = |suite: &String| {
            suite.starts_with("TLS_ECDHE_") && suite.ends_with("_WITH_AES_128_GCM_SHA256")
        };
        if suites.is_empty() || suites.iter().any(is_needed) {
            return Ok(());
        }
        Err(LACKS_HTTP2.to_owned())
    }
}

fn list(flags: &Flags, flag: &str) -> Vec<String> {
    let parts = flags.text(flag).split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(arguments: &[&str]) -> Result<Security, Misread> {
        let owned: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        Security::of(&Flags::read(&owned).unwrap())
    }

    fn refused(arguments: &[&str]) -> String {
        security(arguments).unwrap_err().text
    }

    #[test]
    fn versions_and_suites_are_checked_as_etcd_checks_them() {
        let old = refused(&["--tls-min-version=TLS1.1"]);
        assert_eq!(old, "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)");
        let crossed = refused(&["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"]);
        assert_eq!(crossed, "min version (TLS1.3) is greater than max version (TLS1.2)");
        let suite = "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
        let useless = refused(&["--tls-min-version=TLS1.3", suite]);
        assert_eq!(useless, "cipher suites cannot be configured when only TLS1.3 is enabled");
        let unknown = refused(&["--cipher-suites=TLS_NONSENSE"]);
        assert_eq!(unknown, "unexpected TLS cipher suite \"TLS_NONSENSE\"");
        let lacking = security(&[suite]).unwrap().client.check_http2().unwrap_err();
        assert!(lacking.contains("HTTP/2-required AES_128_GCM_SHA256"), "{lacking}");
        let both = format!("{suite},TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(security(&[&both]).unwrap().client.check_http2(), Ok(()));
    }

    #[test]
    fn each_side_has_its_own_flags() {
        let found = security(&["--cert-file=c", "--peer-key-file=k", "--peer-auto-tls"]).unwrap();
        assert!(!found.client.is_empty() && !found.client.is_auto && found.peer.is_auto);
        let half = found.client.check_pair().unwrap_err();
        assert_eq!(half, "KeyFile and CertFile must both be present[key: , cert: c]");
        assert!(security(&[]).unwrap().client.is_empty());
        let both =
            ["--peer-cert-allowed-cn=a", "--peer-cert-allowed-hostname=b", "--peer-cert-file=c"];
        let text = "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\"], \
                    hostnames=[\"b\"])";
        assert_eq!(refused(&both), text);
    }
}
