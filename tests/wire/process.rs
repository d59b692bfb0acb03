//! Server processes for tests: started on free loopback ports, killed at the end.
//!
//! Each has its data and its output in a folder of its own under the target
//! directory, which is on a real disk. A server that does not come up fails the
//! test with its output.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything that a test waits for may take.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE_EVERY: Duration = Duration::from_millis(20);

/// The ports that servers get.
const PORTS_FIRST: u16 = 10_000;
const PORTS_COUNT: u16 = 20_000;
/// How far apart runs begin: more than one of them takes.
const PORTS_STEP: u32 = 3_001;

/// What every server says of itself. Ids follow from it, so they are the same
/// for all; nobody is meant to connect here.
const ADVERTISED_PEER: &str = "http://127.0.0.1:2380";
const ADVERTISED_CLIENT: &str = "http://127.0.0.1:2379";

/// A server that speaks etcd's API, with a data directory of its own.
pub(crate) struct Server {
    program: PathBuf,
    arguments: Vec<OsString>,
    folder: TempDir,
    client_port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts stock etcd.
    pub(crate) fn etcd() -> Server {
        Server::start(peer("etcd"), &[])
    }

    /// Starts stock etcd with further arguments.
    pub(crate) fn etcd_with(arguments: &[&str]) -> Server {
        Server::start(peer("etcd"), arguments)
    }

    /// Starts ours in etcd's place, with etcd's arguments.
    pub(crate) fn kat() -> Server {
        Server::kat_with(&[])
    }

    /// Starts ours in etcd's place with further arguments.
    pub(crate) fn kat_with(arguments: &[&str]) -> Server {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_kat-agent"));
        Server::start(program, &[&["etcd"], arguments].concat())
    }

    /// Starts stock etcd on data that somebody else puts into place.
    pub(crate) fn etcd_restored(restore: impl FnOnce(&Path)) -> Server {
        let mut server = Server::prepare(peer("etcd"), &[]);
        restore(&server.data());
        server.start_again();
        server
    }

    fn start(program: PathBuf, arguments: &[&str]) -> Server {
        let mut server = Server::prepare(program, arguments);
        server.start_again();
        server
    }

    /// Whoever wants to name the client URL among the arguments says `CLIENT_URL`.
    fn prepare(program: PathBuf, arguments: &[&str]) -> Server {
        let [client_port, peer_port] = free_ports();
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let folder = tempfile::Builder::new()
            .prefix("wire-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        // Where a client's URL or port is named, it is filled in.
        let port = client_port.to_string();
        let fill =
            |argument: &&str| argument.replace("CLIENT_URL", &client).replace("CLIENT", &port);
        let mut all: Vec<OsString> = arguments.iter().map(fill).map(OsString::from).collect();
        let cluster = format!("wire={ADVERTISED_PEER}");
        for (flag, value) in [
            ("--name", "wire"),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", ADVERTISED_CLIENT),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", ADVERTISED_PEER),
            ("--initial-cluster", &cluster),
            ("--log-level", "warn"),
        ] {
            let is_given = |given: &&str| given.split('=').next() == Some(flag);
            if !arguments.iter().any(is_given) {
                all.extend([flag.into(), value.into()]);
            }
        }
        let mut server = Server { program, arguments: all, folder, client_port, child: None };
        let data = server.data();
        server.arguments.extend(["--data-dir".into(), data.into()]);
        server
    }

    /// Starts stock etcd where it must not come up: its exit code, and what it says.
    pub(crate) fn etcd_refuses(arguments: &[&str]) -> (Option<i32>, String) {
        Server::prepare(peer("etcd"), arguments).end()
    }

    /// The same with ours.
    pub(crate) fn kat_refuses(arguments: &[&str]) -> (Option<i32>, String) {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_kat-agent"));
        Server::prepare(program, &[&["etcd"], arguments].concat()).end()
    }

    fn end(mut self) -> (Option<i32>, String) {
        self.spawn();
        let child = self.child.as_mut().expect("it was started");
        let code = until("the server does not start", || child.try_wait().expect("it is ours"));
        (code.code(), self.said())
    }

