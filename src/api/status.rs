//! The one error table: what went wrong → gRPC code and etcd's exact text.
//!
//! Clients compare the whole text and look at the code second, so neither may
//! be off by a letter. Two codes differ from etcd's own documentation because
//! its server really sends them so: an overload and a refused membership
//! change arrive as `Unknown`.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use hyper::body::Frame;
use tonic::{Code, Status};

use super::calls::Kind;
use super::signing::Unsigned;
use crate::replica::{Failure, Unavailable};
use crate::store::{Denied, Rejection};

/// A row of the table: the code, and the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(Code, &'static str);

macro_rules! table {
    ($($name:ident = $code:ident $text:literal;)*) => {
        $(pub(super) const $name: Refusal =
            Refusal(Code::$code, concat!("etcdserver: ", $text));)*

        /// All rows, for whoever wants to read them out.
        #[cfg(test)]
        pub(super) const TABLE: &[(&str, Refusal)] = &[$((stringify!($name), $name)),*];
    };
}

table! {
    EMPTY_KEY = InvalidArgument "key is not provided";
    KEY_NOT_FOUND = InvalidArgument "key not found";
    VALUE_PROVIDED = InvalidArgument "value is provided";
    LEASE_PROVIDED = InvalidArgument "lease is provided";
    TOO_MANY_OPS = InvalidArgument "too many operations in txn request";
    DUPLICATE_KEY = InvalidArgument "duplicate key given in txn request";
    INVALID_SORT_OPTION = InvalidArgument "invalid sort option";
    INVALID_CLIENT_API_VERSION = InvalidArgument "invalid client api version";
    MEMBER_BAD_URLS = InvalidArgument "given member URLs are invalid";
    REQUEST_TOO_LARGE = InvalidArgument "request is too large";
    COMPACTED = OutOfRange "mvcc: required revision has been compacted";
    FUTURE_REVISION = OutOfRange "mvcc: required revision is a future revision";
    LEASE_TTL_TOO_LARGE = OutOfRange "too large lease TTL";
    NO_SPACE = ResourceExhausted "mvcc: database space exceeded";
    TOO_MANY_REQUESTS = Unknown "too many requests";
    LEASE_NOT_FOUND = NotFound "requested lease not found";
    MEMBER_NOT_FOUND = NotFound "member not found";
    LEASE_EXISTS = FailedPrecondition "lease already exists";
    MEMBER_EXISTS = FailedPrecondition "member ID already exist";
    TOO_MANY_LEARNERS = FailedPrecondition "too many learner members in cluster";
    LEARNER_NOT_READY = FailedPrecondition
        "can only promote a learner member which is in sync with leader";
    UNHEALTHY = Unavailable "unhealthy cluster";
    WRONG_DOWNGRADE_FORMAT = InvalidArgument "wrong downgrade target version format";
    INVALID_DOWNGRADE_TARGET = InvalidArgument "invalid downgrade target version";
    CLUSTER_VERSION_UNKNOWN = FailedPrecondition "cluster version not found during downgrade";
    DOWNGRADE_IN_PROCESS = FailedPrecondition "cluster has a downgrade job in progress";
    UNKNOWN_METHOD = Unknown "unknown method";
    PEER_URL_EXISTS = FailedPrecondition "Peer URLs already exists";
    NOT_ENOUGH_STARTED = Unknown "re-configuration failed due to not enough started members";
    NOT_LEARNER = FailedPrecondition "can only promote a learner member";
    ROOT_USER_NOT_EXIST = FailedPrecondition "root user does not exist";
    ROOT_ROLE_NOT_EXIST = FailedPrecondition "root user does not have root role";
    USER_EMPTY = InvalidArgument "user name is empty";
    USER_ALREADY_EXISTS = FailedPrecondition "user name already exists";
    USER_NOT_FOUND = FailedPrecondition "user name not found";
    ROLE_EMPTY = InvalidArgument "role name is empty";
    ROLE_ALREADY_EXISTS = FailedPrecondition "role name already exists";
    ROLE_NOT_FOUND = FailedPrecondition "role name not found";
    ROLE_NOT_GRANTED = FailedPrecondition "role is not granted to the user";
    PERMISSION_NOT_GIVEN = InvalidArgument "permission not given";
    PERMISSION_NOT_GRANTED = FailedPrecondition "permission is not granted to the role";
    AUTH_FAILED = InvalidArgument "authentication failed, invalid user ID or password";
    AUTH_NOT_ENABLED = FailedPrecondition "authentication is not enabled";
    AUTH_OLD_REVISION = InvalidArgument "revision of auth store is old";
    INVALID_AUTH_MANAGEMENT = InvalidArgument "invalid auth management";
    INVALID_AUTH_TOKEN = Unauthenticated "invalid auth token";
    PERMISSION_DENIED = PermissionDenied "permission denied";
    NOT_LEADER = FailedPrecondition "not leader";
    BAD_LEADER_TRANSFEREE = FailedPrecondition "bad leader transferee";
    NO_LEADER = Unavailable "no leader";
    LEADER_CHANGED = Unavailable "leader changed";
    STOPPED = Unavailable "server stopped";
    TIMED_OUT = Unavailable "request timed out";
    CORRUPT = DataLoss "corrupt cluster";
}

