//! Reading, from the root down.
//!
//! A file comes from anywhere, so nothing in it is believed: a page is read once,
//! rows do not overlap, keys ascend, and trees are no deeper than any real one.
//! What was read is therefore never more than the file.

use std::io::{self, Read, Seek, SeekFrom};

use super::page::{
    BRANCH, BUCKET, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, LEAF, MAGIC, META_BYTES, VERSION,
    fnv,
};

/// The least that a page has; each power of two from here on is a size of pages.
const PAGE_BYTES_MIN: u64 = 1024;
/// The most.
const PAGE_BYTES_MAX: u64 = PAGE_BYTES_MIN << 15;

/// Pages below pages, buckets in buckets included. bbolt's trees have hundreds of
/// pages below each, and etcd's buckets hold no others.
const DEPTH_MAX: usize = 64;

/// What is found in a file, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A bucket of this name begins.
    Bucket(&'a [u8]),
    /// A key and its value, of the bucket that began last.
    Row(&'a [u8], &'a [u8]),
    /// The bucket that began last has no more.
    End,
}

/// Where the items go; an error ends the reading.
type Take<'a> = dyn FnMut(Item<'_>) -> io::Result<()> + 'a;

/// Reads a file. What is not a file is an error of the kind `InvalidData`, perhaps
/// after items that made sense.
///
/// # Errors
/// Those of the source and of `take`, and what is wrong with the file.
pub fn read<R: Read + Seek>(
    mut file: R,
    mut take: impl FnMut(Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let bytes = file.seek(SeekFrom::End(0))?;
    let meta = Meta::find(&mut file, bytes)?;
    if meta.pages > bytes / meta.page_bytes {
        return Err(bad("the file ends before its last page"));
    }
    let pages = usize::try_from(meta.pages).ok().ok_or_else(|| bad("too many pages"))?;
    let met = vec![false; pages];
    let mut walk = Walk { file, page_bytes: meta.page_bytes, met, depth: 0, take: &mut take };
    walk.met.iter_mut().take(2).for_each(|met| *met = true);
    walk.tree(meta.root, &mut Vec::new())
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A number at some place, if there is one.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// The same as a place in memory.
fn usize_at(bytes: &[u8], at: usize) -> Option<usize> {
    u32_at(bytes, at).and_then(|number| usize::try_from(number).ok())
}

/// Where everything is.
struct Meta {
    page_bytes: u64,
    root: u64,
    pages: u64,
    transaction: u64,
}

impl Meta {
    /// Of two good ones the later counts. The second stands behind a page whose
    /// size only the first one tells; if that is not good, any size may be.
    fn find(file: &mut (impl Read + Seek), bytes: u64) -> io::Result<Meta> {
        let first = Meta::at(file, bytes, 0)?;
        let second = match &first {
            Some(first) => Meta::at(file, bytes, first.page_bytes)?,
            None => {
                let mut second = None;
                let mut place = PAGE_BYTES_MIN;
                while second.is_none() && place <= PAGE_BYTES_MAX {
                    second = Meta::at(file, bytes, place)?.filter(|meta| meta.page_bytes == place);
                    place *= 2;
                }
                second
            }
        };
        let metas = first.into_iter().chain(second);
        metas.max_by_key(|meta| meta.transaction).ok_or_else(|| bad("not a bbolt file"))
    }

    /// The meta page at a place, if there is a good one.
    fn at(file: &mut (impl Read + Seek), bytes: u64, place: u64) -> io::Result<Option<Meta>> {
        let mut page = [0; HEADER_BYTES + META_BYTES];
        if bytes < place + page.len() as u64 {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(place))?;
        file.read_exact(&mut page)?;
        Ok(Meta::parse(&page[HEADER_BYTES..]))
    }

    fn parse(meta: &[u8]) -> Option<Meta> {
        let is_good = u32_at(meta, 0)? == MAGIC
            && u32_at(meta, 4)? == VERSION
            && u64_at(meta, 56)? == fnv(&meta[..56]);
        let page_bytes = u64::from(u32_at(meta, 8)?);
        let is_size =
            page_bytes.is_power_of_two() && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes);
        let (root, pages, transaction) = (u64_at(meta, 16)?, u64_at(meta, 40)?, u64_at(meta, 48)?);
        (is_good && is_size).then_some(Meta { page_bytes, root, pages, transaction })
    }
}

/// A page and those behind it that belong to it, or what stands for one.
struct Page<'a> {
    /// For messages: where it is.
    number: u64,
    bytes: &'a [u8],
    kind: u16,
    count: usize,
}

