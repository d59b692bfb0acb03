//! As much of HPACK (RFC 7541) as it takes to find the authority in a block of
//! headers, and to spell it differently.
//!
//! Where it is not spelled out it was before, so nobody needs to know the tables
//! of a connection; and since the new spelling is as long as the old one, they
//! stay as large as both sides believe.

use std::ops::Range;
use std::sync::LazyLock;

/// `:authority` in the static table.
const AUTHORITY: usize = 1;
const NAME: &[u8] = b":authority";

/// Of what the new spelling consists, and its Huffman code.
const LETTER: u8 = b'a';
const LETTER_CODE: u8 = 0b00011;
const LETTER_BITS: usize = 5;

/// How many bits the Huffman code of each byte has. Codes are canonical: all else
/// follows from this.
#[rustfmt::skip]
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const BITS_MAX: usize = 30;

/// The bytes in the order of their codes, and per length the first code, and where
/// its bytes begin and end among them.
struct Codes {
    bytes: Vec<u8>,
    lengths: [(u32, Range<usize>); BITS_MAX + 1],
}

static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let mut bytes = Vec::with_capacity(BITS.len());
    let mut code = 0;
    let lengths = std::array::from_fn(|bits| {
        let begin = bytes.len();
        let of_length = |byte: &u8| usize::from(BITS[usize::from(*byte)]) == bits;
        bytes.extend((0..=u8::MAX).filter(of_length));
        code <<= 1;
        let first = code;
        code += u32::try_from(bytes.len() - begin).expect("there are few bytes");
        (first, begin..bytes.len())
    });
    Codes { bytes, lengths }
});

/// What Huffman-coded bytes say; `None` if that is nothing.
fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let (mut code, mut bits) = (0_u32, 0);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        code = code << 1 | u32::from(bit);
        bits += 1;
        let (first, bytes) = CODES.lengths.get(bits)?;
        let at = usize::try_from(code.checked_sub(*first).unwrap_or(u32::MAX)).ok()?;
        if at < bytes.len() {
            text.push(CODES.bytes[bytes.start + at]);
            (code, bits) = (0, 0);
        }
    }
    // The end is filled with ones.
    (bits < 8 && code + 1 == 1 << bits).then_some(text)
}

/// An authority that is spelled out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// What it is.
    pub(super) text: Vec<u8>,
    /// Where its length and its bytes are.
    at: Range<usize>,
    is_coded: bool,
}

/// The authority that a block spells out, if it does.
pub(super) fn authority(block: &[u8]) -> Option<Authority> {
    let mut fields = Fields { block, at: 0 };
    loop {
        let first = *block.get(fields.at)?;
        if first & 0x80 != 0 {
            // All of it is in a table.
            fields.number(7)?;
        } else if first & 0xe0 == 0x20 {
            // A table gets another size.
            fields.number(5)?;
        } else {
            let name = fields.number(if first & 0x40 != 0 { 6 } else { 4 })?;
            let is_authority = match name {
                0 => fields.string()?.text()? == NAME,
                name => name == AUTHORITY,
            };
            let begin = fields.at;
            let value = fields.string()?;
            if is_authority {
                let (text, at) = (value.text()?, begin..fields.at);
                return Some(Authority { text, at, is_coded: value.is_coded });
            }
        }
    }
}

impl Authority {
    /// The block that it was found in, with a name instead that anybody takes.
    pub(super) fn replaced_in(&self, block: &[u8]) -> Vec<u8> {
        let letters = self.text.len().max(1);
        let name = if self.is_coded { coded(letters) } else { vec![LETTER; letters] };
        let mut replaced = block[..self.at.start].to_vec();
        push_length(self.is_coded, name.len(), &mut replaced);
        replaced.extend(name);
        replaced.extend(&block[self.at.end..]);
        replaced
    }
}

/// So many letters, Huffman-coded: nothing of the same length is shorter.
fn coded(letters: usize) -> Vec<u8> {
    let bits = letters * LETTER_BITS;
    let bit = |at: usize| match at < bits {
        true => LETTER_CODE >> (LETTER_BITS - 1 - at % LETTER_BITS) & 1,
        false => 1,
    };
    let byte = |at: usize| (0..8).fold(0, |byte, offset| byte << 1 | bit(at * 8 + offset));
    (0..bits.div_ceil(8)).map(byte).collect()
}

