//! [`Front`]: the desk that every call passes, and what is true of all calls.
//!
//! It finds the call of a path, refuses what the metadata forbids, counts, and
//! sees to the ends that calls do not choose: the caller's deadline, the loss
//! of the raft leader for those who asked not to outlive it, the stop of the
//! server. It knows nothing of what a call does.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use prometheus::IntCounter;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service as _;
use tonic::{Code, Status};

use super::budget::{self, Form};
use super::caller::{CommonName, Metadata, Who};
use super::calls::{Call, Direct, Found, Kind, Service};
use super::connection::Guest;
use super::form;
use super::gateway::Gateway;
use super::intake::Intake;
use super::kv::Listed;
use super::listener::Serves;
use super::member::Member;
use super::server::Services;
use super::sketch;
use super::stats::{Asked, Kept};
use super::status::{self, Refusal};
use super::unary::{self, Body};

/// Election timeouts without a raft leader after which streams end that asked
/// for one.
const LEADERLESS_MAX: u32 = 3;

const GRPC_STATUS: &str = "grpc-status";

/// The desk of one connection.
pub(super) struct Front {
    services: Arc<Services>,
    stop: CancellationToken,
    gateway: Gateway,
    guest: Guest,
    /// The version of the client at the other end, once it has said so.
    client: OnceLock<Client>,
}

/// A connection has one client, as a rule.
struct Client {
    version: String,
    unary: IntCounter,
    stream: IntCounter,
}

type Answer = http::Response<Body>;

impl Front {
    /// A desk that closes with `stop`.
    pub(super) fn new(services: Arc<Services>, guest: Guest, stop: CancellationToken) -> Front {
        let gateway = Gateway::new(Arc::clone(&services), stop.clone());
        Front { services, stop, gateway, guest, client: OnceLock::new() }
    }

    /// Whether a request is not gRPC's. Without TLS, HTTP/2 is nobody else's.
    fn is_for_pages(&self, request: &http::Request<Incoming>) -> bool {
        if request.version() != http::Version::HTTP_2 {
            return true;
        }
        self.guest.is_secured
            && match self.guest.serves {
                Serves::Grpc => false,
                Serves::Http => true,
                Serves::Everything => {
                    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
                    let grpc = b"application/grpc";
                    !kind.is_some_and(|kind| kind.windows(grpc.len()).any(|part| part == grpc))
                }
            }
    }

    /// Answers any request.
    pub(super) async fn answer(&self, mut request: http::Request<Incoming>) -> Answer {
        if self.is_for_pages(&request) {
            let answer = self.services.answer_http(request, &self.gateway, &self.guest);
            return Box::pin(answer).await;
        }
        if let Some(name) = &self.guest.common_name {
            request.extensions_mut().insert(CommonName(Arc::clone(name)));
        }
        let kind = form::kind(request.headers());
        form::finish(self.call(request).await, kind)
    }

    /// Answers a call.
    async fn call(&self, request: http::Request<Incoming>) -> Answer {
        let metadata = Metadata::read(request.headers());
        if let Some(refused) = form::refuse(&request, &metadata) {
            return refused;
        }
        let path = form::path(&request);
        let call = match self.services.member.metrics.calls.find(path) {
            Found::Call(call) => Arc::clone(call),
            Found::Service => return status::unknown(path, true).into_http(),
            Found::Nothing => return status::unknown(path, false).into_http(),
        };
        call.started.inc();
        let open = Open::new(call);
        if open.call.kind == Kind::Unary {
            open.call.received.inc();
        }
        if let Err(refusal) = self.admit(&metadata, open.call.kind) {
            return open.refuse(refusal);
        }
        let wishes = Wishes { timeout: metadata.timeout, wants_leader: metadata.wants_leader };
        if open.call.kind == Kind::Unary {
            let direct = open.call.direct.filter(|_| metadata.is_plain());
            let asked = Asked::now(self.guest.remote);
            return match direct {
                Some(direct) => {
                    let pays = !self.guest.is_within;
                    let work = self.services.call_directly(direct, request, asked, pays);
                    self.unary(open, work, asked, wishes.timeout).await
                }
                None => {
                    let path = request.uri().path().to_owned();
                    let request = self.take_in(request, Kind::Unary);
                    let service = open.call.service;
                    let work = async {
                        let answer = self.services.call(service, request).await;
                        self.services.pack(answer).await
                    };
                    let answer = Box::pin(self.unary(open, work, asked, wishes.timeout)).await;
                    asked.tell(&self.services.member, &path, asked.began.elapsed());
                    answer
                }
            };
        }
        let request = self.take_in(request, open.call.kind);
        Box::pin(self.stream(open, request, wishes)).await
    }

