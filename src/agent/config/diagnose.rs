//! What is wrong with a configuration, shown where it is wrong.
//!
//! A problem in a file points at it with carets; one in a flag or a variable
//! names that. All problems of one reading come together, at most twenty.
//! Deliberately not here: finding them.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::json;

use super::yaml;

/// How many problems are shown; those beyond are counted.
pub const PROBLEMS_MAX: usize = 20;

/// How many characters of a line are shown around its carets.
const EXCERPT_MAX: usize = 120;

/// What kind of mistake it is; each has its code, and codes never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The command line makes no sense.
    Usage,
    /// The file cannot be read.
    Unreadable,
    /// The file may not be read.
    Forbidden,
    /// The file is not the YAML that is accepted.
    Syntax,
    /// The field does not exist.
    UnknownField,
    /// The field is there twice.
    DuplicateField,
    /// The value has the wrong type.
    WrongType,
    /// `apiVersion` or `kind` is of something else.
    WrongKind,
    /// The value is out of bounds.
    BadValue,
    /// A field is missing.
    Missing,
    /// Two fields contradict each other.
    Conflict,
    /// What is asked for is not there yet.
    NotYet,
    /// There is no configuration, or nothing that was configured.
    Nothing,
    /// A path that was asked for cannot be used.
    Path,
    /// The command is not there yet.
    NoCommand,
}

impl Kind {
    /// Returns the stable code.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Unreadable => "KAT-E0001",
            Kind::Syntax => "KAT-E0002",
            Kind::UnknownField => "KAT-E0003",
            Kind::DuplicateField => "KAT-E0004",
            Kind::WrongType => "KAT-E0005",
            Kind::WrongKind => "KAT-E0006",
            Kind::BadValue => "KAT-E0007",
            Kind::Missing => "KAT-E0008",
            Kind::Conflict => "KAT-E0009",
            Kind::NotYet => "KAT-E0010",
            Kind::Nothing => "KAT-E0011",
            Kind::Path => "KAT-E0012",
            Kind::Forbidden => "KAT-E0013",
            Kind::Usage => "KAT-E0901",
            Kind::NoCommand => "KAT-E0902",
        }
    }

    /// Returns the exit code of a process that ends because of it.
    pub fn exit(self) -> u8 {
        match self {
            Kind::NoCommand => 1,
            Kind::Usage => 2,
            Kind::Path | Kind::Forbidden => 4,
            _ => 6,
        }
    }
}

/// A stretch of one line in a file, and what to say below its carets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The line, from 1.
    pub line: usize,
    /// The column of the first character, from 1.
    pub column: usize,
    /// How many characters it is long.
    pub width: usize,
    /// What stands behind the carets.
    pub text: String,
}

/// One mistake: what, where, why and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind of mistake.
    pub kind: Kind,
    /// What is wrong.
    pub what: String,
    /// Where in the file, the main place first.
    pub labels: Vec<Label>,
    /// Where else: a flag, a variable, a file whose content is not to blame.
    pub given_by: Option<Box<str>>,
    /// Why it is wrong, where no caret says so.
    pub why: Option<String>,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// Makes a problem that no text can be blamed for.
    pub fn new(kind: Kind, what: impl Into<String>, fix: impl Into<String>) -> Self {
        let (what, fix) = (what.into(), fix.into());
        Self { kind, what, labels: Vec::new(), given_by: None, why: None, fix }
    }

    /// Says why.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}

/// Everything that is wrong, never nothing.
#[derive(Clone, Debug)]
pub struct Invalid {
    /// The mistakes, in the order of the file.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub hidden: usize,
    /// How the file is called.
    file: String,
    /// The text of the file.
    text: String,
}

impl Invalid {
    /// Puts problems in order: usage, then the file from top to bottom, then
    /// flags and variables.
    pub(super) fn new(mut problems: Vec<Problem>, file: &str, text: &str) -> Self {
        assert!(!problems.is_empty(), "a refusal has a reason");
        problems.sort_by_key(|problem| {
            let label = problem.labels.first();
            let place = label.map_or((usize::MAX, 0), |label| (label.line, label.column));
            (problem.kind != Kind::Usage, place)
        });
        let hidden = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Self { problems, hidden, file: file.to_owned(), text: text.to_owned() }
    }

    /// Returns the exit code, which the first problem decides.
    pub fn exit(&self) -> u8 {
        self.problems[0].kind.exit()
    }

