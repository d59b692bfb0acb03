//! The JSON gateway: etcd's gRPC API for those who speak HTTP/1.1 and JSON.
//!
//! A path leads to a call (`routes.rs`). The JSON of the request becomes the
//! call's message (`json.rs`, `strict.rs`; where a call takes a stream, one
//! message after another: `requests.rs`), the call is made over gRPC, and what it
//! gives becomes JSON again (`desk.rs`). As in etcd, the gateway is a client of its
//! own server: its calls pass the same front desk as all others, so that
//! tokens, deadlines, counters and the stop of the server hold for them too.
//! The connection between the two is memory, one for each client connection
//! that needs it.
//!
//! - Nothing here knows a message: the descriptors of `proto/` say it all.
//! - Nothing is buffered but one message, and that has its bound.
//! - A WebSocket is the same conversation in frames (`socket.rs`).

mod desk;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod json;
mod requests;
mod routes;
mod socket;
mod strict;

pub(super) use self::desk::Gateway;
#[cfg(any(test, fuzzing))]
pub use self::fuzz::{Example, examples, take_json};
