//! The value of a flag: how Go reads it, and its words for what is wrong.

use std::io;
use std::time::Duration;

use super::flags::{Flag, GATES, Kind};

/// Says what is wrong with a value, as Go does.
pub(super) fn check(flag: &Flag, value: &str) -> Result<(), String> {
    let parse_error = || "parse error".to_owned();
    match flag.kind {
        Kind::Text if flag.name == "feature-gates" => check_gates(value),
        Kind::Text if flag.name == "cors" && value == "*" => Ok(()),
        Kind::Text if flag.name.ends_with("-urls") && value.is_empty() => Ok(()),
        Kind::Text if flag.name.ends_with("-urls") || flag.name == "cors" => {
            value.split(',').map(str::trim).try_for_each(check_url)
        }
        Kind::Text => Ok(()),
        Kind::Bool => truth(value).map(drop).ok_or_else(parse_error),
        Kind::Int | Kind::Uint => check_number(flag, value),
        Kind::Duration => nanoseconds(value).map(drop).ok_or_else(parse_error),
        Kind::Choice(words) if flag.name == "v2-deprecation" => {
            let wrong = value.split(',').find(|word| !words.contains(word));
            wrong.map_or(Ok(()), |word| Err(format!("invalid value {word:?}")))
        }
        Kind::Choice(words) if words.contains(&value) => Ok(()),
        Kind::Choice(_) => Err("invalid value".to_owned()),
    }
}

/// Numbers of 64 bits, of which those below zero are not for all flags.
fn check_number(flag: &Flag, value: &str) -> Result<(), String> {
    let number = whole(value);
    if flag.name == "max-concurrent-streams" {
        let why = match number.filter(|_| !value.starts_with(['-', '+'])) {
            Some(number) if u32::try_from(number).is_ok() => return Ok(()),
            Some(_) => "value out of range",
            None => "invalid syntax",
        };
        return Err(format!("strconv.ParseUint: parsing {value:?}: {why}"));
    }
    let number = number.ok_or_else(|| "parse error".to_owned())?;
    let fits = match flag.kind {
        Kind::Uint if value.starts_with(['-', '+']) => return Err("parse error".to_owned()),
        Kind::Uint => u64::try_from(number).is_ok(),
        _ => i64::try_from(number).is_ok(),
    };
    if fits { Ok(()) } else { Err("value out of range".to_owned()) }
}

fn check_gates(gates: &str) -> Result<(), String> {
    for gate in gates.split(',').map(str::trim).filter(|gate| !gate.is_empty()) {
        let (name, value) =
            gate.split_once('=').ok_or_else(|| format!("missing bool value for {gate}"))?;
        let (name, value) = (name.trim(), value.trim());
        if truth(value).is_none() {
            let why = format!("strconv.ParseBool: parsing {value:?}: invalid syntax");
            return Err(format!("invalid value of {name}={value}, err: {why}"));
        }
        if !GATES.iter().any(|gate| gate.name == name) {
            return Err(format!("unrecognized feature gate: {name}"));
        }
    }
    Ok(())
}

/// The URLs of a list.
pub(super) fn urls(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|url| !url.is_empty())
}

/// Says what is wrong with a URL of a member.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let (scheme, rest) = parts(url);
    match scheme.as_str() {
        "http" | "https" => {}
        "unix" | "unixs" => return Ok(()),
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {url}")),
    }
    let authority = authority(rest);
    let Some((host, port)) = authority.rsplit_once(':').filter(|(host, _)| !is_open(host)) else {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("parse {url:?}: invalid port {:?} after host", format!(":{port}")));
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    if rest.split(['?', '#']).next().is_some_and(|rest| rest.contains('/')) {
        return Err(format!("URL must not contain a path: {url}"));
    }
    Ok(())
}

/// The scheme of a URL, and what follows.
pub(super) fn parts(url: &str) -> (String, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    (scheme.to_ascii_lowercase(), rest)
}

/// The host and the port in what follows a scheme.
pub(super) fn authority(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, authority)| authority)
}

/// Whether a bracket is open, so that a colon is none of a port.
fn is_open(host: &str) -> bool {
    host.contains('[') && !host.contains(']')
}

/// Reads a truth as Go does.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a number that was checked; those beyond the type are its bounds.
pub(super) fn integer(text: &str) -> i64 {
    let number = whole(text).unwrap_or(0);
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

/// Reads a number as Go does, with any base its prefix names.
fn whole(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = digits.to_ascii_lowercase();
    let (digits, radix) = match plain.get(..2) {
        Some("0x") => (&plain[2..], 16),
        Some("0b") => (&plain[2..], 2),
        Some("0o") => (&plain[2..], 8),
        _ if plain.len() > 1 && plain.starts_with('0') => (&plain[1..], 8),
        _ => (&plain[..], 10),
    };
    let is_cut = |text: &str| text.starts_with('_') && radix == 10 || text.ends_with('_');
    if is_cut(digits) || digits.contains("__") {
        return None;
    }
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    Some(sign * i128::from_str_radix(&digits, radix).unwrap_or(i128::MAX))
}

/// Reads a time; nothing is shorter than zero.
pub(super) fn duration(text: &str) -> Option<Duration> {
    nanoseconds(text).map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
}

/// Reads a duration as Go writes it: numbers with units, in a row.
pub(super) fn nanoseconds(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 6e10,
                "h" => 3.6e12,
                _ => return None,
            };
        rest = &rest[end..];
    }
    // Times beyond 292 years are refused, as by Go.
    let nanos = sign * total;
    (nanos.abs() < 9.2e18).then(|| format!("{nanos:.0}").parse().ok())?
}

