//! Source text, told apart: code, prose, and the few shapes that rules ask for.
//!
//! It knows comments, literals and brackets, and no grammar: code that rustfmt
//! has seen is regular enough. Deliberately not here: any rule.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// What of the package is read, from its root.
const READ: &[&str] =
    &["src", "tests", "proto", "examples", ".ci/run", "Makefile", "README.md", "Cargo.toml"];
/// What is read of a folder; files of other kinds hold data.
const KINDS: &[&str] = &["rs", "proto", "toml", "md", "kat"];

/// A place, and what to do about it.
pub(super) struct Finding {
    pub(super) place: String,
    pub(super) advice: String,
}

/// A file, and two copies of it in which only code or only prose is left;
/// whatever else stood there is blank, so that places agree.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) code: String,
    pub(super) prose: String,
}

impl File {
    pub(super) fn new(path: &str, text: &str) -> File {
        let (code, prose) = match path.ends_with(".rs") {
            true => split(text),
            false => (String::new(), text.to_owned()),
        };
        File { path: path.to_owned(), text: text.to_owned(), code, prose }
    }

    pub(super) fn at(&self, at: usize, advice: String) -> Finding {
        let line = self.text[..at.min(self.text.len())].matches('\n').count() + 1;
        Finding { place: format!("{}:{line}", self.path), advice }
    }

    pub(super) fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    pub(super) fn is_source(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }

    pub(super) fn floor(&self) -> &str {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').next().unwrap_or(path)
    }

    pub(super) fn is_test(&self, at: usize) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("tests.rs")
            || self.path.contains("/tests/")
            || self.inline_modules().iter().any(|span| span.contains(&at))
    }

    /// The paths that follow `root::`, groups taken apart.
    pub(super) fn imports(&self, root: &str) -> Vec<(usize, String)> {
        let root = format!("{root}::");
        let trees = words(&self.code, &root).into_iter();
        trees
            .flat_map(|at| paths(&self.code[at + root.len()..]).into_iter().map(move |p| (at, p)))
            .collect()
    }

    /// Where `super::super::…` reaches the crate's root.
    pub(super) fn climbs_to_root(&self) -> Vec<usize> {
        let folders = self.path.matches('/').count();
        let depth = folders - usize::from(self.path.ends_with("/mod.rs"));
        let inline = self.inline_modules();
        let inner = |at: usize| inline.iter().filter(|span| span.contains(&at)).count();
        let chains = words(&self.code, "super::").into_iter();
        chains
            .filter(|at| !self.code[..*at].ends_with("super::"))
            .filter(|at| {
                let climb = self.code[*at..].split("::").take_while(|s| *s == "super").count();
                climb >= depth + inner(*at)
            })
            .collect()
    }

    /// Where a dependency is named: `name::…`, or `use name;`.
    pub(super) fn uses_of(&self, name: &str) -> Vec<usize> {
        let named = |at: &usize| {
            let (before, after) = (&self.code[..*at], &self.code[at + name.len()..]);
            let inner = before.strip_suffix("::").is_some_and(|path| path.ends_with(is_word));
            !inner && (after.starts_with("::") || before.ends_with("use "))
        };
        words(&self.code, name).into_iter().filter(named).collect()
    }

    fn inline_modules(&self) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        for at in words(&self.code, "mod ") {
            let end = self.code[at..].find([';', '{']).map_or(self.code.len(), |end| at + end);
            if self.code[end..].starts_with('{') {
                spans.push(at..closing(&self.code, end));
            }
        }
        spans
    }

    /// Functions with a body: where they begin, their name, where they end.
    pub(super) fn functions(&self) -> Vec<(usize, &str, usize)> {
        let mut functions = Vec::new();
        for at in words(&self.code, "fn ") {
            let name = self.code[at + 3..].split(|c| !is_word(c)).next().unwrap_or("");
            let mut depth = 0;
            let body = self.code[at..].char_indices().find(|(_, c)| {
                depth += i32::from("([".contains(*c)) - i32::from(")]".contains(*c));
                depth == 0 && ";{".contains(*c)
            });
            if let Some((offset, '{')) = body {
                functions.push((at, name, closing(&self.code, at + offset)));
            }
        }
        functions
    }

    /// The items at the file's top, without their attributes.
    pub(super) fn items(&self) -> Vec<(usize, &str)> {
        let mut items = Vec::new();
        let mut at = 0;
        while let Some(skip) = self.code[at..].find(|c: char| !c.is_whitespace()) {
            at += skip;
            let rest = &self.code[at..];
            let end = match rest.find(['[', '{', ';']) {
                Some(open) if rest.starts_with('#') => closing(&self.code, at + open),
                Some(open) if rest[open..].starts_with('{') => closing(&self.code, at + open),
                Some(semicolon) => at + semicolon,
                None => self.code.len() - 1,
            };
            if !rest.starts_with(['#', ';']) {
                items.push((at, rest));
            }
            at = end + 1;
        }
        items
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Where `word` stands by itself, not as a part of a longer one.
pub(super) fn words(text: &str, word: &str) -> Vec<usize> {
    let whole = |at: &usize| {
        let (before, after) = (&text[..*at], &text[at + word.len()..]);
        let left = !word.starts_with(is_word) || !before.ends_with(is_word);
        left && (!word.ends_with(is_word) || !after.starts_with(is_word))
    };
    text.match_indices(word).map(|(at, _)| at).filter(whole).collect()
}

/// The paths at the head of `tree`: `a::{b, c::d}` gives `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let end = tree.find(|c| c != ':' && !is_word(c)).unwrap_or(tree.len());
    let (stem, rest) = tree.split_at(end);
    let mut found = Vec::new();
    if stem.ends_with(':') || stem.is_empty() && rest.starts_with('{') {
        let inside = if rest.starts_with('{') { &rest[1..closing(rest, 0)] } else { "" };
        let mut depth = 0;
        let parts = inside.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && c == ','
        });
        for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
            found.extend(paths(part).iter().map(|path| format!("{stem}{path}")));
        }
    }
    if found.is_empty() {
        found.push(stem.trim_end_matches(':').to_owned());
    }
    found
}

