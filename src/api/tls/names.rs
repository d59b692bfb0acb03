//! The names in a certificate, and whether one of them is a certain host's.

use std::net::IpAddr;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// For whom a certificate stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The common name; of several the last one, as in Go.
    pub(super) common: String,
    /// Host names.
    pub(super) hosts: Vec<String>,
    /// Addresses.
    pub(super) addresses: Vec<IpAddr>,
}

impl Names {
    /// Reads them; a certificate that cannot be read has none.
    pub(super) fn of(certificate: &[u8]) -> Names {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return Names::default();
        };
        let common = certificate.subject().iter_common_name().last();
        let common = common.and_then(|name| name.as_str().ok()).unwrap_or_default();
        let mut names = Names { common: common.to_owned(), ..Names::default() };
        let others = certificate.subject_alternative_name().ok().flatten();
        for name in others.iter().flat_map(|others| &others.value.general_names) {
            match name {
                GeneralName::DNSName(host) => names.hosts.push((*host).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        names
    }

    /// Whether a host, or an address, is among them.
    pub(super) fn has(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        self.hosts.iter().any(|name| matches(name, host))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// Whether a name is a host's; a star stands for the first label.
fn matches(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let (name, host) = (name.trim_end_matches('.'), host.trim_end_matches('.'));
    if name.is_empty() || host.is_empty() {
        return false;
    }
    match name.strip_prefix("*.") {
        Some(rest) => {
            let labels = host.split_once('.');
            labels.is_some_and(|(first, others)| !first.is_empty() && others == rest)
        }
        None => name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(matches("*.example.com", "A.example.com"));
        assert!(matches("db.Example.com", "db.example.com."));
        for host in ["example.com", "a.b.example.com", ".example.com", ""] {
            assert!(!matches("*.example.com", host), "{host}");
        }
        assert!(!matches("", "") && !matches("*", "a"));
    }

    #[test]
    fn an_address_is_no_host_name() {
        let names = Names {
            common: "c".to_owned(),
            hosts: vec!["127.0.0.2".to_owned()],
            addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        };
        assert!(names.has("127.0.0.1") && names.has("[::1]") && names.has("::1"));
        assert!(!names.has("127.0.0.2") && !names.has("c"));
        assert_eq!(Names::of(b"no certificate"), Names::default());
        assert_eq!(address(&[1, 2, 3]), None);
    }
}
