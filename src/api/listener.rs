//! [`Listener`]: where connections come in, and what is spoken there.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::Tls;

/// How long to leave a listener alone that cannot accept: as a rule there are
/// no file descriptors left, and connections must close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A place where connections come in.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    pub(super) manner: Manner,
}

/// What is spoken on the connections of a listener.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Whether connections without TLS are served.
    pub is_plain: bool,
    /// How connections with TLS are secured, if they are served.
    pub tls: Option<Tls>,
    /// What is served.
    pub serves: Serves,
}

/// What a listener for clients serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// gRPC and HTTP.
    Everything,
    /// gRPC alone.
    Grpc,
    /// HTTP alone.
    Http,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, OwnFile),
}

/// The file of a socket, which goes with its listener.
#[derive(Debug)]
struct OwnFile(PathBuf);

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Somebody may have tidied up before.
        fs::remove_file(&self.0).ok();
    }
}

/// A connection that came in.
#[derive(Debug)]
pub(super) enum Arrival {
    /// From a network.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

/// A connection of any kind: what is not plain TCP can afford the detour.
pub(super) trait AnyIo: AsyncRead + AsyncWrite + Unpin + Send {}

impl<I: AsyncRead + AsyncWrite + Unpin + Send> AnyIo for I {}

impl Default for Manner {
    fn default() -> Manner {
        Manner { is_plain: true, tls: None, serves: Serves::Everything }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Listener {
        Listener { socket: Socket::Tcp(listener), manner: Manner::default() }
    }
}

impl Listener {
    /// A listener of this machine, in place of whatever had the path before.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        match fs::remove_file(path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            Ok(()) | Err(_) => {}
        }
        let socket = Socket::Unix(UnixListener::bind(path)?, OwnFile(path.to_owned()));
        Ok(Listener { socket, manner: Manner::default() })
    }

    /// The same place, with another manner.
    #[must_use]
    pub fn with(self, manner: Manner) -> Listener {
        Listener { manner, ..self }
    }

    /// What is spoken here.
    pub fn manner(&self) -> &Manner {
        &self.manner
    }

    /// Where it is: an address and a port, or a path.
    pub fn place(&self) -> String {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.local_addr().map_or_else(|why| why.to_string(), |found| found.to_string())
            }
            Socket::Unix(_, OwnFile(path)) => path.display().to_string(),
        }
    }

    /// Takes the next connection.
    pub(super) async fn accept(&self) -> io::Result<Arrival> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Without it small answers wait for acknowledgements.
                stream.set_nodelay(true)?;
                Ok(Arrival::Tcp(stream))
            }
            Socket::Unix(listener, _) => Ok(Arrival::Unix(listener.accept().await?.0)),
        }
    }

    /// Takes connections until `stop`, then waits for those that are open.
    pub(super) async fn accept_all(
        self,
        stop: CancellationToken,
        spawn: impl Fn(&TaskTracker, Arrival, CancellationToken) -> io::Result<()>,
    ) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(arrival) => {
                    if let Err(error) = spawn(&connections, arrival, stop.clone()) {
                        tracing::debug!(%error, "a connection broke before it began");
                    }
                }
                Err(error) if is_passing(&error) => {
                    tracing::debug!(%error, "a connection broke before it began");
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self);
        connections.close();
        connections.wait().await;
    }
}

/// Whether an error is that of one connection, and not of all.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    [ConnectionAborted, ConnectionReset, InvalidInput, NotConnected].contains(&error.kind())
}

impl Arrival {
    /// Moves a connection to the runtime in which this is called: a stream is
    /// woken by the runtime in which it was made.
    pub(super) fn detach(self) -> io::Result<impl FnOnce() -> io::Result<Arrival> + Send> {
        enum Detached {
            Tcp(std::net::TcpStream),
            Unix(std::os::unix::net::UnixStream),
        }
        let detached = match self {
            Arrival::Tcp(stream) => Detached::Tcp(stream.into_std()?),
            Arrival::Unix(stream) => Detached::Unix(stream.into_std()?),
        };
        Ok(move || match detached {
            Detached::Tcp(stream) => TcpStream::from_std(stream).map(Arrival::Tcp),
            Detached::Unix(stream) => UnixStream::from_std(stream).map(Arrival::Unix),
        })
    }

    /// The address at the other end, if it has one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Arrival::Tcp(stream) => stream.peer_addr().ok(),
            Arrival::Unix(_) => None,
        }
    }

    /// The host at the other end, if it has an address.
    pub(super) fn host(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip().to_canonical())
    }

    /// What the other end is called; a socket of this machine has no name.
    pub(super) fn name(&self) -> String {
        self.address().map_or_else(|| "@".to_owned(), |address| address.to_string())
    }

    /// Looks at the first byte without taking it; `None` is the end.
    pub(super) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let count = match self {
            Arrival::Tcp(stream) => stream.peek(&mut byte).await?,
            Arrival::Unix(stream) => {
                let peek = || {
                    let flags = rustix::net::RecvFlags::PEEK;
                    Ok(rustix::net::recv(stream, &mut byte, flags)?.0)
                };
                stream.async_io(tokio::io::Interest::READABLE, peek).await?
            }
        };
        Ok((count > 0).then_some(byte[0]))
    }

    /// The connection as what any connection is.
    pub(super) fn into_any(self) -> Box<dyn AnyIo> {
        match self {
            Arrival::Tcp(stream) => Box::new(stream),
            Arrival::Unix(stream) => Box::new(stream),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_goes_with_its_listener_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("localhost:2379");
        fs::write(&path, "stale").unwrap();
        let listener = Listener::unix(&path).unwrap();
        assert_eq!(listener.place(), path.display().to_string());
        let client = UnixStream::connect(&path);
        let (client, arrival) = tokio::join!(client, listener.accept());
        client.unwrap().write_all(&[0x16, 1]).await.unwrap();
        let arrival = arrival.unwrap();
        assert_eq!(arrival.first_byte().await.unwrap(), Some(0x16));
        assert_eq!(arrival.first_byte().await.unwrap(), Some(0x16));
        assert_eq!((arrival.name().as_str(), arrival.host()), ("@", None));
        drop(listener);
        assert!(!path.exists());
        assert!(Listener::unix(folder.path()).is_err());
    }
}
