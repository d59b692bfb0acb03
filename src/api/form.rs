//! What a request must look like before anybody asks what it wants, and what
//! its answer looks like because of it; all as etcd's gRPC library has it.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use tonic::Status;

use super::caller::{self, ACCEPT_ENCODING, ENCODING, Metadata};
use super::status;
use super::unary::Body;

type Answer = Response<Body>;

/// Refuses requests that are not gRPC's, and those that nobody can read.
pub(super) fn refuse<T>(request: &Request<T>, metadata: &Metadata<'_>) -> Option<Answer> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 {
        let authorities = usize::from(request.uri().authority().is_some());
        let text = format!(
            "num values of :authority: {authorities}, num values of host: {hosts}, both must \
             only have 1 value as per HTTP/2 spec"
        );
        return Some(early(StatusCode::BAD_REQUEST, Status::internal(text)));
    }
    if !metadata.is_grpc {
        let kind = String::from_utf8_lossy(metadata.foreign_type);
        let text = format!("invalid gRPC request content-type {kind:?}");
        return Some(early(StatusCode::UNSUPPORTED_MEDIA_TYPE, Status::invalid_argument(text)));
    }
    if let Some(fault) = &metadata.fault {
        return Some(early(StatusCode::BAD_REQUEST, Status::internal(&**fault)));
    }
    if request.method() != Method::POST {
        let method = request.method().as_str();
        let text = format!("Received a HEADERS frame with :method {method:?} which should be POST");
        return Some(early(StatusCode::METHOD_NOT_ALLOWED, Status::internal(text)));
    }
    if metadata.timeout == Some(Duration::ZERO) {
        return Some(Status::from(status::DEADLINE_EXCEEDED).into_http());
    }
    let encoding = metadata.encoding?;
    if encoding == b"gzip" || encoding == b"identity" {
        return None;
    }
    let encoding = String::from_utf8_lossy(encoding);
    let text = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
    Some(Status::unimplemented(text).into_http())
}

fn early(code: StatusCode, status: Status) -> Answer {
    let mut answer: Answer = status.into_http();
    *answer.status_mut() = code;
    answer
}

/// As etcd does: answers are compressed when their requests are.
pub(super) fn packed_in_kind<T>(mut request: Request<T>) -> Request<T> {
    let metadata = Metadata::read(request.headers());
    let (is_gzip, has_accept_encoding) = (metadata.is_gzip(), metadata.has_accept_encoding);
    if metadata.encoding.is_none() {
        request.headers_mut().remove(ENCODING);
    }
    if is_gzip {
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    } else if has_accept_encoding {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    request
}

/// The path that was asked for. What other protocols read as a query is part of
/// a method's name.
pub(super) fn path<T>(request: &Request<T>) -> &str {
    request.uri().path_and_query().map_or("", |path| path.as_str())
}

/// The content type that an answer takes over from its request.
pub(super) fn kind(headers: &HeaderMap) -> Option<HeaderValue> {
    let kinds = headers.get_all(CONTENT_TYPE).iter();
    let subtype = kinds.filter_map(|kind| caller::subtype(kind.as_bytes())).next_back()?;
    if subtype.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&[b"application/grpc+", subtype].concat()).ok()
}

/// Gives an answer the content type of its request, and its words in plain text.
pub(super) fn finish(mut answer: Answer, kind: Option<HeaderValue>) -> Answer {
    if let Some(kind) = kind {
        answer.headers_mut().insert(CONTENT_TYPE, kind);
    }
    status::in_plain_words(answer.headers_mut());
    answer
}

/// What is wrong with the value of a header whose name says that it is binary.
pub(super) fn binary_fault(name: &str, value: &HeaderValue) -> Option<String> {
    let at = not_base64(value.as_bytes())?;
    let value = String::from_utf8_lossy(value.as_bytes());
    Some(format!(
        "malformed binary metadata {value:?} in header {name:?}: illegal base64 data at input \
         byte {at}"
    ))
}

/// The first byte that has no place in Base64, whose padding may be missing.
fn not_base64(value: &[u8]) -> Option<usize> {
    let is_padded = value.len().is_multiple_of(4);
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let digits = value.iter().take_while(|byte| is_digit(byte)).count();
    let rest = &value[digits..];
    match (is_padded, digits % 4, rest) {
        // Of four digits, one alone says nothing.
        (false, 1, []) => Some(digits - 1),
        (_, _, []) | (true, 2, b"==") | (true, 3, b"=") => None,
        (true, 2, [b'=', b'=', ..]) => Some(digits + 2),
        (true, 3, [b'=', ..]) => Some(digits + 1),
        _ => Some(digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_values_are_base64() {
        for good in ["", "AAAA", "AAA=", "AA==", "AAA", "AA", "+/09azAZ"] {
            assert_eq!(not_base64(good.as_bytes()), None, "{good}");
        }
        let bad = [("!!!", 0), ("AAAAA", 4), ("A", 0), ("AA=", 2), ("AA=A", 2), ("AAAA====", 4)];
        for (bad, at) in bad.into_iter().chain([("AA==AAAA", 4), ("AAA=AAAA", 4), ("AA-_", 2)]) {
            assert_eq!(not_base64(bad.as_bytes()), Some(at), "{bad}");
        }
    }
}
