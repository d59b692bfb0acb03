//! `cluster.kat`: one file that describes a cluster, and what may override it.
//!
//! Bytes become a tree of values that know their place (`yaml`), the tree is
//! read field by field through one table (`fields`), and fields are checked
//! against each other (`check`). Flags, environment, file, store and defaults
//! are layers of the same table (`load`). Whatever is wrong is collected and
//! shown at its place (`diagnose`).
//!
//! - A wrong configuration creates nothing: no effect precedes its check.
//! - All mistakes come in one pass.
//! - No bytes make it panic.

mod check;
mod diagnose;
mod document;
mod fields;
mod file;
mod inputs;
mod listen;
mod load;
mod name;
mod origin;
mod print;
mod schema;
mod shape;
mod spec;
mod stored;
mod survey;
mod url;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

pub(crate) use check::are_nested;
pub use diagnose::{Invalid, Kind, Label, PROBLEMS_MAX, Problem};
pub use fields::{Change, Scope};
pub use file::ConfigSource;
pub use inputs::{Inputs, Override, Purpose, Stored};
pub use listen::Ports;
pub use load::{Config, Difference, load};
pub use origin::{Origin, Origins};
pub use print::{EXAMPLE, Form};
pub use schema::schema;
pub use spec::{
    Advertise, Cidr, ClientTls, LogFormat, Logging, Metrics, Retention, S3, Spec, StoreProfile,
    Telemetry, Tls,
};
pub use url::{Host, Scheme, Url};
pub(super) use value::{Entry, Meaning, Value};
pub(super) use yaml::parse;
