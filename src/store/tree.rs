//! An ordered map from byte keys that counts its marked entries in any range.
//!
//! A B+ tree in RAM: entries live in leaves, and every branch knows how many
//! marked entries lie below each of its children, so a count is two walks
//! from the root, however many keys it covers. The keyspace marks the keys
//! that are alive; what it has deleted stays unmarked until compaction.
//!
//! ```text
//!                separators    g       p
//!                children    /     |      \
//!                counts     2      1       3
//!                        [a b e] [g k]  [p q r z]     marked: a e k p q z
//! ```
//!
//! Keys that arrive in ascending order fill their leaves to the brim, because
//! a leaf that overflows at its end gives away the last entry alone. Keys in
//! any order fill two thirds. Deliberately not here: revisions, and any idea
//! of what a mark means.

use std::sync::Arc;

/// A key; its holders share it.
pub(super) type Key = Arc<[u8]>;

/// Entries of a leaf. One less than a power of two, here and below, so that
/// the one too many which makes a node split still fits its array.
const LEAF_MAX: usize = 31;

/// Room that a full leaf gets for more entries.
const LEAF_GROWTH: usize = 4;

/// Children of a branch.
const BRANCH_MAX: usize = 63;

/// Below these a node is joined with a neighbour.
const LEAF_MIN: usize = LEAF_MAX / 4;
const BRANCH_MIN: usize = BRANCH_MAX / 4;

// The marks of two leaves that are being joined must fit one word.
const _: () = assert!(LEAF_MAX + LEAF_MIN < 64);

/// An ordered map from byte keys, with a count of its marked entries.
///
/// - `len` is the number of all entries, marked or not.
/// - All leaves are equally deep.
pub(super) struct Tree<V> {
    root: Node<V>,
    len: usize,
}

enum Node<V> {
    Leaf(Leaf<V>),
    Branch(Branch<V>),
}

/// Entries side by side, ascending.
///
/// - `keys` and `values` are equally long; only a root may be empty.
/// - Bit `i` of `marks` is the mark of entry `i`; bits beyond are zero.
struct Leaf<V> {
    keys: Vec<Key>,
    values: Vec<V>,
    marks: u64,
}

/// Nodes side by side, ascending.
///
/// - All keys of child `i` are below `separators[i]`; none of child `i + 1` is.
/// - `counts[i]` is the number of marked entries in child `i`.
/// - There are two children at least.
struct Branch<V> {
    separators: Vec<Key>,
    children: Vec<Node<V>>,
    counts: Vec<usize>,
}

/// The right half of a node that split, and the key where it begins.
type Split<V> = Option<(Key, Node<V>)>;

/// How one entry's mark changed; an entry that is not there has none.
#[derive(Clone, Copy)]
struct Change {
    was: bool,
    is: bool,
}

impl<V> Tree<V> {
    /// Makes an empty tree.
    pub(super) fn new() -> Self {
        Self { root: Node::Leaf(Leaf::new()), len: 0 }
    }

