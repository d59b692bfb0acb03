//! Between JSON and the messages of gRPC, by their descriptors.
//!
//! The form is protobuf's own, under the names of the `.proto` files: numbers
//! of 64 bits are strings, bytes are base64, enums are names, and what has its
//! zero value is left out. Read is more than is written: camel-case names,
//! plain numbers, either alphabet of base64. Fields and names of enums that
//! nobody knows are passed over. What is wrong is told in other words than
//! etcd's, which differ from build to build.

use bytes::Bytes;
use http::StatusCode;
use prost::Message as _;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use tonic::{Code, Status};

use super::strict;

/// Reads the first JSON value; what follows it is not looked at. No value at
/// all is an empty message.
pub(super) fn decode(kind: &MessageDescriptor, json: &[u8]) -> Result<Bytes, Status> {
    if json.iter().copied().all(is_space) {
        return Ok(Bytes::new());
    }
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let read = strict::check(kind, json).and_then(|()| {
        let mut reader = serde_json::Deserializer::from_slice(json);
        DynamicMessage::deserialize_with_options(kind.clone(), &mut reader, &options)
    });
    match read {
        Ok(message) => Ok(message.encode_to_vec().into()),
        Err(error) if error.is_eof() => Err(Status::invalid_argument("unexpected EOF")),
        Err(error) => Err(Status::invalid_argument(format!("proto: {error}"))),
    }
}

/// Writes a message as JSON.
pub(super) fn encode(kind: &MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    let mut json = Vec::new();
    write(kind, message, &mut json)?;
    Ok(json)
}

/// Writes a message as a line of a stream.
pub(super) fn line(kind: &MessageDescriptor, message: Bytes) -> Result<Vec<u8>, Status> {
    let mut json = br#"{"result":"#.to_vec();
    write(kind, message, &mut json)?;
    json.extend_from_slice(b"}\n");
    Ok(json)
}

fn write(kind: &MessageDescriptor, message: Bytes, json: &mut Vec<u8>) -> Result<(), Status> {
    let broken = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let message = DynamicMessage::decode(kind.clone(), message).map_err(|error| broken(&error))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    let written = message.serialize_with_options(&mut serde_json::Serializer::new(json), &options);
    written.map_err(|error| broken(&error))
}

/// Writes an error as an answer of its own.
pub(super) fn error(status: &Status) -> Vec<u8> {
    let told = serde_json::json!({ "code": status.code() as i32, "message": status.message() });
    told.to_string().into_bytes()
}

