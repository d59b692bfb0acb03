//! The shape of a request over HTTP/1.1: what Go's library refuses before anybody
//! is asked, and the plain spelling of a path.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderValue};
use http::{Request, StatusCode, Uri, Version};
use hyper::ext::ReasonPhrase;

/// Says what is wrong with a request, in an answer that is its last; what is
/// right goes on under the plain spelling of its path.
pub(super) fn check<B>(request: &mut Request<B>) -> Option<Response> {
    if request.version() == Version::HTTP_2 {
        return None;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Some(refuse("")),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            return Some(refuse("malformed Host header"));
        }
        (None, _) if request.version() == Version::HTTP_11 => {
            return Some(refuse("missing required Host header"));
        }
        _ => {}
    }
    let expected = request.headers().get(EXPECT).map(HeaderValue::as_bytes);
    if expected.is_some_and(|text| !text.is_empty() && !text.eq_ignore_ascii_case(b"100-continue"))
    {
        return Some(last(StatusCode::EXPECTATION_FAILED, Body::empty()));
    }
    if !request.uri().path().contains('%') {
        return None;
    }
    let Some(plain) = plain(request.uri()) else { return Some(refuse("")) };
    *request.uri_mut() = plain;
    None
}

fn refuse(why: &str) -> Response {
    let text = match why {
        "" => "400 Bad Request".to_owned(),
        why => format!("400 Bad Request: {why}"),
    };
    let phrase = text.trim_start_matches("400 ").as_bytes().to_vec();
    let mut answer = last(StatusCode::BAD_REQUEST, Body::from(text));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    if let Ok(phrase) = ReasonPhrase::try_from(phrase) {
        answer.extensions_mut().insert(phrase);
    }
    answer
}

/// An answer after which the connection is closed.
fn last(status: StatusCode, body: Body) -> Response {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Whether something can be the name of a host, as Go sees it.
fn is_host(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(byte))
}

/// A URI whose path has no letters in disguise; nothing if an escape is none.
/// What separates, or stands for a folder, stays as it is: `%2F` is part of a name.
fn plain(uri: &Uri) -> Option<Uri> {
    let (path, mut spelt) = (uri.path(), String::new());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        let digits = after.get(..2)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        spelt.push_str(before);
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            spelt.push(byte.into());
        } else {
            spelt.extend(['%'].into_iter().chain(digits.chars()));
        }
        rest = &after[2..];
    }
    spelt.push_str(rest);
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{spelt}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(uri: &str, headers: &[(&'static str, &'static str)]) -> (String, String) {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        let phrase = match check(&mut request) {
            None => String::new(),
            Some(answer) => match answer.extensions().get::<ReasonPhrase>() {
                None => answer.status().to_string(),
                Some(phrase) => String::from_utf8_lossy(phrase.as_bytes()).into_owned(),
            },
        };
        (phrase, request.uri().to_string())
    }

    #[test]
    fn a_request_names_one_host() {
        let refused = |headers: &[_]| checked("/", headers).0;
        assert_eq!(refused(&[]), "Bad Request: missing required Host header");
        assert_eq!(refused(&[("host", "a b")]), "Bad Request: malformed Host header");
        assert_eq!(refused(&[("host", "a"), ("host", "b")]), "Bad Request");
        for host in ["", "a.b:80", "[::1]:5", "a_b"] {
            assert_eq!(refused(&[("host", host)]), "", "{host}");
        }
        let wants = |what| refused(&[("host", "a"), ("expect", what)]);
        assert_eq!(wants("100-Continue"), "");
        assert_eq!(wants("wonders"), "417 Expectation Failed");
    }

    #[test]
    fn letters_in_disguise_are_letters() {
        let host = &[("host", "a")];
        for (path, plain) in [
            ("/%76ersion?a=%41", "/version?a=%41"),
            ("/v3%2Fkv", "/v3%2Fkv"),
            ("/%2e%2e/a", "/%2e%2e/a"),
            ("/%c3%a9", "/%c3%a9"),
        ] {
            assert_eq!(checked(path, host), (String::new(), plain.to_owned()));
        }
        for path in ["/%", "/%4", "/%zz", "/%+1"] {
            assert_eq!(checked(path, host).0, "Bad Request", "{path}");
        }
    }
}
