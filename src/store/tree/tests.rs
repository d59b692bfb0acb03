//! The tree against a model of a few lines, and its invariants after each step.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::{BRANCH_MAX, Key, LEAF_MAX, Node, Tree};

/// What a tree means: a value and a mark for each key.
type Model = BTreeMap<Vec<u8>, (u32, bool)>;

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u32, bool),
    Mark(Vec<u8>, bool),
    Update(Vec<u8>, u32, bool),
    Set(Vec<u8>, u32),
    Remove(Vec<u8>),
    RemoveRange(Vec<u8>, Vec<u8>),
    InsertRun(u16, u16, bool),
    Look(Vec<u8>, Option<Vec<u8>>),
}

/// Keys that often meet: short, of few letters, or one of the numbered runs.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(0), Just(b'a'), Just(b'b'), Just(255)], 0..4),
        any::<u16>().prop_map(numbered),
        (0..400_u16).prop_map(numbered),
    ]
}

fn numbered(number: u16) -> Vec<u8> {
    format!("k{number:05}").into_bytes()
}

fn step() -> impl Strategy<Value = Step> {
    let entry = || (key(), any::<u32>(), any::<bool>());
    prop_oneof![
        4 => entry().prop_map(|(key, value, marked)| Step::Insert(key, value, marked)),
        1 => entry().prop_map(|(key, _, marked)| Step::Mark(key, marked)),
        2 => entry().prop_map(|(key, value, marked)| Step::Update(key, value, marked)),
        1 => entry().prop_map(|(key, value, _)| Step::Set(key, value)),
        3 => key().prop_map(Step::Remove),
        1 => (key(), key()).prop_map(|(from, to)| Step::RemoveRange(from, to)),
        2 => (any::<u16>(), 1..300_u16, any::<bool>())
            .prop_map(|(from, many, up)| Step::InsertRun(from, many, up)),
        3 => (key(), prop::option::of(key())).prop_map(|(from, to)| Step::Look(from, to)),
    ]
}

fn inside<'a>(
    model: &'a Model,
    from: &[u8],
    to: Option<&[u8]>,
) -> Vec<(&'a Vec<u8>, &'a (u32, bool))> {
    let bounds = (Bound::Included(from), Bound::Unbounded);
    model
        .range::<[u8], _>(bounds)
        .take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to))
        .collect()
}

fn insert(tree: &mut Tree<u32>, model: &mut Model, key: Vec<u8>, value: u32, marked: bool) {
    let old = tree.insert(Key::from(&key[..]), value, marked);
    assert_eq!(old, model.insert(key, (value, marked)).map(|(value, _)| value));
}

fn remove(tree: &mut Tree<u32>, model: &mut Model, key: &[u8]) {
    assert_eq!(tree.remove(key), model.remove(key).map(|(value, _)| value));
}

fn play(tree: &mut Tree<u32>, model: &mut Model, step: Step) {
    match step {
        Step::Insert(key, value, marked) => insert(tree, model, key, value, marked),
        Step::Mark(key, marked) => {
            if let Some((_, mark)) = model.get_mut(&key) {
                *mark = marked;
                tree.update(&key, |_| ((), marked)).unwrap();
            }
        }
        Step::Update(key, new, marked) => {
            let old = tree.update(&key, |value| (std::mem::replace(value, new), marked));
            let expected = model.get_mut(&key).map(|entry| std::mem::replace(entry, (new, marked)));
            assert_eq!(old, expected.map(|(value, _)| value));
        }
        Step::Set(key, new) => {
            let old = tree.get_mut(&key).map(|value| std::mem::replace(value, new));
            let expected = model.get_mut(&key).map(|entry| std::mem::replace(&mut entry.0, new));
            assert_eq!(old, expected);
        }
        Step::Remove(key) => remove(tree, model, &key),
        Step::RemoveRange(from, to) => {
            let keys: Vec<_> = inside(model, &from, Some(&to)).into_iter().map(|e| e.0).collect();
            for key in keys.into_iter().cloned().collect::<Vec<_>>() {
                remove(tree, model, &key);
            }
        }
        Step::InsertRun(from, many, up) => {
            for i in 0..many {
                let number = from.wrapping_add(if up { i } else { many - i });
                insert(tree, model, numbered(number), number.into(), number % 3 != 0);
            }
        }
        Step::Look(from, to) => look(tree, model, &from, to.as_deref()),
    }
}

