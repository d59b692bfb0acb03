//! Who is calling, and on which conditions: the metadata of a call.
//!
//! A token is taken along, and looked at where it matters who asks: while
//! authentication is off, any token will do, as in etcd.

use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::form;
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
    /// A content type that is not gRPC's.
    pub(super) foreign_type: &'a [u8],
    /// What is wrong with the metadata.
    pub(super) fault: Option<String>,
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

/// How the messages of a call are compressed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

impl<'a> Metadata<'a> {
    /// Reads it.
    pub(super) fn read(headers: &'a HeaderMap) -> Metadata<'a> {
        let mut metadata = Metadata::default();
        for (name, value) in headers {
            match name.as_str() {
                "content-type" => match subtype(value.as_bytes()) {
                    Some(_) => metadata.is_grpc = true,
                    None => metadata.foreign_type = value.as_bytes(),
                },
                "grpc-timeout" => match timeout(value) {
                    Ok(timeout) => metadata.timeout = Some(timeout),
                    Err(why) => metadata.fault = Some(format!("malformed grpc-timeout: {why}")),
                },
                "grpc-encoding" => {
                    metadata.encoding = Some(value.as_bytes()).filter(|form| !form.is_empty());
                }
                "grpc-accept-encoding" => metadata.has_accept_encoding = true,
                // Of a name that comes more than once, etcd takes the first.
                "client-api-version" => {
                    metadata.api_version = metadata.api_version.or(Some(value.as_bytes()));
                }
                "hasleader" => metadata.wants_leader |= value.as_bytes() == b"true",
                name if name.ends_with("-bin") => {
                    metadata.fault = form::binary_fault(name, value).or(metadata.fault);
                }
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

/// What follows gRPC's content type, if it is that.
pub(super) fn subtype(content_type: &[u8]) -> Option<&[u8]> {
    match content_type.strip_prefix(b"application/grpc")? {
        [] => Some(&[]),
        [b'+' | b';', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Reads a timeout in gRPC's form: up to eight digits and a unit; or tells in
/// the words of etcd's gRPC library what is wrong with it.
pub(super) fn timeout(value: &HeaderValue) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let (digits, unit) = match value.as_bytes() {
        [] | [_] => return Err(format!("transport: timeout string is too short: {text:?}")),
        [digits @ .., unit] if digits.len() <= 8 => (digits, unit),
        _ => return Err(format!("transport: timeout string is too long: {text:?}")),
    };
    let of: fn(u64) -> Duration = match unit {
        b'H' => |count| Duration::from_secs(count * 3600),
        b'M' => |count| Duration::from_secs(count * 60),
        b'S' => Duration::from_secs,
        b'm' => Duration::from_millis,
        b'u' => Duration::from_micros,
        b'n' => Duration::from_nanos,
        _ => return Err(format!("transport: timeout unit is not recognized: {text:?}")),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        let digits = String::from_utf8_lossy(digits);
        return Err(format!("strconv.ParseUint: parsing {digits:?}: invalid syntax"));
    }
    Ok(of(digits.iter().fold(0, |count, digit| count * 10 + u64::from(digit - b'0'))))
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
        assert_eq!(read("2H"), Ok(Duration::from_secs(7200)));
        assert_eq!(read("3M"), Ok(Duration::from_secs(180)));
        assert_eq!(read("99999999n"), Ok(Duration::from_nanos(99_999_999)));
        let bad = [
            ("S", "transport: timeout string is too short: \"S\""),
            ("123456789S", "transport: timeout string is too long: \"123456789S\""),
            ("1s", "transport: timeout unit is not recognized: \"1s\""),
            ("-1S", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
        ];
        for (bad, why) in bad {
            assert_eq!(read(bad).unwrap_err(), why);
        }
    }

    #[test]
    fn content_types_of_grpc_may_name_a_codec() {
        assert_eq!(subtype(b"application/grpc"), Some(&b""[..]));
        assert_eq!(subtype(b"application/grpc+proto"), Some(&b"proto"[..]));
        assert_eq!(subtype(b"application/grpc;x"), Some(&b"x"[..]));
        for bad in [&b"application/json"[..], b"application/grpcx", b""] {
            assert_eq!(subtype(bad), None);
        }
    }
}
