//! What pages are made of; all numbers begin with their lowest byte.

/// The first words of a meta page behind its header.
pub(super) const MAGIC: u32 = 0xed0c_daed;
/// Follows the magic number.
pub(super) const VERSION: u32 = 2;

/// The kind of a page that names pages.
pub(super) const BRANCH: u16 = 0x01;
/// The kind of a page with rows.
pub(super) const LEAF: u16 = 0x02;
/// The kind of a page that says where everything is.
pub(super) const META: u16 = 0x04;
/// The kind of a page that names free pages.
pub(super) const FREELIST: u16 = 0x10;

/// Marks an element of a leaf whose value is a bucket.
pub(super) const BUCKET: u32 = 0x01;

/// In front of every page: number, kind, elements, pages behind it that belong
/// to it.
pub(super) const HEADER_BYTES: usize = 16;
/// What a leaf or branch says of each of its rows.
pub(super) const ELEMENT_BYTES: usize = 16;
/// What a meta page says, its checksum included.
pub(super) const META_BYTES: usize = 64;
/// In front of what a bucket's value holds: its root, and a sequence.
pub(super) const BUCKET_BYTES: usize = 16;

/// The page of the free list.
pub(super) const FREELIST_PAGE: u64 = 2;

/// What a meta page says behind its header: the size of pages, the root, how many
/// pages there are; of two the later transaction counts.
pub fn meta(page_bytes: u32, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut meta = Vec::with_capacity(META_BYTES);
    for number in [MAGIC, VERSION, page_bytes, 0] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
    meta.extend_from_slice(&bucket_row(root));
    for number in [FREELIST_PAGE, pages, transaction] {
        meta.extend_from_slice(&number.to_le_bytes());
    }
    let sum = fnv(&meta);
    meta.extend_from_slice(&sum.to_le_bytes());
    meta
}

/// The value of a bucket: its root, and a sequence that nobody uses.
pub(super) fn bucket_row(root: u64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&root.to_le_bytes());
    row
}

/// FNV-1a of 64 bits.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(BASIS, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(PRIME))
}
