//! What is answered over HTTP/1.1: version, health, metrics, and JSON by the gateway.

use std::io::Write;
use std::sync::Arc;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware;
use axum::response::Response;
use axum::routing::any;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode, Uri};
use tonic::Status;

use super::gateway::Gateway;
use super::member::{Member, VERSION};
use super::visitors;
use crate::proto::etcdserverpb as pb;

const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// The member that is asked.
pub(super) type Here = State<Arc<Member>>;

/// Everything on the port of the clients.
pub(super) fn client_port(member: Arc<Member>) -> Router {
    let web = member.options.web.clone();
    let mut pages = routes().route("/version", any(version)).route("/debug/vars", any(variables));
    if web.has_gateway {
        for path in ["/v3/", "/v3/{*path}", "/v3beta/", "/v3beta/{*path}"] {
            pages = pages.route(path, any(gateway));
        }
    }
    if web.has_profiles {
        pages = pages
            .route("/debug/pprof/", any(profiles))
            .route("/debug/pprof/cmdline", any(command_line))
            .route("/debug/pprof/{name}", any(no_profile));
    }
    pages
        .fallback(async || not_found())
        .layer(middleware::from_fn_with_state(Arc::clone(&member), visitors::admit))
        .with_state(member)
}

/// What the metrics listener serves.
pub(super) fn probes(member: Arc<Member>) -> Router {
    routes().fallback(async || not_found()).with_state(member)
}

fn routes() -> Router<Arc<Member>> {
    Router::new()
        .route("/health", any(health))
        .route("/livez", any(livez))
        .route("/livez/{check}", any(livez_check))
        .route("/readyz", any(readyz))
        .route("/readyz/{check}", any(readyz_check))
        .route("/metrics", any(metrics))
}

async fn version(State(member): Here, method: Method) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let cluster = member.reader().cluster_version();
    let storage = cluster.as_deref().unwrap_or("unknown");
    let cluster = cluster.as_deref().unwrap_or("not_decided");
    let body =
        format!(r#"{{"etcdserver":"{VERSION}","etcdcluster":"{cluster}","storage":"{storage}"}}"#);
    respond(StatusCode::OK, "application/json", body)
}

async fn gateway(Extension(gateway): Extension<Gateway>, request: Request) -> Response {
    gateway.answer(request).await
}

/// What the process tells of itself, under the names of etcd's variables.
async fn variables(State(member): Here, method: Method) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let standing = member.replica.standing();
    let hex = |id: u64| format!("{id:x}");
    let body = serde_json::json!({
        "cmdline": arguments(),
        "file_descriptor_limit":
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
        "raft.status": {
            "id": hex(member.replica.identity().member.0),
            "term": standing.term.0,
            "commit": standing.commit.0,
            "applied": standing.applied.0,
            "lead": hex(standing.leader.map_or(0, |leader| leader.0)),
            "raftState": if standing.is_leader { "StateLeader" } else { "StateFollower" },
        },
    });
    respond(StatusCode::OK, "application/json; charset=utf-8", body.to_string())
}

fn arguments() -> Vec<String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The profiles that Go's runtime would have are not here, and this says so.
async fn profiles() -> Response {
    let text = "/debug/pprof/\n\nThis is no Go program: it has its command line (cmdline), and \
                none of the profiles of Go's runtime.\nUse perf with the process id instead.\n";
    respond(StatusCode::OK, PLAIN, text)
}

async fn command_line() -> Response {
    respond(StatusCode::OK, PLAIN, arguments().join("\0"))
}

async fn no_profile() -> Response {
    refuse(StatusCode::NOT_FOUND, "Unknown profile")
}

