//! bbolt database files: sorted rows in nested buckets.
//!
//! ```text
//! page 0, 1   meta: which page is the root, how many pages there are; a checksum
//! page 2      the list of free pages; in a file of ours there are none
//! page 3 …    leaves and branches of B+ trees; in a file of ours behind its children
//! ```
//!
//! A bucket is a tree; its name is a key of the tree around it, and its root's
//! number the value. A small one may stand in the value itself, as a page without
//! a number. What is too large for a page goes on over the pages behind.
//!
//! - What is written can be read, by bbolt and here (`write.rs`).
//! - Any bytes at all are read or refused: a file that lies costs no more memory
//!   than it has bytes, and each of its pages is looked at once (`read.rs`).
//! - What the rows mean is not known here.
//!
//! (bbolt: internal/common/page.go, meta.go, inode.go.)

mod page;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use self::page::meta;
pub use self::read::{Item, read};
pub use self::write::{Writer, write};