    /// Counts all entries, marked or not.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Finds the value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        let leaf = self.root.leaf(key);
        let at = leaf.find(key).ok()?;
        Some(&leaf.values[at])
    }

    /// Finds the value of a key to change it; its mark stays.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = branch.child(key);
                    node = &mut branch.children[at];
                }
                Node::Leaf(leaf) => {
                    let at = leaf.find(key).ok()?;
                    return Some(&mut leaf.values[at]);
                }
            }
        }
    }

    /// Puts an entry in place, and returns the value that it replaces.
    pub(super) fn insert(&mut self, key: Key, value: V, marked: bool) -> Option<V> {
        let (old, _, split) = self.root.insert(key, value, marked);
        if let Some((separator, right)) = split {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Leaf::new()));
            self.root = Node::Branch(Branch::of(left, separator, right));
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Changes the value and the mark of an entry in one descent.
    ///
    /// `change` returns the caller's result and the new mark; it is not called
    /// if there is no such key.
    pub(super) fn update<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut V) -> (R, bool),
    ) -> Option<R> {
        self.root.update(key, change).map(|(result, _)| result)
    }

    /// Takes an entry out, and returns its value.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let (value, _) = self.root.remove(key)?;
        self.len -= 1;
        if let Node::Branch(branch) = &mut self.root
            && branch.children.len() == 1
        {
            self.root = branch.children.remove(0);
        }
        Some(value)
    }

    /// Walks the entries from `from` until before `to`, or to the end.
    pub(super) fn range<'a>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a Key, &'a V)> + use<'a, V> {
        // A range that ends before it begins would never meet its end.
        let to = to.map(|to| to.max(from));
        let mut above = Vec::new();
        let leaf = self.root.leaf_below(from, &mut above);
        let end = to.map(|to| {
            let leaf = self.root.leaf(to);
            (leaf, leaf.position(to))
        });
        Range { above, leaf, at: leaf.position(from), end }
    }

    /// Counts the marked entries from `from` until before `to`, or to the end.
    pub(super) fn count(&self, from: &[u8], to: Option<&[u8]>) -> usize {
        let until = to.map_or_else(|| self.root.marked(), |to| self.root.marked_before(to));
        until.saturating_sub(self.root.marked_before(from))
    }
}

impl<V> Node<V> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.keys.len(),
            Node::Branch(branch) => branch.children.len(),
        }
    }

    fn is_too_small(&self) -> bool {
        match self {
            Node::Leaf(_) => self.len() < LEAF_MIN,
            Node::Branch(_) => self.len() < BRANCH_MIN,
        }
    }

    fn is_too_large(&self) -> bool {
        match self {
            Node::Leaf(_) => self.len() > LEAF_MAX,
            Node::Branch(_) => self.len() > BRANCH_MAX,
        }
    }

    fn marked(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.marked_before(leaf.keys.len()),
            Node::Branch(branch) => branch.counts.iter().sum(),
        }
    }

    fn marked_before(&self, key: &[u8]) -> usize {
        let mut node = self;
        let mut sum = 0;
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = branch.child(key);
                    sum += branch.counts[..at].iter().sum::<usize>();
                    node = &branch.children[at];
                }
                Node::Leaf(leaf) => return sum + leaf.marked_before(leaf.position(key)),
            }
        }
    }

    /// The leaf that holds a key, if any does.
    fn leaf(&self, key: &[u8]) -> &Leaf<V> {
        let mut node = self;
        loop {
            match node {
                Node::Branch(branch) => node = &branch.children[branch.child(key)],
                Node::Leaf(leaf) => return leaf,
            }
        }
    }

    /// The same leaf, with what is still to come right of it, topmost first.
    fn leaf_below<'a>(&'a self, key: &[u8], above: &mut Vec<&'a [Node<V>]>) -> &'a Leaf<V> {
        let mut node = self;
        loop {
            match node {
                Node::Branch(branch) => {
                    let at = branch.child(key);
                    above.push(&branch.children[at + 1..]);
                    node = &branch.children[at];
                }
                Node::Leaf(leaf) => return leaf,
            }
        }
    }

    fn insert(&mut self, key: Key, value: V, marked: bool) -> (Option<V>, Change, Split<V>) {
        match self {
            Node::Leaf(leaf) => leaf.insert(key, value, marked),
            Node::Branch(branch) => {
                let at = branch.child(&key);
                let (old, change, split) = branch.children[at].insert(key, value, marked);
                branch.recount(at, change);
                let split = split.and_then(|(separator, right)| branch.adopt(at, separator, right));
                (old, change, split)
            }
        }
    }

    fn update<R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut V) -> (R, bool),
    ) -> Option<(R, Change)> {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.find(key).ok()?;
                let (result, is) = change(&mut leaf.values[at]);
                Some((result, leaf.mark(at, is)))
            }
            Node::Branch(branch) => {
                let at = branch.child(key);
                let (result, change) = branch.children[at].update(key, change)?;
                branch.recount(at, change);
                Some((result, change))
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<(V, Change)> {
        match self {
            Node::Leaf(leaf) => {
                let at = leaf.find(key).ok()?;
                Some(leaf.remove(at))
            }
            Node::Branch(branch) => {
                let at = branch.child(key);
                let (value, change) = branch.children[at].remove(key)?;
                branch.recount(at, change);
                if branch.children[at].is_too_small() {
                    branch.mend(at);
                }
                Some((value, change))
            }
        }
    }

    /// Cuts the node in two, and keeps the first `at` of its parts.
    fn split_off(&mut self, at: usize) -> (Key, Node<V>) {
        match self {
            Node::Leaf(leaf) => {
                let (separator, right) = leaf.split_off(at);
                (separator, Node::Leaf(right))
            }
            Node::Branch(branch) => {
                let (separator, right) = branch.split_off(at);
                (separator, Node::Branch(right))
            }
        }
    }

    /// Takes in all parts of its right neighbour.
    fn join(&mut self, separator: Key, right: Node<V>) {
        match (self, right) {
            (Node::Leaf(left), Node::Leaf(mut right)) => {
                left.marks |= right.marks << left.keys.len();
                left.keys.append(&mut right.keys);
                left.values.append(&mut right.values);
            }
            (Node::Branch(left), Node::Branch(mut right)) => {
                left.separators.push(separator);
                left.separators.append(&mut right.separators);
                left.children.append(&mut right.children);
                left.counts.append(&mut right.counts);
            }
            _ => unreachable!("all leaves are equally deep"),
        }
    }
}