async fn metrics(State(member): Here, headers: HeaderMap) -> Response {
    let scrapes = &member.metrics.scrapes;
    scrapes.running.inc();
    let text = member.metrics.text(&member);
    scrapes.running.dec();
    scrapes.answered.inc();
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(takes_gzip) {
        return respond(StatusCode::OK, METRICS, text);
    }
    let mut response = respond(StatusCode::OK, METRICS, gzip(text.as_bytes()));
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

/// Whether gzip is among the encodings that a client takes; `q=0` means not.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|part| {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
        name.trim() == "gzip" && weight.is_none_or(|weight| weight > 0.0)
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all")
}

/// The old health check: one answer for everything.
async fn health(State(member): Here, method: Method, uri: Uri) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let query = Query::of(&uri);
    let sick = sickness(&member, &query).await;
    let counts = &member.metrics;
    match sick {
        None => {
            counts.health_successes.inc();
            respond(StatusCode::OK, PLAIN, r#"{"health":"true","reason":""}"#.to_owned())
        }
        Some(reason) => {
            counts.health_failures.inc();
            // Reasons are plain text, for which Rust's quotes are JSON's.
            let body = format!(r#"{{"health":"false","reason":{reason:?}}}"#);
            refuse(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn sickness(member: &Member, query: &Query<'_>) -> Option<String> {
    let alarms = member.reader().alarms();
    let raised = alarms.iter().find_map(|alarm| {
        let kind = pb::AlarmType::try_from(alarm.alarm).ok();
        let name = kind.map_or(alarm.alarm.to_string(), |kind| kind.as_str_name().to_owned());
        // What has no name is left out by its number, and not told by it.
        let told = if kind.is_some() { name.clone() } else { "UNKNOWN".to_owned() };
        (!query.has("exclude", &name)).then_some(told)
    });
    if let Some(alarm) = raised {
        return Some(format!("ALARM {alarm}"));
    }
    let is_serializable = query.first("serializable") == Some("true");
    if !is_serializable && member.replica.standing().leader.is_none() {
        return Some("RAFT NO LEADER".to_owned());
    }
    let read = read(member, is_serializable).await;
    read.err().map(|error| format!("RANGE ERROR:{}", error.message()))
}

/// A read of a key that need not exist.
async fn read(member: &Member, is_serializable: bool) -> Result<(), Status> {
    if !is_serializable {
        member.replica.linearize().await?;
    }
    let request = pb::RangeRequest {
        key: "\0".into(),
        serializable: is_serializable,
        limit: 1,
        keys_only: true,
        ..Default::default()
    };
    member.reader().range(&request)?;
    Ok(())
}

/// The single checks, in the order of their telling.
#[derive(Clone, Copy)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

const LIVE: &[Check] = &[Check::SerializableRead];
const READY: &[Check] =
    &[Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, member: &Member) -> Result<(), String> {
        let range_error = |error: Status| format!("range error: {}", error.message());
        match self {
            Check::DataCorruption => {
                let mut alarms = member.reader().alarms().into_iter();
                let is_corrupt = alarms.any(|alarm| alarm.alarm() == pb::AlarmType::Corrupt);
                if is_corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Check::SerializableRead => read(member, true).await.map_err(range_error),
            Check::LinearizableRead => read(member, false).await.map_err(range_error),
            Check::NonLearner => {
                let me = member.replica.identity().member.0;
                let mut members = member.reader().members().into_iter();
                let is_learner = members.any(|member| member.id == me && member.is_learner);
                if is_learner { Err("not supported for learner".to_owned()) } else { Ok(()) }
            }
        }
    }
}

async fn livez(State(member): Here, method: Method, uri: Uri) -> Response {
    run_all(&member, "livez", LIVE, &method, &Query::of(&uri)).await
}

async fn readyz(State(member): Here, method: Method, uri: Uri) -> Response {
    run_all(&member, "readyz", READY, &method, &Query::of(&uri)).await
}

async fn livez_check(here: Here, name: Path<String>, method: Method, uri: Uri) -> Response {
    run_one(&here, "livez", LIVE, &name, &method, &uri).await
}

async fn readyz_check(here: Here, name: Path<String>, method: Method, uri: Uri) -> Response {
    run_one(&here, "readyz", READY, &name, &method, &uri).await
}

async fn run_all(
    member: &Member,
    kind: &str,
    checks: &[Check],
    method: &Method,
    query: &Query<'_>,
) -> Response {
    let mut wanted = checks.to_vec();
    wanted.retain(|check| !query.has("exclude", check.name()));
    let is_known = |name: &str| checks.iter().any(|check| check.name() == name);
    let excluded = query.pairs().filter(|(key, name)| *key == "exclude" && !name.is_empty());
    let unknown: Vec<_> = excluded.map(|(_, name)| name).filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        let missing = format!("\"{}\"", unknown.join("\",\""));
        tracing::warn!("missing-health-checks" = missing, "some health checks cannot be excluded");
    }
    run(member, kind, wanted, method, query).await
}

async fn run_one(
    member: &Member,
    kind: &str,
    checks: &[Check],
    name: &str,
    method: &Method,
    uri: &Uri,
) -> Response {
    match checks.iter().find(|check| check.name() == name) {
        Some(check) => run(member, kind, vec![*check], method, &Query::of(uri)).await,
        None => not_found(),
    }
}

async fn run(
    member: &Member,
    kind: &str,
    checks: Vec<Check>,
    method: &Method,
    query: &Query<'_>,
) -> Response {
    if method != Method::GET {
        return not_allowed();
    }
    let mut lines = String::new();
    let mut is_good = true;
    for check in checks {
        let name = check.name();
        let outcome = check.run(member).await;
        let status = if outcome.is_ok() { "success" } else { "error" };
        member.metrics.checks.with_label_values(&[kind, name, status]).inc();
        member
            .metrics
            .check_states
            .with_label_values(&[kind, name])
            .set(i64::from(outcome.is_ok()));
        match outcome {
            Ok(()) => lines += &format!("[+]{name} ok\n"),
            Err(reason) => {
                lines += &format!("[-]{name} failed: {reason}\n");
                is_good = false;
            }
        }
    }
    if !is_good {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &lines);
    }
    let told = if query.first("verbose").is_some() { lines } else { String::new() };
    let mut response = respond(StatusCode::OK, PLAIN, told + "ok\n");
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// The query of a URI; names and values that matter here need no decoding.
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn of(uri: &'a Uri) -> Query<'a> {
        Query(uri.query().unwrap_or(""))
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.pairs().any(|pair| pair == (name, value))
    }
}

fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "404 page not found")
}

fn not_allowed() -> Response {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

/// A refusal is a line of plain text that no browser should take for more.
pub(super) fn refuse(status: StatusCode, text: &str) -> Response {
    let mut response = respond(status, PLAIN, format!("{text}\n"));
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn gzip_is_used_for_those_who_take_it() {
        for taken in ["gzip", "deflate, gzip;q=0.5", "br,gzip"] {
            assert!(takes_gzip(taken), "{taken}");
        }
        for refused in ["", "identity", "gzip;q=0", "gzip;q=0.0, br"] {
            assert!(!takes_gzip(refused), "{refused}");
        }
        let mut text = String::new();
        GzDecoder::new(&gzip(b"a 1\n")[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, "a 1\n");
    }

    #[test]
    fn a_query_is_read_by_name_and_value() {
        let uri = Uri::from_static("/health?exclude=NOSPACE&exclude=CORRUPT&verbose");
        let query = Query::of(&uri);
        assert!(query.has("exclude", "NOSPACE") && query.has("exclude", "CORRUPT"));
        assert!(!query.has("exclude", "NO") && !query.has("verbose", "1"));
        assert_eq!((query.first("verbose"), query.first("serializable")), (Some(""), None));
        assert_eq!(Query::of(&Uri::from_static("/health")).first("verbose"), None);
    }
}
