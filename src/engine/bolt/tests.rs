//! Files read back by our reader, and by one that shares nothing with the writer
//! and looks at everything on the way: every page in its place and used once,
//! every key in its order.

use std::collections::BTreeMap;
use std::io::{self, Write};

use proptest::prelude::*;

use super::page::fnv;
use super::write::PAGE_BYTES;
use super::{Item, Writer, write};

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Bytes(Vec<u8>),
    Bucket(Bucket),
}

type Bucket = BTreeMap<Vec<u8>, Value>;

/// A file, and the pages that were met in it.
struct Reader<'a> {
    file: &'a [u8],
    met: Vec<bool>,
    depth: usize,
}

fn at<const N: usize>(bytes: &[u8], place: usize) -> [u8; N] {
    bytes[place..place + N].try_into().unwrap()
}

fn u32_at(bytes: &[u8], place: usize) -> usize {
    u32::from_le_bytes(at(bytes, place)).try_into().unwrap()
}

fn u64_at(bytes: &[u8], place: usize) -> usize {
    u64::from_le_bytes(at(bytes, place)).try_into().unwrap()
}

impl Reader<'_> {
    /// A page with those that belong to it, its kind and its count.
    fn page(&mut self, number: usize) -> (&[u8], u16, usize) {
        let page = &self.file[number * PAGE_BYTES..];
        assert_eq!(u64_at(page, 0), number, "a page knows its number");
        let more = u32_at(page, 12);
        for met in &mut self.met[number..=number + more] {
            assert!(!std::mem::replace(met, true), "a page is used once");
        }
        let kind = u16::from_le_bytes(at(page, 8));
        let count = u16::from_le_bytes(at(page, 10)).into();
        (&page[..(more + 1) * PAGE_BYTES], kind, count)
    }

    /// Reads a tree into a bucket; its first key, and how deep it is.
    fn tree(&mut self, number: usize, bucket: &mut Bucket) -> (Option<Vec<u8>>, usize) {
        let (page, kind, count) = self.page(number);
        let page = page.to_vec();
        let mut first = None;
        let mut depths = Vec::new();
        for place in (0..count).map(|row| 16 + 16 * row) {
            let cut = |from: usize, len: usize| page[from..from + len].to_vec();
            if kind == 1 {
                let key = cut(place + u32_at(&page, place), u32_at(&page, place + 4));
                let (lowest, depth) = self.tree(u64_at(&page, place + 8), bucket);
                assert_eq!(lowest.as_ref(), Some(&key), "a branch names the first key below");
                first.get_or_insert(key);
                depths.push(depth + 1);
                continue;
            }
            assert_eq!(kind, 2, "a tree is made of branches and leaves");
            let key_at = place + u32_at(&page, place + 4);
            let key = cut(key_at, u32_at(&page, place + 8));
            let value = cut(key_at + key.len(), u32_at(&page, place + 12));
            let value = match u32_at(&page, place) {
                0 => Value::Bytes(value),
                flags => {
                    assert_eq!((flags, value.len()), (1, 16));
                    let mut below = Bucket::new();
                    self.tree(u64_at(&value, 0), &mut below);
                    Value::Bucket(below)
                }
            };
            let last = bucket.last_key_value().map(|(last, _)| last);
            assert!(last.is_none_or(|last| *last < key), "keys ascend");
            first.get_or_insert(key.clone());
            bucket.insert(key, value);
        }
        assert!(kind == 2 || count >= 2, "a branch has two children");
        assert!(depths.iter().all(|depth| *depth == depths[0]), "leaves are equally deep");
        let depth = depths.first().copied().unwrap_or(0);
        self.depth = self.depth.max(depth);
        (first, depth)
    }
}

/// Reads a whole file; its root, and how deep its deepest tree is.
fn read(file: &[u8]) -> (Bucket, usize) {
    let pages = file.len() / PAGE_BYTES;
    let mut reader = Reader { file, met: vec![false; pages], depth: 0 };
    let mut roots = Vec::new();
    for number in 0..2 {
        let (page, kind, _) = reader.page(number);
        assert_eq!(kind, 4);
        let meta = &page[16..80];
        assert_eq!(meta[..16], *b"\xed\xda\x0c\xed\x02\0\0\0\0\x10\0\0\0\0\0\0");
        assert_eq!(u64_at(meta, 40), pages, "the file ends with its last page");
        assert_eq!(u64::from_le_bytes(at(meta, 56)), fnv(&meta[..56]));
        roots.push((u64_at(meta, 16), u64_at(meta, 32), u64_at(meta, 48)));
    }
    assert_eq!((roots[0].0, roots[0].1), (roots[1].0, roots[1].1));
    assert!(roots[0].2 > roots[1].2, "the first is the later");
    let (_, kind, count) = reader.page(roots[0].1);
    assert_eq!((kind, count), (16, 0), "no page is free");
    let mut root = Bucket::new();
    reader.tree(roots[0].0, &mut root);
    assert!(reader.met.iter().all(|met| *met), "no page is lost");
    (root, reader.depth)
}