    /// Returns the first problem's code.
    pub fn code(&self) -> &'static str {
        self.problems[0].kind.code()
    }

    /// Returns the form of `-o json`: the first problem, then all of them.
    pub fn to_json(&self) -> serde_json::Value {
        let one = |problem: &Problem| {
            let label = problem.labels.first();
            let hint = label.map(|label| label.text.clone()).filter(|text| !text.is_empty());
            let why =
                problem.why.clone().or(hint).or_else(|| problem.given_by.clone().map(String::from));
            json!({
                "code": problem.kind.code(),
                "exit": problem.kind.exit(),
                "what": problem.what,
                "why": why,
                "fix": problem.fix,
                "line": label.map(|label| label.line),
                "column": label.map(|label| label.column),
            })
        };
        let mut error = one(&self.problems[0]);
        error["file"] = json!(self.file);
        error["problems"] = self.problems.iter().map(one).collect();
        error["hidden"] = json!(self.hidden);
        json!({ "error": error })
    }
}

impl From<Problem> for Invalid {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem], "", "")
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = yaml::lines(&self.text);
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            show(f, problem, &self.file, &lines)?;
        }
        if self.hidden > 0 {
            let s = if self.hidden == 1 { "" } else { "s" };
            write!(f, "\n\nand {} more problem{s}", self.hidden)?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, problem: &Problem, file: &str, lines: &[&str]) -> fmt::Result {
    writeln!(f, "error: {}", printable(&problem.what))?;
    if let Some(label) = problem.labels.first() {
        writeln!(f, "  --> {}:{}:{}", printable(file), label.line, label.column)?;
        show_labels(f, &problem.labels, lines)?;
    }
    if let Some(given_by) = &problem.given_by {
        writeln!(f, "  from: {}", printable(given_by))?;
    }
    if let Some(why) = &problem.why {
        writeln!(f, "  why:  {}", printable(why))?;
    }
    writeln!(f, "  fix:  {}", printable(&problem.fix))?;
    write!(f, "  code: {} (exit {})", problem.kind.code(), problem.kind.exit())
}

fn show_labels(f: &mut fmt::Formatter<'_>, labels: &[Label], lines: &[&str]) -> fmt::Result {
    let shown: BTreeSet<usize> = labels.iter().map(|label| label.line).collect();
    let gutter = shown.last().map_or(1, |line| line.to_string().len());
    writeln!(f, " {:gutter$} |", "")?;
    let mut before = None;
    for line in shown {
        if before.is_some_and(|before| before + 1 < line) {
            writeln!(f, " {:gutter$} .", "")?;
        }
        before = Some(line);
        let here: Vec<&Label> = labels.iter().filter(|label| label.line == line).collect();
        let text = lines.get(line - 1).copied().unwrap_or("");
        let (excerpt, skipped) = excerpt(text, here[0]);
        writeln!(f, " {line:gutter$} | {excerpt}")?;
        for label in here {
            let mark = if label == &labels[0] { "^" } else { "-" };
            let indent = label.column.saturating_sub(1 + skipped);
            let width = label.width.min(EXCERPT_MAX.saturating_sub(indent).max(1));
            let carets = mark.repeat(width);
            let row =
                format!(" {:gutter$} | {:indent$}{carets} {}", "", "", printable(&label.text));
            writeln!(f, "{}", row.trim_end())?;
        }
    }
    Ok(())
}

/// The part of a long line that its label is in, and how much precedes it.
fn excerpt(line: &str, label: &Label) -> (String, usize) {
    let length = line.chars().count();
    let start = label.column.saturating_sub(1);
    let skipped = match length <= EXCERPT_MAX || start < EXCERPT_MAX / 2 {
        true => 0,
        false => start - EXCERPT_MAX / 2,
    };
    let part: String = line.chars().skip(skipped).take(EXCERPT_MAX).collect();
    (printable(&part).trim_end().to_owned(), skipped)
}

/// Replaces what would move the cursor, character by character.
fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || is_invisible(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// Marks that reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    let marks = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
    c == '\u{feff}' || marks.iter().any(|marks| marks.contains(&c))
}

/// Returns the name that was probably meant: the nearest within two letters,
/// or one with the same letters in another case.
pub(super) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Nothing known is longer; it need not be measured.
    if name.len() > 64 {
        return None;
    }
    let distance = |known: &str| match known.eq_ignore_ascii_case(name) {
        true => 0,
        false => strsim::levenshtein(known, name),
    };
    known
        .into_iter()
        .map(|known| (distance(known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
