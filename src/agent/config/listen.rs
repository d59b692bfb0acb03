//! Where a node listens.
//!
//! Until mutual TLS exists nothing listens off loopback: `check.rs` refuses
//! what would, and what is derived here stays on it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};

use super::load::Config;
use super::spec::Advertise;
use super::url::{Host, Scheme, Url};

/// The ports of a node, with its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Between agents, and the status page.
    pub agent: u16,
    /// The KAT API.
    pub api: u16,
    /// The etcd API.
    pub etcd_client: u16,
    /// Between members.
    pub etcd_peer: u16,
}

impl Config {
    /// Returns the ports, with the offset added.
    pub fn ports(&self) -> Ports {
        Ports {
            agent: self.shifted(self.spec.agent_port),
            api: self.shifted(self.spec.api_port),
            etcd_client: self.shifted(self.spec.etcd_client_port),
            etcd_peer: self.shifted(self.spec.etcd_peer_port),
        }
    }

    /// Returns where the etcd API listens, every TCP URL with its port.
    pub fn client_urls(&self) -> Vec<Url> {
        self.urls(&self.spec.etcd_client_urls, self.spec.etcd_client_port)
    }

    /// Returns where other members connect, every TCP URL with its port.
    pub fn peer_urls(&self) -> Vec<Url> {
        match self.spec.etcd_peer_urls.as_slice() {
            [] => vec![Url::loopback(self.ports().etcd_peer)],
            urls => self.urls(urls, self.spec.etcd_peer_port),
        }
    }

    /// Returns where metrics are served, or `None` for nowhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let url = self.spec.telemetry.metrics_listen.as_ref()?;
        let mut address = url.tcp(url.port_usual())?;
        address.set_port(self.shifted(address.port()));
        Some(address)
    }

    /// Returns the address at which others reach this node.
    ///
    /// `auto` is the source address of the default route, IPv4 first, or
    /// loopback; no packet is sent to find out. A name is resolved.
    pub fn advertised(&self) -> IpAddr {
        match &self.spec.advertise_address {
            Advertise::Ip(ip) => *ip,
            Advertise::Name(name) => {
                let found = (name.as_str(), 0).to_socket_addrs().ok();
                found.and_then(|mut found| found.next()).map_or(LOOPBACK, |found| found.ip())
            }
            Advertise::Auto => route_source().unwrap_or(LOOPBACK),
        }
    }

    fn urls(&self, urls: &[Url], port: u16) -> Vec<Url> {
        if urls.is_empty() {
            return loopback_urls(self.shifted(port), has_ipv6());
        }
        let complete = |url: &Url| match url.host {
            Host::Socket(_) => url.clone(),
            _ => Url { port: Some(self.shifted(url.port.unwrap_or(port))), ..url.clone() },
        };
        urls.iter().map(complete).collect()
    }

    fn shifted(&self, port: u16) -> u16 {
        port.checked_add(self.port_offset).expect("the check of the ports includes the offset")
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn loopback_urls(port: u16, has_ipv6: bool) -> Vec<Url> {
    let mut urls = vec![Url::loopback(port)];
    if has_ipv6 {
        let host = Host::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST));
        urls.push(Url { scheme: Scheme::Http, host, port: Some(port) });
    }
    urls
}

/// Tells whether this machine has an IPv6 loopback address.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The address that a packet to the outside would carry.
fn route_source() -> Option<IpAddr> {
    // Addresses of documentation (RFC 5737, RFC 3849): routed by default.
    for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        let source = UdpSocket::bind(from).and_then(|socket| {
            socket.connect(to)?;
            socket.local_addr()
        });
        if let Ok(source) = source
            && !source.ip().is_unspecified()
        {
            return Some(source.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::load::parse;
    use crate::agent::config::{Inputs, Override};

    fn config(port_offset: u16, sets: &[&str]) -> Config {
        let mut flags = vec![Override::set("metadata.name=home").unwrap()];
        flags.extend(sets.iter().map(|set| Override::set(set).unwrap()));
        parse(&Inputs { flags, port_offset, ..Inputs::default() }, None).unwrap()
    }

    fn shown(urls: &[Url]) -> Vec<String> {
        urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn listeners_are_derived_on_loopback() {
        assert_eq!(shown(&loopback_urls(2379, false)), ["http://127.0.0.1:2379"]);
        let both = ["http://127.0.0.1:2379", "http://[::1]:2379"];
        assert_eq!(shown(&loopback_urls(2379, true)), both);
        let config = config(0, &["advertiseAddress=192.0.2.10"]);
        assert_eq!(shown(&config.peer_urls()), ["http://127.0.0.1:2380"]);
        assert!(config.client_urls().iter().all(Url::is_local));
        assert_eq!(config.advertised().to_string(), "192.0.2.10");
    }

    #[test]
    fn an_offset_moves_every_port_and_no_socket() {
        let urls = "etcdClientURLs=http://127.0.0.1,http://127.0.0.1:4000,unix:///run/kat/etcd";
        let config = config(10, &[urls, "telemetry.metricsListen=http://127.0.0.1"]);
        let expected = ["http://127.0.0.1:2389", "http://127.0.0.1:4010", "unix:///run/kat/etcd"];
        assert_eq!(shown(&config.client_urls()), expected);
        assert_eq!(config.metrics_address().unwrap().port(), 90);
        assert_eq!(
            config.ports(),
            Ports { agent: 9126, api: 9125, etcd_client: 2389, etcd_peer: 2390 }
        );
    }
}