    /// A request as tonic is to see it.
    fn take_in(&self, request: http::Request<Incoming>, kind: Kind) -> http::Request<Intake> {
        let bytes_max = self.services.member.message_bytes_max();
        form::packed_in_kind(request).map(|body| Intake::new(body, kind, bytes_max))
    }

    fn admit(&self, metadata: &Metadata<'_>, kind: Kind) -> Result<(), Refusal> {
        let version = metadata.version()?;
        let metrics = &self.services.member.metrics;
        let client = self.client.get_or_init(|| Client {
            version: version.to_owned(),
            unary: metrics.client(Kind::Unary, version),
            stream: metrics.client(Kind::BidiStream, version),
        });
        match kind {
            _ if client.version != version => metrics.client(kind, version).inc(),
            Kind::Unary => client.unary.inc(),
            Kind::ServerStream | Kind::BidiStream => client.stream.inc(),
        }
        let has_leader = || self.services.member.replica.standing().leader.is_some();
        if metadata.wants_leader && !has_leader() { Err(status::NO_LEADER) } else { Ok(()) }
    }

    async fn unary(
        &self,
        open: Open,
        work: impl Future<Output = Answer>,
        asked: Asked,
        timeout: Option<Duration>,
    ) -> Answer {
        let answer = match timeout {
            None => work.await,
            Some(timeout) => match tokio::time::timeout(timeout, work).await {
                Ok(answer) => answer,
                Err(_elapsed) => return open.refuse(status::DEADLINE_EXCEEDED),
            },
        };
        let (answer, code) = self.read(answer, Kind::Unary);
        if open.call.is_timed() {
            open.call.took(asked.began.elapsed(), code);
        }
        open.end(code);
        answer
    }

    async fn stream(&self, open: Open, request: http::Request<Intake>, wishes: Wishes) -> Answer {
        if open.call.kind == Kind::ServerStream {
            open.call.received.inc();
        }
        let deadline = wishes.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let call = self.services.call(open.call.service, request);
        let answer = match deadline {
            None => call.await,
            // Somebody may be slow to ask, too.
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), call).await {
                Ok(answer) => answer,
                Err(_elapsed) => return open.refuse(status::DEADLINE_EXCEEDED),
            },
        };
        if answer.headers().contains_key(GRPC_STATUS) {
            let (answer, code) = self.read(answer, open.call.kind);
            open.end(code);
            return answer;
        }
        let member = Arc::clone(&self.services.member);
        let leader = wishes.wants_leader;
        let end = Box::pin(end_of_stream(member, self.stop.clone(), deadline, leader));
        answer.map(|body| {
            let streamed = Streamed { body, end: Some(end), open: Some(open) };
            Body::Other(tonic::body::Body::new(streamed))
        })
    }

    /// The code of an answer that carries no stream; the decoder's words become
    /// those of etcd's gRPC library.
    fn read(&self, answer: Answer, kind: Kind) -> (Answer, Code) {
        let Some(status) = answer
            .headers()
            .contains_key(GRPC_STATUS)
            .then(|| Status::from_header_map(answer.headers()))
            .flatten()
        else {
            return (answer, Code::Ok);
        };
        let text = status.message().to_owned();
        let bytes_max = self.services.member.message_bytes_max();
        let status = status::decoding(status, kind, bytes_max);
        let code = status.code();
        if status.message() == text { (answer, code) } else { (status.into_http(), code) }
    }
}

/// What a caller wants of the end of its call.
struct Wishes {
    timeout: Option<Duration>,
    wants_leader: bool,
}

/// A call under way. When it is dropped, its caller has gone away.
struct Open {
    call: Arc<Call>,
    is_ended: bool,
    /// When it began, where that is measured.
    began: Option<Instant>,
}

impl Open {
    fn new(call: Arc<Call>) -> Open {
        let began = call.is_measured().then(Instant::now);
        Open { call, is_ended: false, began }
    }

    fn end(mut self, code: Code) {
        self.is_ended = true;
        self.count(code);
    }

