//! [`Api`]: the services, on any number of listeners, and their graceful stop.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::transport::Channel;
use tower::ServiceExt as _;

use super::auth::Accounts;
use super::budget::Budget;
use super::cluster::Members;
use super::connection::{self, DRAIN_TIMEOUT, Guest, protocol};
use super::drain::Drained;
use super::election::Elections;
use super::entrance;
use super::gateway::Gateway;
use super::health::Pulse;
use super::http;
use super::jwt::Jwt;
use super::kv::Keys;
use super::lease::Leases;
use super::listener::{Arrival, Listener, Manner};
use super::lock::Locks;
use super::maintenance::Upkeep;
use super::member::Member;
use super::metrics::Metrics;
use super::shape;
use super::shards::Shards;
use super::unary::Body;
use super::visitors::Secured;
use super::watch::Watches;
use crate::proto::etcdserverpb::auth_server::AuthServer;
use crate::proto::etcdserverpb::cluster_server::ClusterServer;
use crate::proto::etcdserverpb::kv_server::KvServer;
use crate::proto::etcdserverpb::lease_server::LeaseServer;
use crate::proto::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::proto::etcdserverpb::watch_server::WatchServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::v3electionpb::election_server::ElectionServer;
use crate::proto::v3lockpb::lock_server::LockServer;
use crate::replica::Replica;

/// What the gateway says to a client that its certificate makes a user: the
/// calls that it makes are its own.
const NAME_IS_IGNORED: &str = "CommonName of client sending a request against gateway will be \
                               ignored and not used as expected";

/// What an operator may set; the defaults are etcd's.
#[derive(Clone, Debug)]
pub struct Options {
    /// The largest encoded proposal; a message may be 512 KiB larger.
    pub request_bytes_max: usize,
    /// Operations in each list of a txn.
    pub txn_ops_max: usize,
    /// What all answers may take that are whole in memory.
    pub answers_bytes_max: usize,
    /// How often quiet watchers that asked for it are told of progress.
    pub progress_every: Duration,
    /// HTTP/2 streams per connection.
    pub streams_max: u32,
    /// Seconds of the shortest lease: one and a half election timeouts.
    pub lease_ttl_min: i64,
    /// What a login is worth.
    pub tokens: TokenKind,
    /// The cost of hashing a password: each more takes twice the time.
    pub bcrypt_cost: u32,
    /// How many learners there may be.
    pub learners_max: u32,
    /// Whether changes of members are refused that would cost quorum.
    pub strict_reconfig: bool,
    /// How long raft waits for its leader; streams that want one wait thrice.
    pub election_timeout: Duration,
    /// After how long a silent client is asked whether it lives; zero is never.
    pub ping_every: Duration,
    /// How long it may take to answer that.
    pub ping_timeout: Duration,
    /// From when on a unary call is slow, and told in the log.
    pub slow_after: Duration,
    /// From when on a read is slow, and told in the log as applying is.
    pub slow_apply: Duration,
    /// Whether the duration of every call is measured.
    pub is_extensive: bool,
    /// The switches of features, to be told.
    pub features: Vec<Feature>,
    /// What is served over HTTP/1.1, and to whom.
    pub web: Web,
}

/// A feature that can be switched.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// How far it has come.
    pub stage: &'static str,
    /// Whether it is on.
    pub is_on: bool,
}

/// What is served over HTTP/1.1, and to whom.
#[derive(Clone, Debug)]
pub struct Web {
    /// Origins that browsers may come from; none or `*` is any.
    pub origins: Vec<String>,
    /// Host names that may be asked for without TLS; none or `*` is any.
    pub hosts: Vec<String>,
    /// Whether there is a JSON gateway.
    pub has_gateway: bool,
    /// Whether there are profiles of the process.
    pub has_profiles: bool,
}

