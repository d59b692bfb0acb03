//! [`Rotating`]: a log file that begins anew when it is large, and what becomes of
//! the old ones.
//!
//! An old file lies beside the new one, and has the time at which it ended in its
//! name. How many stay, for how long, and whether they are packed is the operator's
//! choice; by default all stay. Files of other names are nobody's business here.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// How large a file grows if nobody says otherwise.
const MEGABYTES: u64 = 100;

/// What the time of an old file looks like in its name.
const TIME_FORM: &str = "%Y-%m-%dT%H-%M-%S%.3f";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When a file begins anew, and what becomes of old ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    bytes_max: u64,
    /// How long old files stay; for ever if nothing.
    age_max: Option<Duration>,
    /// How many old files stay; all if nothing.
    files_max: Option<usize>,
    /// Whether the time in a name is that of this place.
    is_local: bool,
    is_packed: bool,
}

impl Plan {
    /// Reads it from JSON, as etcd does, or says what is wrong in its words.
    pub(super) fn read(text: &str) -> Result<Plan, String> {
        let json: Value = serde_json::from_str(text)
            .map_err(|why| format!("improperly formatted log rotation config: {why}"))?;
        let Value::Object(fields) = json else {
            return Err(mismatch(&json, "value", "embed.logRotationConfig"));
        };
        let megabytes = number(&fields, "maxsize")?.unwrap_or(MEGABYTES);
        let days = number(&fields, "maxage")?.and_then(|days| u32::try_from(days).ok());
        Ok(Plan {
            bytes_max: megabytes.saturating_mul(1 << 20),
            age_max: days.map(|days| DAY * days),
            files_max: number(&fields, "maxbackups")?.and_then(|count| usize::try_from(count).ok()),
            is_local: truth(&fields, "localtime")?,
            is_packed: truth(&fields, "compress")?,
        })
    }

    /// The time, as names of files tell it.
    fn now(&self) -> DateTime {
        let zone = if self.is_local { TimeZone::system() } else { TimeZone::UTC };
        zone.to_datetime(Timestamp::now())
    }
}

/// A number above zero; any other is none.
fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    match field(fields, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if number.is_i64() => {
            Ok(number.as_u64().filter(|number| *number > 0))
        }
        Some(other) => Err(mismatch(other, &place(name), "int")),
    }
}

fn truth(fields: &Map<String, Value>, name: &str) -> Result<bool, String> {
    match field(fields, name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(other) => Err(mismatch(other, &place(name), "bool")),
    }
}

/// Go minds no case in the names of fields.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn place(name: &str) -> String {
    format!("struct field logRotationConfig.Logger.{name}")
}

fn mismatch(found: &Value, place: &str, wanted: &str) -> String {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if wanted == "int" => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!(
        "invalid log rotation config: json: cannot unmarshal {found} into Go {place} of type \
         {wanted}"
    )
}

/// The file that is being written.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    plan: Plan,
    file: File,
    bytes: u64,
}

impl Rotating {
    /// Opens the file, and makes it and the folders above it if they are not there.
    pub(super) fn open(path: &Path, plan: Plan) -> io::Result<Rotating> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Rotating { path: path.to_owned(), plan, file, bytes })
    }

    /// Writes a line, into a new file if the old one has no room for it.
    pub(super) fn write(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64;
        if self.bytes > 0 && self.bytes + length > self.plan.bytes_max {
            self.begin_anew()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += length;
        Ok(())
    }

    fn begin_anew(&mut self) -> io::Result<()> {
        fs::rename(&self.path, old_name(&self.path, self.plan.now()))?;
        *self = Rotating::open(&self.path, self.plan.clone())?;
        let (path, plan) = (self.path.clone(), self.plan.clone());
        // Nobody waits for old files to be packed.
        std::thread::spawn(move || tidy_up(&path, &plan).ok());
        Ok(())
    }
}

/// Where a file goes that ended at a time.
fn old_name(path: &Path, ended: DateTime) -> PathBuf {
    let (stem, extension) = parts(path);
    path.with_file_name(format!("{stem}-{}{extension}", ended.strftime(TIME_FORM)))
}

/// The name of a file, and what follows its last dot, with the dot.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.rfind('.') {
        Some(at) => (name[..at].to_owned(), name[at..].to_owned()),
        None => (name, String::new()),
    }
}

