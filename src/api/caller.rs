//! Who is calling, and on which conditions: the metadata of a call.
//!
//! A token is taken along, and looked at where it matters who asks: while
//! authentication is off, any token will do, as in etcd.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::status::{self, Refusal};

/// What a caller shows of who it is, if it shows anything.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Who {
    token: Option<String>,
    common_name: Option<CommonName>,
}

/// The user that a certificate makes its bearer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CommonName(pub(super) Arc<str>);

/// Where a token may stand: gRPC clients use the one, programs that speak HTTP
/// the other.
const TOKENS: [&str; 2] = ["token", "authorization"];

/// What marks a call of somebody's gateway, whose certificate is not the caller's.
const GATEWAY: &str = "grpcgateway-accept";

impl Who {
    /// Reads it.
    pub(super) fn read(headers: &HeaderMap, extensions: &Extensions) -> Who {
        let value = TOKENS.iter().find_map(|name| headers.get(*name));
        let token = value.map(|value| {
            let token = String::from_utf8_lossy(value.as_bytes());
            token.strip_prefix("Bearer ").unwrap_or(&token).to_owned()
        });
        let common_name = extensions.get::<CommonName>();
        let common_name = common_name.filter(|_| !headers.contains_key(GATEWAY)).cloned();
        Who { token, common_name }
    }

    /// Of a request to tonic.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Who {
        Who::read(request.metadata().as_ref(), request.extensions())
    }

    /// The token.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The user that its certificate makes it, which counts where no token does.
    pub(super) fn common_name(&self) -> Option<&str> {
        self.common_name.as_ref().map(|name| &*name.0)
    }
}

/// What the metadata says, read in one pass.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metadata<'a> {
    /// Whether the content type is gRPC's.
    pub(super) is_grpc: bool,
    /// `hasleader: true`: the caller rather fails than waits for a raft leader.
    pub(super) wants_leader: bool,
    /// The time that the caller gives the call.
    pub(super) timeout: Option<Duration>,
    /// The version of the client library.
    pub(super) api_version: Option<&'a [u8]>,
    /// How messages are compressed, if they are.
    pub(super) encoding: Option<&'a [u8]>,
    /// Whether the caller says what compression it understands.
    pub(super) has_accept_encoding: bool,
}

/// What a caller says of the compressions that it understands.
pub(super) const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

impl<'a> Metadata<'a> {
    /// Reads it.
    pub(super) fn read(headers: &'a HeaderMap) -> Metadata<'a> {
        let mut metadata = Metadata::default();
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => metadata.is_grpc = is_grpc(value.as_bytes()),
                "grpc-timeout" => metadata.timeout = timeout(value),
                "grpc-encoding" => metadata.encoding = Some(value.as_bytes()),
                "grpc-accept-encoding" => metadata.has_accept_encoding = true,
                // Of a name that comes more than once, etcd takes the first.
                "client-api-version" => {
                    metadata.api_version = metadata.api_version.or(Some(value.as_bytes()));
                }
                "hasleader" => metadata.wants_leader |= value.as_bytes() == b"true",
                _ => {}
            }
        }
        metadata
    }

    /// The version of the client library as text.
    pub(super) fn version(&self) -> Result<&'a str, Refusal> {
        let version = self.api_version.unwrap_or(b"unknown");
        std::str::from_utf8(version).map_err(|_utf8| status::INVALID_CLIENT_API_VERSION)
    }

    /// Whether no message is compressed.
    pub(super) fn is_plain(&self) -> bool {
        self.encoding.is_none()
    }

    /// Whether messages are compressed with gzip; other forms are not known.
    pub(super) fn is_gzip(&self) -> bool {
        self.encoding == Some(b"gzip")
    }
}

fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.first().is_none_or(|byte| b"+;".contains(byte)))
}

/// Reads a timeout in gRPC's form: up to eight digits and a unit.
pub(super) fn timeout(value: &HeaderValue) -> Option<Duration> {
    let (unit, digits) = value.as_bytes().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(count * 3600)),
        b'M' => Some(Duration::from_secs(count * 60)),
        b'S' => Some(Duration::from_secs(count)),
        b'm' => Some(Duration::from_millis(count)),
        b'u' => Some(Duration::from_micros(count)),
        b'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static [u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn what_a_go_client_sends_is_understood() {
        let headers = headers(&[
            ("content-type", b"application/grpc"),
            ("grpc-timeout", b"4999999u"),
            ("hasleader", b"true"),
            ("client-api-version", b"3.7.1"),
            ("token", b"anything"),
        ]);
        let metadata = Metadata::read(&headers);
        assert!(metadata.is_grpc && metadata.wants_leader);
        assert_eq!(metadata.timeout, Some(Duration::from_micros(4_999_999)));
        assert_eq!(metadata.version(), Ok("3.7.1"));
    }

    #[test]
    fn a_token_stands_in_one_of_two_places() {
        let who =
            |list: &[(&'static str, &'static [u8])]| Who::read(&headers(list), &Extensions::new());
        assert_eq!(who(&[("token", b"a.1"), ("authorization", b"b.2")]).token(), Some("a.1"));
        assert_eq!(who(&[("authorization", b"b.2")]).token(), Some("b.2"));
        assert_eq!(who(&[("authorization", b"Bearer b.2")]).token(), Some("b.2"));
        assert_eq!(who(&[("token", b"Bearer a.1"), ("token", b"b.2")]).token(), Some("a.1"));
        assert_eq!(who(&[("token", b"\xff")]).token(), Some("\u{fffd}"));
        assert_eq!(who(&[("tokens", b"a.1")]).token(), None);
    }

    #[test]
    fn a_certificate_names_its_bearer_but_not_through_a_gateway() {
        let mut extensions = Extensions::new();
        extensions.insert(CommonName("alice".into()));
        let who = |list: &[(&'static str, &'static [u8])]| Who::read(&headers(list), &extensions);
        assert_eq!(who(&[]).common_name(), Some("alice"));
        assert_eq!(who(&[("grpcgateway-accept", b"*/*")]).common_name(), None);
    }

    #[test]
    fn a_version_that_is_no_text_is_refused() {
        let headers = headers(&[("client-api-version", b"3.\xff")]);
        let refused = Metadata::read(&headers).version();
        assert_eq!(refused, Err(status::INVALID_CLIENT_API_VERSION));
        assert_eq!(Metadata::default().version(), Ok("unknown"));
    }

    #[test]
    fn only_true_asks_for_a_leader() {
        for value in [&b"false"[..], b"", b"TRUE", b"1"] {
            let headers = headers(&[("hasleader", value)]);
            assert!(!Metadata::read(&headers).wants_leader);
        }
    }

    #[test]
    fn timeouts_have_eight_digits_and_a_unit() {
        let read = |text: &'static str| timeout(&HeaderValue::from_static(text));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn content_types_of_grpc_may_name_a_codec() {
        let good = [&b"application/grpc"[..], b"application/grpc+proto", b"application/grpc;x"];
        assert!(good.into_iter().all(is_grpc));
        assert!(![&b"application/json"[..], b"application/grpcx", b""].into_iter().any(is_grpc));
    }
}
