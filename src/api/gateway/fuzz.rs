//! The gateway's door for fuzzing (`api/fuzz.rs`).

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use super::{json, requests, routes};

/// Messages in messages of an example.
const DEPTH_MAX: usize = 4;

/// A message in both of its forms.
#[derive(Clone, Debug)]
pub struct Example {
    /// The path at the gateway.
    pub path: String,
    /// The path of the call.
    pub call: String,
    /// The message.
    pub message: Bytes,
    /// The same as JSON.
    pub json: Vec<u8>,
}

/// What every call takes, with all its fields; of those that exclude one another
/// the one of this number.
pub fn examples(choice: usize) -> Vec<Example> {
    let example = |(path, route): (String, &routes::Route)| {
        let message = Bytes::from(fill(&route.input, choice, DEPTH_MAX).encode_to_vec());
        let json = json::encode(&route.input, message.clone()).expect("it can be written");
        Example { path, call: route.call.to_string(), message, json }
    };
    routes::all().map(example).collect()
}

fn fill(kind: &MessageDescriptor, choice: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    for field in kind.fields() {
        let is_chosen = field.containing_oneof().is_none_or(|oneof| {
            let at = oneof.fields().position(|other| other == field);
            at == Some(choice % oneof.fields().count())
        });
        if is_chosen && let Some(value) = example(&field, choice, depth) {
            let value = if field.is_list() { Value::List(vec![value]) } else { value };
            message.set_field(&field, value);
        }
    }
    message
}

fn example(field: &FieldDescriptor, choice: usize, depth: usize) -> Option<Value> {
    Some(match field.kind() {
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(kind) => Value::Message(fill(&kind, choice, depth - 1)),
        Kind::Bytes => Value::Bytes(if field.name() == "range_end" { "z" } else { "k" }.into()),
        Kind::String => Value::String("root".to_owned()),
        Kind::Bool => Value::Bool(choice % 2 == 1),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Int64 => Value::I64(1),
        Kind::Uint64 => Value::U64(1),
        Kind::Int32 => Value::I32(1),
        Kind::Uint32 => Value::U32(1),
        other => panic!("no message of etcd's has {other:?}"),
    })
}

/// Takes a body, and the same in two pieces where there may be many messages:
/// what is understood must stay the same when it is written and read again.
/// The call and its messages.
pub fn take_json(path: &str, body: &[u8], cut: usize) -> Option<(&'static str, Vec<Bytes>)> {
    let route = routes::find(path)?;
    for kind in [&route.input, &route.output] {
        let Ok(message) = json::decode(kind, body) else { continue };
        let written = json::encode(kind, message.clone()).expect("what was read can be written");
        let again = json::decode(kind, &written).expect("what was written can be read");
        assert_eq!(message, again, "{kind:?}: {}", String::from_utf8_lossy(&written));
    }
    let whole = match route.takes_stream {
        true => requests::split(&[body]),
        false => vec![Bytes::copy_from_slice(body)],
    };
    if route.takes_stream {
        let (first, second) = body.split_at(cut.min(body.len()));
        assert_eq!(requests::split(&[first, second]), whole, "a cut changes nothing");
    }
    let messages = whole.iter().map_while(|json| json::decode(&route.input, json).ok());
    Some((route.call.path(), messages.collect()))
}
