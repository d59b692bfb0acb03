//! Writing, front to back.
//!
//! The first page names the last one, so the rows are asked for twice: once to
//! count pages, once to write them. Nothing is kept but one unfinished page a
//! level: a file of any size takes the memory of a path through its trees.

use std::io::{self, Write};

use super::page::{
    BRANCH, BUCKET, ELEMENT_BYTES, FREELIST, FREELIST_PAGE, HEADER_BYTES, LEAF, META, bucket_row,
    meta,
};

/// What the file is made of.
pub(super) const PAGE_BYTES: usize = 4096;

/// The first page of a tree.
const FIRST_PAGE: u64 = 3;

/// A branch of fewer is no branch; what does not fit then goes on behind it.
const CHILDREN_MIN: usize = 2;

/// Writes a file: `fill` is called twice and must do the same both times; with
/// the size of the file `begin` makes what takes its bytes, and it is returned.
///
/// # Errors
/// Those of the sink, and of `fill`.
pub fn write<W: Write>(
    fill: impl Fn(&mut Writer<'_>) -> io::Result<()>,
    begin: impl FnOnce(u64) -> W,
) -> io::Result<W> {
    let layout = Writer::fill(&mut io::sink(), &fill)?;
    let mut sink = begin(layout.bytes());
    sink.write_all(&layout.head())?;
    let written = Writer::fill(&mut sink, &fill)?;
    assert_eq!(layout, written, "the rows are the same both times");
    Ok(sink)
}

/// Where everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    root: u64,
    pages: u64,
}

impl Layout {
    fn bytes(self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// The pages in front of the trees.
    fn head(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(3 * PAGE_BYTES);
        // Of two good ones the later counts, so a reader that writes goes on
        // with the other.
        for (page, transaction) in [(0, 2), (1, 1)] {
            put_header(&mut head, page, META, 0, 0);
            let page_bytes = small(PAGE_BYTES);
            head.extend_from_slice(&meta(page_bytes, self.root, self.pages, transaction));
            pad(&mut head);
        }
        put_header(&mut head, FREELIST_PAGE, FREELIST, 0, 0);
        pad(&mut head);
        head
    }
}

fn put_header(page: &mut Vec<u8>, number: u64, kind: u16, count: u16, more: u32) {
    page.extend_from_slice(&number.to_le_bytes());
    page.extend_from_slice(&kind.to_le_bytes());
    page.extend_from_slice(&count.to_le_bytes());
    page.extend_from_slice(&more.to_le_bytes());
}

fn pad(pages: &mut Vec<u8>) {
    pages.resize(pages.len().next_multiple_of(PAGE_BYTES), 0);
}

fn small(number: usize) -> u32 {
    u32::try_from(number).expect("no row has 4 GiB")
}

/// Takes the rows of a file, in order.
pub struct Writer<'a> {
    sink: &'a mut dyn Write,
    /// The next page.
    next: u64,
    /// The trees that are not finished, each within the one before.
    trees: Vec<Tree>,
}

/// A bucket in the making: of each level the rightmost page, leaves first.
#[derive(Default)]
struct Tree {
    levels: Vec<Node>,
    /// The key that came last.
    last: Vec<u8>,
}

/// A page in the making.
#[derive(Default)]
struct Node {
    elements: Vec<Element>,
    /// Keys and values, one after the other.
    data: Vec<u8>,
}

/// A row of a page.
struct Element {
    flags: u32,
    key_bytes: usize,
    value_bytes: usize,
    /// Of a branch: the page below.
    child: u64,
}

impl Node {
    /// Whether another row would make it larger than a page.
    fn is_full(&self, key: &[u8], value: &[u8]) -> bool {
        let elements = self.elements.len() + 1;
        let data = self.data.len() + key.len() + value.len();
        HEADER_BYTES + elements * ELEMENT_BYTES + data > PAGE_BYTES
    }