impl<'a> Page<'a> {
    fn parse(number: u64, bytes: &'a [u8]) -> io::Result<Page<'a>> {
        let kind = u16_at(bytes, 8).zip(u16_at(bytes, 10));
        let (kind, count) = kind.ok_or_else(|| bad(format!("page {number}: it is cut off")))?;
        Ok(Page { number, bytes, kind, count: count.into() })
    }

    fn bad(&self, what: &str) -> io::Error {
        bad(format!("page {}: {what}", self.number))
    }

    /// The page below an element of a branch.
    fn child(&self, element: usize) -> io::Result<u64> {
        let place = HEADER_BYTES + element * ELEMENT_BYTES;
        u64_at(self.bytes, place + 8).ok_or_else(|| self.bad("its rows are cut off"))
    }

    /// The flags, key and value of an element of a leaf. `end` is where those of
    /// the elements before it end: they stand one after the other.
    fn row(&self, element: usize, end: &mut usize) -> io::Result<(u32, &'a [u8], &'a [u8])> {
        let row = || {
            let place = HEADER_BYTES + element * ELEMENT_BYTES;
            let flags = u32_at(self.bytes, place)?;
            let begin = place.checked_add(usize_at(self.bytes, place + 4)?)?;
            let value = begin.checked_add(usize_at(self.bytes, place + 8)?)?;
            let behind = value.checked_add(usize_at(self.bytes, place + 12)?)?;
            let is_free = begin >= *end;
            let (key, value) = (self.bytes.get(begin..value)?, self.bytes.get(value..behind)?);
            is_free.then_some((behind, (flags, key, value)))
        };
        let (behind, row) = row().ok_or_else(|| self.bad("its rows are out of place"))?;
        *end = behind;
        Ok(row)
    }
}

/// On the way through a file.
struct Walk<'a, R> {
    file: R,
    page_bytes: u64,
    /// The pages that were read.
    met: Vec<bool>,
    /// The pages above.
    depth: usize,
    take: &'a mut Take<'a>,
}

impl<R: Read + Seek> Walk<'_, R> {
    /// All rows of a tree, which follow the key `last`.
    fn tree(&mut self, root: u64, last: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.pages(root)?;
        let page = Page::parse(root, &bytes)?;
        self.deeper(|walk| match page.kind {
            LEAF => walk.leaf(&page, last),
            BRANCH => (0..page.count).try_for_each(|at| walk.tree(page.child(at)?, last)),
            _ => Err(page.bad("it is no part of a tree")),
        })
    }

    fn deeper(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        if self.depth == DEPTH_MAX {
            return Err(bad("pages lie too deep"));
        }
        self.depth += 1;
        work(self)?;
        self.depth -= 1;
        Ok(())
    }

    /// A page and those that belong to it.
    fn pages(&mut self, number: u64) -> io::Result<Vec<u8>> {
        let bad = |what: &str| bad(format!("page {number}: {what}"));
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        if at >= self.met.len() {
            return Err(bad("there is no such page"));
        }
        self.file.seek(SeekFrom::Start(number * self.page_bytes))?;
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact(&mut header)?;
        let more = usize_at(&header, 12).unwrap_or(usize::MAX);
        let run = at.checked_add(more).and_then(|last| self.met.get_mut(at..=last));
        let run = run.ok_or_else(|| bad("it goes on behind the last page"))?;
        if u64_at(&header, 0) != Some(number) {
            return Err(bad("it has another number"));
        }
        if run.iter().any(|met| *met) {
            return Err(bad("it is used twice"));
        }
        run.fill(true);
        let length = run.len() as u64 * self.page_bytes - HEADER_BYTES as u64;
        let mut bytes = header.to_vec();
        (&mut self.file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn leaf(&mut self, page: &Page<'_>, last: &mut Vec<u8>) -> io::Result<()> {
        let mut end = HEADER_BYTES + page.count * ELEMENT_BYTES;
        for element in 0..page.count {
            let (flags, key, value) = page.row(element, &mut end)?;
            if *key <= **last {
                return Err(page.bad("its keys do not ascend"));
            }
            key.clone_into(last);
            match flags {
                0 => (self.take)(Item::Row(key, value))?,
                BUCKET => {
                    (self.take)(Item::Bucket(key))?;
                    self.bucket(page, value)?;
                    (self.take)(Item::End)?;
                }
                _ => return Err(page.bad("a row is neither a value nor a bucket")),
            }
        }
        Ok(())
    }

    /// The rows of a bucket, behind whose root and sequence a small one follows
    /// itself, as a leaf.
    fn bucket(&mut self, page: &Page<'_>, value: &[u8]) -> io::Result<()> {
        let small = value.get(BUCKET_BYTES..).zip(u64_at(value, 0));
        let (small, root) = small.ok_or_else(|| page.bad("a bucket is cut off"))?;
        if root != 0 {
            return self.tree(root, &mut Vec::new());
        }
        let inside = Page::parse(page.number, small)?;
        if inside.kind != LEAF {
            return Err(page.bad("a small bucket is no leaf"));
        }
        self.deeper(|walk| walk.leaf(&inside, &mut Vec::new()))
    }
}
