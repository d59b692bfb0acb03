//! Values that know their place, and what plain YAML text means.
//!
//! The words of YAML 1.2's core schema: `yes` is a string and `0o17` a number.
//! Deliberately not here: what a field accepts, which is `accept.rs`.

use serde_json::Value as Json;

use super::diagnose::Label;

/// A stretch of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(in crate::agent) struct Place {
    /// From 1.
    pub(in crate::agent) line: usize,
    /// From 1.
    pub(in crate::agent) column: usize,
    /// At least 1.
    pub(in crate::agent) width: usize,
}

impl Place {
    /// Makes a label of it.
    pub(in crate::agent) fn label(self, text: impl Into<String>) -> Label {
        let Place { line, column, width } = self;
        Label { line, column, width, text: text.into() }
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::agent) struct Value {
    pub(in crate::agent) place: Place,
    pub(in crate::agent) body: Body,
}

/// What a value consists of.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::agent) enum Body {
    /// Text, which means itself if it was quoted.
    Scalar { text: String, quoted: bool },
    /// Values in a row.
    List(Vec<Value>),
    /// Values by name, in the order of the file; names may repeat.
    Map(Vec<Entry>),
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::agent) struct Entry {
    pub(in crate::agent) key: String,
    pub(in crate::agent) place: Place,
    pub(in crate::agent) value: Value,
}

/// What a value is, by the core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::agent) enum Meaning<'a> {
    Nothing,
    Bool,
    /// A whole number; those too large for the type are its largest.
    Whole(i128),
    Number(f64),
    Text(&'a str),
    List(&'a [Value]),
    Map(&'a [Entry]),
}

impl Meaning<'_> {
    /// Names the kind, as an error does.
    pub(in crate::agent) fn noun(&self) -> &'static str {
        match self {
            Meaning::Nothing => "empty",
            Meaning::Bool => "a boolean",
            Meaning::Whole(_) => "an integer",
            Meaning::Number(_) => "a number",
            Meaning::Text(_) => "a string",
            Meaning::List(_) => "a list",
            Meaning::Map(_) => "a mapping",
        }
    }
}

impl Value {
    /// Makes a value that stands nowhere.
    pub(in crate::agent) fn scalar(text: &str, quoted: bool) -> Self {
        Self::from(Body::Scalar { text: text.to_owned(), quoted })
    }

    /// Makes a value of JSON, whose strings count as quoted.
    pub(in crate::agent) fn of_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::scalar("", false),
            Json::Bool(yes) => Self::scalar(&yes.to_string(), false),
            Json::Number(number) => Self::scalar(&number.to_string(), false),
            Json::String(text) => Self::scalar(text, true),
            Json::Array(list) => Self::from(Body::List(list.iter().map(Self::of_json).collect())),
            Json::Object(map) => {
                let entry = |(key, json): (&String, &Json)| Entry {
                    key: key.clone(),
                    place: Place::default(),
                    value: Self::of_json(json),
                };
                Self::from(Body::Map(map.iter().map(entry).collect()))
            }
        }
    }

    /// Tells what the value is.
    pub(in crate::agent) fn meaning(&self) -> Meaning<'_> {
        match &self.body {
            Body::Scalar { text, quoted: true } => Meaning::Text(text),
            Body::Scalar { text, quoted: false } => plain(text),
            Body::List(list) => Meaning::List(list),
            Body::Map(map) => Meaning::Map(map),
        }
    }

    /// Tells whether the value is text without quotes.
    pub(in crate::agent) fn is_plain(&self) -> bool {
        matches!(self.body, Body::Scalar { quoted: false, .. })
    }

    /// The text of a scalar as it stands.
    pub(in crate::agent) fn plain_text(&self) -> &str {
        match &self.body {
            Body::Scalar { text, .. } => text,
            Body::List(_) | Body::Map(_) => "",
        }
    }

    /// Names the kind, telling a quoted number from other strings.
    pub(in crate::agent) fn noun(&self) -> &'static str {
        match (&self.body, self.meaning()) {
            (Body::Scalar { text, quoted: true }, _)
                if matches!(plain(text), Meaning::Whole(_) | Meaning::Number(_)) =>
            {
                "a quoted number"
            }
            (_, meaning) => meaning.noun(),
        }
    }
}

impl From<Body> for Value {
    fn from(body: Body) -> Self {
        Self { place: Place::default(), body }
    }
}

fn plain(text: &str) -> Meaning<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Nothing,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Meaning::Bool,
        ".nan" | ".NaN" | ".NAN" => return Meaning::Number(f64::NAN),
        _ => {}
    }
    if let Some(number) = whole(text) {
        return Meaning::Whole(number);
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Meaning::Number(sign * f64::INFINITY);
    }
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || ".eE+-".contains(c));
    match text.parse() {
        Ok(number) if is_number => Meaning::Number(number),
        _ => Meaning::Text(text),
    }
}

fn whole(text: &str) -> Option<i128> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => (text.strip_prefix(['-', '+']).unwrap_or(text), 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    Some(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_means_what_the_core_schema_says() {
        for (text, noun) in [
            ("", "empty"),
            ("~", "empty"),
            ("true", "a boolean"),
            ("yes", "a string"),
            ("9116", "an integer"),
            ("-0", "an integer"),
            ("0o17", "an integer"),
            ("0xff", "an integer"),
            ("0b1", "a string"),
            ("1_000", "a string"),
            ("0.01", "a number"),
            ("1e3", "a number"),
            (".5", "a number"),
            ("-.inf", "a number"),
            ("e3", "a string"),
            ("10.100.0.0", "a string"),
            ("10.100.0.0/16", "a string"),
            ("99999999999999999999999999999999999999999999", "an integer"),
        ] {
            assert_eq!(Value::scalar(text, false).noun(), noun, "{text}");
        }
        assert_eq!(Value::scalar("7", true).noun(), "a quoted number");
        assert_eq!(Value::scalar("true", true).noun(), "a string");
    }
}