impl<V> Leaf<V> {
    fn new() -> Self {
        Self { keys: Vec::new(), values: Vec::new(), marks: 0 }
    }

    /// Where the key is, or else where it would be.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.binary_search_by(|other| other[..].cmp(key))
    }

    fn position(&self, key: &[u8]) -> usize {
        self.find(key).unwrap_or_else(|at| at)
    }

    fn marked_before(&self, at: usize) -> usize {
        (self.marks & below(at)).count_ones() as usize
    }

    fn mark(&mut self, at: usize, is: bool) -> Change {
        let was = self.marks >> at & 1 == 1;
        self.marks = self.marks & !(1 << at) | u64::from(is) << at;
        Change { was, is }
    }

    fn insert(&mut self, key: Key, value: V, marked: bool) -> (Option<V>, Change, Split<V>) {
        let at = match self.find(&key) {
            Ok(at) => {
                let old = std::mem::replace(&mut self.values[at], value);
                return (Some(old), self.mark(at, marked), None);
            }
            Err(at) => at,
        };
        if self.keys.len() == self.keys.capacity() {
            // By doubling, a leaf would be half empty as a rule.
            self.keys.reserve_exact(LEAF_GROWTH);
            self.values.reserve_exact(LEAF_GROWTH);
        }
        self.keys.insert(at, key);
        self.values.insert(at, value);
        let (low, high) = (self.marks & below(at), self.marks & !below(at));
        self.marks = low | high << 1;
        let change = self.mark(at, marked);
        let len = self.keys.len();
        if len <= LEAF_MAX {
            return (None, change, None);
        }
        let (separator, right) = self.split_off(if at == len - 1 { at } else { len / 2 });
        (None, change, Some((separator, Node::Leaf(right))))
    }

    fn remove(&mut self, at: usize) -> (V, Change) {
        let change = self.mark(at, false);
        let (low, high) = (self.marks & below(at), self.marks & !below(at));
        self.marks = low | high >> 1;
        self.keys.remove(at);
        (self.values.remove(at), change)
    }

    fn split_off(&mut self, at: usize) -> (Key, Self) {
        let right = Self {
            keys: self.keys.split_off(at),
            values: self.values.split_off(at),
            marks: self.marks >> at,
        };
        self.marks &= below(at);
        (right.keys[0].clone(), right)
    }
}

