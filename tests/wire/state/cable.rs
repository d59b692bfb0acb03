//! A cable between client and server that can be cut, while the server lives on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Server;

/// Forwards connections to a server.
pub(super) struct Cable {
    pub(super) endpoint: String,
    state: Arc<tokio::sync::watch::Sender<CancellationToken>>,
}

impl Cable {
    pub(super) async fn to(server: &Server) -> Cable {
        let server: SocketAddr =
            server.endpoint().strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(tokio::sync::watch::Sender::new(CancellationToken::new()));
        let cable = Cable { endpoint, state: Arc::clone(&state) };
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let cut = state.borrow().clone();
                tokio::spawn(async move {
                    let forward = async {
                        let mut far = TcpStream::connect(server).await?;
                        copy_bidirectional(&mut near, &mut far).await
                    };
                    // A connection that ends by itself is its owners' affair.
                    cut.run_until_cancelled(forward).await;
                });
            }
        });
        cable
    }

    /// Breaks all connections; new ones break at once.
    pub(super) fn cut(&self) {
        self.state.borrow().cancel();
    }

    pub(super) fn mend(&self) {
        self.state.send_replace(CancellationToken::new());
    }
}