/// Writes an error as the last line of a stream.
pub(super) fn error_line(status: &Status) -> Vec<u8> {
    [&br#"{"error":"#[..], &error(status), b"}\n"].concat()
}

/// The HTTP status of a gRPC code.
pub(super) fn http_status(code: Code) -> StatusCode {
    const CLIENT_CLOSED_REQUEST: u16 = 499;
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => {
            StatusCode::from_u16(CLIENT_CLOSED_REQUEST).expect("it has three digits")
        }
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// JSON's idea of space.
pub(super) fn is_space(byte: u8) -> bool {
    b" \t\r\n".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::routes;
    use super::*;
    use crate::proto::etcdserverpb as pb;
    use crate::proto::mvccpb::{Event, KeyValue};

    fn read<M: prost::Message + Default>(path: &str, json: &str) -> Result<M, String> {
        let input = &routes::find(path).unwrap().input;
        let bytes = decode(input, json.as_bytes()).map_err(|status| status.message().to_owned())?;
        Ok(M::decode(bytes).unwrap())
    }

    fn written(path: &str, message: &impl prost::Message) -> String {
        let output = &routes::find(path).unwrap().output;
        let json = encode(output, message.encode_to_vec().into()).unwrap();
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn a_request_is_read_in_every_form_that_protobuf_allows() {
        let wanted = pb::RangeRequest {
            key: "a".into(),
            range_end: [0xfb, 0xff].to_vec().into(),
            limit: 5,
            sort_order: 2,
            keys_only: true,
            ..Default::default()
        };
        for json in [
            r#"{"key":"YQ==","range_end":"+/8=","limit":"5",
                "sort_order":"DESCEND","keys_only":true}"#,
            r#"{"key":"YQ","rangeEnd":"-_8","limit":5,"sortOrder":2,"keysOnly":true}"#,
            r#"{"key":"YQ==","range_end":"+/8","limit":5.0,
                "sort_order":2,"keys_only":true,"x":[{}]}"#,
            r#" {"key":"YQ==","rangeEnd":"-_8=","limit":5,"revision":null,"sort_target":"NO",
                "sort_order":"DESCEND","keys_only":true} and more"#,
        ] {
            assert_eq!(read("/v3/kv/range", json), Ok(wanted.clone()), "{json}");
        }
        let compact: pb::CompactionRequest =
            read("/v3/kv/compaction", r#"{"revision":"-9223372036854775808"}"#).unwrap();
        assert_eq!(compact.revision, i64::MIN);
        let alarm: pb::AlarmRequest =
            read("/v3/maintenance/alarm", r#"{"memberID":"18446744073709551615"}"#).unwrap();
        assert_eq!(alarm.member_id, u64::MAX);
    }

    #[test]
    fn nothing_is_an_empty_message() {
        for json in ["", " \r\n\t", "{}"] {
            assert_eq!(read("/v3/kv/range", json), Ok(pb::RangeRequest::default()), "{json:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for json in [
            "x",
            "[]",
            "null",
            "5",
            r#"{"key":5}"#,
            r#"{"key":"*"}"#,
            r#"{"limit":"x"}"#,
            r#"{"limit":9223372036854775808}"#,
            r#"{"limit":1.5}"#,
            r#"{"serializable":"true"}"#,
            r#"{"key":"YQ==",}"#,
            r#"{key:"YQ=="}"#,
        ] {
            let refused = read::<pb::RangeRequest>("/v3/kv/range", json).unwrap_err();
            assert!(refused.starts_with("proto: "), "{json}: {refused}");
        }
        for json in ["{", r#"{"key":"#, r#"{"key":"YQ"#] {
            let refused = read::<pb::RangeRequest>("/v3/kv/range", json).unwrap_err();
            assert_eq!(refused, "unexpected EOF", "{json}");
        }
    }

    #[test]
    fn only_one_operation_of_a_txn_is_taken_and_a_wrong_name_is_none() {
        let op = |json: &str| {
            let txn = format!(r#"{{"success":[{{{json}}}]}}"#);
            read::<pb::TxnRequest>("/v3/kv/txn", &txn).map(|mut txn| txn.success.remove(0).request)
        };
        let put = pb::PutRequest { key: "a".into(), ..Default::default() };
        let put = Some(pb::request_op::Request::RequestPut(put));
        assert_eq!(op(r#""requestPut":{"key":"YQ=="}"#), Ok(put.clone()));
        assert_eq!(op(r#""request_put":{"key":"YQ=="}"#), Ok(put));
        assert_eq!(op(r#""put":{"key":"YQ=="}"#), Ok(None));
        assert!(op(r#""request_put":{},"request_range":{}"#).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = r#"{"success":[{"request_txn":"#.repeat(1000);
        assert!(read::<pb::TxnRequest>("/v3/kv/txn", &deep).is_err());
    }

    #[test]
    fn a_response_has_the_names_of_the_proto_files_and_no_zeros() {
        let header = pb::ResponseHeader { cluster_id: u64::MAX, revision: 2, ..Default::default() };
        let kv = KeyValue {
            key: "a".into(),
            value: [0xfb, 0xff].to_vec().into(),
            create_revision: 7,
            ..Default::default()
        };
        let event = Event { r#type: 1, kv: Some(kv), prev_kv: None };
        let response = pb::WatchResponse {
            header: Some(header),
            watch_id: 3,
            events: vec![event, Event::default()],
            ..Default::default()
        };
        let wanted = concat!(
            r#"{"header":{"cluster_id":"18446744073709551615","revision":"2"},"watch_id":"3","#,
            r#""events":[{"type":"DELETE","kv":{"key":"YQ==","create_revision":"7","#,
            r#""value":"+/8="}},{}]}"#,
        );
        assert_eq!(written("/v3/watch", &response), wanted);
        let member = pb::Member {
            id: 9,
            peer_ur_ls: vec!["http://a".into()],
            is_learner: true,
            ..Default::default()
        };
        let list = pb::MemberListResponse { header: None, members: vec![member] };
        let wanted = r#"{"members":[{"ID":"9","peerURLs":["http://a"],"isLearner":true}]}"#;
        assert_eq!(written("/v3/cluster/member/list", &list), wanted);
        let hash = pb::HashResponse { header: Some(pb::ResponseHeader::default()), hash: 5 };
        assert_eq!(written("/v3/maintenance/hash", &hash), r#"{"header":{},"hash":5}"#);
        let grant = pb::LeaseGrantResponse { id: 1, ttl: 2, ..Default::default() };
        assert_eq!(written("/v3/lease/grant", &grant), r#"{"ID":"1","TTL":"2"}"#);
    }

    #[test]
    fn an_empty_answer_of_a_txn_still_says_of_which_kind_it_is() {
        let put = pb::response_op::Response::ResponsePut(pb::PutResponse::default());
        let responses = vec![pb::ResponseOp { response: Some(put) }];
        let response = pb::TxnResponse { header: None, succeeded: false, responses };
        assert_eq!(written("/v3/kv/txn", &response), r#"{"responses":[{"response_put":{}}]}"#);
    }

    #[test]
    fn errors_and_results_of_streams_are_lines() {
        let status = Status::not_found("no \"a\"");
        assert_eq!(error(&status), br#"{"code":5,"message":"no \"a\""}"#);
        let wanted = b"{\"error\":{\"code\":5,\"message\":\"no \\\"a\\\"\"}}\n";
        assert_eq!(error_line(&status), wanted);
        let output = &routes::find("/v3/lease/keepalive").unwrap().output;
        let message = pb::LeaseKeepAliveResponse { id: 5, ..Default::default() };
        let line = line(output, message.encode_to_vec().into()).unwrap();
        assert_eq!(line, b"{\"result\":{\"ID\":\"5\"}}\n");
    }
}