impl Default for Web {
    fn default() -> Web {
        let any = || vec!["*".to_owned()];
        Web { origins: any(), hosts: any(), has_gateway: true, has_profiles: false }
    }
}

/// What those get who know a password.
#[derive(Clone, Debug)]
pub enum TokenKind {
    /// Letters that members remember, for as long after each use.
    Simple(Duration),
    /// Something signed, which nobody remembers.
    Signed(Arc<Jwt>),
    /// Nothing: nobody can log in.
    None,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            request_bytes_max: 1_572_864,
            txn_ops_max: 128,
            answers_bytes_max: 256 << 20,
            progress_every: Duration::from_secs(600),
            streams_max: u32::MAX,
            lease_ttl_min: 2,
            tokens: TokenKind::Simple(Duration::from_secs(300)),
            bcrypt_cost: 10,
            learners_max: 1,
            strict_reconfig: true,
            election_timeout: Duration::from_secs(1),
            ping_every: Duration::from_secs(2 * 3600),
            ping_timeout: Duration::from_secs(20),
            slow_after: Duration::from_millis(300),
            slow_apply: Duration::from_millis(100),
            is_extensive: false,
            features: Vec::new(),
            web: Web::default(),
        }
    }
}

/// The services of one member; cheap to clone.
#[derive(Clone)]
pub struct Api {
    services: Arc<Services>,
}

/// The services, and how connections to them speak.
pub(super) struct Services {
    pub(super) member: Arc<Member>,
    pub(super) protocol: Builder<TokioExecutor>,
    pub(super) keys: Arc<Keys>,
    pub(super) kv: KvServer<Keys>,
    pub(super) watch: WatchServer<Watches>,
    pub(super) lease: LeaseServer<Leases>,
    pub(super) cluster: ClusterServer<Members>,
    pub(super) maintenance: MaintenanceServer<Upkeep>,
    pub(super) auth: AuthServer<Accounts>,
    pub(super) health: HealthServer<Pulse>,
    pub(super) lock: LockServer<Locks>,
    pub(super) election: ElectionServer<Elections>,
    /// How many calls the gateway may have open, as a client among others.
    pub(super) gateway_calls: Arc<Semaphore>,
    http: axum::Router,
    probes: axum::Router,
}

/// What holds for the messages of every service.
macro_rules! server {
    ($server:ident, $service:expr, $bytes_max:expr) => {
        $server::from_arc($service)
            .max_decoding_message_size($bytes_max)
            .max_encoding_message_size(usize::MAX)
            .accept_compressed(Gzip)
            .send_compressed(Gzip)
    };
}

impl Services {
    fn new(replica: Replica, options: Options) -> Services {
        let protocol = protocol(&options);
        let metrics = Metrics::new(&options);
        let budget = Budget::new(options.answers_bytes_max);
        let member = Arc::new(Member { replica, metrics, budget, options });
        let bytes_max = member.message_bytes_max();
        let streams_max = usize::try_from(member.options.streams_max).unwrap_or(usize::MAX);
        let of = || Arc::clone(&member);
        let keys = Arc::new(Keys::new(of()));
        let locks = Locks::new(of(), Arc::clone(&keys));
        let elections = Elections::new(of(), Arc::clone(&keys));
        Services {
            protocol,
            gateway_calls: Arc::new(Semaphore::new(streams_max.min(Semaphore::MAX_PERMITS))),
            kv: server!(KvServer, Arc::clone(&keys), bytes_max),
            keys,
            watch: server!(WatchServer, Arc::new(Watches::new(of())), bytes_max),
            lease: server!(LeaseServer, Arc::new(Leases::new(of())), bytes_max),
            cluster: server!(ClusterServer, Arc::new(Members::new(of())), bytes_max),
            maintenance: server!(MaintenanceServer, Arc::new(Upkeep::new(of())), bytes_max),
            auth: server!(AuthServer, Arc::new(Accounts::new(of())), bytes_max),
            lock: server!(LockServer, Arc::new(locks), bytes_max),
            election: server!(ElectionServer, Arc::new(elections), bytes_max),
            health: server!(HealthServer, Arc::new(Pulse::new(&member)), bytes_max),
            http: http::client_port(of()),
            probes: http::probes(of()),
            member,
        }
    }