    /// Where clients connect to.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours can be killed");
            child.wait().expect("a killed child ends");
        }
    }

    /// Starts the process on the same ports and the same data, and waits until it serves.
    pub(crate) fn start_again(&mut self) {
        self.kill();
        self.spawn();
        until("the server serves", || self.serves().then_some(()));
    }

    /// Starts the process once with further arguments, which it forgets afterwards.
    pub(crate) fn start_again_with(&mut self, more: &[&str]) {
        let known = self.arguments.len();
        self.arguments.extend(more.iter().map(OsString::from));
        self.start_again();
        self.arguments.truncate(known);
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut().expect("the process was started");
        child.try_wait().expect("a child of ours can be asked").is_some()
    }

    /// Waits until the process ends by itself.
    pub(crate) fn ends(&mut self) {
        until("the server ends by itself", || self.has_ended().then_some(()));
    }

    fn spawn(&mut self) {
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.output())
            .expect("the folder can be written");
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be doubled"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Lets the peak of the process's memory begin anew: the bytes it has now.
    pub(crate) fn memory_peak_from_now(&self) -> u64 {
        let pid = self.child.as_ref().expect("the process was started").id();
        fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("a child of ours can be told");
        self.memory_peak()
    }

    /// The most bytes of memory that the process had since.
    pub(crate) fn memory_peak(&self) -> u64 {
        let pid = self.child.as_ref().expect("the process was started").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("Linux knows the peak") << 10
    }

    /// Asks one thing of the server over plain HTTP; `None` if it does not answer.
    pub(crate) fn http_get(&self, path: &str) -> Option<String> {
        let mut stream = self.http_begin(&format!("GET {path}"), "", "")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Sends a request: a method and a path, further header lines, a body. The
    /// answer comes from the connection; `None` if there is none.
    pub(crate) fn http_begin(&self, what: &str, headers: &str, body: &str) -> Option<TcpStream> {
        let address = ([127, 0, 0, 1], self.client_port).into();
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        let length = body.len();
        let head = format!("{what} HTTP/1.1\r\nHost: wire\r\nConnection: close\r\n{headers}");
        // In one piece: a server that need not read a body may hang up on the rest.
        let whole = format!("{head}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(whole.as_bytes()).ok()?;
        Some(stream)
    }

    fn serves(&mut self) -> bool {
        let child = self.child.as_mut().expect("the process was started");
        if let Some(status) = child.try_wait().expect("a child of ours can be asked") {
            panic!("{} ended with {status}:\n{}", self.program.display(), self.said());
        }
        // A server with an alarm serves, and says that it is not healthy.
        let health = self.http_get("/health?exclude=NOSPACE").unwrap_or_default();
        let is_ready = || self.http_get("/readyz").is_some_and(|ready| ready.ends_with("\nok\n"));
        health.contains(r#""health":"true""#) || health.contains("ALARM UNKNOWN") && is_ready()
    }

    /// All that it has printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.output()).unwrap_or_default()
    }

    /// Where all that it writes down is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A stock program that `make peers` built.
pub(crate) fn peer(name: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../peers");
    let folder = std::env::var_os("KAT_PEERS").map_or(beside, PathBuf::from);
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: run `make peers`", program.display());
    program
}

/// Ports that nobody listened on a moment ago, all different, and none twice. They
/// are below those that the system gives to connections, which would take them
/// before a server does.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    // Other runs on this machine begin elsewhere.
    let begin = std::process::id().wrapping_mul(PORTS_STEP);
    let mut ports = std::iter::repeat_with(|| begin.wrapping_add(NEXT.fetch_add(1, Relaxed)))
        .take(usize::from(PORTS_COUNT))
        .map(|number| PORTS_FIRST + u16::try_from(number % u32::from(PORTS_COUNT)).unwrap())
        .filter(is_free);
    [(); N].map(|()| ports.next().expect("a port is free"))
}

/// Waits for a condition, and fails when it takes too long.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(GLANCE_EVERY);
    }
}
