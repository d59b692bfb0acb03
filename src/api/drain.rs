//! [`Drained`]: the body of a request that is read to its end, wanted or not.
//!
//! Whoever refuses a request by its head reads nothing of its body. A connection
//! that is closed over unread bytes is reset by the kernel, and the reset may
//! overtake the answer. So what is left of a body is read and forgotten, within
//! bounds: beyond them the client has to live with a reset.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

/// As much is read of a body that nobody wants.
const BYTES_MAX: usize = 8 << 20;

/// As long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that is not left unread.
pub(super) struct Drained(Option<Incoming>);

impl Drained {
    /// Takes care of a body; one whose client waits to be asked for it is never
    /// sent, and needs no care.
    pub(super) fn take(request: http::Request<Incoming>) -> http::Request<axum::body::Body> {
        let is_waiting = request.headers().contains_key(http::header::EXPECT);
        request.map(|body| {
            if is_waiting || body.is_end_stream() {
                axum::body::Body::new(body)
            } else {
                axum::body::Body::new(Drained(Some(body)))
            }
        })
    }
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(tokio::time::timeout(PATIENCE, forget(body)));
        }
    }
}

/// Reads a body for nobody.
async fn forget(mut body: Incoming) {
    let mut left = BYTES_MAX;
    while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
    {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}
