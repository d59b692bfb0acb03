//! The shapes of values: what each accepts, in words and as a schema.
//!
//! One value at a time; what two fields say together is `check.rs`.

use serde_json::{Value as Json, json};

use super::diagnose::Kind;
use super::spec::Cidr;
use super::url::Url;
use super::value::{Meaning, Place, Value};

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// A DNS label.
    Label,
    /// A DNS name of lower-case labels.
    Domain,
    /// A block of IPv4 addresses.
    Cidr,
    /// An integer in these bounds.
    Whole(i64, i64),
    /// A number from 0 to 1.
    Share,
    /// One of these words.
    Words(&'static [&'static str]),
    /// URLs to listen on.
    Urls,
    /// A URL to listen on, or nothing.
    MaybeUrl,
    /// The URL of a service.
    Service,
    /// The URL of a service, or nothing.
    MaybeService,
    /// DNS names or addresses.
    Names,
    /// An address, a name or `auto`.
    Advertise,
    /// An absolute path.
    Path,
    /// A log level, or a list of them.
    Level,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// What follows the field's name.
    pub(super) what: String,
    /// What stands behind the carets.
    pub(super) hint: String,
    /// A narrower place than the value's.
    pub(super) place: Option<Place>,
}

impl Fault {
    pub(super) fn bad(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: Kind::BadValue, what: what.into(), hint: hint.into(), place: None }
    }

    fn at(mut self, value: &Value) -> Self {
        self.place = Some(value.place).filter(|place| place.line > 0);
        self
    }
}

impl Shape {
    /// Names what is accepted, with its article.
    pub(super) fn noun(self) -> String {
        match self {
            Shape::Text => "a string".to_owned(),
            Shape::Label => "a DNS label: 1-63 of a-z, 0-9 and -".to_owned(),
            Shape::Domain => "a DNS name in lower case".to_owned(),
            Shape::Cidr => "an IPv4 CIDR such as 10.100.0.0/16".to_owned(),
            Shape::Whole(least, most) => format!("an integer from {least} to {most}"),
            Shape::Share => "a number from 0 to 1".to_owned(),
            Shape::Words(words) => format!("one of {}", words.join(", ")),
            Shape::Urls => "a list of URLs".to_owned(),
            Shape::MaybeUrl => "a URL, or \"\" for none".to_owned(),
            Shape::Service => "an http or https URL".to_owned(),
            Shape::MaybeService => "an http or https URL, or \"\" for none".to_owned(),
            Shape::Names => "a list of DNS names or IP addresses".to_owned(),
            Shape::Advertise => "an IP address, a DNS name or auto".to_owned(),
            Shape::Path => "an absolute path".to_owned(),
            Shape::Level => {
                "a level (error, warn, info, debug, trace) or a list such as info,store=debug"
                    .to_owned()
            }
        }
    }

