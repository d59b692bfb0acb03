//! A txn looked at before it is decoded.
//!
//! An operation takes two bytes on the wire and a hundred times that in memory,
//! so what has too many of them is refused while it is bytes. Bytes that are no
//! txn pass: the decoder has the words for them.

use super::status::{self, Refusal};

/// Fields of a txn that are lists: compares, and both branches.
const COMPARE: u64 = 1;
const SUCCESS: u64 = 2;
const FAILURE: u64 = 3;
/// The field of an operation that is a txn itself.
const NESTED: u64 = 4;

/// Txns in txns that are looked into; the decoder goes no deeper.
const DEPTH_MAX: usize = 100;

/// Refuses a txn with a list that is longer than any may be.
pub(super) fn txn(message: &[u8], ops_max: usize) -> Result<(), Refusal> {
    if has_long_list(message, ops_max, DEPTH_MAX) { Err(status::TOO_MANY_OPS) } else { Ok(()) }
}

fn has_long_list(txn: &[u8], ops_max: usize, depth: usize) -> bool {
    let mut counts = [0_usize; 3];
    let lists = Fields(txn).filter(|(number, _)| (COMPARE..=FAILURE).contains(number));
    for (number, bytes) in lists {
        let count = match number {
            COMPARE => &mut counts[0],
            SUCCESS => &mut counts[1],
            _ => &mut counts[2],
        };
        *count += 1;
        if *count > ops_max {
            return true;
        }
        let is_op = number != COMPARE && depth > 0;
        let mut nested = Fields(bytes).filter(|(number, _)| is_op && *number == NESTED);
        if nested.any(|(_, txn)| has_long_list(txn, ops_max, depth - 1)) {
            return true;
        }
    }
    false
}

/// The fields of a message that have a length, until something is no field.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let tag = self.varint()?;
            match tag & 7 {
                0 => self.varint().map(|_| ())?,
                1 => self.take(8).map(|_| ())?,
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    return Some((tag >> 3, self.take(length)?));
                }
                5 => self.take(4).map(|_| ())?,
                _ => return None,
            }
        }
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let [byte] = *self.take(1)? else { return None };
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::etcdserverpb as pb;
    use crate::proto::etcdserverpb::request_op::Request as Op;

    fn op(request: Op) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn puts(count: usize) -> Vec<pb::RequestOp> {
        let put = pb::PutRequest { key: "k".into(), lease: -1, ..Default::default() };
        vec![op(Op::RequestPut(put)); count]
    }

    fn nest(mut txn: pb::TxnRequest, depth: usize) -> pb::TxnRequest {
        for _ in 0..depth {
            let failure = vec![op(Op::RequestTxn(txn))];
            txn = pb::TxnRequest { success: puts(1), failure, ..Default::default() };
        }
        txn
    }

    #[test]
    fn a_list_that_is_too_long_is_found_wherever_it_is() {
        let compare = |count| vec![pb::Compare { key: "k".into(), ..Default::default() }; count];
        for depth in [0, 1, 20] {
            for (count, is_refused) in [(3, false), (4, true)] {
                for txn in [
                    pb::TxnRequest { compare: compare(count), ..Default::default() },
                    pb::TxnRequest { success: puts(count), ..Default::default() },
                    pb::TxnRequest { failure: puts(count), ..Default::default() },
                ] {
                    let message = nest(txn, depth).encode_to_vec();
                    assert_eq!(super::txn(&message, 3).is_err(), is_refused, "{depth} {count}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_txn_passes() {
        for bytes in [&b"\x12\x7f"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x13", b""] {
            assert!(txn(bytes, 1).is_ok(), "{bytes:?}");
        }
        // Fields of other kinds are stepped over.
        let odd = [&b"\x38\x05\x41\0\0\0\0\0\0\0\0\x45\0\0\0\0"[..], &[0x12, 0].repeat(2)].concat();
        assert!(txn(&odd, 1).is_err() && txn(&odd, 2).is_ok());
    }
}
