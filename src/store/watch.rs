//! Events: what an applied entry did to keys, and how to find them again later
//! (`history.rs`).

use bytes::Bytes;

use crate::ids::Revision;
use crate::proto::mvccpb::KeyValue;

/// A range of keys: one key, half-open, or from a key on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    /// The first key.
    pub from: Bytes,
    /// The first key behind it; `None` is the end of all keys.
    pub to: Option<Bytes>,
}

impl KeyRange {
    /// From etcd's two fields: no end is one key, an end of one zero byte is
    /// everything from the key on, an empty key with such an end is everything.
    pub fn new(key: &Bytes, range_end: &Bytes) -> KeyRange {
        let to = match range_end.as_ref() {
            [] => Some(successor(key)),
            [0] => None,
            _ => Some(range_end.clone()),
        };
        KeyRange { from: key.clone(), to }
    }

    /// Whether the key lies within.
    pub fn holds(&self, key: &[u8]) -> bool {
        *self.from <= *key && self.to.as_ref().is_none_or(|to| *key < **to)
    }

    /// The only key, if there can be only one.
    pub fn single(&self) -> Option<&Bytes> {
        let rest = self.to.as_ref()?.strip_prefix(self.from.as_ref())?;
        (rest == [0]).then_some(&self.from)
    }

    /// Whether no key can lie within.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// The first key behind a key.
pub(super) fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// What a key held before an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Previous {
    /// It did not exist.
    None,
    /// It held this: an encoded `KeyValue`.
    Known(Bytes),
    /// It is in the history: `Reader::before` finds it.
    Unknown,
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Whether the key was deleted; `kv` then has the key and `mod_revision` only.
    pub deleted: bool,
    /// The key as it is now.
    pub kv: KeyValue,
    /// What it held at the revision before, unless it was created at this one.
    pub previous: Previous,
}

/// Everything that happened at one revision, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes {
    /// The revision.
    pub revision: Revision,
    /// At least one event.
    pub events: Vec<Event>,
}

/// A piece of history.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The revisions at which something matched, ascending, with the matching
    /// events alone.
    pub changes: Vec<Changes>,
    /// Everything below has been looked at; greater than the store's revision
    /// at the end of history.
    pub next: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(&key.into(), &end.into())
    }

    #[test]
    fn the_end_of_a_range_has_three_meanings() {
        let single = range("a", "");
        assert!(single.holds(b"a") && !single.holds(b"a\0") && !single.holds(b"b"));
        assert_eq!(single.single(), Some(&"a".into()));
        let rest = range("a", "\0");
        assert!(rest.holds(b"a") && rest.holds(b"\xff\xff") && !rest.holds(b"A"));
        let half_open = range("a", "c");
        assert!(half_open.holds(b"b\xff") && !half_open.holds(b"c"));
        assert!(half_open.single().is_none() && rest.single().is_none());
        let everything = range("", "\0");
        assert!(everything.holds(b"\0"));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        assert!(range("b", "a").is_empty() && range("b", "b").is_empty());
        assert!(!range("b", "").is_empty() && !range("b", "\0").is_empty());
    }
}