    /// Returns the JSON Schema of the shape.
    pub(super) fn schema(self) -> Json {
        match self {
            Shape::Whole(least, most) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Shape::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
            Shape::Words(words) => json!({"enum": words}),
            Shape::Urls | Shape::Names => json!({"type": "array", "items": {"type": "string"}}),
            Shape::Label => json!({
                "type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
            }),
            Shape::Cidr => {
                json!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+){3}/[0-9]+$"})
            }
            Shape::Path => json!({"type": "string", "pattern": "^/"}),
            Shape::Domain => json!({"type": "string", "maxLength": 200}),
            _ => json!({"type": "string"}),
        }
    }

    /// Makes a value of text that was typed where there are no quotes.
    pub(super) fn typed(self, text: &str) -> Value {
        use super::value::Body;
        match self {
            Shape::Whole(..) | Shape::Share => Value::scalar(text, false),
            Shape::Urls | Shape::Names => {
                let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let items = bare.unwrap_or(text).split(',').map(str::trim);
                let items = items.filter(|item| !item.is_empty());
                Value::from(Body::List(items.map(|item| Value::scalar(item, true)).collect()))
            }
            _ => Value::scalar(text, true),
        }
    }

    fn wrong_type(self, value: &Value) -> Fault {
        let noun = value.noun();
        let hint = match value.meaning() {
            _ if noun == "a quoted number" => "take off the quotes",
            Meaning::Whole(_) | Meaning::Number(_) | Meaning::Bool if !self.is_number() => {
                "put it in quotes"
            }
            _ => "",
        };
        let what = format!("must be {}, and is {noun}", self.noun());
        Fault { kind: Kind::WrongType, what, hint: hint.to_owned(), place: None }
    }

    fn is_number(self) -> bool {
        matches!(self, Shape::Whole(..) | Shape::Share | Shape::Urls | Shape::Names)
    }

    /// Reads an integer.
    pub(super) fn whole(self, value: &Value) -> Result<i64, Fault> {
        let Shape::Whole(least, most) = self else { return Err(self.wrong_type(value)) };
        let Meaning::Whole(number) = value.meaning() else { return Err(self.wrong_type(value)) };
        match i64::try_from(number) {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(Fault::bad(format!("must be {}", self.noun()), "out of bounds")),
        }
    }

    /// Reads a number.
    pub(super) fn number(self, value: &Value) -> Result<f64, Fault> {
        let number = match value.meaning() {
            Meaning::Whole(0) => 0.0,
            Meaning::Whole(1) => 1.0,
            Meaning::Whole(_) => f64::INFINITY,
            Meaning::Number(number) => number,
            _ => return Err(self.wrong_type(value)),
        };
        match (0.0..=1.0).contains(&number) {
            true => Ok(number),
            false => Err(Fault::bad(format!("must be {}", self.noun()), "out of bounds")),
        }
    }

    /// Reads text that satisfies the shape.
    pub(super) fn text(self, value: &Value) -> Result<&str, Fault> {
        let Meaning::Text(text) = value.meaning() else { return Err(self.wrong_type(value)) };
        let bad = |hint: &str| Err(Fault::bad(format!("must be {}", self.noun()), hint));
        let fault = match self {
            Shape::Label if !is_label(text) => "no DNS label",
            Shape::Domain if text.len() > 200 => "longer than 200 characters",
            Shape::Domain if !text.split('.').all(is_label) => "no DNS name in lower case",
            Shape::Words(words) if !words.contains(&text) => {
                return match super::diagnose::did_you_mean(text, words.iter().copied()) {
                    Some(meant) => bad(&format!("did you mean \"{meant}\"?")),
                    None => bad("no such value"),
                };
            }
            Shape::Service | Shape::MaybeService => {
                let may_be_empty = self == Shape::MaybeService && text.is_empty();
                match service_fault(text).filter(|_| !may_be_empty) {
                    Some(fault) => fault,
                    None => return Ok(text),
                }
            }
            Shape::Path => match path_fault(text) {
                Some(fault) => fault,
                None => return Ok(text),
            },
            Shape::Level => match level_fault(text) {
                Some(fault) => return bad(&fault),
                None => return Ok(text),
            },
            _ if text.contains('\0') => "a NUL character is in it",
            _ => return Ok(text),
        };
        bad(fault)
    }

    /// Reads a list, item by item.
    pub(super) fn list<T>(
        self,
        value: &Value,
        item: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Fault> {
        let Meaning::List(list) = value.meaning() else { return Err(self.wrong_type(value)) };
        let read = |value: &Value| {
            let text = Shape::Text.text(value).map_err(|fault| {
                let what = format!("must be {}, and an item is {}", self.noun(), value.noun());
                Fault { what, ..fault }.at(value)
            })?;
            item(text)
                .map_err(|hint| Fault::bad(format!("must be {}", self.noun()), hint).at(value))
        };
        list.iter().map(read).collect()
    }

    /// Reads a block of addresses.
    pub(super) fn cidr(self, value: &Value) -> Result<Cidr, Fault> {
        let Meaning::Text(text) = value.meaning() else { return Err(self.wrong_type(value)) };
        let bad = |hint: &str| Fault::bad(format!("must be {}", self.noun()), hint);
        let Some((address, prefix)) = text.split_once('/') else {
            return Err(bad("the prefix length is missing, such as /16"));
        };
        let Ok(address) = address.parse() else {
            return Err(bad(&format!("\"{address}\" is no IPv4 address")));
        };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit()) && prefix.len() <= 2;
        let prefix: u8 = match prefix.parse() {
            Ok(prefix) if digits && (8..=24).contains(&prefix) => prefix,
            _ => {
                let hint = "the prefix length must be from 8 to 24";
                return Err(Fault::bad("has a prefix length out of bounds", hint));
            }
        };
        let block = Cidr::around(address, prefix);
        if block.address != address {
            let hint = format!("did you mean \"{block}\"?");
            return Err(Fault::bad("has host bits that are not zero", hint));
        }
        Ok(block)
    }

    /// Reads a URL to listen on, or `""`.
    pub(super) fn maybe_url(self, value: &Value) -> Result<Option<Url>, Fault> {
        match self.text(value)? {
            "" => Ok(None),
            text => match Url::parse(text) {
                Ok(url) if url.tcp(1).is_some() => Ok(Some(url)),
                Ok(_) => Err(Fault::bad("must be an http or https URL", "no unix socket")),
                Err(hint) => Err(Fault::bad(format!("must be {}", self.noun()), hint)),
            },
        }
    }
}

/// Tells whether a text is a DNS label.
pub(super) fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Tells whether a text is a DNS name, in whatever case.
pub(super) fn is_name(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    lower.len() <= 253
        && lower.split('.').all(is_label)
        && !lower.split('.').next_back().is_some_and(is_numeric)
}

fn path_fault(text: &str) -> Option<&'static str> {
    if !text.starts_with('/') {
        Some("it does not begin with /")
    } else if text.contains('\0') {
        Some("a NUL character is in it")
    } else if text.split('/').any(|part| part == "..") {
        Some("write it without ..")
    } else {
        None
    }
}

fn level_fault(text: &str) -> Option<String> {
    const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace"];
    let mut has_default = false;
    for part in text.split(',') {
        let (target, level) = part.split_once('=').unwrap_or(("", part));
        if !LEVELS.contains(&level) {
            return Some(format!("\"{level}\" is no level"));
        }
        if part.contains('=') {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if target.is_empty() || !target.chars().all(fits) {
                return Some(format!("\"{target}\" is no module"));
            }
        } else if has_default {
            return Some("only one level may stand alone".to_owned());
        } else {
            has_default = true;
        }
    }
    None
}

fn service_fault(text: &str) -> Option<&'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Some("it begins with neither http:// nor https://") };
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("a space or control character is in it");
    }
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        return Some("a password does not belong in it");
    }
    let Some((host, port)) = authority(text) else { return Some("its host is missing") };
    let is_port = port
        .is_none_or(|port| port.len() <= 5 && port.parse::<u16>().is_ok_and(|number| number > 0));
    if !is_port {
        return Some("its port is not in 1-65535");
    }
    let is_ip = host.parse::<std::net::IpAddr>().is_ok();
    (!is_ip && !is_name(host)).then_some("its host is neither a DNS name nor an IP address")
}

/// Returns host (without brackets) and port of an http or https URL.
pub(super) fn authority(text: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']')?;
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return None,
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    (!host.is_empty()).then_some((host, port))
}