/// Says, as Go does, why a text is no duration.
pub(super) fn no_duration(text: &str) -> String {
    let bare = text.trim_start_matches(['-', '+']);
    let is_number = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
    let what = if is_number { "missing unit in" } else { "invalid" };
    format!("time: {what} duration {text:?}")
}

/// An error of the system in Go's words, which bear no number.
pub(super) fn go_error(why: &io::Error) -> String {
    as_go_says(&why.to_string())
}

/// A text that ends in an error of the system, with that error in Go's words.
pub(super) fn as_go_says(text: &str) -> String {
    let Some((text, _)) = text.split_once(" (os error ") else { return text.to_owned() };
    let at = text.rfind(": ").map_or(0, |at| at + 2);
    let (before, error) = text.split_at(at);
    let mut letters = error.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    before.chars().chain(first).chain(letters).collect()
}

/// Writes a time as Go does: `1h0m0s`, `100ms`, `0s`.
pub(super) fn written(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let digits = format!("{rest:0width$}", width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let dot = if digits.is_empty() || unit == 1 { "" } else { "." };
        format!("{whole}{dot}{}{name}", if unit == 1 { "" } else { digits })
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => fraction(1, "ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (duration.as_secs() / 60, duration.as_secs() % 60);
            let below = Duration::new(rest, duration.subsec_nanos());
            let seconds = below.as_secs_f64();
            match (minutes / 60, minutes % 60) {
                (0, 0) => fraction(1_000_000_000, "s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flags::find;
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let check = |text: &str, nanos: Option<i64>| assert_eq!(nanoseconds(text), nanos, "{text}");
        check("1h0m0s", Some(3_600_000_000_000));
        check("100ms", Some(100_000_000));
        check("1.5s", Some(1_500_000_000));
        check(".5s", Some(500_000_000));
        check("-1ns", Some(-1));
        check("0", Some(0));
        for wrong in ["", "5", "s", "5x", "1h5", "--1s"] {
            check(wrong, None);
        }
    }

    #[test]
    fn errors_are_told_as_go_tells_them() {
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(go_error(&missing), "no such file or directory");
        assert_eq!(as_go_says(&format!("open x: {missing}")), "open x: no such file or directory");
        assert_eq!(as_go_says("as it is"), "as it is");
        assert_eq!(no_duration("-5"), "time: missing unit in duration \"-5\"");
        assert_eq!(no_duration("x"), "time: invalid duration \"x\"");
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for text in ["0s", "5ns", "1.5µs", "100ms", "1.25ms", "1s", "2.5s", "1m0s", "2h0m0.5s"] {
            assert_eq!(written(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x10", Some(16)),
            ("0b11", Some(3)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("1_000", Some(1000)),
            ("18446744073709551616", Some(1 << 64)),
            ("", None),
            ("-", None),
            ("1__0", None),
            ("_1", None),
            ("08", None),
            ("1.5", None),
            ("1e3", None),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_named_in_etcds_words() {
        for (flag, value, why) in [
            ("feature-gates", "Nonsense=true", "unrecognized feature gate: Nonsense"),
            ("feature-gates", "AllBeta", "missing bool value for AllBeta"),
            (
                "feature-gates",
                "AllBeta=x",
                "invalid value of AllBeta=x, err: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            ("max-txn-ops", "-1", "parse error"),
            ("max-txn-ops", "18446744073709551616", "value out of range"),
            ("max-learners", "9223372036854775808", "value out of range"),
            (
                "max-concurrent-streams",
                "4294967296",
                "strconv.ParseUint: parsing \"4294967296\": value out of range",
            ),
            ("initial-cluster-state", "x", "invalid value"),
            ("v2-deprecation", "gone,x", "invalid value \"x\""),
            ("cors", "*,http://a:1", "URL scheme must be http, https, unix, or unixs: *"),
            ("listen-peer-urls", "x", "URL scheme must be http, https, unix, or unixs: x"),
            (
                "listen-peer-urls",
                "http://a",
                "URL address does not have the form \"host:port\": http://a",
            ),
            ("listen-peer-urls", "http://a:1,", "URL scheme must be http, https, unix, or unixs: "),
            ("cors", "", "URL scheme must be http, https, unix, or unixs: "),
            (
                "listen-peer-urls",
                "http://a:http",
                "parse \"http://a:http\": invalid port \":http\" after host",
            ),
            ("max-concurrent-streams", "-1", "strconv.ParseUint: parsing \"-1\": invalid syntax"),
            ("listen-peer-urls", "http://a:1/", "URL must not contain a path: http://a:1/"),
        ] {
            assert_eq!(check(find(flag).unwrap(), value), Err(why.to_owned()), "{flag} {value}");
        }
        for (flag, value) in [
            ("feature-gates", "AllBeta=true, InitialCorruptCheck=f"),
            ("v2-deprecation", "write-only-skip-check"),
            ("listen-peer-urls", "http://127.0.0.1:1, unix://a:1"),
            ("listen-peer-urls", "HTTP://u@[::1]:1?q"),
            ("listen-peer-urls", "http://a:"),
            ("listen-metrics-urls", ""),
            ("cors", "*"),
        ] {
            assert_eq!(check(find(flag).unwrap(), value), Ok(()), "{flag} {value}");
        }
    }
}