    fn count(&self, code: Code) {
        self.call.ended(code);
        // As in etcd, an error is a message too.
        if self.call.kind == Kind::Unary {
            self.call.sent.inc();
        }
        if let Some(began) = self.began {
            self.call.was_open(began.elapsed());
        }
    }

    fn refuse(self, refusal: Refusal) -> Answer {
        let status = Status::from(refusal);
        self.end(status.code());
        status.into_http()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_ended {
            self.count(Code::Cancelled);
        }
    }
}

/// Returns when a stream has to end though neither side ended it.
async fn end_of_stream(
    member: Arc<Member>,
    stop: CancellationToken,
    deadline: Option<Instant>,
    wants_leader: bool,
) -> Refusal {
    let deadline = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    };
    let leaderless = async {
        if !wants_leader {
            return std::future::pending().await;
        }
        let mut missed = 0;
        while missed < LEADERLESS_MAX {
            tokio::time::sleep(member.options.election_timeout).await;
            let has_leader = member.replica.standing().leader.is_some();
            missed = if has_leader { 0 } else { missed + 1 };
        }
    };
    tokio::select! {
        () = stop.cancelled() => status::STOPPED,
        () = deadline => status::DEADLINE_EXCEEDED,
        () = leaderless => status::NO_LEADER,
    }
}

/// The body of a stream, which may have to end early.
struct Streamed {
    body: Body,
    end: Option<Pin<Box<dyn Future<Output = Refusal> + Send>>>,
    open: Option<Open>,
}

