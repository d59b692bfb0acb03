//! The agent as an operator meets it: started, asked, stopped, killed.
//!
//! Each agent has a folder of its own, which is all that it can find of the
//! machine, and ports that were free a moment ago. What it logs is read as JSON.

mod births;
mod crashes;
mod refusals;
mod sites;
mod words;

use std::fs::{self, File};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;

use etcd_client::{Client, GetOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::process::{free_ports, until};

const UID: &str = "/kat/config/cluster_uid";

/// A folder in which agents live, and the ports of the first of them.
#[derive(Clone)]
pub(crate) struct Site {
    folder: Arc<TempDir>,
    client_port: u16,
}

/// A process, and what it logged.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    /// Where its lines begin in the log.
    begin: usize,
}

/// Runs a test that talks to a store.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be started").block_on(work)
}

impl Site {
    /// A folder with a `cluster.kat` of a cluster of this name.
    pub(crate) fn new(name: &str) -> Site {
        let folder = tempfile::Builder::new()
            .prefix("agent-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("the target directory can be written");
        let [agent, api, client_port, peer] = free_ports();
        let text = format!(
            "apiVersion: kat.dws.rip/v1alpha1\nkind: ClusterConfiguration\nmetadata:\n  name: \
             {name}\nspec:\n  agentPort: {agent}\n  apiPort: {api}\n  etcdClientPort: \
             {client_port}\n  etcdPeerPort: {peer}\n  leaderLeaseTTLSeconds: 5\n  telemetry: \
             {{metricsListen: \"\"}}\n"
        );
        fs::write(folder.path().join("cluster.kat"), text).unwrap();
        Site { folder: Arc::new(folder), client_port }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("kat-agent/etcd")
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Prepares a command that finds nothing but this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kat-agent"));
        let state = format!("{}:{}", self.path("kat-agent").display(), self.path("kat").display());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.path("home"))
            .env("STATE_DIRECTORY", state)
            .env("RUNTIME_DIRECTORY", self.path("run"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program can be started")
    }

    /// Runs a command that must be refused: its exit code, and what it says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.ask(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap_or(-1), said)
    }

    /// Starts an agent under the name of its log.
    pub(crate) fn start(&self, log: &str, arguments: &[&str]) -> Agent {
        self.start_command(log, &mut self.command(arguments))
    }

    pub(crate) fn start_command(&self, log: &str, command: &mut Command) -> Agent {
        let log = self.path(log);
        let begin = fs::read(&log).map_or(0, |text| text.len());
        let output = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(output).spawn();
        Agent { child: child.expect("the program can be started"), log, begin }
    }

    /// Starts the cluster's first node, and waits until it leads.
    pub(crate) fn init(&self) -> Agent {
        let mut agent = self.start("init.log", &["init", "--node-name", "node-a"]);
        agent.says("Became leader: node-a");
        agent
    }

    pub(crate) async fn client(&self) -> Client {
        connect(&self.endpoint()).await
    }

    /// The UID that `kat-state.json` holds.
    pub(crate) fn record(&self) -> Value {
        let text = fs::read_to_string(self.data_dir().join("kat-state.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

pub(crate) async fn connect(endpoint: &str) -> Client {
    Client::connect([endpoint], None).await.expect("the store answers")
}

/// The value of a key, which must be there.
pub(crate) async fn value(client: &mut Client, key: &str) -> String {
    let found = client.get(key, None).await.unwrap();
    let kv = found.kvs().first().unwrap_or_else(|| panic!("{key} is not there"));
    kv.value_str().unwrap().to_owned()
}

/// Who stands in the election, the oldest first.
pub(crate) async fn candidates(client: &mut Client) -> Vec<String> {
    let options = GetOptions::new().with_prefix();
    let found = client.get("/kat/leader_election/", Some(options)).await.unwrap();
    let mut kvs = found.kvs().to_vec();
    kvs.sort_by_key(etcd_client::KeyValue::create_revision);
    kvs.iter().map(|kv| kv.value_str().unwrap().to_owned()).collect()
}

impl Agent {
    /// What this run has logged so far.
    pub(crate) fn text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[self.begin.min(bytes.len())..]).into_owned()
    }

    /// Waits until a line says so, and returns all that was logged by then.
    pub(crate) fn says(&mut self, what: &str) -> String {
        until(what, || {
            let text = self.text();
            if text.contains(what) {
                return Some(text);
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended with {status} before it said {what:?}:\n{text}");
            }
            None
        })
    }

    /// The line with this text, as JSON.
    pub(crate) fn line(&self, what: &str) -> Value {
        let text = self.text();
        let line = text.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("no line says {what:?}:\n{text}"));
        serde_json::from_str(line).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
    }

    /// Waits for its end, whatever it was.
    pub(crate) fn end(&mut self) -> ExitStatus {
        until("the process ends", || self.child.try_wait().unwrap())
    }

    /// Asks it to stop, as a supervisor does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.end();
        assert_eq!(status.code(), Some(0), "{status}:\n{}", self.text());
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.end();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Writes a record by hand, as an earlier run would have left it.
fn write_record(data_dir: &Path, state: &str, name: &str) {
    fs::create_dir_all(data_dir).unwrap();
    let record = serde_json::json!({
        "state": state, "step": "lock", "clusterName": name, "uid": "u", "nodeName": "node-a",
        "clusterConfig": "{}",
    });
    fs::write(data_dir.join("kat-state.json"), record.to_string()).unwrap();
}
