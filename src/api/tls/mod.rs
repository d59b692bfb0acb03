//! TLS: who may come in, and as whom.
//!
//! ```text
//!   TlsOptions ── Tls ── handshake ── stream, common name
//!   options.rs    │ accept.rs
//!                 ├ pair.rs      certificate and key, read anew for each handshake
//!                 ├ verifier.rs  what a client shows: chain.rs, names.rs
//!                 └ revoked.rs   what has been taken back
//! ```
//!
//! What rustls and its verifier do well is theirs. Ours is what etcd does
//! otherwise: a certificate of an authority may be a client's own, authorities
//! expire, revocation is by serial number alone, names may be asked for.
//!
//! - Nothing is resumed: each connection shows its certificate again.
//! - An error is told in the words of Go's library, which alerts look for.

mod accept;
mod chain;
mod names;
mod options;
mod pair;
mod revoked;
mod verifier;

pub use self::accept::Tls;
pub(super) use self::accept::is_handshake;
pub use self::options::{BadTls, TlsOptions, TlsVersion};
