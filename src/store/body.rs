//! [`Body`]: the value of a row of `revisions`, an encoded `KeyValue`, looked
//! at in place.
//!
//! Opening a store and purging it look at every row, and most of them for a few
//! numbers only; decoding them would cost two allocations each.

use bytes::Bytes;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::proto::mvccpb::KeyValue;

/// The tag of the first field.
const KEY: u8 = 0x0a;

/// The fields of an encoded `KeyValue`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Body<'a> {
    pub(super) key: &'a [u8],
    pub(super) create_revision: i64,
    pub(super) mod_revision: i64,
    pub(super) version: i64,
    pub(super) value: &'a [u8],
    pub(super) lease: i64,
}

impl<'a> Body<'a> {
    /// Reads a row; `None` if it is none of ours.
    pub(super) fn parse(mut bytes: &'a [u8]) -> Option<Body<'a>> {
        let mut body = Body::default();
        while !bytes.is_empty() {
            match varint(&mut bytes)? {
                tag if tag == u64::from(KEY) => body.key = slice(&mut bytes)?,
                0x10 => body.create_revision = varint(&mut bytes)?.cast_signed(),
                0x18 => body.mod_revision = varint(&mut bytes)?.cast_signed(),
                0x20 => body.version = varint(&mut bytes)?.cast_signed(),
                0x2a => body.value = slice(&mut bytes)?,
                0x30 => body.lease = varint(&mut bytes)?.cast_signed(),
                _ => return None,
            }
        }
        Some(body)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(bytes)?).ok()?;
    let (slice, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(slice)
}

/// Encodes a `KeyValue` under a key, and makes its key and value parts of the
/// encoded bytes, so that whoever keeps it does not keep the whole entry that
/// brought it.
pub(super) fn encode(kv: &mut KeyValue, key: &[u8]) -> Bytes {
    let room = encoded_len(key.len()) + kv.encoded_len();
    let mut bytes = Vec::with_capacity(room);
    if !key.is_empty() {
        bytes.push(KEY);
        encode_varint(key.len() as u64, &mut bytes);
        bytes.extend_from_slice(key);
    }
    let key_end = bytes.len();
    kv.key = Bytes::new();
    kv.encode(&mut bytes).expect("a vector grows");
    let bytes = Bytes::from(bytes);
    kv.key = bytes.slice(key_end - key.len()..key_end);
    if !kv.value.is_empty() {
        let lease = KeyValue { lease: kv.lease, ..KeyValue::default() };
        let end = bytes.len() - lease.encoded_len();
        kv.value = bytes.slice(end - kv.value.len()..end);
    }
    bytes
}

/// The length of the row of a deletion.
pub(super) fn tombstone_len(key: &[u8]) -> usize {
    encoded_len(key.len())
}

fn encoded_len(key: usize) -> usize {
    if key == 0 { 0 } else { 1 + encoded_len_varint(key as u64) + key }
}

/// Decodes a row that this store has written; key and value are parts of it.
pub(super) fn decode(bytes: Bytes) -> KeyValue {
    KeyValue::decode(bytes).expect("rows were encoded here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_found_again_in_place() {
        for lease in [0, 7, -1] {
            let mut kv = KeyValue {
                key: Bytes::new(),
                create_revision: 2,
                mod_revision: i64::MAX,
                version: 300,
                value: "value".into(),
                lease,
            };
            let bytes = encode(&mut kv, b"key");
            assert_eq!((&*kv.key, &*kv.value), (&b"key"[..], &b"value"[..]));
            assert!(bytes.as_ptr_range().contains(&kv.value.as_ptr()));
            assert_eq!(decode(bytes.clone()), kv);
            let body = Body::parse(&bytes).unwrap();
            assert_eq!((body.key, body.value), (&b"key"[..], &b"value"[..]));
            assert_eq!((body.create_revision, body.mod_revision), (2, i64::MAX));
            assert_eq!((body.version, body.lease), (300, lease));
        }
    }

    #[test]
    fn what_is_cut_off_is_no_row() {
        let bytes = encode(&mut KeyValue::default(), b"key");
        assert_eq!(bytes.len(), tombstone_len(b"key"));
        assert_eq!(Body::parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Body::parse(&[0x0a, 0xff]), None);
        assert_eq!(Body::parse(&[0x10; 11]), None);
        assert_eq!(Body::parse(&[0x38, 1]), None);
        assert_eq!(Body::parse(&[0xff; 12]), None);
    }
}
