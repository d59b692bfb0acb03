//! etcd's face, thin: one file per gRPC service.
//!
//! A connection comes in at a `listener.rs`, is asked who it is where TLS is
//! spoken (`entrance.rs`, `tls/`), and ends up in [`Api`] (`server.rs`), which
//! tells HTTP/1.1 from HTTP/2 by its first bytes; by which name it asks for us is
//! its own affair (`authority.rs`, `hpack.rs`). What is HTTP/1.1 goes to
//! `http.rs`, if it can (`shape.rs`) and may (`visitors.rs`), which hands JSON on to
//! the `gateway`, a client of the rest; its body is read to the end in any case
//! (`drain.rs`). What is HTTP/2 is gRPC, and passes the front desk (`front.rs`): is
//! it in form (`form.rs`), which call is it, who asks (`caller.rs`), how is it
//! counted (`calls.rs`, `metrics.rs`) and that told (`exposition.rs`), what ends it.
//! Behind it stand the services, one file each; the most frequent calls get there
//! by a short way (`unary.rs`), all others through tonic, which sees whole
//! messages alone (`intake.rs`). A service checks the shape of a request
//! (`check.rs`), hands it to the replica, and fills in the header of the reply
//! (`member.rs`). A long list is read while it is sent (`listing.rs`); other large
//! answers are whole in memory and wait in line for their share of it
//! (`budget.rs`). Locks and elections are no more than clients of the keys, who
//! wait in a `queue.rs`.
//!
//! - A request that is refused for its shape has cost nothing but its parsing.
//! - Every refusal is a row of one table (`status.rs`), in etcd's exact words.
//! - Nothing here decides what a request does to the data: that is the store's.

mod auth;
mod authority;
mod budget;
mod caller;
mod calls;
mod check;
mod cluster;
mod connection;
mod drain;
mod election;
mod entrance;
mod exposition;
mod form;
mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway;
mod health;
mod hpack;
mod http;
mod intake;
mod jwt;
mod kv;
mod lease;
mod listener;
mod listing;
mod lock;
mod maintenance;
mod member;
mod metrics;
mod peer_url;
mod queue;
mod quorum;
mod ranges;
mod readings;
mod server;
mod shape;
mod shards;
mod signing;
mod silent;
mod sketch;
mod snapshot;
mod stats;
mod status;
mod tls;
mod unary;
mod visitors;
mod watch;

pub use self::jwt::Jwt;
pub use self::listener::{Listener, Manner, Serves};
pub use self::server::{Api, Feature, Options, TokenKind, Web, serve_pages};
pub use self::signing::BadKeys;
pub use self::tls::{BadTls, Tls, TlsOptions, TlsVersion};
