//! Who may ask over HTTP/1.1, and by which name: the host and the origin of a
//! request, and the one form of its path.
//!
//! A browser can be made to ask a server of its own machine in the name of a
//! page from elsewhere. Where that is to be prevented, a list of hosts says by
//! which names this server is known, and a list of origins whose pages may read
//! its answers.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, ORIGIN};
use http::{HeaderMap, Method, StatusCode};

use super::http::{Here, refuse};
use super::server::Web;

/// Stands in a list for everything.
const ANY: &str = "*";

/// Marks a request that came over TLS: a page from elsewhere cannot send one to
/// a name that the certificate does not bear.
#[derive(Clone, Copy)]
pub(super) struct Secured;

/// Passes a request on, if whoever sent it may ask.
pub(super) async fn admit(State(member): Here, request: Request, next: Next) -> Response {
    let web = &member.options.web;
    let host = host(request.headers());
    let is_secured = request.extensions().get::<Secured>().is_some();
    if !is_secured && !covers(&web.hosts, host) {
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        let text = format!(
            "this server does not go by the name {host:?}\nnames that --host-whitelist lists \
             are served, and any name over TLS"
        );
        return refuse(StatusCode::MISDIRECTED_REQUEST, &text);
    }
    let origin = allowed_origin(web, request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        Response::new(Body::empty())
    } else if let Some(path) = moved(request.uri().path(), web.has_gateway) {
        redirect(request.method(), &path, request.uri().query())
    } else {
        next.run(request).await
    };
    if let Some(origin) = origin {
        let headers = [
            ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
            ("access-control-allow-headers", "accept, content-type, authorization"),
        ];
        for (name, value) in headers {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response.headers_mut().insert("access-control-allow-origin", origin);
    }
    response
}

/// The name by which a request knows us, without the port.
fn host(headers: &HeaderMap) -> &str {
    let whole = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match whole.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && host.ends_with(']') => &host[1..host.len() - 1],
        Some((host, _)) if !host.contains([':', '[', ']']) => host,
        _ => whole,
    }
}

/// A list without anything is no list.
fn covers(list: &[String], name: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry == ANY || entry == name)
}

/// The origin that an answer names as welcome, if there is one.
fn allowed_origin(web: &Web, headers: &HeaderMap) -> Option<HeaderValue> {
    if covers(&web.origins, ANY) {
        return Some(HeaderValue::from_static(ANY));
    }
    let none = HeaderValue::from_static("");
    let origin = headers.get(ORIGIN).unwrap_or(&none);
    let is_listed = origin.to_str().is_ok_and(|origin| covers(&web.origins, origin));
    is_listed.then(|| origin.clone())
}

/// Where a path leads that is not written in its one form.
fn moved(path: &str, has_gateway: bool) -> Option<String> {
    if path == "/v3" && has_gateway {
        return Some("/v3/".to_owned());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if clean != "/" && path.ends_with('/') {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

fn redirect(method: &Method, path: &str, query: Option<&str>) -> Response {
    let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let Ok(location) = HeaderValue::from_str(&target) else {
        return refuse(StatusCode::NOT_FOUND, "404 page not found");
    };
    let mut response = Response::new(Body::empty());
    if method == Method::GET || method == Method::HEAD {
        let escaped = target.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let escaped = escaped.replace('"', "&#34;").replace('\'', "&#39;");
        let page = format!("<a href=\"{escaped}\">Temporary Redirect</a>.\n\n");
        *response.body_mut() = Body::from(page);
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, html);
    }
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_without_its_port() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(text))]);
            host(&headers).to_owned()
        };
        for (text, name) in [
            ("a.b:80", "a.b"),
            ("a.b", "a.b"),
            ("[::1]:80", "::1"),
            ("[::1]", "[::1]"),
            ("a:b:c", "a:b:c"),
        ] {
            assert_eq!(read(text), name);
        }
        assert_eq!(host(&HeaderMap::new()), "");
    }

    #[test]
    fn a_path_has_one_form() {
        for (path, leads_to) in [
            ("/version", None),
            ("/", None),
            ("/v3/", None),
            ("/v3", Some("/v3/")),
            ("//version", Some("/version")),
            ("/v3/../version", Some("/version")),
            ("/../..", Some("/")),
            ("/a/./b//", Some("/a/b/")),
        ] {
            assert_eq!(moved(path, true).as_deref(), leads_to, "{path}");
        }
        assert_eq!(moved("/v3", false), None);
    }

    #[test]
    fn origins_are_any_or_those_of_a_list() {
        let web = |origins: &[&str]| Web {
            origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
            ..Web::default()
        };
        let ask = |web: &Web, origin: &'static str| {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            allowed_origin(web, &headers).map(|origin| origin.to_str().unwrap().to_owned())
        };
        assert_eq!(ask(&web(&["*"]), "http://a:1").as_deref(), Some("*"));
        assert_eq!(ask(&web(&[]), "http://a:1").as_deref(), Some("*"));
        let listed = web(&["http://a:1"]);
        assert_eq!(ask(&listed, "http://a:1").as_deref(), Some("http://a:1"));
        assert_eq!(ask(&listed, "http://b:1"), None);
    }
}
