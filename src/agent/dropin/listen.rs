//! URLs to listen on, as what they mean to the machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::go::{Misread, failed, unstartable};
use super::value::{authority, parts};

/// A URL to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) url: String,
    pub(super) address: Address,
    /// Whether TLS is spoken.
    pub(super) is_secure: bool,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// On a network.
    Tcp(SocketAddr),
    /// On this machine.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Listen {
    /// Reads a URL that has been found to be one.
    pub(super) fn read(url: String) -> Result<Listen, Misread> {
        let (scheme, rest) = parts(&url);
        let is_secure = ["https", "unixs"].contains(&scheme.as_str());
        if scheme.starts_with("unix") {
            // What looks like a host is the beginning of the path.
            let address = Address::Unix(rest.into());
            return Ok(Listen { address, is_secure, url });
        }
        let authority = authority(rest);
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip = match bare {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            _ => bare
                .parse()
                .ok()
                .ok_or_else(|| failed(format!("expected IP in URL for binding ({url})")))?,
        };
        // Go takes no port for any port.
        let port = if port.is_empty() { Ok(0) } else { port.parse() };
        let port = port.map_err(|_range| {
            let digits = authority.rsplit(':').next().unwrap_or_default();
            unstartable(format!("listen tcp: address {digits}: invalid port"))
        })?;
        let address = Address::Tcp(SocketAddr::new(ip, port));
        Ok(Listen { address, is_secure, url })
    }

    /// The host and the port, as they are written.
    pub(super) fn authority(&self) -> &str {
        authority(parts(&self.url).1)
    }

    /// The host of the URL, as a certificate names it.
    pub(super) fn host(&self) -> &str {
        let authority = self.authority();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Listen {
        Listen::read(url.to_owned()).unwrap()
    }

    #[test]
    fn the_path_of_a_socket_begins_where_a_host_would() {
        let socket = read("unix://localhost:20000");
        assert_eq!(socket.address, Address::Unix("localhost:20000".into()));
        assert!(!socket.is_secure && read("unixs:///run/etcd").is_secure);
        assert_eq!(read("unixs:///run/etcd").address.to_string(), "/run/etcd");
        assert_eq!(read("unix://a/b").address.to_string(), "a/b");
    }

    #[test]
    fn hosts_are_addresses_or_this_machine() {
        assert_eq!(read("https://localhost:1").address.to_string(), "127.0.0.1:1");
        assert_eq!(read("http://[::1]:2").address.to_string(), "[::1]:2");
        assert_eq!(read("http://[::1]:2").host(), "::1");
        assert_eq!(read("https://localhost:1").host(), "localhost");
        let refused = Listen::read("http://example.org:1".to_owned()).unwrap_err();
        assert_eq!(refused.text, "expected IP in URL for binding (http://example.org:1)");
        assert!(Listen::read("http://:1".to_owned()).is_err(), "nobody is no host");
        assert_eq!(read("HTTP://u@127.0.0.1:?q").address.to_string(), "127.0.0.1:0");
        let far = Listen::read("http://127.0.0.1:99999".to_owned()).unwrap_err();
        assert_eq!(far.text, "listen tcp: address 99999: invalid port");
    }
}