fn put_all(bucket: &Bucket, file: &mut Writer<'_>) -> io::Result<()> {
    bucket.iter().try_for_each(|(key, value)| match value {
        Value::Bytes(value) => file.put(key, value),
        Value::Bucket(below) => file.bucket(key, |file| put_all(below, file)),
    })
}

/// Writes a file and reads it again; how deep it is.
fn round(root: &Bucket) -> usize {
    let size = std::cell::Cell::new(0);
    let file = write(
        |file| put_all(root, file),
        |bytes| {
            size.set(bytes);
            Vec::new()
        },
    );
    let file = file.unwrap();
    assert_eq!(file.len() as u64, size.get(), "the size is told before");
    let (found, depth) = read(&file);
    assert!(found == *root, "what was written is read");
    assert!(collect(&file).unwrap() == *root, "and read by us");
    depth
}

/// What our reader finds in a file.
fn collect(file: &[u8]) -> io::Result<Bucket> {
    let mut open = vec![(Vec::new(), Bucket::new())];
    super::read(io::Cursor::new(file), |item| {
        match item {
            Item::Bucket(name) => open.push((name.to_vec(), Bucket::new())),
            Item::Row(key, value) => {
                let (_, bucket) = open.last_mut().unwrap();
                bucket.insert(key.to_vec(), Value::Bytes(value.to_vec()));
            }
            Item::End => {
                let (name, below) = open.pop().unwrap();
                open.last_mut().unwrap().1.insert(name, Value::Bucket(below));
            }
        }
        Ok(())
    })?;
    assert_eq!(open.len(), 1, "every bucket ends");
    Ok(open.remove(0).1)
}

/// A file of one bucket with rows of these lengths.
fn bucket(values: impl IntoIterator<Item = usize>) -> Bucket {
    let rows = (0u64..).zip(values);
    let rows = rows.map(|(key, len)| (key.to_be_bytes().to_vec(), Value::Bytes(vec![7; len])));
    Bucket::from([(b"rows".to_vec(), Value::Bucket(rows.collect()))])
}

#[test]
fn a_file_without_rows_is_a_file() {
    assert_eq!(round(&Bucket::new()), 0);
    assert_eq!(round(&bucket([])), 0);
}

