//! [`Gateway`]: takes a JSON request, makes the call, gives its answer.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Buf, BufMut, Bytes};
use futures::{StreamExt, stream};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use http::{Extensions, Method};
use prost_reflect::MessageDescriptor;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::routes::{self, Route};
use super::{json, requests, socket};
use crate::api::budget::{Form, Page, Share};
use crate::api::caller::{self, Who};
use crate::api::server::Services;
use crate::api::{connection, status, unary};

/// JSON that is larger than its largest message by more than this is refused.
/// Base64 takes four bytes for three; the rest is for names and numbers.
const JSON_BYTES_PER_BYTE: usize = 4;

/// What a header is called that becomes metadata under its other name.
const METADATA_PREFIX: &str = "grpc-metadata-";

/// The gateway of one connection.
#[derive(Clone)]
pub(in crate::api) struct Gateway(Arc<Inside>);

struct Inside {
    services: Arc<Services>,
    stop: CancellationToken,
    /// To the gRPC side; made when it is first needed.
    channel: OnceLock<Channel>,
}

impl Gateway {
    /// A gateway whose calls end with `stop`.
    pub(in crate::api) fn new(services: Arc<Services>, stop: CancellationToken) -> Gateway {
        Gateway(Arc::new(Inside { services, stop, channel: OnceLock::new() }))
    }

    /// Answers a request under one of the gateway's prefixes.
    pub(in crate::api) async fn answer(&self, request: Request) -> Response {
        if socket::is_asked_for(request.headers()) {
            return socket::open(self.clone(), request).await;
        }
        self.converse(request).await
    }

    /// Makes the call of a request.
    pub(super) async fn converse(&self, request: Request) -> Response {
        let Some(route) = routes::find(request.uri().path()) else {
            return refuse(&Status::not_found("Not Found"));
        };
        if request.method() != Method::POST {
            return refuse(&Status::unimplemented("Method Not Allowed"));
        }
        let (parts, body) = request.into_parts();
        let deadline = match Deadline::read(&parts.headers) {
            Ok(deadline) => deadline,
            Err(status) => return refuse(&status),
        };
        let metadata = metadata(&parts.headers);
        let answer = if route.gives_stream {
            self.stream(route, metadata, body, deadline).await
        } else {
            deadline.within(self.unary(route, metadata, body)).await.map(succeed)
        };
        answer.unwrap_or_else(|status| refuse(&status))
    }

    async fn unary(
        &self,
        route: &Route,
        metadata: MetadataMap,
        body: Body,
    ) -> Result<Body, Status> {
        let message = self.message(route, body).await?;
        let who = Who::read(metadata.as_ref(), &Extensions::new());
        let share = self.room(route, &who, &message).await?;
        let open = self.turn().await?;
        let mut client = self.client().await?;
        let request = tonic::Request::from_parts(metadata, Extensions::new(), message);
        let response = client.unary(request, route.call.clone(), Raw).await?;
        let json = json::encode(&route.output, response.into_inner())?;
        drop(open);
        let share = self.0.services.member.budget.share_or(share, json.len()).await;
        Ok(match share {
            Some(share) => Body::new(Page::new(json.into(), share)),
            None => Body::from(json),
        })
    }

    /// Waits for room for an answer that may be large.
    async fn room(
        &self,
        route: &Route,
        who: &Who,
        message: &Bytes,
    ) -> Result<Option<Share>, Status> {
        let keys = &self.0.services.keys;
        let message = message.clone();
        match route.call.path() {
            "/etcdserverpb.KV/Range" => {
                let request = unary::decode(message)?;
                match keys.is_small(&request) {
                    true => Ok(None),
                    false => keys.room_for_range(who, &request, Form::Json).await,
                }
            }
            "/etcdserverpb.KV/Txn" => {
                keys.room_for_txn(who, &unary::decode(message)?, Form::Json).await
            }
            "/etcdserverpb.KV/DeleteRange" => {
                keys.room_for_deletion(who, &unary::decode(message)?, Form::Json).await
            }
            _ => Ok(None),
        }
    }

    /// Waits for the first message, because until then an error can still be
    /// told by the status of the answer.
    async fn stream(
        &self,
        route: &'static Route,
        metadata: MetadataMap,
        body: Body,
        deadline: Deadline,
    ) -> Result<Response, Status> {
        let open = deadline.within(self.turn()).await?;
        let messages = if route.takes_stream {
            let messages = requests::messages(body, route.input.clone(), self.json_bytes_max());
            let request = tonic::Request::from_parts(metadata, Extensions::new(), messages);
            deadline
                .within(async {
                    let mut client = self.client().await?;
                    client.streaming(request, route.call.clone(), Raw).await
                })
                .await
        } else {
            let message = deadline.within(self.message(route, body)).await?;
            let request = tonic::Request::from_parts(metadata, Extensions::new(), message);
            deadline
                .within(async {
                    let mut client = self.client().await?;
                    client.server_streaming(request, route.call.clone(), Raw).await
                })
                .await
        };
        let mut messages = match messages {
            Ok(messages) => messages.into_inner(),
            Err(status) => return Ok(refuse_stream(&status)),
        };
        match deadline.within(next_line(&mut messages, &route.output)).await {
            Ok(Some(first)) => {
                let rest = Rest { messages, _open: open };
                Ok(succeed(lines(first, rest, &route.output, deadline)))
            }
            Ok(None) => Ok(Response::new(Body::empty())),
            Err(status) => Ok(refuse_stream(&status)),
        }
    }

    async fn message(&self, route: &Route, body: Body) -> Result<Bytes, Status> {
        let json = requests::read_all(body, self.json_bytes_max()).await?;
        json::decode(&route.input, &json)
    }

