//! TLS and listeners: the same flags, the same clients, stock etcd and ours.
//!
//! A subject makes its certificates in the folder of a server, starts it, and
//! writes down what clients meet. What they meet with both must be the same,
//! and so must be what the log says of those who were turned away.

mod clients;
mod listeners;
pub(crate) mod papers;
mod starts;
mod talk;
mod versions;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::agent::{Agent, Site};
use super::process::{free_ports, peer, until};
use papers::Papers;

/// The ports of a server, by the names that flags and reports have for them.
const PORTS: [&str; 3] = ["CLIENT", "PEER", "EXTRA"];

/// A server, its certificates, and what was seen of it.
struct Stage {
    site: Site,
    papers: Papers,
    ports: [u16; 3],
    command: Vec<String>,
    program: PathBuf,
    agent: Agent,
    seen: Vec<String>,
}

/// A server that is not started: where it lives, and how it is called.
struct Place {
    site: Site,
    papers: Papers,
    ports: [u16; 3],
    command: Vec<String>,
    program: PathBuf,
}

impl Place {
    fn new(is_stock: bool, flags: &[&str]) -> Place {
        let site = Site::new("unused");
        let papers = Papers::new(site.path(""));
        let ports = free_ports();
        let (program, first) = match is_stock {
            true => (peer("etcd"), None),
            false => (PathBuf::from(env!("CARGO_BIN_EXE_kat-agent")), Some("etcd")),
        };
        let mut all = vec!["--name=wire", "--data-dir=data", "--initial-cluster-token=tls"];
        let is_given = |name: &str| flags.iter().any(|flag| flag.starts_with(name));
        for flag in [
            "--listen-client-urls=https://127.0.0.1:CLIENT",
            "--advertise-client-urls=https://127.0.0.1:CLIENT",
            "--listen-peer-urls=http://127.0.0.1:PEER",
        ] {
            if !is_given(flag.split('=').next().unwrap()) {
                all.push(flag);
            }
        }
        all.extend(flags);
        let mut command: Vec<String> = first.into_iter().map(str::to_owned).collect();
        command.extend(all.iter().map(|flag| fill(flag, &ports)));
        Place { site, papers, ports, command, program }
    }

    fn start(self) -> Stage {
        let Place { site, papers, ports, command, program } = self;
        let agent = launch(&site, &program, &command);
        Stage { site, papers, ports, command, program, agent, seen: Vec::new() }
    }
}

fn prepared(site: &Site, program: &PathBuf, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(site.path("")).env_clear().stdin(Stdio::null());
    command
}

fn launch(site: &Site, program: &PathBuf, arguments: &[String]) -> Agent {
    let mut agent = site.start_command("etcd.log", &mut prepared(site, program, arguments));
    agent.says("serving client traffic");
    agent
}

/// Puts ports in the place of their names.
fn fill(text: &str, ports: &[u16; 3]) -> String {
    let mut text = text.to_owned();
    for (name, port) in PORTS.iter().zip(ports) {
        text = text.replace(name, &port.to_string());
    }
    text
}

impl Stage {
    /// Writes down what was seen, with names in the place of ports.
    fn note(&mut self, asked: &str, answered: impl Into<String>) {
        let mut answered = answered.into();
        for (name, port) in PORTS.iter().zip(&self.ports) {
            answered = answered.replace(&format!(":{port}"), &format!(":{name}"));
        }
        self.seen.push(format!("{asked}: {answered}"));
    }

    fn path(&self, below: &str) -> PathBuf {
        self.site.path(below)
    }

    /// Stops the server, as a supervisor does.
    fn stop(&mut self) {
        self.agent.signal(Signal::TERM);
        self.agent.end();
    }

    fn start_again(&mut self) {
        self.agent = launch(&self.site, &self.program, &self.command);
    }

    /// Writes down why clients were turned away, once so many have been.
    fn note_rejections(&mut self, count: usize) {
        let text = "rejected connection on client endpoint";
        let mut rejections = until("the log tells of those who were turned away", || {
            let text = self.agent.text();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let of = |line: Value| {
                let is_one = line["msg"] == "rejected connection on client endpoint";
                assert!(!is_one || line["remote-addr"].is_string(), "{line}");
                let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                // Some that are turned away hang up before they hear it.
                let is_gone = field("error").contains("reset by peer");
                (is_one && !is_gone)
                    .then(|| format!("{:?} {}", field("server-name"), reason(&field("error"))))
            };
            let found: Vec<_> = lines.filter_map(of).collect();
            (found.len() >= count).then_some(found)
        });
        rejections.sort_unstable();
        rejections.dedup();
        self.note(text, rejections.join("\n"));
    }
}

/// What an error says before it goes into details of one library.
fn reason(error: &str) -> &str {
    let details = [": current time", ": [", " (possibly because", ": read tcp", "read tcp"];
    let end = details.iter().filter_map(|detail| error.find(detail)).min();
    let short = &error[..end.unwrap_or(error.len())];
    if short.is_empty() { error.rsplit(": ").next().unwrap_or_default() } else { short }
}

/// Plays a subject with both servers, and compares what was seen.
fn compare(flags: &[&str], prepare: impl Fn(&Papers) + Sync, play: impl Fn(&mut Stage) + Sync) {
    let see = |is_stock: bool| {
        let place = Place::new(is_stock, flags);
        prepare(&place.papers);
        let mut stage = place.start();
        play(&mut stage);
        stage.seen
    };
    let (stock, ours) = thread::scope(|scope| {
        let stock = scope.spawn(|| see(true));
        let ours = see(false);
        (stock.join().expect("stock etcd plays its part"), ours)
    });
    assert!(!stock.is_empty(), "nothing was seen");
    if std::env::var_os("KAT_TALK").is_some() {
        tell(&stock);
    }
    let mut report = String::new();
    for (i, theirs) in stock.iter().enumerate() {
        let mine = ours.get(i).map_or("(nothing)", String::as_str);
        if theirs != mine {
            report += &format!("etcd:  {theirs}\nours:  {mine}\n\n");
        }
    }
    assert!(report.is_empty() && ours.len() == stock.len(), "{report}");
}

#[allow(clippy::print_stdout, reason = "somebody asks for it")]
fn tell(seen: &[String]) {
    seen.iter().for_each(|line| println!("{line}"));
}