    fn push(&mut self, flags: u32, key: &[u8], value: &[u8], child: u64) {
        let (key_bytes, value_bytes) = (key.len(), value.len());
        self.elements.push(Element { flags, key_bytes, value_bytes, child });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    /// The page of the first rows up to their keys and values, and how many bytes
    /// those have.
    fn head(&self, number: u64, kind: u16, count: usize) -> (Vec<u8>, usize) {
        let elements = &self.elements[..count];
        let data: usize = elements.iter().map(|row| row.key_bytes + row.value_bytes).sum();
        let bytes = HEADER_BYTES + count * ELEMENT_BYTES + data;
        let more = small(bytes.div_ceil(PAGE_BYTES) - 1);
        let count = u16::try_from(count).expect("a page holds a few hundred rows");
        let mut head = Vec::with_capacity(bytes - data);
        put_header(&mut head, number, kind, count, more);
        let mut place = bytes - data;
        for element in elements {
            // Counted from the element itself.
            let distance = small(place - head.len());
            let (key_bytes, value_bytes) = (small(element.key_bytes), small(element.value_bytes));
            if kind == LEAF {
                for number in [element.flags, distance, key_bytes, value_bytes] {
                    head.extend_from_slice(&number.to_le_bytes());
                }
            } else {
                head.extend_from_slice(&distance.to_le_bytes());
                head.extend_from_slice(&key_bytes.to_le_bytes());
                head.extend_from_slice(&element.child.to_le_bytes());
            }
            place += element.key_bytes + element.value_bytes;
        }
        (head, data)
    }
}

impl Writer<'_> {
    /// Writes all trees behind the head of a file.
    fn fill(
        sink: &mut dyn Write,
        fill: impl FnOnce(&mut Writer<'_>) -> io::Result<()>,
    ) -> io::Result<Layout> {
        let mut writer = Writer { sink, next: FIRST_PAGE, trees: vec![Tree::new()] };
        fill(&mut writer)?;
        let root = writer.finish()?;
        Ok(Layout { root, pages: writer.next })
    }

    /// A bucket and all that is in it.
    ///
    /// # Errors
    /// Those of the sink, and of `fill`.
    pub fn bucket(
        &mut self,
        name: &[u8],
        fill: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        self.trees.push(Tree::new());
        fill(self)?;
        let root = self.finish()?;
        self.trees.pop();
        self.add(BUCKET, name, &bucket_row(root))
    }

    /// A row; its key lies behind all others of the bucket, and is not empty.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.add(0, key, value)
    }

    fn tree(&mut self) -> &mut Tree {
        self.trees.last_mut().expect("there is a root")
    }

    fn add(&mut self, flags: u32, key: &[u8], value: &[u8]) -> io::Result<()> {
        let tree = self.tree();
        assert!(*key > *tree.last, "rows come in the order of their keys");
        key.clone_into(&mut tree.last);
        let leaf = &tree.levels[0];
        let count = leaf.elements.len();
        if count > 0 && leaf.is_full(key, value) {
            self.close(0, count)?;
        }
        self.tree().levels[0].push(flags, key, value, 0);
        Ok(())
    }

    /// Writes the first rows of a level as a page, and puts it into the level
    /// above.
    fn close(&mut self, level: usize, count: usize) -> io::Result<()> {
        let node = &self.tree().levels[level];
        let first = node.data[..node.elements[0].key_bytes].to_vec();
        let child = self.write_page(level, count)?;
        let tree = self.tree();
        if tree.levels.len() == level + 1 {
            tree.levels.push(Node::default());
        }
        let parent = &tree.levels[level + 1];
        let children = parent.elements.len();
        // One stays behind, so that the last branch of a level has two as well.
        if parent.is_full(&first, &[]) && children > CHILDREN_MIN {
            self.close(level + 1, children - 1)?;
        }
        self.tree().levels[level + 1].push(0, &first, &[], child);
        Ok(())
    }

    /// Writes what is left of the innermost tree; returns its root.
    fn finish(&mut self) -> io::Result<u64> {
        let mut level = 0;
        while level + 1 < self.tree().levels.len() {
            let count = self.tree().levels[level].elements.len();
            self.close(level, count)?;
            level += 1;
        }
        let count = self.tree().levels[level].elements.len();
        self.write_page(level, count)
    }

    /// Writes the first rows of a level as a page, and forgets them.
    fn write_page(&mut self, level: usize, count: usize) -> io::Result<u64> {
        let number = self.next;
        let node = &mut self.trees.last_mut().expect("there is a root").levels[level];
        let kind = if level == 0 { LEAF } else { BRANCH };
        let (head, data) = node.head(number, kind, count);
        let bytes = head.len() + data;
        let pages = bytes.div_ceil(PAGE_BYTES);
        self.sink.write_all(&head)?;
        self.sink.write_all(&node.data[..data])?;
        self.sink.write_all(&[0; PAGE_BYTES][..pages * PAGE_BYTES - bytes])?;
        node.elements.drain(..count);
        node.data.drain(..data);
        self.next += pages as u64;
        Ok(number)
    }
}

impl Tree {
    fn new() -> Tree {
        Tree { levels: vec![Node::default()], last: Vec::new() }
    }
}
