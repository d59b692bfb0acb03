//! Which of flag, environment, file, store and default won, field by field.

use std::collections::BTreeMap;
use std::fmt;

/// Where the effective value of a field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// It was given to `init` or `join`, and kept.
    Remembered,
    /// All agents share it.
    Store,
    /// The file, at this line and column.
    File(usize, usize),
    /// This variable.
    Environment(&'static str),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Remembered => f.write_str("kept from init or join"),
            Origin::Store => f.write_str("store"),
            Origin::File(line, column) => write!(f, "file:{line}:{column}"),
            Origin::Environment(variable) => write!(f, "env {variable}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The origin of every field that is not a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(pub(super) BTreeMap<&'static str, Origin>);

impl Origins {
    /// Returns where a field's value comes from.
    pub fn of(&self, field: &str) -> &Origin {
        self.0.get(field).unwrap_or(&Origin::Default)
    }

    /// Tells whether somebody set the field.
    pub fn is_set(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }
}
