//! Taking the ports of a member, all of them before anything is written.
//!
//! A port that is taken is the commonest reason why a node does not start, so
//! its holder is named where the kernel tells. Deliberately not here: what is
//! served on the ports.

use std::fs;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::errors::{Kind, Report};
use crate::api::Listener;

/// The ports of a member, taken and silent.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) clients: Vec<Listener>,
    pub(super) peers: Vec<Listener>,
    pub(super) metrics: Vec<Listener>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) address: SocketAddr,
    pub(super) why: io::Error,
}

/// Takes all addresses, or names the first that is refused.
///
/// The IPv6 loopback may be missing from a machine: then it is left out, as
/// long as there is another address.
pub(super) async fn all(addresses: &[SocketAddr]) -> Result<Vec<Listener>, Refused> {
    let mut listeners = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener.into()),
            Err(why) if is_absent(*address, &why) && addresses.len() > 1 => {
                tracing::debug!(%address, "there is no such address on this machine");
            }
            Err(why) => return Err(Refused { address: *address, why }),
        }
    }
    Ok(listeners)
}

fn is_absent(address: SocketAddr, why: &io::Error) -> bool {
    let kinds = [io::ErrorKind::AddrNotAvailable, io::ErrorKind::Unsupported];
    address.is_ipv6() && address.ip().is_loopback() && kinds.contains(&why.kind())
}

impl Refused {
    /// Says it as a failed preflight check.
    pub(super) fn into_report(self) -> Report {
        let Refused { address, why } = self;
        let port = address.port();
        if why.kind() != io::ErrorKind::AddrInUse {
            let what = format!("cannot listen on {address}");
            let fix = "correct the address or the port in cluster.kat";
            return Kind::PORT_TAKEN.report(what, fix).because(why);
        }
        let holder = holder(port).unwrap_or_else(|| "another process".to_owned());
        let what = format!("Port-{port}-Free: {address} is in use by {holder}");
        let fix = format!("stop {holder}, or choose other ports: --port-offset N");
        Kind::PORT_TAKEN.report(what, fix)
    }

    /// Says it as Go's network library does, which starters of etcd look for.
    pub(super) fn into_go(self) -> String {
        let reason = match self.why.kind() {
            io::ErrorKind::AddrInUse => "address already in use".to_owned(),
            io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => self.why.to_string(),
        };
        format!("listen tcp {}: bind: {reason}", self.address)
    }
}

/// Names the process that listens on a port, if it can be seen.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        fs::read_to_string(table).ok()?.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (_, local) = columns.get(1)?.rsplit_once(':')?;
            // State 0A is LISTEN.
            let is_it = u16::from_str_radix(local, 16) == Ok(port) && columns.get(3) == Some(&"0A");
            is_it.then(|| columns.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
        })
    })?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        let Ok(number) = name.parse::<u32>() else { continue };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else { continue };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        if links.any(|link| link.as_os_str() == inode.as_str()) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {number} ({})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_its_holder() {
        let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap();
        let refused = || async { all(&[address]).await.unwrap_err() };
        let report = refused().await.into_report();
        assert_eq!(report.exit, 7);
        let me = format!("process {}", std::process::id());
        assert!(report.what.contains(&me), "{}", report.what);
        let go = format!("listen tcp {address}: bind: address already in use");
        assert_eq!(refused().await.into_go(), go);
    }
}
