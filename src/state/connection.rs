//! The way to the store: its endpoints, deadlines, and what is tried again.
//!
//! Every endpoint has its own channel, and one of them is in use until it
//! fails; a balancing channel would hide which endpoint a failure belongs to.
//! Neither the client library nor the transport below it repeats a request by
//! itself, so whatever is sent twice is sent twice here:
//!
//! - A read that was not answered goes to the next endpoint.
//! - A write does so only if the store cannot have seen it: the connection was
//!   never made, or the store refused it before it reached the log.
//!
//! Deliberately not here: waiting for an unreachable store beyond one call.

use std::fmt;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, KvClient, LeaseClient, WatchClient};
use futures::FutureExt;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::error::{Error, Obstacle, Result, is_auth_off, is_stale_identity};

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection in use is probed; etcd refuses more than one in 5 s.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long a probe may take before the connection counts as dead.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a caller chooses about its connection.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long any call but `campaign` may take.
    pub request_timeout: Duration,
    /// Who is calling, if the store keeps accounts.
    pub credentials: Option<Credentials>,
}

impl Default for Options {
    fn default() -> Options {
        Options { request_timeout: Duration::from_secs(5), credentials: None }
    }
}

/// A user of the store.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password; never printed.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, <redacted>)", self.user)
    }
}

/// The services of one endpoint, ready to call.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    /// Asks for etcd's "has leader" guarantee.
    pub(super) watch: WatchClient,
    /// Which endpoint, for [`Connection::turn_from`].
    pub(super) endpoint: usize,
}

/// All endpoints of one store. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connection(Arc<Inner>);

struct Inner {
    endpoints: Vec<Door>,
    current: AtomicUsize,
    options: Options,
    closed: CancellationToken,
    /// Whether the last call came through; a change is logged, once.
    reachable: AtomicBool,
}

/// One endpoint.
struct Door {
    index: usize,
    name: String,
    /// Two clients over one channel, because the guarantee that only watches
    /// want is a property of the client.
    plain: Client,
    led: Client,
    signed_in: OnceCell<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Write,
}

impl Connection {
    /// Connects to nobody yet. Must run within the async runtime.
    pub(super) fn to(endpoints: &[String], options: Options) -> Result<Connection> {
        if endpoints.is_empty() {
            return Err(Error::misuse("no endpoint of the store is given"));
        }
        let limit = CONNECT_TIMEOUT.min(options.request_timeout);
        let door = |(index, url): (usize, &String)| {
            Ok(Door::new(index, url.clone(), &endpoint(url, limit)?.connect_lazy()))
        };
        let doors = endpoints.iter().enumerate().map(door).collect::<Result<_>>()?;
        Ok(Connection::new(doors, options))
    }

    /// Uses a channel that somebody else made.
    pub(super) fn over(channel: &Channel, options: Options) -> Connection {
        Connection::new(vec![Door::new(0, "the embedded store".to_owned(), channel)], options)
    }

    fn new(endpoints: Vec<Door>, options: Options) -> Connection {
        Connection(Arc::new(Inner {
            endpoints,
            current: AtomicUsize::new(0),
            options,
            closed: CancellationToken::new(),
            reachable: AtomicBool::new(true),
        }))
    }

    /// When a call that begins now must end.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.0.options.request_timeout
    }

    /// Calls what changes nothing; `doing` names it in errors.
    pub(super) async fn read<T, F, Fut>(&self, doing: &str, call: F) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.read_until(self.deadline(), doing, call).await
    }

    /// Reads, as one of several calls with one deadline.
    pub(super) async fn read_until<T, F, Fut>(
        &self,
        deadline: Instant,
        doing: &str,
        call: F,
    ) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.unless_closed(self.attempts(Kind::Read, deadline, doing, call)).await
    }

    /// Calls what changes something.
    pub(super) async fn write<T, F, Fut>(&self, doing: &str, call: F) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.unless_closed(self.farewell(doing, call)).await
    }

    /// Writes even after the connection was closed, to tidy up.
    pub(super) async fn farewell<T, F, Fut>(&self, doing: &str, call: F) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempts(Kind::Write, self.deadline(), doing, call).await
    }

    /// Ends all calls and watches.
    pub(super) fn close(&self) {
        self.0.closed.cancel();
    }

    /// Returns once the connection is closed.
    pub(super) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    /// Leaves an endpoint that failed, unless somebody did so already.
    pub(super) fn turn_from(&self, endpoint: usize) {
        let next = (endpoint + 1) % self.0.endpoints.len();
        let turn =
            self.0.current.compare_exchange(endpoint, next, Ordering::Relaxed, Ordering::Relaxed);
        turn.ok();
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.closed() => Err(Error::Closed),
            done = work => done,
        }
    }

    /// Goes from endpoint to endpoint, and once more to the first: a connection
    /// may break by the very call that finds it old.
    async fn attempts<T, F, Fut>(
        &self,
        kind: Kind,
        deadline: Instant,
        doing: &str,
        call: F,
    ) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let total = self.0.endpoints.len();
        let mut signs_in = self.0.options.credentials.is_some();
        let mut tried = 0;
        loop {
            let current = self.0.current.load(Ordering::Relaxed);
            let door = &self.0.endpoints[current];
            let until = match kind {
                Kind::Write => deadline,
                Kind::Read => share(deadline, total.saturating_sub(tried)),
            };
            let error = match self.attempt(door, kind, until, doing, &call).await {
                Ok(answer) => return Ok(self.reached(answer)),
                Err(error) => error,
            };
            tried += 1;
            if signs_in && is_stale_identity(&error) {
                signs_in = false;
                door.sign_in_again(until).await;
                continue;
            }
            let Error::Unavailable { why, maybe_applied, .. } = error else {
                return self.reached(Err(error));
            };
            self.turn_from(current);
            if maybe_applied || tried > total || Instant::now() >= deadline {
                return Err(self.missed(why, error));
            }
        }
    }

    async fn attempt<T, F, Fut>(
        &self,
        door: &Door,
        kind: Kind,
        until: Instant,
        doing: &str,
        call: &F,
    ) -> Result<T>
    where
        F: Fn(Clients) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let work = async {
            if let Some(credentials) = &self.0.options.credentials {
                door.sign_in(credentials).await?;
            }
            call(door.clients()).await
        };
        let is_write = kind == Kind::Write;
        let doing = format!("{doing} at {}", door.name);
        match timeout_at(until, work).await {
            Ok(done) => done.map_err(|error| Error::from_client(&error, &doing, is_write)),
            Err(_) => Err(Error::timed_out(&doing, is_write)),
        }
    }

    fn reached<T>(&self, answer: T) -> T {
        if !self.0.reachable.swap(true, Ordering::Relaxed) {
            tracing::info!(event = "store_reachable", "store reachable again");
        }
        answer
    }

    fn missed(&self, why: Obstacle, error: Error) -> Error {
        let is_away = why != Obstacle::Overloaded;
        if is_away && self.0.reachable.swap(false, Ordering::Relaxed) {
            tracing::warn!(event = "store_unreachable", %error, "store unreachable");
        }
        error
    }
}