fn look(tree: &Tree<u32>, model: &Model, from: &[u8], to: Option<&[u8]>) {
    let expected = inside(model, from, to);
    assert_eq!(
        tree.count(from, to),
        expected.iter().filter(|(_, (_, marked))| *marked).count(),
        "count from {from:?} to {to:?}"
    );
    let found: Vec<_> = tree.range(from, to).map(|(key, value)| (key.to_vec(), *value)).collect();
    let expected: Vec<_> = expected.into_iter().map(|(key, (v, _))| (key.clone(), *v)).collect();
    assert_eq!(found, expected, "range from {from:?} to {to:?}");
    assert_eq!(tree.get(from), model.get(from).map(|(value, _)| value));
}

/// Checks what the structs promise, and returns the depth and marked count.
fn check(node: &Node<u32>, low: &[u8], high: Option<&[u8]>, is_root: bool) -> (usize, usize) {
    match node {
        Node::Leaf(leaf) => {
            assert_eq!(leaf.keys.len(), leaf.values.len());
            assert!(leaf.keys.len() <= LEAF_MAX);
            assert!(is_root || !leaf.keys.is_empty());
            assert!(leaf.keys.is_sorted_by(|a, b| a < b));
            assert!(leaf.keys.iter().all(|key| low <= &key[..]));
            assert!(leaf.keys.iter().all(|key| high.is_none_or(|high| &key[..] < high)));
            assert_eq!(leaf.marks >> leaf.keys.len(), 0, "marks beyond the entries");
            (0, leaf.marks.count_ones() as usize)
        }
        Node::Branch(branch) => {
            let len = branch.children.len();
            assert!((2..=BRANCH_MAX).contains(&len));
            assert_eq!((branch.separators.len() + 1, branch.counts.len()), (len, len));
            let mut depths = Vec::new();
            for (i, child) in branch.children.iter().enumerate() {
                let low = if i == 0 { low } else { &branch.separators[i - 1] };
                let high = branch.separators.get(i).map(|high| &high[..]).or(high);
                let (depth, marked) = check(child, low, high, false);
                assert_eq!(marked, branch.counts[i]);
                depths.push(depth);
            }
            assert!(depths.iter().all(|depth| *depth == depths[0]), "leaves are equally deep");
            (depths[0] + 1, branch.counts.iter().sum())
        }
    }
}

fn agree(tree: &Tree<u32>, model: &Model) {
    check(&tree.root, &[], None, true);
    assert_eq!(tree.len(), model.len());
    look(tree, model, &[], None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn a_tree_is_an_ordered_map(steps in prop::collection::vec(step(), 1..120)) {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        for step in steps {
            play(&mut tree, &mut model, step);
            check(&tree.root, &[], None, true);
        }
        agree(&tree, &model);
        while let Some(key) = model.keys().nth(model.len() / 2).cloned() {
            remove(&mut tree, &mut model, &key);
        }
        agree(&tree, &model);
    }
}

#[test]
fn a_hundred_thousand_keys_in_any_order_come_and_go() {
    for stride in [1_u32, 99_999, 7_919] {
        let (mut tree, mut model) = (Tree::new(), Model::new());
        let order = || {
            (0..100_000_u32).scan(0_u32, move |at, _| {
                *at = (*at + stride) % 100_000;
                Some(*at)
            })
        };
        for number in order() {
            insert(&mut tree, &mut model, number.to_be_bytes().into(), number, number % 2 == 0);
        }
        agree(&tree, &model);
        for i in 0..200_u32 {
            let (from, to) = ((i * 331).to_be_bytes(), (i * 499).to_be_bytes());
            look(&tree, &model, &from, Some(&to));
        }
        for number in order().filter(|number: &u32| !number.is_multiple_of(10)) {
            remove(&mut tree, &mut model, &number.to_be_bytes());
        }
        agree(&tree, &model);
    }
}

#[test]
fn ascending_keys_fill_their_leaves() {
    let mut tree = Tree::new();
    for number in 0..100_000_u32 {
        tree.insert(Key::from(&number.to_be_bytes()[..]), number, true);
    }
    let mut leaves = 0;
    let mut nodes = vec![&tree.root];
    while let Some(node) = nodes.pop() {
        match node {
            Node::Leaf(_) => leaves += 1,
            Node::Branch(branch) => nodes.extend(&branch.children),
        }
    }
    assert_eq!(leaves, 100_000_usize.div_ceil(LEAF_MAX));
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let mut tree = Tree::new();
    for number in 0..1_000_u32 {
        tree.insert(Key::from(&number.to_be_bytes()[..]), number, true);
    }
    let (from, to) = (900_u32.to_be_bytes(), 100_u32.to_be_bytes());
    assert_eq!(tree.range(&from, Some(&to)).count(), 0);
    assert_eq!(tree.count(&from, Some(&to)), 0);
    assert_eq!(tree.range(&from, Some(&from)).count(), 0);
    assert_eq!(tree.count(&from, Some(&from)), 0);
}