    /// Waits until one call more may be open.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Status> {
        let turn = Arc::clone(&self.0.services.gateway_calls).acquire_owned().await;
        turn.map_err(|closed| Status::unavailable(closed.to_string()))
    }

    /// Cancelled when the server stops.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// The most JSON that a request may have.
    pub(super) fn json_bytes_max(&self) -> usize {
        self.0.services.member.message_bytes_max() * JSON_BYTES_PER_BYTE
    }

    async fn client(&self) -> Result<Grpc<Channel>, Status> {
        let Inside { services, stop, channel } = &*self.0;
        let channel =
            channel.get_or_init(|| connection::channel(Arc::clone(services), stop.clone()));
        let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let ready = client.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(client)
    }
}

/// When the client wants its call to have ended.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn read(headers: &HeaderMap) -> Result<Deadline, Status> {
        let Some(value) = headers.get("grpc-timeout") else { return Ok(Deadline(None)) };
        let Ok(timeout) = caller::timeout(value) else {
            let value = String::from_utf8_lossy(value.as_bytes());
            return Err(Status::invalid_argument(format!("invalid grpc-timeout: {value}")));
        };
        // As with etcd, no time at all is all the time there is.
        let some = Some(timeout).filter(|timeout| *timeout > Duration::ZERO);
        Ok(Deadline(some.and_then(|timeout| Instant::now().checked_add(timeout))))
    }

    async fn within<T>(self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let Some(deadline) = self.0 else { return work.await };
        let done = tokio::time::timeout_at(deadline, work).await;
        done.unwrap_or_else(|_elapsed| Err(status::DEADLINE_EXCEEDED.into()))
    }
}

/// What of the headers goes with the call.
fn metadata(headers: &HeaderMap) -> MetadataMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        let name = match name {
            &AUTHORIZATION => AUTHORIZATION,
            // By this name etcd knows that a call came through its gateway.
            &ACCEPT => HeaderName::from_static("grpcgateway-accept"),
            name => {
                let Some(name) = name.as_str().strip_prefix(METADATA_PREFIX) else { continue };
                let is_reserved =
                    name.starts_with("grpc-") || ["content-type", "te"].contains(&name);
                match HeaderName::from_bytes(name.as_bytes()) {
                    Ok(name) if !is_reserved => name,
                    Ok(_) | Err(_) => continue,
                }
            }
        };
        metadata.append(name, value.clone());
    }
    MetadataMap::from_headers(metadata)
}

async fn next_line(
    messages: &mut Streaming<Bytes>,
    kind: &MessageDescriptor,
) -> Result<Option<Vec<u8>>, Status> {
    match messages.message().await? {
        Some(message) => json::line(kind, message).map(Some),
        None => Ok(None),
    }
}

/// What is to come of a stream, whose call is open until then.
struct Rest {
    messages: Streaming<Bytes>,
    _open: OwnedSemaphorePermit,
}

/// The body of a stream, with a line for each message. There is no queue: a
/// message is taken when the connection wants the next line.
fn lines(first: Vec<u8>, rest: Rest, kind: &'static MessageDescriptor, deadline: Deadline) -> Body {
    let rest = stream::unfold(Some(rest), move |rest| async move {
        let mut rest = rest?;
        match deadline.within(next_line(&mut rest.messages, kind)).await {
            Ok(Some(line)) => Some((line, Some(rest))),
            Ok(None) => None,
            Err(status) => Some((json::error_line(&status), None)),
        }
    });
    let lines = stream::once(std::future::ready(first)).chain(rest);
    Body::from_stream(lines.map(Ok::<_, Infallible>))
}

fn succeed(body: Body) -> Response {
    let mut response = with_json(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("grpc-metadata-content-type", grpc);
    response
}

fn refuse(status: &Status) -> Response {
    let mut response = with_json(Body::from(json::error(status)));
    *response.status_mut() = json::http_status(status.code());
    if status.code() == Code::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, message);
    }
    response
}

fn refuse_stream(status: &Status) -> Response {
    let mut response = with_json(Body::from(json::error_line(status)));
    *response.status_mut() = json::http_status(status.code());
    response
}

fn with_json(body: Body) -> Response {
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn tokens_and_metadata_go_with_the_call_and_nothing_else() {
        let metadata = metadata(&headers(&[
            ("authorization", "Bearer abc"),
            ("accept", "*/*"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-grpc-timeout", "1S"),
            ("grpc-metadata-", "nameless"),
            ("content-length", "5"),
            ("cookie", "a=b"),
        ]));
        let mut kept: Vec<_> = metadata.into_headers().into_iter().collect();
        kept.sort_by_key(|(name, _)| name.as_ref().map(ToString::to_string));
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, value)| (name.as_ref().unwrap().as_str(), value.to_str().unwrap()))
            .collect();
        let wanted =
            [("authorization", "Bearer abc"), ("grpcgateway-accept", "*/*"), ("hasleader", "true")];
        assert_eq!(kept, wanted);
    }

    #[test]
    fn a_deadline_is_read_or_refused() {
        let read = |value| Deadline::read(&headers(&[("grpc-timeout", value)]));
        assert!(read("5S").unwrap().0.is_some());
        assert!(read("0S").unwrap().0.is_none());
        assert!(Deadline::read(&HeaderMap::new()).unwrap().0.is_none());
        let Err(refused) = read("bogus") else { panic!("it is taken") };
        assert_eq!(refused.message(), "invalid grpc-timeout: bogus");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }

    #[test]
    fn refusals_carry_their_http_status() {
        let response = refuse(&Status::unauthenticated("etcdserver: invalid auth token"));
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "etcdserver: invalid auth token");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(refuse(&Status::cancelled("")).status(), 499);
        assert_eq!(refuse_stream(&Status::deadline_exceeded("")).status(), 504);
    }
}