/// The texts that carry no prefix.
pub(super) const NO_SORTED_STREAM: Refusal =
    Refusal(Code::Unimplemented, "RangeStream does not support custom sort orders");
pub(super) const NO_FILTERED_STREAM: Refusal =
    Refusal(Code::Unimplemented, "RangeStream does not support revision filters");
pub(super) const NO_PASSWORD_USER: Refusal =
    Refusal(Code::Unknown, "auth: authentication failed, password was given for no password user");
pub(super) const VERIFY_ONLY: Refusal =
    Refusal(Code::Unknown, "auth: token signing attempted with verify-only key");
pub(super) const UNFIT_KEY: Refusal = Refusal(Code::Unknown, "key is invalid");
pub(super) const PASSWORD_TOO_LONG: Refusal =
    Refusal(Code::Unknown, "bcrypt: password length exceeds 72 bytes");
pub(super) const MALFORMED: Refusal = Refusal(Code::InvalidArgument, "malformed request");
pub(super) const DEADLINE_EXCEEDED: Refusal =
    Refusal(Code::DeadlineExceeded, "context deadline exceeded");

impl Refusal {
    /// The whole text.
    pub(super) fn text(self) -> &'static str {
        self.1
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        Status::new(refusal.0, refusal.1)
    }
}

impl From<Unsigned> for Refusal {
    fn from(unsigned: Unsigned) -> Refusal {
        match unsigned {
            Unsigned::VerifyOnly => VERIFY_ONLY,
            Unsigned::UnfitKey => UNFIT_KEY,
        }
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Refusal {
        match rejection {
            Rejection::Compacted { .. } => COMPACTED,
            Rejection::FutureRevision => FUTURE_REVISION,
            Rejection::KeyNotFound => KEY_NOT_FOUND,
            Rejection::LeaseNotFound => LEASE_NOT_FOUND,
            Rejection::LeaseExists => LEASE_EXISTS,
            Rejection::LeaseTtlTooLarge => LEASE_TTL_TOO_LARGE,
            Rejection::NoSpace => NO_SPACE,
            Rejection::Corrupt => CORRUPT,
            Rejection::MemberNotFound => MEMBER_NOT_FOUND,
            Rejection::MemberExists => MEMBER_EXISTS,
            Rejection::PeerUrlExists => PEER_URL_EXISTS,
            Rejection::TooManyLearners => TOO_MANY_LEARNERS,
            Rejection::NotLearner => NOT_LEARNER,
            Rejection::LastVoter => NOT_ENOUGH_STARTED,
            Rejection::Malformed => MALFORMED,
            Rejection::Denied(denied) => Refusal::from(*denied),
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        match denied {
            Denied::AuthNotEnabled => AUTH_NOT_ENABLED,
            Denied::AuthFailed => AUTH_FAILED,
            Denied::NoPasswordUser => NO_PASSWORD_USER,
            Denied::UserEmpty => USER_EMPTY,
            Denied::UserAlreadyExists => USER_ALREADY_EXISTS,
            Denied::UserNotFound => USER_NOT_FOUND,
            Denied::RoleEmpty => ROLE_EMPTY,
            Denied::RoleAlreadyExists => ROLE_ALREADY_EXISTS,
            Denied::RoleNotFound => ROLE_NOT_FOUND,
            Denied::RoleNotGranted => ROLE_NOT_GRANTED,
            Denied::PermissionNotGiven => PERMISSION_NOT_GIVEN,
            Denied::PermissionNotGranted => PERMISSION_NOT_GRANTED,
            Denied::InvalidAuthManagement => INVALID_AUTH_MANAGEMENT,
            Denied::RootUserNotExist => ROOT_USER_NOT_EXIST,
            Denied::RootRoleNotExist => ROOT_ROLE_NOT_EXIST,
            Denied::PermissionDenied => PERMISSION_DENIED,
            Denied::AuthOldRevision => AUTH_OLD_REVISION,
        }
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Refusal {
        match unavailable {
            Unavailable::NoLeader => NO_LEADER,
            Unavailable::LeaderChanged => LEADER_CHANGED,
            Unavailable::Stopped => STOPPED,
            Unavailable::TimedOut => TIMED_OUT,
            Unavailable::NotProposed => DEADLINE_EXCEEDED,
            Unavailable::Overloaded => TOO_MANY_REQUESTS,
        }
    }
}

impl From<&Failure> for Refusal {
    fn from(failure: &Failure) -> Refusal {
        match failure {
            Failure::Unavailable(unavailable) => Refusal::from(*unavailable),
            Failure::Rejected(rejection) => Refusal::from(rejection),
            Failure::TooLarge => REQUEST_TOO_LARGE,
        }
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Status {
        Refusal::from(&rejection).into()
    }
}

impl From<Unavailable> for Status {
    fn from(unavailable: Unavailable) -> Status {
        Refusal::from(unavailable).into()
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        Refusal::from(&failure).into()
    }
}

/// What etcd's gRPC library says of a method that it does not know.
pub(super) fn unknown(path: &str, is_service_known: bool) -> Status {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.rsplit_once('/'))
    else {
        return Status::unimplemented(format!("malformed method name: {path:?}"));
    };
    Status::unimplemented(if is_service_known {
        format!("unknown method {method} for service {service}")
    } else {
        format!("unknown service {service}")
    })
}

/// An error as text, in the words of etcd's gRPC library.
pub(super) fn as_go_tells_it(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

/// A message that is larger than what may be received.
pub(super) fn too_large(found: impl Display, bytes_max: usize) -> Status {
    let text = format!("grpc: received message larger than max ({found} vs. {bytes_max})");
    Status::resource_exhausted(text)
}

/// What the decoder says of a message that is too large becomes what etcd says
/// of it; other errors pass as they are.
pub(super) fn decoding(status: Status, kind: Kind, bytes_max: usize) -> Status {
    let text = status.message();
    let found = text
        .split_once("message length too large: found ")
        .and_then(|(_, rest)| rest.split_once(" bytes"));
    match (status.code(), found) {
        (Code::OutOfRange, Some((found, _))) => too_large(found, bytes_max),
        (Code::ResourceExhausted, _) if text.starts_with("Error decompressing") => {
            Status::resource_exhausted(format!(
                "grpc: received message after decompression larger than max {bytes_max}"
            ))
        }
        (Code::Internal, _) if text.starts_with(NOT_PROTOBUF) => undecodable(text, kind),
        (Code::Internal, _) if text.contains("compressed-flag but no grpc-encoding") => {
            Status::internal(NO_ENCODING)
        }
        _ => status,
    }
}

/// What etcd says of a message that is flagged as compressed, in a call that
/// does not say how.
pub(super) const NO_ENCODING: &str = "grpc: compressed flag set with identity or empty encoding";

/// How prost begins when bytes are no message.
const NOT_PROTOBUF: &str = "failed to decode Protobuf message";

/// What etcd says of bytes that are no message; `why` is what prost says.
pub(super) fn undecodable(why: &str, kind: Kind) -> Status {
    let why = if why.ends_with("recursion limit reached") {
        "proto: exceeded maximum recursion depth"
    } else if why.ends_with("data is not UTF-8 encoded") {
        "string field contains invalid UTF-8"
    } else {
        "proto: cannot parse invalid wire-format data"
    };
    let what = match kind {
        Kind::Unary => "error unmarshalling request",
        Kind::ServerStream | Kind::BidiStream => "failed to unmarshal the received message",
    };
    Status::internal(format!("grpc: {what}: {why}"))
}

/// Refuses a message in a form that is neither plain nor compressed.
pub(super) fn payload_format(form: u8) -> Result<(), Status> {
    if form <= 1 {
        return Ok(());
    }
    Err(Status::internal(format!("grpc: received unexpected payload format {form}")))
}

const GRPC_MESSAGE: &str = "grpc-message";

/// The end of an answer that has begun.
pub(super) fn end(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    in_plain_words(&mut trailers);
    Ok(Frame::trailers(trailers))
}

/// Takes back what tonic escapes in the text of a status and etcd does not.
pub(super) fn in_plain_words(headers: &mut HeaderMap) {
    let Some(text) = headers.get(GRPC_MESSAGE).filter(|text| text.as_bytes().contains(&b'%'))
    else {
        return;
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *byte == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let escaped = escaped.filter(|byte| (b' '..=b'~').contains(byte) && *byte != b'%');
        plain.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    if let Ok(plain) = HeaderValue::from_bytes(&plain) {
        headers.insert(GRPC_MESSAGE, plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_the_prefix_and_no_two_rows_are_alike() {
        for (at, (name, refusal)) in TABLE.iter().enumerate() {
            assert!(refusal.text().starts_with("etcdserver: "), "{name}");
            assert_ne!(refusal.0, Code::Ok, "{name}");
            let others = &TABLE[at + 1..];
            assert!(others.iter().all(|(_, other)| other.text() != refusal.text()), "{name}");
        }
    }

    #[test]
    fn rejections_carry_etcds_code_and_text() {
        let wanted = [
            (
                Rejection::Compacted { oldest: 3 },
                11,
                "etcdserver: mvcc: required revision has been compacted",
            ),
            (
                Rejection::FutureRevision,
                11,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (Rejection::KeyNotFound, 3, "etcdserver: key not found"),
            (Rejection::LeaseNotFound, 5, "etcdserver: requested lease not found"),
            (Rejection::LeaseExists, 9, "etcdserver: lease already exists"),
            (Rejection::LeaseTtlTooLarge, 11, "etcdserver: too large lease TTL"),
            (Rejection::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
            (Rejection::Corrupt, 15, "etcdserver: corrupt cluster"),
            (Rejection::MemberNotFound, 5, "etcdserver: member not found"),
            (Rejection::Malformed, 3, "malformed request"),
        ];
        for (rejection, code, text) in wanted {
            let status = Status::from(Failure::from(rejection.clone()));
            assert_eq!((status.code() as i32, status.message()), (code, text));
            assert_eq!(Status::from(rejection).message(), text);
        }
    }

    #[test]
    fn only_what_may_be_tried_again_is_unavailable() {
        let wanted = [
            (Unavailable::NoLeader, 14, "etcdserver: no leader"),
            (Unavailable::LeaderChanged, 14, "etcdserver: leader changed"),
            (Unavailable::Stopped, 14, "etcdserver: server stopped"),
            (Unavailable::TimedOut, 14, "etcdserver: request timed out"),
            (Unavailable::Overloaded, 2, "etcdserver: too many requests"),
        ];
        for (unavailable, code, text) in wanted {
            let status = Status::from(Failure::from(unavailable));
            assert_eq!((status.code() as i32, status.message()), (code, text));
        }
        let status = Status::from(Failure::TooLarge);
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "etcdserver: request is too large")
        );
    }

    #[test]
    fn an_unknown_method_is_told_as_grpc_go_tells_it() {
        let told = |path, known| unknown(path, known).message().to_owned();
        assert_eq!(told("/a.B/C", true), "unknown method C for service a.B");
        assert_eq!(told("/a.B/C", false), "unknown service a.B");
        assert_eq!(told("nothing", false), "malformed method name: \"nothing\"");
        assert_eq!(unknown("/a.B/C", true).code(), Code::Unimplemented);
    }

    #[test]
    fn a_message_too_large_is_told_as_grpc_go_tells_it() {
        let tonic = Status::out_of_range(
            "Error, decoded message length too large: found 2200000 bytes, \
             the limit is: 2097152 bytes",
        );
        let status = decoding(tonic, Kind::Unary, 2_097_152);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(
            status.message(),
            "grpc: received message larger than max (2200000 vs. 2097152)"
        );
        let tonic = Status::resource_exhausted(
            "Error decompressing: size limit, of 2097152 bytes, exceeded",
        );
        assert_eq!(
            decoding(tonic, Kind::Unary, 2_097_152).message(),
            "grpc: received message after decompression larger than max 2097152"
        );
        let tonic = Status::internal("failed to decode Protobuf message: recursion limit reached");
        assert_eq!(
            decoding(tonic, Kind::Unary, 2_097_152).message(),
            "grpc: error unmarshalling request: proto: exceeded maximum recursion depth"
        );
        let tonic = Status::internal("failed to decode Protobuf message: invalid varint");
        assert_eq!(
            decoding(tonic, Kind::BidiStream, 2_097_152).message(),
            "grpc: failed to unmarshal the received message: proto: cannot parse invalid \
             wire-format data"
        );
        let other = decoding(Status::from(COMPACTED), Kind::Unary, 2_097_152);
        assert_eq!(other.message(), COMPACTED.text());
    }

    #[test]
    fn words_are_plain_and_only_what_is_no_text_is_escaped() {
        let mut headers = HeaderMap::new();
        for (escaped, plain) in
            [("a%20%22b%22", "a \"b\""), ("%25%0A%C3%BC", "%25%0A%C3%BC"), ("%2", "%2")]
        {
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static(escaped));
            in_plain_words(&mut headers);
            assert_eq!(headers[GRPC_MESSAGE], plain);
        }
    }
}