impl Streamed {
    fn close(&mut self, code: Code) {
        self.end = None;
        if let Some(open) = self.open.take() {
            open.end(code);
        }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Status;

    /// The end is looked for only when there is nothing to send, so that it
    /// costs a busy stream nothing; a stop that meets a stream which is never
    /// quiet closes the connection a second later.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(mut frame) = Pin::new(&mut self.body).poll_frame(cx) {
            match &mut frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        status::in_plain_words(trailers);
                        let status = Status::from_header_map(trailers);
                        self.close(status.map_or(Code::Ok, |status| status.code()));
                    }
                }
                Some(Err(status)) => self.close(status.code()),
                None => self.close(Code::Ok),
            }
            return Poll::Ready(frame);
        }
        let Some(end) = &mut self.end else { return Poll::Pending };
        let Poll::Ready(refusal) = end.as_mut().poll(cx) else { return Poll::Pending };
        let status = Status::from(refusal);
        self.close(status.code());
        // What feeds the stream goes now, not when the client has read the end.
        self.body = Body::End;
        Poll::Ready(Some(status::end(&status)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Services {
    /// Hands a request to whoever carries it out.
    async fn call(&self, service: Service, request: http::Request<Intake>) -> Answer {
        let Ok(answer) = match service {
            Service::Kv => self.kv.clone().call(request),
            Service::Watch => self.watch.clone().call(request),
            Service::Lease => self.lease.clone().call(request),
            Service::Cluster => self.cluster.clone().call(request),
            Service::Maintenance => self.maintenance.clone().call(request),
            Service::Auth => self.auth.clone().call(request),
            Service::Health => self.health.clone().call(request),
            Service::Lock => self.lock.clone().call(request),
            Service::Election => self.election.clone().call(request),
        }
        .await;
        answer.map(Body::Other)
    }

    /// Takes the one message of an answer out of tonic's hands, so that it is sent
    /// out of the budget if it is large.
    async fn pack(&self, mut answer: Answer) -> Answer {
        let share = budget::carried(answer.extensions_mut());
        if answer.headers().contains_key(GRPC_STATUS) {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let message = match unary::collect(body).await {
            Ok(message) => message,
            Err(status) => return status.into_http(),
        };
        let share = self.member.budget.share_or(share, message.len()).await;
        let answer = http::Response::from_parts(parts, Body::Message(message));
        unary::parcel(answer, share)
    }

    async fn call_directly(
        &self,
        call: Direct,
        request: http::Request<Incoming>,
        asked: Asked,
        pays: bool,
    ) -> Answer {
        let is_asked = self.member.reader().is_auth_on();
        let who = if is_asked {
            Who::read(request.headers(), request.extensions())
        } else {
            Who::default()
        };
        let outcome = self.exchange(call, &who, request.into_body(), asked, pays).await;
        outcome.unwrap_or_else(Status::into_http)
    }

    async fn exchange(
        &self,
        call: Direct,
        who: &Who,
        body: Incoming,
        asked: Asked,
        pays: bool,
    ) -> Result<Answer, Status> {
        let message = unary::receive_bytes(body, self.member.message_bytes_max()).await?;
        let kept = Kept::new(&self.member, asked, &message);
        let keys = &self.keys;
        let budget = pays.then_some(&self.member.budget);
        Ok(match call {
            Direct::Put => {
                let response = keys.put(who, unary::decode(message)?).await?;
                kept.put(&response);
                unary::answer_counted(&response, budget, None).await
            }
            Direct::Range => {
                let request = unary::decode(message)?;
                let is_small = keys.is_small(&request);
                let share = match pays && !is_small {
                    true => keys.room_for_range(who, &request, Form::Pieces).await?,
                    false => None,
                };
                match keys.list(who, request, is_small).await? {
                    Listed::Whole(response) => {
                        kept.range(&response);
                        unary::answer_range(response, budget, share).await
                    }
                    Listed::Rows(frame, rows) => {
                        kept.rows(&frame, &rows);
                        unary::answer_rows(&frame, *rows)
                    }
                }
            }
            Direct::Txn => {
                sketch::txn(&message, self.member.options.txn_ops_max)?;
                let request = unary::decode(message)?;
                let share = match pays {
                    true => keys.room_for_txn(who, &request, Form::Whole).await?,
                    false => None,
                };
                let response = keys.txn(who, request).await?;
                kept.txn(&response);
                unary::answer_counted(&response, budget, share).await
            }
            Direct::DeleteRange => {
                let request = unary::decode(message)?;
                let share = match pays {
                    true => keys.room_for_deletion(who, &request, Form::Whole).await?,
                    false => None,
                };
                let response = keys.delete_range(who, request).await?;
                kept.delete_range(&response);
                unary::answer_counted(&response, budget, share).await
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::super::calls::Calls;
    use super::*;

    fn streamed(registry: &Registry, body: Body, end: Option<Refusal>) -> Streamed {
        let call = Calls::new(registry, false).get("/etcdserverpb.Watch/Watch");
        let end = async move {
            match end {
                Some(refusal) => refusal,
                None => std::future::pending().await,
            }
        };
        let open = Open::new(call);
        Streamed { body, end: Some(Box::pin(end)), open: Some(open) }
    }

    fn next(body: &mut Streamed) -> Poll<Option<Frame<Bytes>>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        Pin::new(body).poll_frame(&mut cx).map(|frame| frame.map(Result::unwrap))
    }

    fn quiet() -> Body {
        struct Quiet;
        impl HttpBody for Quiet {
            type Data = Bytes;
            type Error = Status;
            fn poll_frame(
                self: Pin<&mut Self>,
                _cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
                Poll::Pending
            }
        }
        Body::Other(tonic::body::Body::new(Quiet))
    }

    fn ended(registry: &Registry) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let code = |line: &str| {
            let (_, code) = line.strip_prefix("grpc_server_handled_total")?.split_once('"')?;
            line.ends_with(" 1").then(|| code.split('"').next().unwrap().to_owned())
        };
        text.lines().filter_map(code).collect()
    }

    #[test]
    fn a_quiet_stream_ends_with_the_server() {
        let registry = Registry::new();
        let mut body = streamed(&registry, quiet(), Some(status::STOPPED));
        let Poll::Ready(Some(frame)) = next(&mut body) else { panic!("it goes on") };
        let trailers = frame.into_trailers().unwrap();
        let status = Status::from_header_map(&trailers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, status::STOPPED.text()));
        assert!(matches!(next(&mut body), Poll::Ready(None)));
        assert_eq!(ended(&registry), ["Unavailable"]);
    }

    #[test]
    fn a_stream_that_its_client_leaves_was_cancelled() {
        let registry = Registry::new();
        let mut body = streamed(&registry, quiet(), None);
        assert!(next(&mut body).is_pending());
        drop(body);
        assert_eq!(ended(&registry), ["Canceled"]);
    }

    #[test]
    fn a_stream_that_ends_by_itself_is_counted_by_its_own_code() {
        let registry = Registry::new();
        let mut body = streamed(&registry, Body::Success, Some(status::STOPPED));
        assert!(matches!(next(&mut body), Poll::Ready(Some(_))));
        assert!(matches!(next(&mut body), Poll::Ready(None)));
        drop(body);
        assert_eq!(ended(&registry), ["OK"]);
    }
}