impl Door {
    fn new(index: usize, name: String, channel: &Channel) -> Door {
        let client = |options: ConnectOptions| {
            let channel = etcd_client::Channel::Tonic(channel.clone());
            Client::from_channel(channel, Some(options))
                .now_or_never()
                .and_then(Result::ok)
                .expect("a client without a user asks nobody for a token")
        };
        Door {
            index,
            name,
            plain: client(ConnectOptions::new()),
            led: client(ConnectOptions::new().with_require_leader(true)),
            signed_in: OnceCell::new(),
        }
    }

    /// As in etcd's own client, an answer may be of any size.
    fn clients(&self) -> Clients {
        Clients {
            kv: self.plain.kv_client().max_decoding_message_size(usize::MAX),
            lease: self.plain.lease_client(),
            watch: self.led.watch_client().max_decoding_message_size(usize::MAX),
            endpoint: self.index,
        }
    }

    async fn sign_in(&self, credentials: &Credentials) -> Result<(), etcd_client::Error> {
        let sign_in = || async {
            for client in [&self.plain, &self.led] {
                let user = (credentials.user.clone(), credentials.password.clone());
                match client.clone().update_user(Some(user)).await {
                    Err(error) if is_auth_off(&error) => {}
                    done => done?,
                }
            }
            Ok(())
        };
        self.signed_in.get_or_try_init(sign_in).await.copied()
    }

    /// A failure shows in the call that follows.
    async fn sign_in_again(&self, until: Instant) {
        for client in [&self.plain, &self.led] {
            match timeout_at(until, client.refresh_token()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "cannot sign in again"),
                Err(_) => tracing::debug!("signing in again takes too long"),
            }
        }
    }
}

/// An equal part of the time that is left, for each endpoint not yet tried.
fn share(deadline: Instant, untried: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(untried.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}

fn endpoint(url: &str, connect_timeout: Duration) -> Result<Endpoint> {
    if url.starts_with("https://") || url.starts_with("unixs:") {
        return Err(Error::misuse(format!("{url}: TLS is not supported yet")));
    }
    let has_scheme = url.contains("://") || url.starts_with("unix:");
    let full = if has_scheme { url.to_owned() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(full)
        .map_err(|error| Error::misuse(format!("{url:?} is no endpoint: {error}")))?;
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .keep_alive_while_idle(false))
}

/// Waits longer and longer, and never as long as the others do.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Backoff {
        Backoff(BACKOFF_MIN)
    }

    pub(super) async fn wait(&mut self) {
        sleep(jittered(self.0)).await;
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
    }
}

/// Something between half of it and all of it.
fn jittered(full: Duration) -> Duration {
    let dice = RandomState::new().hash_one(()) % 1024;
    let half = full / 2;
    half + half * u32::try_from(dice).expect("below 1024") / 1024
}

/// Repeats a call for as long as the store is not available.
pub(super) async fn patiently<T, F, Fut>(call: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut backoff = Backoff::new();
    loop {
        match call().await {
            Err(error) if error.is_unavailable() => backoff.wait().await,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_cut_below_half() {
        let full = Duration::from_millis(100);
        for _ in 0..100 {
            let wait = jittered(full);
            assert!(full / 2 <= wait && wait <= full, "{wait:?}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_host_with_a_port() {
        let check = |url: &str| endpoint(url, CONNECT_TIMEOUT).is_ok();
        assert!(check("http://127.0.0.1:2379"));
        assert!(check("127.0.0.1:2379"));
        assert!(check("unix:///run/kat.sock"));
        assert!(!check("https://127.0.0.1:2379"));
        assert!(!check("http://"));
        assert!(!check("not an endpoint"));
    }

    #[test]
    fn a_password_is_never_printed() {
        let credentials = Credentials { user: "kat".into(), password: "secret".into() };
        let printed =
            format!("{:?}", Options { credentials: Some(credentials), ..Options::default() });
        assert!(printed.contains("kat") && !printed.contains("secret"), "{printed}");
    }
}
