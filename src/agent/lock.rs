//! One process for one data directory: a lock that a crash releases.
//!
//! The kernel holds the lock, so a file that is left behind locks nothing; the
//! number inside only tells a second process whom it met.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::errors::{Kind, Report, disk};

/// The name of the lock beside the store.
pub(super) const FILE: &str = "lock";

/// How often a process that waits for the lock looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The right to a data directory, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or names its holder.
    pub(super) fn take(data_dir: &Path) -> Result<Lock, Report> {
        let path = data_dir.join(FILE);
        let file = open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => sign(file, &path),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(held(data_dir, &holder(&path))),
            Err(why) => Err(disk("lock", &path, &why.into())),
        }
    }

    /// Takes the lock once its holder is gone, however long that takes.
    pub(super) async fn wait(data_dir: &Path) -> Result<Lock, Report> {
        let path = data_dir.join(FILE);
        let file = open(&path)?;
        let mut has_told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return sign(file, &path),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(why) => return Err(disk("lock", &path, &why.into())),
            }
            if !has_told {
                has_told = true;
                let path = path.display().to_string();
                tracing::warn!(path, "another process holds the data directory; waiting for it");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells whether somebody holds the lock, and changes nothing.
    pub(super) fn is_held(data_dir: &Path) -> Option<Report> {
        let path = data_dir.join(FILE);
        let file = File::open(&path).ok()?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => Some(held(data_dir, &holder(&path))),
            _ => None,
        }
    }
}

fn open(path: &PathBuf) -> Result<File, Report> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|why| disk("open the lock", path, &why))
}

fn sign(mut file: File, path: &Path) -> Result<Lock, Report> {
    let signed = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    signed.map_err(|why| disk("write the lock", path, &why))?;
    Ok(Lock { _file: file })
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|mut file| file.read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".to_owned(),
    }
}

fn held(data_dir: &Path, holder: &str) -> Report {
    let what = format!("data directory {} is in use by {holder}", data_dir.display());
    Kind::LOCKED.report(what, "stop that process, or name another --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_first_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Lock::is_held(folder.path()), None);
        let lock = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err();
        assert_eq!(refused.exit, 8);
        assert!(refused.what.contains(&std::process::id().to_string()), "{}", refused.what);
        assert!(Lock::is_held(folder.path()).is_some());
        drop(lock);
        assert_eq!(Lock::is_held(folder.path()), None);
        Lock::take(folder.path()).unwrap();
    }
}
