//! One connection: which protocol it speaks, how long it may take to say so,
//! and how it ends.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{self, Builder};
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::authority::Lenient;
use super::front::Front;
use super::listener::Serves;
use super::server::{Options, Services};

/// How long a connection may take to show which protocol it speaks, and an
/// HTTP/1.1 request for its headers: those who do not know are cut off.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests under way may take to finish when the server stops.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The bytes that begin HTTP/2.
const PREFACE_BYTES: u64 = 24;

/// Unread bytes of one stream; a larger message is read as it comes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// Unread bytes of all streams of a connection; then the client waits.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Metadata of one request; more is refused by the protocol.
const HEADERS_BYTES_MAX: u32 = 64 << 10;

/// The head of one request over HTTP/1.1, as Go bounds it.
const HEAD_BYTES_MAX: usize = (1 << 20) + (4 << 10);

/// Headers of one request over HTTP/1.1; there is a place in memory for each.
const HEADERS_MAX: usize = 1000;

/// Streams that a client has opened and reset before we looked at them; a
/// client with more of them is cut off. Honest clients cancel many at once.
const RESETS_MAX: usize = 4096;

/// Bytes on their way through memory in each direction; then the sender waits.
const MEMORY_BYTES: usize = 256 << 10;

/// How connections speak.
pub(super) fn protocol(options: &Options) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(options.streams_max)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(Some(options.ping_every).filter(|every| !every.is_zero()))
        .keep_alive_timeout(options.ping_timeout)
        .auto_date_header(false);
    builder
}

/// How those speak who may speak HTTP/1.1 alone.
fn first_protocol() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .title_case_headers(true)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// Who is at the other end of a connection, and what it may ask for.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    /// What is served to it.
    pub(super) serves: Serves,
    /// Whether nobody on the way can listen.
    pub(super) is_secured: bool,
    /// The user that its certificate makes it.
    pub(super) common_name: Option<Arc<str>>,
    /// Where it is, if on a network.
    pub(super) remote: Option<SocketAddr>,
    /// Whether it is a part of this process, which sees itself to the memory that
    /// its answers take.
    pub(super) is_within: bool,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            serves: Serves::Everything,
            is_secured: false,
            common_name: None,
            remote: None,
            is_within: false,
        }
    }
}

/// Serves a connection until it closes, or `stop` and a moment longer.
pub(super) async fn serve<I>(services: Arc<Services>, io: I, guest: Guest, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (serves, is_secured) = (guest.serves, guest.is_secured);
    let front = Arc::new(Front::new(Arc::clone(&services), guest, stop.clone()));
    let metrics = &services.member.metrics;
    let heard = Arc::new(AtomicU64::new(0));
    let io = Metered {
        io,
        received: metrics.received_bytes.clone(),
        sent: metrics.sent_bytes.clone(),
        heard: Arc::clone(&heard),
        has_sent: false,
    };
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.answer(request).await) }
    });
    let io = TokioIo::new(Lenient::new(io));
    match serves {
        Serves::Grpc => {
            let protocol = services.protocol.clone().http2_only();
            let connection = protocol.serve_connection(io, service);
            run(connection, auto::Connection::graceful_shutdown, &heard, &stop).await;
        }
        // Over TLS, JSON may come as HTTP/2 too.
        Serves::Http if !is_secured => {
            let connection = first_protocol().serve_connection(io, service).with_upgrades();
            let close = http1::UpgradeableConnection::graceful_shutdown;
            run(connection, close, &heard, &stop).await;
        }
        Serves::Everything | Serves::Http => {
            let connection = services.protocol.serve_connection_with_upgrades(io, service);
            let close = auto::UpgradeableConnection::graceful_shutdown;
            run(connection, close, &heard, &stop).await;
        }
    }
}

/// Runs a connection until it closes, or says too little, or `stop` and a moment
/// longer.
async fn run<C, E: fmt::Display>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    heard: &AtomicU64,
    stop: &CancellationToken,
) where
    C: Future<Output = Result<(), E>>,
{
    let mut connection = std::pin::pin!(connection);
    let silence = async {
        tokio::time::sleep(HANDSHAKE_TIMEOUT).await;
        if heard.load(Ordering::Relaxed) >= PREFACE_BYTES {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = silence => return,
        () = stop.cancelled() => {
            shut_down(connection.as_mut());
            match tokio::time::timeout(DRAIN_TIMEOUT, connection).await {
                Ok(ended) => ended,
                Err(_elapsed) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// A channel to the services through memory. It must be made, and live, inside
/// a tokio runtime; each of its connections ends with it, or with `stop`.
pub(super) fn channel(services: Arc<Services>, stop: CancellationToken) -> Channel {
    let connector = tower::service_fn(move |_uri: http::Uri| {
        let (ours, theirs) = tokio::io::duplex(MEMORY_BYTES);
        let guest = Guest { is_within: true, ..Guest::default() };
        tokio::spawn(serve(Arc::clone(&services), ours, guest, stop.clone()));
        std::future::ready(Ok::<_, Infallible>(TokioIo::new(theirs)))
    });
    Endpoint::from_static("http://in-memory").connect_with_connector_lazy(connector)
}

/// Counts bytes on their way.
struct Metered<I> {
    io: I,
    received: IntCounter,
    sent: IntCounter,
    /// Bytes received on this connection.
    heard: Arc<AtomicU64>,
    /// Whether anything was sent on it yet.
    has_sent: bool,
}

impl<I: AsyncRead + Unpin> AsyncRead for Metered<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let bytes = (buffer.filled().len() - before) as u64;
        self.received.inc_by(bytes);
        self.heard.fetch_add(bytes, Ordering::Relaxed);
        polled
    }
}

impl<I: AsyncWrite + Unpin> Metered<I> {
    fn count(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.has_sent = true;
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.sent.inc_by(*bytes as u64);
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Metered<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.count(polled)
    }

    /// Before it has sent anything, h2 asks in order to know from which size on
    /// a message is not copied behind those before it, but ends the write: 256
    /// bytes where writes are vectored, 1 KiB where not. Most answers are less
    /// than the one and many more than the other, and a write each is what they
    /// would cost.
    fn is_write_vectored(&self) -> bool {
        self.has_sent && self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