    /// Answers what is not gRPC.
    pub(super) async fn answer_http(
        &self,
        mut request: ::http::Request<Incoming>,
        gateway: &Gateway,
        guest: &Guest,
    ) -> ::http::Response<Body> {
        if let Some(refused) = shape::check(&mut request) {
            return refused.map(|body| Body::Other(tonic::body::Body::new(body)));
        }
        let path = request.uri().path();
        let is_gateways = path.starts_with("/v3/") || path.starts_with("/v3beta/");
        let has_name = guest.common_name.as_ref().is_some_and(|name| !name.is_empty());
        if is_gateways && has_name && self.member.reader().is_auth_on() {
            let refused = http::refuse(::http::StatusCode::BAD_REQUEST, NAME_IS_IGNORED);
            return refused.map(|body| Body::Other(tonic::body::Body::new(body)));
        }
        let mut request = Drained::take(request);
        request.extensions_mut().insert(gateway.clone());
        if guest.is_secured {
            request.extensions_mut().insert(Secured);
        }
        let Ok(answer) = self.http.clone().oneshot(request).await;
        answer.map(|body| Body::Other(tonic::body::Body::new(body)))
    }
}

impl Api {
    /// The services over a replica. Client URLs and name are read from the store.
    pub fn new(replica: Replica, options: Options) -> Api {
        Api { services: Arc::new(Services::new(replica, options)) }
    }

    /// Serves what a listener is for until `stop`, then lets open unary requests
    /// finish (at most 1 s) and cuts the streams.
    pub async fn serve(&self, listener: Listener, stop: CancellationToken) {
        let shards = match Shards::start() {
            Ok(shards) => shards,
            Err(error) => panic!("cannot start the threads of the API: {error}"),
        };
        let (services, manner) = (&self.services, listener.manner.clone());
        let spawn = |connections: &TaskTracker, arrival, stop| {
            let (services, manner) = (Arc::clone(services), manner.clone());
            shards.spawn(connections, arrival, |arrival| {
                entrance::welcome(services, arrival, manner, stop)
            })
        };
        listener.accept_all(stop, spawn).await;
    }

    /// Serves /metrics, /health, /livez, /readyz alone.
    pub async fn serve_metrics(&self, listener: Listener, stop: CancellationToken) {
        serve_pages(listener, self.services.probes.clone(), stop).await;
    }

    /// A channel to the services through memory, for the agent itself. It must
    /// be made, and live, inside a tokio runtime.
    pub fn channel(&self) -> Channel {
        // Its connection ends with the client's half.
        connection::channel(Arc::clone(&self.services), CancellationToken::new())
    }
}

/// Serves pages over HTTP on a listener until `stop`, and a moment longer.
pub async fn serve_pages(listener: Listener, pages: axum::Router, stop: CancellationToken) {
    let manner = listener.manner.clone();
    let spawn = |connections: &TaskTracker, arrival, stop| {
        connections.spawn(show_pages(pages.clone(), arrival, manner.clone(), stop));
        Ok(())
    };
    listener.accept_all(stop, spawn).await;
}

/// Serves pages on one connection.
async fn show_pages(
    pages: axum::Router,
    arrival: Arrival,
    manner: Manner,
    stop: CancellationToken,
) {
    let identified = stop.run_until_cancelled(entrance::identify(arrival, &manner)).await;
    let Some(Some((io, _))) = identified else { return };
    let service =
        service_fn(move |request: ::http::Request<Incoming>| pages.clone().oneshot(request));
    let protocol = protocol(&Options::default());
    let connection = protocol.serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
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