#[test]
fn the_checksum_of_a_meta_page_is_fnv() {
    assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn a_page_is_filled_to_its_last_byte() {
    // A header, and an element with its key.
    let (header, row) = (16, 16 + 8);
    let room = PAGE_BYTES - header - row;
    for len in [room - 1, room, room + 1, room + PAGE_BYTES, room + PAGE_BYTES + 1] {
        round(&bucket([len]));
        round(&bucket([len, 0, len]));
    }
    assert_eq!(round(&bucket([0, room - row])), 0);
    assert_eq!(round(&bucket([0, room - row + 1])), 1);
}

#[test]
fn large_values_go_on_over_the_pages_behind() {
    round(&bucket([3, 100 << 10, 3, 3, 2 << 20, 5000, 3]));
}

#[test]
fn trees_grow_as_high_as_their_rows_need() {
    let rows_a_leaf = (PAGE_BYTES - 16) / (16 + 8);
    let children = rows_a_leaf;
    assert_eq!(round(&bucket(vec![0; rows_a_leaf])), 0);
    assert_eq!(round(&bucket(vec![0; rows_a_leaf + 1])), 1);
    let full = rows_a_leaf * children;
    assert_eq!(round(&bucket(vec![0; full])), 1);
    // The last branch would have one child.
    assert_eq!(round(&bucket(vec![0; full + 1])), 2);
}

#[test]
fn large_keys_leave_every_branch_two_children() {
    let rows = |bytes| (1..=u8::MAX).map(move |key| (vec![key; bytes], Value::Bytes(vec![key])));
    assert!(round(&rows(1000).collect()) >= 3);
    assert!(round(&rows(5000).collect()) >= 3);
}

#[test]
fn a_sink_that_fails_ends_the_writing() {
    struct Full(u64);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let root = bucket(vec![100; 1000]);
    let outcome = write(|file| put_all(&root, file), |bytes| Full(bytes / 2));
    assert_eq!(outcome.err().unwrap().kind(), io::ErrorKind::StorageFull);
    assert!(write(|file| put_all(&root, file), Full).is_ok(), "exactly what was announced");
}

/// The file of a bucket, and what our reader says of it when it was changed.
fn refusal(root: &Bucket, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut file = write(|file| put_all(root, file), |_| Vec::new()).unwrap();
    change(&mut file);
    let error = collect(&file).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.to_string()
}

#[test]
fn what_is_no_file_is_refused() {
    assert_eq!(collect(b"").unwrap_err().to_string(), "not a bbolt file");
    assert_eq!(collect(&[7; 100_000]).unwrap_err().to_string(), "not a bbolt file");
    let cut = refusal(&bucket([5]), |file| file.truncate(file.len() - 1));
    assert_eq!(cut, "the file ends before its last page");
}

#[test]
fn pages_that_lie_are_refused() {
    // The leaf of the bucket, and the root behind it.
    let (rows, root) = (3 * PAGE_BYTES, 4 * PAGE_BYTES);
    let small = &bucket([5, 5]);
    let with = |at: usize, byte: u8| refusal(small, |file| file[at] = byte);
    assert_eq!(with(rows, 9), "page 3: it has another number");
    assert_eq!(with(rows + 8, 4), "page 3: it is no part of a tree");
    assert_eq!(with(rows + 12, 2), "page 3: it goes on behind the last page");
    assert_eq!(with(rows + 10, 3), "page 3: its rows are out of place");
    assert_eq!(with(rows + 16, 2), "page 3: a row is neither a value nor a bucket");
    assert_eq!(with(rows + 16 + 16 + 4, 16), "page 3: its rows are out of place");
    assert_eq!(with(rows + 16 + 2 * 16 + 7, 9), "page 3: its keys do not ascend");
    let root_of_bucket = root + 16 + 16 + b"rows".len();
    assert_eq!(with(root_of_bucket, 9), "page 9: there is no such page");
    assert_eq!(with(root_of_bucket, 4), "page 4: it is used twice");
    assert_eq!(with(root_of_bucket, 1), "page 1: it is used twice");
}

#[test]
fn of_two_meta_pages_the_good_and_later_one_counts() {
    let root = bucket([5]);
    let file = write(|file| put_all(&root, file), |_| Vec::new()).unwrap();
    for page in [0, 1] {
        let mut damaged = file.clone();
        damaged[page * PAGE_BYTES + 16 + 40] ^= 1;
        assert!(collect(&damaged).unwrap() == root, "the other is good");
    }
    let empty = super::meta(4096, 2, 5, 9);
    let mut changed = file.clone();
    changed[PAGE_BYTES + 16..][..empty.len()].copy_from_slice(&empty);
    assert_eq!(collect(&changed).unwrap_err().to_string(), "page 2: it is no part of a tree");
}

#[test]
fn a_small_bucket_stands_in_its_row() {
    let mut file = write(|file| file.put(b"b", &[0; 50]), |_| Vec::new()).unwrap();
    let element = 3 * PAGE_BYTES + 16;
    file[element] = 1;
    let value = element + 16 + 1;
    // A leaf without a number, and its one element.
    file[value + 16 + 8] = 2;
    file[value + 16 + 10] = 1;
    for (at, number) in [(4, 16), (8, 1), (12, 1)] {
        file[value + 32 + at] = number;
    }
    file[value + 48..][..2].copy_from_slice(b"kv");
    let below = Bucket::from([(b"k".to_vec(), Value::Bytes(b"v".to_vec()))]);
    assert_eq!(collect(&file).unwrap(), Bucket::from([(b"b".to_vec(), Value::Bucket(below))]));
    file[value + 16 + 8] = 1;
    assert_eq!(collect(&file).unwrap_err().to_string(), "page 3: a small bucket is no leaf");
}

#[test]
fn buckets_in_buckets_end_somewhere() {
    fn nest(file: &mut Writer<'_>, depth: usize) -> io::Result<()> {
        if depth == 0 { Ok(()) } else { file.bucket(b"b", |file| nest(file, depth - 1)) }
    }
    let file = |depth| write(|file| nest(file, depth), |_| Vec::new()).unwrap();
    assert!(collect(&file(63)).is_ok());
    assert_eq!(collect(&file(64)).unwrap_err().to_string(), "pages lie too deep");
}

fn any_bucket() -> impl Strategy<Value = Bucket> {
    let len = prop_oneof![9 => 0..300usize, 2 => 300..5000usize, 1 => 5000..40_000usize];
    let value = len.prop_map(|len| Value::Bytes(vec![5; len]));
    let key = prop::collection::vec(any::<u8>(), 1..40);
    let leaf = prop::collection::btree_map(key.clone(), value.clone(), 0..60);
    leaf.prop_recursive(3, 200, 8, move |below| {
        let value = prop_oneof![3 => value.clone(), 1 => below.prop_map(Value::Bucket)];
        prop::collection::btree_map(key.clone(), value, 0..60)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_buckets_in_buckets_are_read_again(root in any_bucket()) {
        round(&root);
    }
}
