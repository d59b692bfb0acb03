//! [`Ranges`]: which keys a list of ranges covers.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::{BufMut, Bytes, BytesMut};

/// Ranges of keys, joined where they touch: begin → the first key behind.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    ends: BTreeMap<Bytes, Bytes>,
}

impl Ranges {
    /// Adds etcd's two fields; no end is one key. A range from a key on (an end
    /// of one zero byte) covers nothing here, as in etcd, and so does a range
    /// that ends before it begins.
    pub(super) fn add(&mut self, key: &Bytes, range_end: &Bytes) {
        let end = if range_end.is_empty() { next(key) } else { range_end.clone() };
        if *key < end {
            self.join(key.clone(), end);
        }
    }

    /// Adds all of another list.
    pub(super) fn merge(&mut self, other: Ranges) {
        for (begin, end) in other.ends {
            self.join(begin, end);
        }
    }

    /// Whether a key is covered.
    pub(super) fn hold(&self, key: &[u8]) -> bool {
        self.before(key).is_some_and(|(_, end)| key < &end[..])
    }

    fn before(&self, key: &[u8]) -> Option<(&Bytes, &Bytes)> {
        self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    fn join(&mut self, mut begin: Bytes, mut end: Bytes) {
        if let Some((earlier, its_end)) = self.before(&begin)
            && begin <= *its_end
        {
            begin = earlier.clone();
            end = end.max(its_end.clone());
        }
        while let Some((later, its_end)) = self.ends.range(begin.clone()..=end.clone()).next() {
            let later = later.clone();
            end = end.max(its_end.clone());
            self.ends.remove(&later);
        }
        self.ends.insert(begin, end);
    }
}

/// The first key behind this one.
fn next(key: &[u8]) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(&'static str, &'static str)]) -> Ranges {
        let mut ranges = Ranges::default();
        for (key, end) in list {
            ranges.add(&Bytes::from_static(key.as_bytes()), &Bytes::from_static(end.as_bytes()));
        }
        ranges
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let joined = ranges(&[("c", "e"), ("a", "b"), ("b", "c"), ("g", "h"), ("d", "f")]);
        let all: Vec<_> = joined.ends.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        assert_eq!(all, [(&b"a"[..], &b"f"[..]), (b"g", b"h")]);
    }

    #[test]
    fn a_range_holds_its_first_key_and_not_its_end() {
        let list = ranges(&[("b", "d"), ("x", "")]);
        let held: Vec<_> = ["a", "b", "c", "d", "x", "x\0"]
            .into_iter()
            .filter(|k| list.hold(k.as_bytes()))
            .collect();
        assert_eq!(held, ["b", "c", "x"]);
    }

    #[test]
    fn a_range_from_a_key_on_holds_nothing() {
        let list = ranges(&[("b", "\0"), ("\0", "\0"), ("d", "c")]);
        assert!(!list.hold(b"b") && !list.hold(b"z") && !list.hold(b"c"));
    }
}
