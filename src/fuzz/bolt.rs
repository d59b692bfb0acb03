//! A bbolt file, as it is or as pages that get what no chance would find.
//!
//! The first byte tells which. Behind a zero the file stands as it is. Otherwise
//! that byte is the root, and pages follow, each behind its length: they are
//! padded, numbered and put behind good meta pages.
//!
//! What can be read can be written, and then it is still the same.

use std::io::{self, Cursor};

use crate::engine::bolt::{self, Item, Writer};

/// The smallest page there is.
const PAGE_BYTES: usize = 1024;
/// The meta pages.
const FIRST_PAGE: u64 = 2;
/// Kinds of pages.
const BRANCH: u8 = 1;
const LEAF: u8 = 2;
/// The least that a row takes of a file beside its key and value.
const ELEMENT_BYTES: usize = 16;

/// What was read, each bucket between its beginning and its end.
#[derive(Debug, PartialEq)]
enum Found {
    Bucket(Vec<u8>),
    Row(Vec<u8>, Vec<u8>),
    End,
}

/// Takes a file.
pub(super) fn run(data: &[u8]) {
    match data {
        [] => {}
        [0, file @ ..] => read_and_write(file),
        [root, pages @ ..] => read_and_write(&build(*root, pages)),
    }
}

fn read_and_write(file: &[u8]) {
    let Ok(found) = collect(file) else { return };
    let row = |found: &Found| match found {
        Found::Bucket(name) => ELEMENT_BYTES + name.len(),
        Found::Row(key, value) => ELEMENT_BYTES + key.len() + value.len(),
        Found::End => 0,
    };
    let bytes: usize = found.iter().map(row).sum();
    assert!(bytes <= file.len(), "{bytes} bytes of a file of {}", file.len());
    let written = bolt::write(|file| put_all(&mut found.iter(), file), |_| Vec::new());
    let again = collect(&written.expect("memory takes everything"));
    assert_eq!(again.expect("what was written can be read"), found);
}

fn collect(file: &[u8]) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    bolt::read(Cursor::new(file), |item| {
        found.push(match item {
            Item::Bucket(name) => Found::Bucket(name.to_vec()),
            Item::Row(key, value) => Found::Row(key.to_vec(), value.to_vec()),
            Item::End => Found::End,
        });
        Ok(())
    })?;
    Ok(found)
}

/// Writes a bucket up to its end.
fn put_all(found: &mut std::slice::Iter<'_, Found>, file: &mut Writer<'_>) -> io::Result<()> {
    while let Some(item) = found.next() {
        match item {
            Found::Bucket(name) => {
                // The rows are walked anew for each pass over a file.
                file.bucket(name, |file| put_all(found, file))?;
            }
            Found::Row(key, value) => file.put(key, value)?,
            Found::End => break,
        }
    }
    Ok(())
}

/// Pages behind two good meta pages.
fn build(root: u8, mut pages: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut number = FIRST_PAGE;
    while let [length, rest @ ..] = pages {
        let (page, behind) = rest.split_at(rest.len().min(usize::from(*length)));
        body.extend_from_slice(&number.to_le_bytes());
        body.extend_from_slice(page);
        body.resize(body.len().next_multiple_of(PAGE_BYTES), 0);
        pages = behind;
        number += 1;
    }
    let page_bytes = u32::try_from(PAGE_BYTES).expect("a page is small");
    let meta = bolt::meta(page_bytes, u64::from(root), number, 1);
    let mut file = [&[0; 16], &meta[..]].concat();
    file.resize(2 * PAGE_BYTES, 0);
    file.extend(body);
    file
}

/// A file as it is, and the pages of one.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let rows = |count: u8| {
        move |file: &mut Writer<'_>| {
            file.bucket(b"key", |file| (1..=count).try_for_each(|key| file.put(&[key], b"value")))?;
            file.bucket(b"lease", |_| Ok(()))?;
            file.put(b"meta", b"1")
        }
    };
    let file = |fill: &dyn Fn(&mut Writer<'_>) -> io::Result<()>| {
        bolt::write(fill, |_| Vec::new()).expect("memory takes everything")
    };
    let whole = file(&rows(3));
    let nested = file(&|file: &mut Writer<'_>| {
        file.bucket(b"a", |file| file.bucket(b"b", |file| file.put(b"c", b"d")))
    });
    let mut seeds = vec![[&[0], &whole[..]].concat(), pages_of(&whole), pages_of(&nested)];
    seeds.push(tree());
    seeds.push(small_bucket());
    seeds
}

/// The other form of a file whose pages are short and not many.
fn pages_of(file: &[u8]) -> Vec<u8> {
    let pages = file.chunks(4096).skip(2);
    let root = u8::try_from(file.len() / 4096 - 1).expect("it is short");
    let mut seed = vec![root];
    for page in pages {
        let end = page.iter().rposition(|byte| *byte != 0).map_or(8, |last| last + 1);
        seed.push(u8::try_from(end - 8).expect("a page is short"));
        seed.extend_from_slice(&page[8..end]);
    }
    seed
}

/// The pages of a branch with two leaves below.
fn tree() -> Vec<u8> {
    let leaf = |key: u8| record(&[LEAF, 1], &[&row(0, 1, 1)[..], &[key, 7]].concat());
    let child = |page: u8| [[0; 8], u64::from(page).to_le_bytes()].concat();
    let branch = record(&[BRANCH, 2], &[child(2), child(3)].concat());
    [vec![4], leaf(b'a'), leaf(b'b'), branch].concat()
}

/// The page of a bucket that stands in its row.
fn small_bucket() -> Vec<u8> {
    let inside = [&[0; 16 + 8][..], &head(&[LEAF, 1]), &row(0, 1, 1), b"kv"].concat();
    let outside = [&row(1, 1, u8::try_from(inside.len()).expect("it is small")), &b"b"[..]];
    [vec![2], record(&[LEAF, 1], &[outside.concat(), inside].concat())].concat()
}

/// A page's kind and count, behind its number.
fn head(kind_and_count: &[u8; 2]) -> [u8; 8] {
    let [kind, count] = *kind_and_count;
    [kind, 0, count, 0, 0, 0, 0, 0]
}

/// The last element of a leaf: its flags, and the lengths of key and value.
fn row(flags: u8, key: u8, value: u8) -> [u8; 16] {
    let mut row = [0; 16];
    for (at, number) in [(0, flags), (4, 16), (8, key), (12, value)] {
        row[at] = number;
    }
    row
}

fn record(kind_and_count: &[u8; 2], body: &[u8]) -> Vec<u8> {
    let page = [&head(kind_and_count), body].concat();
    [&[u8::try_from(page.len()).expect("a page is short")], &page[..]].concat()
}
