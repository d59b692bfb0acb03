//! From text to a tree of values: YAML 1.2 without what makes it surprising.
//!
//! Anchors, aliases, merge keys, custom tags and further documents are refused.
//! The tree is built without recursion and only so deep, whatever the text.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::diagnose::{Kind, Problem};
use super::value::{Body, Entry, Place, Value};

/// How deep values may nest; the format itself needs four.
const DEPTH_MAX: usize = 16;

/// A list or mapping that is not complete.
struct Open {
    place: Place,
    body: Body,
    /// The key whose value comes next.
    key: Option<(String, Place)>,
}

/// Reads the one document of a text.
pub(in crate::agent) fn parse(text: &str) -> Result<Value, Problem> {
    let lines = lines(text);
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let place = place_of(*error.marker(), *error.marker(), &lines);
                return Err(syntax(place, "the file is not valid YAML", error.info()));
            }
        };
        let place = place_of(span.start, span.end, &lines);
        let done = match event {
            Event::DocumentStart(_) if document.is_some() => {
                let what = "the file has more than one YAML document";
                return Err(syntax(place, what, "only one is accepted"));
            }
            Event::Alias(_) => return Err(refused(place, "aliases")),
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = is_quoted(style, anchor, tag.as_deref(), place)?;
                Some(Value { place, body: Body::Scalar { text: text.into_owned(), quoted } })
            }
            Event::SequenceStart(anchor, tag) => {
                check_plain(anchor, tag.as_deref(), place, "seq")?;
                open.push(Open { place, body: Body::List(Vec::new()), key: None });
                None
            }
            Event::MappingStart(anchor, tag) => {
                check_plain(anchor, tag.as_deref(), place, "map")?;
                open.push(Open { place, body: Body::Map(Vec::new()), key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop().map(|Open { place, body, .. }| Value { place, body })
            }
            _ => None,
        };
        if open.len() > DEPTH_MAX {
            return Err(syntax(place, "the file nests too deeply", "no field is this deep"));
        }
        if let Some(value) = done {
            match open.last_mut() {
                Some(parent) => add(parent, value, span)?,
                None => document = Some(value),
            }
        }
    }
    let empty = || syntax(Place { line: 1, column: 1, width: 1 }, "the file is empty", "");
    document.ok_or_else(empty)
}

fn add(parent: &mut Open, value: Value, span: Span) -> Result<(), Problem> {
    match &mut parent.body {
        Body::List(list) => list.push(value),
        Body::Map(map) => match (parent.key.take(), value) {
            (Some((key, place)), mut value) => {
                // An absent value has no place: what can be shown is its key.
                if span.is_empty() && matches!(value.body, Body::Scalar { .. }) {
                    value.place = place;
                }
                map.push(Entry { key, place, value });
            }
            (None, Value { place, body: Body::Scalar { text, quoted } }) => {
                if text == "<<" && !quoted {
                    return Err(refused(place, "merge keys"));
                }
                parent.key = Some((text, place));
            }
            (None, Value { place, .. }) => {
                return Err(syntax(place, "a key must be a word", "this is a list or a mapping"));
            }
        },
        Body::Scalar { .. } => {}
    }
    Ok(())
}

fn is_quoted(
    style: ScalarStyle,
    anchor: usize,
    tag: Option<&Tag>,
    place: Place,
) -> Result<bool, Problem> {
    if anchor > 0 {
        return Err(refused(place, "anchors"));
    }
    match tag {
        None => Ok(style != ScalarStyle::Plain),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => Ok(true),
            "int" | "float" | "bool" | "null" => Ok(false),
            _ => Err(refused(place, "tags")),
        },
        Some(_) => Err(refused(place, "custom tags")),
    }
}

fn check_plain(
    anchor: usize,
    tag: Option<&Tag>,
    place: Place,
    suffix: &str,
) -> Result<(), Problem> {
    if anchor > 0 {
        return Err(refused(place, "anchors"));
    }
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == suffix) => {
            Err(refused(place, "custom tags"))
        }
        _ => Ok(()),
    }
}

fn refused(place: Place, what: &str) -> Problem {
    syntax(place, &format!("YAML {what} are not accepted"), "write the value out")
}

fn syntax(place: Place, what: &str, text: &str) -> Problem {
    Problem {
        kind: Kind::Syntax,
        what: what.to_owned(),
        labels: vec![place.label(text)],
        given_by: None,
        why: None,
        fix: "kat-agent config example   prints a complete file".to_owned(),
    }
}

/// Splits a text where YAML does, and only there.
pub(super) fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let after = &rest[end..];
        rest = after.strip_prefix("\r\n").unwrap_or(&after[1..]);
    }
    lines.push(rest);
    lines
}

/// The first line of a span, never past that line's end.
fn place_of(start: Marker, end: Marker, lines: &[&str]) -> Place {
    let line = start.line().clamp(1, lines.len());
    let length = lines[line - 1].chars().count();
    let column = start.col().min(length) + 1;
    let end = if end.line() == start.line() { end.col() } else { length };
    Place { line, column, width: (end.min(length) + 1).saturating_sub(column).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        match parse(text) {
            Ok(value) => format!("{value:?}"),
            Err(problem) => {
                let label = &problem.labels[0];
                format!("{}:{}: {}", label.line, label.column, problem.what)
            }
        }
    }

    #[test]
    fn what_makes_yaml_surprising_is_refused_at_its_place() {
        for (text, expected) in [
            ("a: &x 1\nb: *x\n", "1:4: YAML anchors are not accepted"),
            ("a: 1\n<<: {b: 2}\n", "2:1: YAML merge keys are not accepted"),
            ("a: !mine 1\n", "1:4: YAML custom tags are not accepted"),
            ("a: !!binary x\n", "1:4: YAML tags are not accepted"),
            ("a: !!set {x}\n", "1:4: YAML custom tags are not accepted"),
            ("a: 1\n---\nb: 2\n", "2:1: the file has more than one YAML document"),
            ("? [a]\n: 1\n", "1:3: a key must be a word"),
            ("", "1:1: the file is empty"),
            ("# only prose\n", "1:1: the file is empty"),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
        assert!(refusal("a: [1\n").contains("not valid YAML"));
        let deep = format!("{}{}", "[".repeat(50), "]".repeat(50));
        assert!(refusal(&deep).contains("nests too deeply"));
        assert!(refusal(&"- ".repeat(1000)).contains("nests too deeply"));
    }

    #[test]
    fn a_value_knows_its_line_and_column() {
        let value = parse("a:\n  b: héllo # prose\n  c: [1, 22]\n").unwrap();
        let Body::Map(map) = value.body else { panic!("no mapping") };
        let Body::Map(map) = &map[0].value.body else { panic!("no mapping") };
        assert_eq!(map[0].place, Place { line: 2, column: 3, width: 1 });
        assert_eq!(map[0].value.place, Place { line: 2, column: 6, width: 5 });
        let Body::List(list) = &map[1].value.body else { panic!("no list") };
        assert_eq!(list[1].place, Place { line: 3, column: 10, width: 2 });
    }

    #[test]
    fn lines_end_where_yaml_ends_them() {
        assert_eq!(lines("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(lines(""), [""]);
    }
}
