//! The URLs a node listens on: four schemes, and no names but `localhost`.
//!
//! Deliberately not here: resolving, connecting, and the rule that plaintext
//! stays on loopback, which is `check.rs`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP in plaintext.
    Http,
    /// TCP with TLS.
    Https,
    /// A unix socket in plaintext.
    Unix,
    /// A unix socket with TLS.
    Unixs,
}

impl Scheme {
    /// Returns the scheme as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        }
    }

    /// Tells whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Unixs)
    }
}

/// What follows the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The name `localhost`.
    Localhost,
    /// An address.
    Ip(IpAddr),
    /// The path of a unix socket.
    Socket(PathBuf),
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// How a connection is made.
    pub scheme: Scheme,
    /// Where.
    pub host: Host,
    /// The port, if it was written.
    pub port: Option<u16>,
}

impl Url {
    /// Returns plaintext on IPv4 loopback.
    pub fn loopback(port: u16) -> Self {
        let host = Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self { scheme: Scheme::Http, host, port: Some(port) }
    }

    /// Tells whether only this machine can connect.
    pub fn is_local(&self) -> bool {
        match &self.host {
            Host::Localhost | Host::Socket(_) => true,
            Host::Ip(ip) => ip.is_loopback(),
        }
    }

    /// Returns the TCP address, or `None` for a unix socket.
    pub fn tcp(&self, port_default: u16) -> Option<SocketAddr> {
        let ip = match &self.host {
            Host::Localhost => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Ip(ip) => *ip,
            Host::Socket(_) => return None,
        };
        Some(SocketAddr::new(ip, self.port.unwrap_or(port_default)))
    }

    /// Returns the port that the scheme has elsewhere.
    pub fn port_usual(&self) -> u16 {
        if self.scheme == Scheme::Https { 443 } else { 80 }
    }

    /// Reads a URL; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("unix", rest)) => (Scheme::Unix, rest),
            Some(("unixs", rest)) => (Scheme::Unixs, rest),
            Some((other, _)) => {
                return Err(format!("\"{other}\" is no scheme: http, https, unix or unixs"));
            }
            None => {
                return Err("a scheme is missing: http://, https://, unix:// or unixs://".into());
            }
        };
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            if rest.is_empty() || rest.contains('\0') {
                return Err("the path of the socket is missing".into());
            }
            return Ok(Self { scheme, host: Host::Socket(rest.into()), port: None });
        }
        let (host, port) = split_port(rest)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => match inside.parse() {
                Ok(ip) => Host::Ip(IpAddr::V6(ip)),
                Err(_) => return Err(format!("\"{inside}\" is no IPv6 address")),
            },
            None if host == "localhost" => Host::Localhost,
            None => match host.parse() {
                Ok(ip) => Host::Ip(IpAddr::V4(ip)),
                Err(_) => return Err(format!("\"{host}\" is neither an IP address nor localhost")),
            },
        };
        Ok(Self { scheme, host, port })
    }
}

/// Splits `host:port`; the port may be absent, nothing may follow it.
fn split_port(rest: &str) -> Result<(&str, Option<u16>), String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err("only a host and a port may follow the scheme".into());
    }
    let after_bracket = rest.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = rest[after_bracket..].find(':').map(|at| at + after_bracket) else {
        return Ok((rest, None));
    };
    let (host, port) = (&rest[..colon], &rest[colon + 1..]);
    if port.contains(':') {
        return Err("an IPv6 address needs brackets: http://[::1]:2379".into());
    }
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok((host, Some(number)))
        }
        _ => Err(format!("\"{port}\" is no port: 1-65535")),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.word();
        match &self.host {
            Host::Localhost => write!(f, "{scheme}://localhost")?,
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{scheme}://{ip}")?,
            Host::Ip(IpAddr::V6(ip)) => write!(f, "{scheme}://[{ip}]")?,
            Host::Socket(path) => write!(f, "{scheme}://{}", path.display())?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
