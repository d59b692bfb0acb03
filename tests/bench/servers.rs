//! Server processes: started on free loopback ports, watched through /proc, ended by pid.
//!
//! Ours and stock etcd take the same flags, because ours takes etcd's place.
//! Data and output lie in a folder under the target directory, which is on a
//! real disk, and go with the process.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a start or a stop may take.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE_EVERY: Duration = Duration::from_millis(5);
/// Linux counts processor time for users in hundredths, on every machine we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Two gibibytes are etcd's default, too little for the whole size of some rows.
const QUOTA_BYTES: &str = "8589934592";

/// Set by SIGINT and SIGTERM; all waiting ends then.
pub(crate) static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Ours, in etcd's place.
    Kat,
    /// Stock etcd.
    Etcd,
    /// A tonic server whose handlers do nothing.
    Floor,
}

impl Side {
    /// All of them, in the order in which they take turns.
    pub(crate) const ALL: [Side; 3] = [Side::Kat, Side::Etcd, Side::Floor];

    /// The word for it in arguments and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Kat => "kat",
            Side::Etcd => "etcd",
            Side::Floor => "floor",
        }
    }
}

/// What a group writes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// The disk of the target directory.
    AsItIs,
    /// The same with a delay of 10 ms in each sync, and the syncs counted.
    SlowToSync,
}

/// What all processes of a group have used, or hold now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Processor time, of user and system, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes that were sent to the disk.
    pub(crate) written_bytes: f64,
    /// Resident memory.
    pub(crate) resident_bytes: f64,
    /// The most that was ever resident, since the last [`Group::forget_peak`].
    pub(crate) peak_bytes: f64,
}

/// The members of one cluster, or one empty handler.
pub(crate) struct Group {
    members: Vec<Member>,
    folder: TempDir,
}

struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    preload: Option<PathBuf>,
    client_port: u16,
    output: PathBuf,
    child: Option<Child>,
}

impl Group {
    /// Starts so many members, and waits until all of them serve.
    pub(crate) fn start(side: Side, members: usize, disk: Disk) -> Result<Group> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("bench-{}-", side.name()))
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .context("the target directory cannot be written")?;
        let preload = match disk {
            Disk::AsItIs => None,
            Disk::SlowToSync => Some(slow_sync_library(folder.path())?),
        };
        let ports = free_ports(members * 2)?;
        let (client_ports, peer_ports) = ports.split_at(members);
        let cluster: Vec<String> = (1..)
            .zip(peer_ports)
            .map(|(number, port)| format!("bench{number}=http://127.0.0.1:{port}"))
            .collect();
        let cluster = cluster.join(",");
        let mut group = Group { members: Vec::new(), folder };
        for (number, (&client_port, &peer_port)) in (1..).zip(client_ports.iter().zip(peer_ports)) {
            let name = format!("bench{number}");
            let data = group.folder.path().join(&name);
            let (program, mut arguments) = program(side)?;
            if side == Side::Floor {
                arguments.push(client_port.to_string());
            } else {
                arguments.extend(flags(&name, &data, client_port, peer_port, &cluster));
            }
            let output = group.folder.path().join(format!("{name}.output"));
            let preload = preload.clone();
            let mut member =
                Member { program, arguments, preload, client_port, output, child: None };
            member.spawn()?;
            group.members.push(member);
        }
        for member in &mut group.members {
            let health = side != Side::Floor;
            wait("the start", PATIENCE, || member.serves(health))?;
        }
        Ok(group)
    }

    /// Where clients connect to: host and port of every member.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("127.0.0.1:{}", member.client_port)).collect()
    }

    /// Where this group keeps what it writes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the processes have used so far, together.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let mut sum = Usage::default();
        for member in &self.members {
            let child = member.child.as_ref().context("the server was stopped")?;
            let usage = usage_of(child.id()).context("the server is gone")?;
            sum.cpu_seconds += usage.cpu_seconds;
            sum.written_bytes += usage.written_bytes;
            sum.resident_bytes += usage.resident_bytes;
            sum.peak_bytes += usage.peak_bytes;
        }
        Ok(sum)
    }

    /// How often the members of a group on a slow disk have synced.
    pub(crate) fn syncs(&self) -> Result<u64> {
        let count = slow_sync_path(self.folder.path()).with_extension("count");
        Ok(fs::metadata(count).context("no sync was slowed down")?.len())
    }

    /// Lets the peak of memory begin anew from what is resident now.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        for child in self.members.iter().filter_map(|member| member.child.as_ref()) {
            fs::write(format!("/proc/{}/clear_refs", child.id()), "5")?;
        }
        Ok(())
    }

    /// Asks every process to stop, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<()> {
        for child in self.members.iter().filter_map(|member| member.child.as_ref()) {
            kill_process(pid(child)?, Signal::TERM)?;
        }
        for member in &mut self.members {
            if let Some(child) = &mut member.child {
                wait("the stop", PATIENCE, || Ok(child.try_wait()?.map(|_| ())))?;
            }
            member.child = None;
        }
        Ok(())
    }

    /// Starts the stopped processes on the data they have, and does not wait.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.members.iter_mut().try_for_each(Member::spawn)
    }
}

