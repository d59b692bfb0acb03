//! URLs of members, read and written as etcd does it.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

/// What may stand in a host unescaped, besides letters and digits.
const HOST_MARKS: &[u8] = b"-_.~!$&'()*+,;=:[]<>\"";

/// What may stand in the name of a user unescaped, besides letters and digits.
const USER_MARKS: &[u8] = b"-_.~$&+,;=";

/// What a password may hold as it stands, too.
const USER_TEXT: &[u8] = b"-._:~!$&'()*+,;=%@";

/// What may stand in a path unescaped, besides letters and digits.
const PATH_MARKS: &[u8] = b"-_.~$&+,/:;=@!'()*[]";

/// What may stand behind a `#` unescaped, besides letters and digits.
const FRAGMENT_MARKS: &[u8] = b"-_.~$&+,/:;=?@!()*'[]";

/// The one way to write a URL under which members may reach one another; none
/// for what is no such URL.
pub(super) fn canonical(url: &str) -> Option<String> {
    if url.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let (rest, fragment) = match url.split_once('#') {
        Some((rest, fragment)) => (rest, fragment),
        None => (url, ""),
    };
    let (scheme, rest) = rest.split_once(':').filter(|(scheme, _)| is_scheme(scheme))?;
    let scheme = scheme.to_ascii_lowercase();
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    let place = match scheme.as_str() {
        "http" | "https" => format!("//{}", with_port(rest.strip_prefix("//")?)?),
        "unix" | "unixs" => socket(rest)?,
        _ => return None,
    };
    let mut written = format!("{scheme}:{place}");
    if let Some(query) = query {
        write!(written, "?{query}").expect("a string takes everything");
    }
    if !fragment.is_empty() {
        write!(written, "#{}", rewritten(fragment, FRAGMENT_MARKS)?)
            .expect("a string takes everything");
    }
    Some(written)
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// A host and its port, and no path.
fn with_port(authority: &str) -> Option<String> {
    if authority.contains('/') {
        return None;
    }
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // What is in brackets may hold colons.
    let (name, _) = host.rsplit_once(':')?;
    let is_alone = match name.strip_prefix('[') {
        Some(address) => address.find(']') == Some(address.len().checked_sub(1)?),
        None => !name.contains([':', '[', ']']),
    };
    is_alone.then(|| in_authority(authority)).flatten()
}

/// A path, or an authority and a path, or neither.
fn socket(rest: &str) -> Option<String> {
    let Some(place) = rest.strip_prefix("//") else {
        // What begins with no slash is left alone.
        return if rest.starts_with('/') { path(rest) } else { Some(rest.to_owned()) };
    };
    let (name, rest) = place.split_at(place.find('/').unwrap_or(place.len()));
    if name.is_empty() && rest.is_empty() {
        return Some(String::new());
    }
    Some(format!("//{}{}", in_authority(name)?, path(rest)?))
}

fn path(path: &str) -> Option<String> {
    rewritten(path, PATH_MARKS)
}

fn in_authority(authority: &str) -> Option<String> {
    let Some((user, host)) = authority.rsplit_once('@') else { return as_host(authority) };
    if !user.bytes().all(|byte| byte.is_ascii_alphanumeric() || USER_TEXT.contains(&byte)) {
        return None;
    }
    let user = match user.split_once(':') {
        Some((name, password)) => {
            format!("{}:{}", rewritten(name, USER_MARKS)?, rewritten(password, USER_MARKS)?)
        }
        None => rewritten(user, USER_MARKS)?,
    };
    Some(format!("{user}@{}", as_host(host)?))
}

fn as_host(host: &str) -> Option<String> {
    let Some(address) = host.strip_prefix('[') else {
        if host.contains('[') || host.contains(']') {
            return None;
        }
        let port = host.split_once(':').map_or("", |(_, port)| port);
        return if is_port(port) { in_host(host) } else { None };
    };
    let (address, port) = address.split_once(']')?;
    let port = match port {
        "" => "",
        port => port.strip_prefix(':').filter(|digits| is_port(digits)).map(|_| port)?,
    };
    let (plain, zone) = match address.split_once("%25") {
        Some((plain, zone)) => (plain, Some(zone)),
        None => (address, None),
    };
    plain.parse::<Ipv6Addr>().ok()?;
    let zone = match zone {
        Some("") => return None,
        Some(zone) => format!("%25{}", escaped(&unescaped(zone)?, HOST_MARKS)),
        None => String::new(),
    };
    Some(format!("[{plain}{zone}]{port}"))
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name that is told in a URL; of its bytes only those that are no text may be
/// escaped.
fn in_host(name: &str) -> Option<String> {
    let is_text = |byte: u8| byte.is_ascii_alphanumeric() || HOST_MARKS.contains(&byte);
    if name.bytes().any(|byte| byte.is_ascii() && byte != b'%' && !is_text(byte)) {
        return None;
    }
    let plain = unescaped(name)?;
    let mut escapes = name.split('%').skip(1);
    let escapes_text = escapes.any(|after| after < "8" && !after.starts_with("25"));
    (!escapes_text).then(|| escaped(&plain, HOST_MARKS))
}

/// The same, escaped where it has to be and nowhere else; as it is, if that is a
/// way to write it.
fn rewritten(text: &str, marks: &[u8]) -> Option<String> {
    let plain = unescaped(text)?;
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'%' || marks.contains(&byte);
    let keeps_its_form = marks != USER_MARKS && text.bytes().all(is_fine);
    Some(if keeps_its_form { text.to_owned() } else { escaped(&plain, marks) })
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'%' {
            plain.push(*byte);
            rest = after;
            continue;
        }
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        plain.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &after[2..];
    }
    Some(plain)
}

fn escaped(plain: &[u8], marks: &[u8]) -> String {
    plain.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || marks.contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_written_in_many_ways_is_written_in_one() {
        let written = [
            ("HTTP://A:1", "http://A:1"),
            ("http://a:99999", "http://a:99999"),
            ("http://a:", "http://a:"),
            ("http://a:1?", "http://a:1?"),
            ("http://a:1?x#f", "http://a:1?x#f"),
            ("http://a:1#", "http://a:1"),
            ("http://a:1#a b", "http://a:1#a%20b"),
            ("http://u:p@b:1", "http://u:p@b:1"),
            ("http://u@v@b:1", "http://u%40v@b:1"),
            ("http://@b:1", "http://@b:1"),
            ("http://\u{e9}:1", "http://%C3%A9:1"),
            ("http://[fe80::1%25%41]:1", "http://[fe80::1%25A]:1"),
            ("unix://", "unix:"),
            ("unix:a b", "unix:a b"),
            ("unix:///a b", "unix:///a%20b"),
            ("unix:///a%20b", "unix:///a%20b"),
        ];
        for (url, canonical_url) in written {
            assert_eq!(canonical(url).as_deref(), Some(canonical_url), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_member_is_none() {
        let none = [
            "http://a",
            "http://a:1/",
            "http://a b:1",
            "http://%41:1",
            "http://%zz:1",
            "http://[a]:1",
            "http://[]:1",
            "http://a]:1",
            "http://[::1%en0]:1",
            "http://a:x",
            "http://u p@b:1",
            "http://a\u{7f}:1",
            "http:a:1",
            "http:///a:1",
            "1http://a:1",
            "unix://a b",
            "unix://a:b:c",
            "unix://[x",
            "http://a:1:2",
            "http://a|b:1",
        ];
        for url in none {
            assert_eq!(canonical(url), None, "{url}");
        }
    }
}
