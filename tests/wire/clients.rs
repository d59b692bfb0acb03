//! Other people's clients, against stock etcd and ours.
//!
//! Each program under `tests/clients` drives a server through a client that its
//! ecosystem made for etcd, and says which of its checks failed. `make clients`
//! installs them. One that could not be installed is skipped, and stands in
//! the file `skipped` beside the rest, which `make test` prints at its end.

mod rust;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::process::{Server, until};

/// A program in some language, and how it is started.
struct Program {
    /// What it is called in the file of the skipped.
    name: &'static str,
    /// Every program passes at least as many checks.
    checks: usize,
    /// The command without the endpoint; paths begin at the folder of the
    /// installed clients, or, with a `@`, at `tests/clients`.
    command: &'static [&'static str],
}

#[test]
fn python_client_etcd3_is_served() {
    drive(&Program {
        name: "etcd3 for Python",
        checks: 10,
        command: &["python/bin/python", "@python/with_etcd3.py"],
    });
}

#[test]
fn python_client_aetcd_is_served() {
    drive(&Program {
        name: "aetcd for Python",
        checks: 10,
        command: &["python/bin/python", "@python/with_aetcd.py"],
    });
}

#[test]
fn python_client_of_the_gateway_is_served() {
    drive(&Program {
        name: "etcd3gw for Python",
        checks: 9,
        command: &["python/bin/python", "@python/with_etcd3gw.py"],
    });
}

#[test]
fn node_client_etcd3_is_served() {
    drive(&Program {
        name: "etcd3 for Node.js",
        checks: 13,
        command: &["node", "@node/with_etcd3.js"],
    });
}

#[test]
fn go_client_of_etcd_itself_is_served() {
    drive(&Program { name: "clientv3 for Go", checks: 21, command: &["go/drive"] });
}

#[test]
fn java_client_jetcd_is_served() {
    drive(&Program { name: "jetcd for Java", checks: 13, command: &["java", "kat.WithJetcd"] });
}

/// Runs a program with both servers; with stock etcd first, or it is the
/// program that is wrong.
#[allow(clippy::print_stderr, reason = "a skipped test is no secret")]
fn drive(program: &Program) {
    let installed = installed();
    if let Some(reason) = skipped(&installed, program.name) {
        // The harness keeps this to itself when the test passes: make repeats it.
        eprintln!("SKIPPED: {}: {reason}", program.name);
        return;
    }
    for (server, whose) in [(Server::etcd(), "stock etcd"), (Server::kat(), "ours")] {
        let what = format!("{} with {whose}", program.name);
        let log = installed.join(format!("log-{what}").replace(' ', "-"));
        let mut running = Running::start(program, &installed, &server.endpoint(), log);
        let status = until(&what, || running.child.try_wait().expect("a child can be asked"));
        assert!(status.success(), "{what} ended with {status}");
        let said = running.said();
        let passed = said.lines().filter(|line| line.starts_with("ok: ")).count();
        assert!(passed >= program.checks, "{what} passed only {passed} checks");
    }
}

/// A program at work. It ends with the test, and a test that fails shows what it said.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(program: &Program, installed: &Path, endpoint: &str, log: PathBuf) -> Running {
        let output = File::create(&log).expect("the clients' folder can be written");
        let child = command(program, installed)
            .arg(endpoint)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be doubled"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `make clients`", program.name));
        Running { child, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    #[allow(clippy::print_stderr, reason = "the harness shows it with the failure")]
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().expect("a child of ours can be killed");
            self.child.wait().expect("a killed child ends");
        }
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
    }
}

fn command(program: &Program, installed: &Path) -> Command {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let place = |word: &str| match word.strip_prefix('@') {
        Some(path) => sources.join(path),
        None if word.contains('/') => installed.join(word),
        None => PathBuf::from(word),
    };
    let mut command = Command::new(place(program.command[0]));
    command.args(program.command[1..].iter().map(|word| place(word)));
    command.env("NODE_PATH", installed.join("node/node_modules"));
    let jars = [installed.join("java/ours"), installed.join("java/*")];
    command.env("CLASSPATH", std::env::join_paths(jars).expect("a path without colons"));
    // Python would leave its bytecode in the checkout.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Where `make clients` put what it installed.
fn installed() -> PathBuf {
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../clients");
    std::env::var_os("KAT_CLIENTS").map_or(beside, PathBuf::from)
}

/// Why a client is not there, if `make clients` could not install it.
fn skipped(installed: &Path, name: &str) -> Option<String> {
    let file = installed.join("skipped");
    let list = fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make clients`", file.display()));
    let reason = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned());
    list.lines().find_map(reason)
}