/// Where the bracket that opens at `open` closes.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    let close = code[open..].char_indices().find(|(_, c)| {
        depth += i32::from("([{".contains(*c)) - i32::from(")]}".contains(*c));
        depth == 0
    });
    close.map_or(code.len() - 1, |(offset, _)| open + offset)
}

/// Code and prose, each blank where the other or a literal stands.
fn split(text: &str) -> (String, String) {
    let (mut code, mut prose) = (String::new(), String::new());
    let mut rest = text;
    while !rest.is_empty() {
        let comment = comment(rest);
        let literal = literal(rest);
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let length = comment.or(literal).unwrap_or(word.max(first));
        let (token, after) = rest.split_at(length);
        let blank: String =
            token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
        code.push_str(if comment.or(literal).is_some() { &blank } else { token });
        prose.push_str(if comment.is_some() { token } else { &blank });
        rest = after;
    }
    (code, prose)
}

/// How long the comment is that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0;
    let close = (0..text.len()).find(|at| {
        let pair = text.as_bytes().get(*at..at + 2);
        depth += i32::from(pair == Some(b"/*")) - i32::from(pair == Some(b"*/"));
        depth == 0
    });
    Some(close.map_or(text.len(), |at| at + 2))
}

/// How long the literal is that begins here; a lifetime is none.
fn literal(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (prefix, rest) = text.split_at(prefix);
    if !["", "b", "c", "r", "br", "cr"].contains(&prefix) {
        return None;
    }
    if prefix.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let inside = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).unwrap_or(inside.len());
        return Some((prefix.len() + hashes + 1 + length + end.len()).min(text.len()));
    }
    let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
    let inside = &rest[1..];
    let is_char = inside.starts_with('\\') || inside.chars().nth(1) == Some('\'');
    let mut escaped = false;
    let end = inside.char_indices().find(|(_, c)| {
        let ends = !escaped && *c == quote;
        escaped = !escaped && *c == '\\';
        ends
    });
    let end = end.map_or(inside.len(), |(at, _)| at + 1);
    (quote == '"' || is_char).then_some(prefix.len() + 1 + end)
}

/// The files of the package that people write.
pub(super) fn read_house(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = READ.iter().map(|name| root.join(name)).collect();
    while let Some(path) = folders.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a folder of the house can be read");
            folders.extend(entries.map(|entry| entry.expect("so can its entries").path()));
            continue;
        }
        let name = path.strip_prefix(root).expect("it lies below").to_string_lossy();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if READ.contains(&&*name) || kind.is_some_and(|kind| KINDS.contains(&kind)) {
            let text = fs::read_to_string(&path).expect("files of the house are UTF-8");
            files.push(File::new(&name, &text));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}