impl Member {
    fn spawn(&mut self) -> Result<()> {
        let output = File::options().create(true).append(true).open(&self.output)?;
        let mut command = Command::new(&self.program);
        if let Some(library) = &self.preload {
            let count = library.with_extension("count");
            command.env("LD_PRELOAD", library).env("SLOW_SYNC_COUNT", count);
        }
        let child = command
            .args(&self.arguments)
            // The empty handler ends when this pipe does; etcd and ours do not read it.
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        self.child = Some(child);
        Ok(())
    }

    fn serves(&mut self, health: bool) -> Result<Option<()>> {
        let child = self.child.as_mut().context("the server was stopped")?;
        if let Some(status) = child.try_wait()? {
            let output = fs::read_to_string(&self.output).unwrap_or_default();
            let last = output.lines().rev().find(|line| !line.trim().is_empty());
            let last: String = last.unwrap_or("it said nothing").chars().take(300).collect();
            bail!("it ended at the start with {status}: {last}");
        }
        let answer = http_get(self.client_port, "/health", health);
        Ok(answer.filter(|answer| !health || answer.contains(r#""health":"true""#)).map(|_| ()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that is gone, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits for an outcome; an interruption or impatience is an error.
pub(crate) fn wait<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
        ensure!(begin.elapsed() < patience, "{what} took more than {} s", patience.as_secs());
        std::thread::sleep(GLANCE_EVERY);
    }
}

/// Leaves the servers alone for a while.
pub(crate) fn rest(span: Duration) -> Result<()> {
    let begin = Instant::now();
    wait("a rest", span * 2, || Ok((begin.elapsed() >= span).then_some(())))
}

/// The path of a stock program that `make peers` built.
pub(crate) fn peer(name: &str) -> Result<PathBuf> {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers");
    let path = std::env::var_os("KAT_PEERS").map_or(beside, PathBuf::from).join(name);
    ensure!(path.exists(), "{} is missing: run `make peers`", path.display());
    Ok(path)
}

/// The process id of a child, as signals want it.
pub(crate) fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("no process has the id 0")
}

fn program(side: Side) -> Result<(PathBuf, Vec<String>)> {
    Ok(match side {
        Side::Kat => (env!("CARGO_BIN_EXE_kat-agent").into(), vec!["etcd".into()]),
        Side::Etcd => (peer("etcd")?, Vec::new()),
        Side::Floor => (std::env::current_exe()?, vec!["floor".into()]),
    })
}

fn flags(name: &str, data: &Path, client: u16, peer: u16, cluster: &str) -> Vec<String> {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let flags = [
        ("--name", name),
        ("--listen-client-urls", &client),
        ("--advertise-client-urls", &client),
        ("--listen-peer-urls", &peer),
        ("--initial-advertise-peer-urls", &peer),
        ("--initial-cluster", cluster),
        ("--quota-backend-bytes", QUOTA_BYTES),
        ("--log-level", "warn"),
    ];
    let mut all: Vec<String> =
        flags.into_iter().flat_map(|(flag, value)| [flag.into(), value.to_owned()]).collect();
    all.extend(["--data-dir".into(), data.display().to_string()]);
    all
}

fn slow_sync_path(folder: &Path) -> PathBuf {
    folder.join("slow_sync.so")
}

/// Compiles what makes the disk slow for a process that is linked dynamically.
fn slow_sync_library(folder: &Path) -> Result<PathBuf> {
    let library = slow_sync_path(folder);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/slow_sync.c");
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .context("cc is needed for a slow disk")?;
    ensure!(status.success(), "cc ended with {status}");
    Ok(library)
}

/// Asks one thing over plain HTTP, or only connects; `None` if there is no answer.
fn http_get(port: u16, path: &str, ask: bool) -> Option<String> {
    let address = ([127, 0, 0, 1], port).into();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    let mut answer = String::new();
    if ask {
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").ok()?;
        stream.read_to_string(&mut answer).ok()?;
    }
    Some(answer)
}

/// Ports that nobody listened on a moment ago, all different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|one| Ok(one.local_addr()?.port())).collect()
}

fn usage_of(pid: u32) -> Option<Usage> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    // The second field is the program's name in brackets, and may hold blanks.
    let stat = read("stat")?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    let cpu_seconds = (ticks()? + ticks()?) / TICKS_PER_SECOND;
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let status = read("status")?;
    Some(Usage {
        cpu_seconds,
        written_bytes: number(&read("io")?, "write_bytes:")?,
        resident_bytes: number(&status, "VmRSS:")? * 1024.0,
        peak_bytes: number(&status, "VmHWM:")? * 1024.0,
    })
}
