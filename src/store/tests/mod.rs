//! The store as a page that a stranger can read: `testscripts/` holds commands
//! and the answers to them, `words.rs` turns their words into requests and
//! answers into words, `script.rs` carries them out, on two stores at once.
//!
//! `UPDATE_GOLDENFILES=1 cargo test store::tests` writes the answers anew; read
//! the difference.
//!
//! What no script can say is in `corners.rs`: odd bytes, torn stores, hashes
//! made by hand. `lists.rs` reads long lists in pieces. `model.rs` plays at
//! random against a list of what happened.

mod accounts;
mod corners;
mod lists;
mod model;
mod script;
mod words;