/// Removes old files that are too many or too old, and packs the rest.
fn tidy_up(path: &Path, plan: &Plan) -> io::Result<()> {
    let now = plan.now();
    for (at, (ended, old)) in old_files(path)?.into_iter().enumerate() {
        let age = Duration::try_from(now.duration_since(ended)).unwrap_or_default();
        let is_old = plan.age_max.is_some_and(|max| age > max);
        if is_old || plan.files_max.is_some_and(|max| at >= max) {
            fs::remove_file(&old)?;
        } else if plan.is_packed && old.extension().is_none_or(|extension| extension != "gz") {
            pack(&old)?;
        }
    }
    Ok(())
}

/// The old files and when they ended, the newest first.
fn old_files(path: &Path) -> io::Result<Vec<(DateTime, PathBuf)>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let (stem, extension) = parts(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let time = plain.strip_prefix(&format!("{stem}-")).and_then(|n| n.strip_suffix(&extension));
        if let Some(Ok(ended)) = time.map(|time| DateTime::strptime(TIME_FORM, time)) {
            found.push((ended, entry.path()));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

fn pack(old: &Path) -> io::Result<()> {
    let mut name = old.as_os_str().to_owned();
    name.push(".gz");
    let packed =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&name)?;
    let mut packer = GzEncoder::new(packed, Compression::default());
    io::copy(&mut File::open(old)?, &mut packer)?;
    packer.finish()?;
    fs::remove_file(old)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_plan_is_read_as_etcd_reads_it() {
        let plan = Plan::read("{}").unwrap();
        assert_eq!((plan.bytes_max, plan.age_max, plan.files_max), (100 << 20, None, None));
        let plan = Plan::read(r#"{"MaxSize":1,"maxage":2,"maxbackups":3,"compress":true,"x":[]}"#)
            .unwrap();
        assert_eq!((plan.bytes_max, plan.files_max, plan.is_packed), (1 << 20, Some(3), true));
        assert_eq!(plan.age_max, Some(DAY * 2));
        for (text, why) in [
            ("{bad", "improperly formatted log rotation config: "),
            (
                r#"{"maxsize":"x"}"#,
                "invalid log rotation config: json: cannot unmarshal string into Go struct field \
                 logRotationConfig.Logger.maxsize of type int",
            ),
            (r#"{"localtime":1}"#, "cannot unmarshal number into Go struct field"),
            ("[]", "cannot unmarshal array into Go value"),
        ] {
            let refused = Plan::read(text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_large_file_is_put_aside_under_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.log");
        let plan = Plan { bytes_max: 10, ..Plan::read("{}").unwrap() };
        let mut log = Rotating::open(&path, plan.clone()).unwrap();
        log.write("longer than a file may be\n").unwrap();
        log.write("next\n").unwrap();
        log.write("too\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "next\ntoo\n");
        let old = old_files(&path).unwrap();
        assert_eq!(old.len(), 1, "{old:?}");
        assert_eq!(fs::read_to_string(&old[0].1).unwrap(), "longer than a file may be\n");
        let mut again = Rotating::open(&path, plan).unwrap();
        assert_eq!(again.bytes, 9, "what is there counts");
        again.write("\n").unwrap();
        assert_eq!(again.bytes, 10);
    }

    #[test]
    fn old_files_go_or_are_packed_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let at = |text: &str| format!("a-2026-01-0{text}T00-00-00.000.log");
        for name in [at("1"), at("2"), at("3"), "a-b.log".to_owned(), "b.log".to_owned()] {
            fs::write(folder.path().join(name), "text").unwrap();
        }
        let plan = Plan::read(r#"{"maxbackups":2,"compress":true}"#).unwrap();
        tidy_up(&path, &plan).unwrap();
        let packed = |text: &str| format!("{}.gz", at(text));
        let wanted = [packed("2"), packed("3"), "a-b.log".to_owned(), "b.log".to_owned()];
        assert_eq!(names(folder.path()), wanted);
        let mut text = String::new();
        let file = File::open(folder.path().join(packed("3"))).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        tidy_up(&path, &plan).unwrap();
        assert_eq!(names(folder.path()).len(), 4, "what is packed stays packed");
    }
}
