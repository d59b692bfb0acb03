//! Finding the file and reading it: at most so much, and only as text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::diagnose::{Invalid, Kind, Label, Problem};

/// How long a file may be; a longer one is refused.
const BYTES_MAX: u64 = 1024 * 1024;

/// Where the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// At this path.
    File(PathBuf),
    /// On standard input.
    Stdin,
}

impl ConfigSource {
    /// Reads the argument of `--config`, where `-` is standard input.
    pub fn of_flag(argument: &Path) -> Self {
        match argument == Path::new("-") {
            true => ConfigSource::Stdin,
            false => ConfigSource::File(argument.to_owned()),
        }
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// How it is called in a report.
    pub(super) name: String,
    /// Its path, `-` for standard input.
    pub(super) path: PathBuf,
    pub(super) content: String,
}

impl Text {
    /// Reads what was asked for, or the first file of the usual places.
    pub(super) fn find(
        source: Option<&ConfigSource>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, Invalid> {
        let variable = environment.get("KAT_CONFIG").filter(|path| !path.is_empty());
        let variable = variable.map(|path| ConfigSource::of_flag(Path::new(path)));
        match source.or(variable.as_ref()) {
            Some(ConfigSource::Stdin) => Self::stdin().map(Some),
            Some(ConfigSource::File(path)) => Self::open(path).map(Some),
            None => {
                let found = usual_places(environment).into_iter().find(|path| path.exists());
                found.map(|path| Self::open(&path)).transpose()
            }
        }
    }

    /// Standard input says it once, and a configuration may be loaded twice.
    fn stdin() -> Result<Self, Invalid> {
        static SAID: OnceLock<Result<Text, Invalid>> = OnceLock::new();
        let read = || Self::read("<stdin>", Path::new("-"), io::stdin().lock());
        SAID.get_or_init(read).clone()
    }

    fn open(path: &Path) -> Result<Self, Invalid> {
        let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
        match File::open(path) {
            Ok(file) => Self::read(&name, path, file),
            Err(error) => Err(unreadable(&name, &error).into()),
        }
    }

    fn read(name: &str, path: &Path, from: impl Read) -> Result<Self, Invalid> {
        let mut bytes = Vec::new();
        if let Err(error) = from.take(BYTES_MAX + 1).read_to_end(&mut bytes) {
            return Err(unreadable(name, &error).into());
        }
        if bytes.len() as u64 > BYTES_MAX {
            let what = format!("{name} is larger than 1 MiB");
            let fix = "kat-agent config example   prints a complete file";
            return Err(Problem::new(Kind::Unreadable, what, fix).into());
        }
        Ok(Self { name: name.to_owned(), path: path.to_owned(), content: text(name, &bytes)? })
    }
}

/// Returns the text of a file, without the mark that some editors put first.
pub(super) fn text(name: &str, bytes: &[u8]) -> Result<String, Invalid> {
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(error) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            let label = Label { line, column, width: 1, text: "this byte is not UTF-8".to_owned() };
            let fix = "save the file as UTF-8";
            let problem = Problem {
                labels: vec![label],
                ..Problem::new(Kind::Syntax, "the file is not UTF-8 text", fix)
            };
            Err(Invalid::new(vec![problem], name, &text))
        }
    }
}

/// The places where a file is looked for, in order.
fn usual_places(environment: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let system = set("CONFIGURATION_DIRECTORY").map_or("/etc/kat", String::as_str);
    let system = system.split(':').next().unwrap_or("/etc/kat");
    let mut places = vec![PathBuf::from("./cluster.kat"), Path::new(system).join("cluster.kat")];
    let own = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| Path::new(home).join(".config")));
    places.extend(own.map(|own| own.join("kat/cluster.kat")));
    places
}

fn unreadable(name: &str, error: &io::Error) -> Problem {
    let (kind, fix) = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            (Kind::Forbidden, format!("make {name} readable for this user"))
        }
        _ => (Kind::Unreadable, "kat-agent config example   prints a complete file".to_owned()),
    };
    Problem::new(kind, format!("cannot read {name}"), fix).because(error.to_string())
}
