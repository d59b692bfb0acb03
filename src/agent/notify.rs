//! Telling the service manager, if there is one, how far a process has come.
//!
//! Its socket has a path, or a name that begins with `@` and lies in no folder.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use sd_notify::NotifyState;

/// Where the service manager says where it listens.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells it; that it does not listen harms nobody.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    let socket = env::var_os(SOCKET);
    let told = match socket.as_deref().and_then(|socket| socket.as_bytes().strip_prefix(b"@")) {
        Some(name) => send(OsStr::from_bytes(name), states),
        None => sd_notify::notify(states),
    };
    if let Err(why) = told {
        tracing::debug!(%why, "the service manager does not listen");
    }
}

/// Sends to a socket that has a name alone.
fn send(name: &OsStr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name.as_bytes())?)?;
    let text: String = states.iter().map(|state| format!("{state}\n")).collect();
    socket.send(text.as_bytes()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_may_have_a_name_alone() {
        let name = format!("kat-manager-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(OsStr::new(&name), &[NotifyState::Ready]).unwrap();
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1\n");
        assert!(send(OsStr::new("kat-nobody"), &[NotifyState::Ready]).is_err());
    }
}
