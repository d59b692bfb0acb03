//! The way in: a connection that has arrived becomes one that is served.
//!
//! Where no TLS is spoken nothing is looked at first, and plain TCP goes straight
//! to its requests. Otherwise the first byte tells TLS from the rest, and a
//! handshake tells who is there.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::connection::{self, Guest};
use super::listener::{AnyIo, Arrival, Manner};
use super::server::Services;
use super::tls::{Tls, is_handshake};

/// How long a client may take to show who it is; others do not wait for it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a connection of a client until it ends, or `stop` and a moment longer.
pub(super) async fn welcome(
    services: Arc<Services>,
    arrival: Arrival,
    manner: Manner,
    stop: CancellationToken,
) {
    let guest = plain(&arrival, &manner);
    match (arrival, &manner.tls) {
        (Arrival::Tcp(stream), None) => connection::serve(services, stream, guest, stop).await,
        (arrival, None) => connection::serve(services, arrival.into_any(), guest, stop).await,
        (arrival, Some(_)) => {
            // In a box: those who come without TLS need not carry its size.
            let shown = Box::pin(stop.run_until_cancelled(identify(arrival, &manner))).await;
            if let Some(Some((io, guest))) = shown {
                connection::serve(services, io, guest, stop).await;
            }
        }
    }
}

/// Finds out who is there, as far as the place wants to know; `None` if it is
/// nobody who may come in.
pub(super) async fn identify(arrival: Arrival, manner: &Manner) -> Option<(Box<dyn AnyIo>, Guest)> {
    let plain = plain(&arrival, manner);
    let Some(tls) = &manner.tls else { return Some((arrival.into_any(), plain)) };
    let remote = arrival.name();
    let shown = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        match (is_secured(&arrival).await?, manner.is_plain) {
            (true, _) => secure(arrival, tls, &remote, manner).await,
            (false, true) => Some((arrival.into_any(), plain)),
            (false, false) => {
                tls.tell_plain(&remote);
                None
            }
        }
    });
    let Ok(shown) = shown.await else {
        tls.tell_late(&remote);
        return None;
    };
    shown
}

/// Somebody of whom nothing is known but the address.
fn plain(arrival: &Arrival, manner: &Manner) -> Guest {
    Guest { serves: manner.serves, remote: arrival.address(), ..Guest::default() }
}

async fn is_secured(arrival: &Arrival) -> Option<bool> {
    match arrival.first_byte().await {
        Ok(first) => first.map(is_handshake),
        Err(error) => {
            tracing::debug!(%error, "a connection broke before it began");
            None
        }
    }
}

async fn secure(
    arrival: Arrival,
    tls: &Tls,
    remote: &str,
    manner: &Manner,
) -> Option<(Box<dyn AnyIo>, Guest)> {
    let guest = plain(&arrival, manner);
    let host = arrival.host();
    let handshake = tls.accept(arrival.into_any(), remote, host).await?;
    let guest = Guest { is_secured: true, common_name: handshake.common_name, ..guest };
    Some((Box::new(handshake.stream), guest))
}
