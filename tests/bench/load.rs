//! Load from etcd's own `benchmark` tool, and what it reports.
//!
//! The tool shares the machine with the server, as its authors' figures do, so
//! that a throughput is one of both; the server's processor time is its own.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::servers::{Group, peer, wait};

/// No single measurement may take longer: the run as a whole is bounded.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a load achieved.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// How many operations there were.
    pub(crate) operations: f64,
    /// Operations per second.
    pub(crate) per_second: f64,
    /// The latency that half of the operations kept within, in milliseconds.
    pub(crate) p50_ms: f64,
    /// The latency that 99 of 100 operations kept within, in milliseconds.
    pub(crate) p99_ms: f64,
}

/// How many clients the tool plays, on how many connections.
#[derive(Clone, Copy)]
pub(crate) struct Clients {
    /// Those that each wait for one answer at a time.
    pub(crate) clients: u32,
    /// The connections that they share.
    pub(crate) connections: u32,
}

/// Many on a few connections.
pub(crate) const MANY: Clients = Clients { clients: 256, connections: 16 };
/// One alone.
pub(crate) const ONE: Clients = Clients { clients: 1, connections: 1 };

/// The tool at work; it ends with this value.
pub(crate) struct Tool {
    child: Child,
}

impl Tool {
    /// Starts the tool against a group, with a command of its own and that one's flags.
    pub(crate) fn start(group: &Group, clients: Clients, command: &[&str]) -> Result<Tool> {
        let out = |name: &str| File::create(group.folder().join(name));
        let child = Command::new(peer("benchmark")?)
            .args(["--endpoints", &group.endpoints().join(",")])
            .args(["--clients", &clients.clients.to_string()])
            .args(["--conns", &clients.connections.to_string()])
            .arg("--precise")
            .args(command)
            .stdin(Stdio::null())
            .stdout(out("tool.stdout")?)
            .stderr(out("tool.stderr")?)
            .spawn()?;
        Ok(Tool { child })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the tool to its end, and reads each summary that it prints.
pub(crate) fn run(group: &Group, clients: Clients, command: &[&str]) -> Result<Vec<Load>> {
    let mut tool = Tool::start(group, clients, command)?;
    let status = wait("the load", PATIENCE, || Ok(tool.child.try_wait()?))?;
    let report = read(&group.folder().join("tool.stdout"))?;
    let last = read(&group.folder().join("tool.stderr"))?;
    let last = last.lines().next_back().unwrap_or("it said nothing").to_owned();
    ensure!(status.success(), "the tool ended with {status}: {last}");
    if let Some((_, errors)) = report.split_once("Error distribution:") {
        let first = errors.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
        anyhow::bail!("the tool met errors: {}", first.trim());
    }
    let loads: Vec<Load> = report.split("Summary:").skip(1).filter_map(parse).collect();
    ensure!(!loads.is_empty(), "the tool reported nothing: {last}");
    Ok(loads)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Reads one summary; `None` if nothing happened in it.
fn parse(summary: &str) -> Option<Load> {
    let after = |label: &str| {
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(label))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let per_second = after("Requests/sec:")?;
    Some(Load {
        operations: per_second * after("Total:")?,
        per_second,
        p50_ms: after("50% in")? * 1000.0,
        p99_ms: after("99% in")? * 1000.0,
    })
}
