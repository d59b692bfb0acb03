//! What Go's JSON refuses, and the library that reads JSON here would take: a
//! field that stands there twice, in whichever spelling, numbers in a string that
//! JSON would not write so, base64 with too little padding, halves of letters.
//!
//! Nothing is kept: a value is looked at as it is passed over.

use std::collections::BTreeSet;
use std::fmt;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Looks at the first JSON value.
pub(super) fn check(kind: &MessageDescriptor, json: &[u8]) -> Result<(), serde_json::Error> {
    let kind = Kind::Message(kind.clone());
    Look(Some(&kind)).deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// Looks at a value of a kind; of an unknown kind, at texts alone.
#[derive(Clone, Copy)]
struct Look<'a>(Option<&'a Kind>);

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let is_fine = match self.0 {
            Some(Kind::Bytes) => is_base64_padded(text),
            Some(Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64) => is_number(text),
            _ => true,
        };
        if is_fine { Ok(()) } else { Err(E::custom(format!("invalid value {text:?}"))) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.0.is_none() {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        while list.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some(Kind::Message(message)) = self.0 else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            let field = field(message, &name);
            if field.as_ref().is_some_and(|field| !seen.insert(field.number())) {
                return Err(A::Error::custom(format!("duplicate field {name:?}")));
            }
            let kind = field.filter(|field| !field.is_map()).map(|field| field.kind());
            map.next_value_seed(Look(kind.as_ref()))?;
        }
        Ok(())
    }
}

/// The field of a name in either spelling.
fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(name).or_else(|| message.get_field_by_name(name))
}

/// Whether padding makes up what is missing, if there is any.
fn is_base64_padded(text: &str) -> bool {
    text.len().is_multiple_of(4) || !text.contains('=')
}

/// Whether JSON would write a number so.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_led = digits.len() > 1 && digits.starts_with('0');
    digits.starts_with(|c: char| c.is_ascii_digit())
        && !(is_led && digits.as_bytes()[1].is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: &str) -> Result<(), String> {
        let kind = &super::super::routes::find("/v3/kv/txn").unwrap().input;
        check(kind, json.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_stands_there_once() {
        for json in [
            r#"{"compare":[],"compare":[]}"#,
            r#"{"success":[{"requestRange":{"keysOnly":true,"keys_only":false}}]}"#,
            r#"{"success":null,"success":[]}"#,
        ] {
            assert!(checked(json).unwrap_err().starts_with("duplicate field"), "{json}");
        }
        for json in [r#"{"x":1,"x":2}"#, r#"{"x":{"key":1,"key":2}}"#, "{} {", "null", "[{}]"] {
            assert_eq!(checked(json), Ok(()), "{json}");
        }
    }

    #[test]
    fn texts_are_what_they_are_for() {
        let range =
            |field: &str| checked(&format!(r#"{{"success":[{{"requestRange":{{{field}}}}}]}}"#));
        for good in [
            r#""key":"YQ""#,
            r#""key":"YQ==""#,
            r#""limit":"-1""#,
            r#""limit":"0""#,
            r#""limit":"10""#,
            r#""sort_order":"01""#,
            r#""x":"+1""#,
        ] {
            assert_eq!(range(good), Ok(()), "{good}");
        }
        for bad in [
            r#""key":"YQ=""#,
            r#""limit":"01""#,
            r#""limit":"+1""#,
            r#""limit":"""#,
            r#""x":"\ud800""#,
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
        let kind = &super::super::routes::find("/v3/kv/txn").unwrap().input;
        assert!(check(kind, b"{\"x\":\"\xff\"}").is_err());
    }
}