impl<V> Branch<V> {
    fn of(left: Node<V>, separator: Key, right: Node<V>) -> Self {
        let counts = vec![left.marked(), right.marked()];
        Self { separators: vec![separator], children: vec![left, right], counts }
    }

    /// Which child a key belongs to.
    fn child(&self, key: &[u8]) -> usize {
        self.separators.partition_point(|separator| separator[..] <= *key)
    }

    fn recount(&mut self, at: usize, change: Change) {
        self.counts[at] = self.counts[at] + usize::from(change.is) - usize::from(change.was);
    }

    /// Takes in the right half of child `at`, which has split.
    fn adopt(&mut self, at: usize, separator: Key, right: Node<V>) -> Split<V> {
        let moved = right.marked();
        self.counts[at] -= moved;
        self.counts.insert(at + 1, moved);
        self.separators.insert(at, separator);
        self.children.insert(at + 1, right);
        let len = self.children.len();
        if len <= BRANCH_MAX {
            return None;
        }
        // At the end the new half leaves with its left neighbour, because a
        // branch of one child would have nobody to join it with.
        let (separator, right) = self.split_off(if at + 2 == len { at } else { len / 2 });
        Some((separator, Node::Branch(right)))
    }

    /// Joins child `at`, which became too small, with a neighbour, and shares
    /// their parts out evenly if one node cannot hold them.
    fn mend(&mut self, at: usize) {
        let at = at.saturating_sub(1);
        let separator = self.separators.remove(at);
        let right = self.children.remove(at + 1);
        self.counts[at] += self.counts.remove(at + 1);
        let left = &mut self.children[at];
        left.join(separator, right);
        if left.is_too_large() {
            let (separator, right) = left.split_off(left.len() / 2);
            let moved = right.marked();
            self.counts[at] -= moved;
            self.counts.insert(at + 1, moved);
            self.separators.insert(at, separator);
            self.children.insert(at + 1, right);
        }
    }

    fn split_off(&mut self, at: usize) -> (Key, Self) {
        let right = Self {
            separators: self.separators.split_off(at),
            children: self.children.split_off(at),
            counts: self.counts.split_off(at),
        };
        let separator = self.separators.pop().expect("both halves have a child");
        (separator, right)
    }
}

/// A walk along the leaves.
struct Range<'a, V> {
    /// What is still to come right of each branch passed, topmost first.
    above: Vec<&'a [Node<V>]>,
    leaf: &'a Leaf<V>,
    at: usize,
    /// The place to stop at; it may be just behind the last entry of a leaf.
    end: Option<(&'a Leaf<V>, usize)>,
}

impl<'a, V> Iterator for Range<'a, V> {
    type Item = (&'a Key, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.end.is_some_and(|(leaf, at)| at == self.at && std::ptr::eq(leaf, self.leaf)) {
                return None;
            }
            if let Some(key) = self.leaf.keys.get(self.at) {
                let value = &self.leaf.values[self.at];
                self.at += 1;
                return Some((key, value));
            }
            self.leaf = self.next_leaf()?;
            self.at = 0;
        }
    }
}

impl<'a, V> Range<'a, V> {
    fn next_leaf(&mut self) -> Option<&'a Leaf<V>> {
        let mut node = loop {
            let siblings = self.above.last_mut()?;
            if let Some((first, rest)) = siblings.split_first() {
                *siblings = rest;
                break first;
            }
            self.above.pop();
        };
        loop {
            match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Branch(branch) => {
                    self.above.push(&branch.children[1..]);
                    node = &branch.children[0];
                }
            }
        }
    }
}

/// The bits of a leaf's first `at` entries.
fn below(at: usize) -> u64 {
    (1 << at) - 1
}

#[cfg(test)]
mod tests;
