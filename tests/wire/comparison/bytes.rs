//! Messages that `etcdctl` prints as they came, as text that can be compared.

use std::fmt::Write;

/// What was printed: lines, if any, and then a message, if any.
pub(super) fn printed(bytes: &[u8]) -> String {
    let is_begin = |place: &usize| *place == 0 || bytes[place - 1] == b'\n';
    let whole = (0..=bytes.len()).filter(is_begin).find_map(|place| {
        let (lines, message) = bytes.split_at(place);
        Some(format!("{}{}", String::from_utf8_lossy(lines), as_text(message)?))
    });
    whole.unwrap_or_else(|| String::from_utf8_lossy(bytes).into_owned())
}

/// A message and all within it, field by field, but for the raft term; `None` if
/// it is no message.
fn as_text(bytes: &[u8]) -> Option<String> {
    let fields = fields(bytes)?;
    let is_header = matches!(fields[..], [Field { number: 1, value: Value::Number(_) }, ..]);
    let mut text = String::new();
    for field in fields {
        let number = field.number;
        match field.value {
            Value::Number(_) if is_header && number == 4 => text += "4: _ ",
            Value::Number(value) => write!(text, "{number}: {value} ").expect("text"),
            Value::Bytes(bytes) => {
                let inner = as_text(bytes).filter(|_| !bytes.is_empty());
                let inner = inner.unwrap_or_else(|| format!("{:?}", bytes.escape_ascii()));
                write!(text, "{number}: {{ {inner} }} ").expect("text");
            }
        }
    }
    Some(text)
}

struct Field<'a> {
    number: u64,
    value: Value<'a>,
}

enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
}

/// No message that `etcdctl` prints has fields of a fixed size.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?.cast_signed()),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        fields.push(Field { number: tag >> 3, value });
    }
    fields.iter().all(|field| field.number > 0).then_some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