/// The length of a string.
fn push_length(is_coded: bool, length: usize, out: &mut Vec<u8>) {
    let mark = if is_coded { 0x80 } else { 0 };
    let Some(mut rest) = length.checked_sub(0x7f) else {
        return out.push(mark | low_bits(length));
    };
    out.push(mark | 0x7f);
    while rest >= 0x80 {
        out.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    out.push(low_bits(rest));
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).expect("seven bits are a byte")
}

/// A string in a block.
struct Text<'a> {
    is_coded: bool,
    bytes: &'a [u8],
}

impl Text<'_> {
    fn text(&self) -> Option<Vec<u8>> {
        if self.is_coded { decoded(self.bytes) } else { Some(self.bytes.to_vec()) }
    }
}

/// The fields of a block, read from the front.
struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// A number that begins with so many bits of a byte.
    fn number(&mut self, bits: u32) -> Option<usize> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Some(number);
        }
        // Nothing in a frame is longer than this.
        for shift in [0, 7, 14] {
            let byte = usize::from(self.byte()?);
            number += (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn string(&mut self) -> Option<Text<'a>> {
        let is_coded = self.block.get(self.at)? & 0x80 != 0;
        let length = self.number(7)?;
        let bytes = self.block.get(self.at..self.at + length)?;
        self.at += length;
        Some(Text { is_coded, bytes })
    }

    fn byte(&mut self) -> Option<u8> {
        self.at += 1;
        self.block.get(self.at - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `www.example.com`, as RFC 7541 C.4.1 has it.
    const EXAMPLE: [u8; 12] =
        [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];

    #[test]
    fn codes_are_read() {
        assert_eq!(decoded(&EXAMPLE).unwrap(), b"www.example.com");
        // RFC 7541 C.6.1.
        let date = "d07abe941054d444a8200595040b8166e082a62d1bff";
        let date: Vec<u8> = (0..date.len() / 2)
            .map(|at| u8::from_str_radix(&date[at * 2..at * 2 + 2], 16).unwrap())
            .collect();
        assert_eq!(decoded(&date).unwrap(), b"Mon, 21 Oct 2013 20:13:21 GMT");
        assert_eq!(decoded(&[]).unwrap(), b"");
        // Not all ones at the end; a byte of nothing but the end; no end of a code.
        for bad in [&[0x00][..], &[0xff], &[0xff, 0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(decoded(bad), None, "{bad:?}");
        }
        for letters in 1..40 {
            assert_eq!(decoded(&coded(letters)).unwrap(), vec![LETTER; letters]);
        }
    }

    #[test]
    fn the_authority_is_found_behind_all_kinds_of_fields() {
        let skipped = [0x3f, 0xe1, 0x1f, 0x83, 0x04, 1, b'/', 0x10, 1, b'n', 1, b'v', 0xbe];
        let plain = |start: &[u8]| {
            let block = [start, &[3, b'#', b'=', b'x', 0x86]].concat();
            let found = authority(&block).unwrap();
            assert_eq!((&found.text[..], found.is_coded), (&b"#=x"[..], false));
            (found.replaced_in(&block), [start, &[3, b'a', b'a', b'a', 0x86]].concat())
        };
        for start in [&[0x41][..], &[0x01], &[0x11]] {
            let (replaced, expected) = plain(&[&skipped[..], start].concat());
            assert_eq!(replaced, expected);
        }
        let (replaced, expected) = plain(&[&[0x40, 10][..], NAME].concat());
        assert_eq!(replaced, expected);
        let coded_one = [&[0x41, 0x8c], &EXAMPLE[..], &[0x86]].concat();
        let found = authority(&coded_one).unwrap();
        assert_eq!(found.text, b"www.example.com");
        let replaced = found.replaced_in(&coded_one);
        assert_eq!(authority(&replaced).unwrap().text, vec![LETTER; 15]);
        assert_eq!(replaced.last(), Some(&0x86));
        for none in [&skipped[..], &[0x41], &[0x41, 5, b'a'], &[0x7f, 0xff, 0xff, 0xff], &[]] {
            assert_eq!(authority(none), None, "{none:?}");
        }
    }

    #[test]
    fn long_names_have_long_lengths() {
        for length in [126, 127, 128, 300, 20_000] {
            let mut block = vec![0x41];
            push_length(false, length, &mut block);
            block.extend(vec![b'#'; length]);
            let found = authority(&block).unwrap();
            assert_eq!(found.text.len(), length);
            assert_eq!(authority(&found.replaced_in(&block)).unwrap().text, vec![LETTER; length]);
        }
    }
}
