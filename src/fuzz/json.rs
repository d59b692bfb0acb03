//! A request to the gateway: a line with its path, and its body.
//!
//! What the gateway understands, the call behind it must be able to decode.

use tonic::Code;

use crate::api::fuzz as door;

/// Takes a path, and the body behind it.
pub(super) fn run(data: &[u8]) {
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (path, body) = (&data[..line], data.get(line + 1..).unwrap_or_default());
    let Ok(path) = std::str::from_utf8(path) else { return };
    let Some((call, messages)) = door::take_json(path, body, path.len()) else { return };
    let call = door::number(call).expect("a path leads to a call");
    for message in messages {
        if let Err(refused) = door::take_message(call, message) {
            assert_ne!(refused.code(), Code::Internal, "it is no message: {refused}");
        }
    }
}

/// Every path with every field of its request.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let body = |example: door::Example| [example.path.as_bytes(), b"\n", &example.json].concat();
    let mut seeds: Vec<_> = (0..4).flat_map(door::examples).map(body).collect();
    seeds.push(
        b"/v3beta/watch\n{\"create_request\":{\"key\":\"aw\"}} {\"cancelRequest\":{}}".to_vec(),
    );
    seeds
}
