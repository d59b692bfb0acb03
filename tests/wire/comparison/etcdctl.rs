//! Stock `etcdctl`, run with the same command lines against both servers.
//!
//! Its output, the errors it prints and its exit code must be the same, but for
//! ports, times and ids that were drawn by chance.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::UNIX_EPOCH;

use kat::proto::etcdserverpb::alarm_request::AlarmAction;
use kat::proto::etcdserverpb::cluster_client::ClusterClient;
use kat::proto::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, MemberListRequest, PutRequest, RangeRequest,
};
use tempfile::NamedTempFile;
use tokio::time::interval;

use super::wire::{IN_VAIN, Wire, hide_number, hide_word};
use super::words::{all, put};
use super::{GLANCE_EVERY, Server, bytes, is_slow, peer, until};

/// Names of numbers that differ, in the formats of etcdctl.
const PRIVATE: &[&str] = &[
    "\"raft_term\":",
    "\"raftTerm\":",
    "\"raftIndex\":",
    "\"raftAppliedIndex\":",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"RaftTerm\" : ",
    "\"RaftIndex\" : ",
    "\"RaftAppliedIndex\" : ",
    "\"DBSize\" : ",
    "\"DBSizeInUse\" : ",
    "\"totalSize\":",
];

/// Who a restored member is to be.
const RESTORED: [&str; 6] = [
    "--name",
    "wire",
    "--initial-cluster",
    "wire=http://127.0.0.1:2380",
    "--initial-advertise-peer-urls",
    "http://127.0.0.1:2380",
];

/// A process that does not outlive its test.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a program to its end, or until it has printed so many lines.
fn run(program: &str, arguments: &[String], input: &str, lines: Option<usize>) -> String {
    let file = || NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
    let (mut stdin, stdout, stderr) = (file(), file(), file());
    stdin.write_all(input.as_bytes()).expect("it can be written");
    let child = Command::new(peer(program))
        .args(arguments)
        .stdin(Stdio::from(stdin.reopen().expect("it is there")))
        .stdout(Stdio::from(stdout.reopen().expect("it is there")))
        .stderr(Stdio::from(stderr.reopen().expect("it is there")))
        .spawn();
    let mut running = Running(child.expect("the program can be started"));
    let read = |path: &Path| fs::read(path).expect("it was written");
    let status = until("the program ends, or prints what it should", || {
        let status = running.0.try_wait().expect("a child of ours can be asked");
        let printed = || read(stdout.path()).split(|byte| *byte == b'\n').count();
        match (status, lines) {
            (Some(status), _) => Some(format!("{:?}", status.code())),
            (None, Some(lines)) if printed() > lines => Some("goes on".to_owned()),
            _ => None,
        }
    });
    drop(running);
    let errors = String::from_utf8(read(stderr.path())).expect("it complains in text");
    let errors: Vec<_> = errors.lines().filter(|line| line.starts_with("Error: ")).collect();
    let printed = read(stdout.path());
    let is_message = arguments.iter().any(|argument| argument == "protobuf");
    let text = || String::from_utf8(printed.clone()).expect("it prints text");
    let printed = if is_message { bytes::printed(&printed) } else { text() };
    format!("exit {status}\n{printed}{}", errors.join("\n"))
}

impl Wire {
    /// Runs a program to its end, or until it has printed so many lines.
    pub(super) async fn program(
        &mut self,
        program: &'static str,
        line: &str,
        input: &str,
        lines: Option<usize>,
    ) {
        let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        for (secret, name) in &self.secrets {
            for argument in &mut arguments {
                *argument = argument.replace(name, secret);
            }
        }
        if program == "etcdctl" {
            arguments.splice(0..0, self.flags.clone());
        }
        let said = input.to_owned();
        let running = move || run(program, &arguments, &said, lines);
        let printed = tokio::task::spawn_blocking(running).await;
        let mut printed = printed.unwrap_or_else(|_| IN_VAIN.to_owned());
        let endpoint = self.server.endpoint();
        printed = printed.replace(&endpoint, "ENDPOINT");
        printed = printed.replace(endpoint.trim_start_matches("http://"), "ENDPOINT");
        for name in PRIVATE {
            printed = hide_number(&printed, name);
        }
        for name in ["took = ", "took ", "\"took\":\"", "\"Took\" : "] {
            printed = hide_word(&printed, name);
        }
        let input = if input.is_empty() { String::new() } else { format!(" < {input:?}") };
        self.write(format!("{program} {line}{input}"), printed);
    }

    /// Runs one command line.
    async fn ctl(&mut self, line: &str) {
        if line.starts_with("member add") {
            early_in_a_second().await;
        }
        self.program("etcdctl", line, "", None).await;
    }

    /// Hides what was drawn by chance, and lets command lines name it.
    pub(super) fn hide(&mut self, secret: String, name: &str) {
        self.secrets.push((secret, name.to_owned()));
    }
}

/// Waits until a second has just begun. The id of a new member is made of it, and
/// its place among the others follows: both servers are to be asked in the same one.
async fn early_in_a_second() {
    const EARLY_MILLIS: u32 = 300;
    let mut glances = interval(GLANCE_EVERY);
    while UNIX_EPOCH.elapsed().is_ok_and(|now| now.subsec_millis() > EARLY_MILLIS) {
        glances.tick().await;
    }
}

/// Some keys with some history.
async fn some_keys(wire: &mut Wire) {
    for line in ["put a 1", "put b 3", "put a 2", "put c 2", "put d -- -1", "put ab 1", "del d"] {
        wire.ctl(line).await;
    }
}

pub(super) async fn getting(wire: &mut Wire) {
    some_keys(wire).await;
    for line in [
        "get",
        "get a",
        "get nothing",
        "get a b",
        "get a b c",
        "get a --prefix",
        "get b --from-key",
        "get a b --prefix",
        "get a --from-key --prefix",
        "get a --rev=2",
        "get a --rev=99",
        "get a --rev=-1",
        "get a --prefix --limit=1",
        "get a --from-key --sort-by=VALUE",
        "get a --from-key --sort-by=VERSION --order=DESCEND",
        "get a --from-key --sort-by=MODIFY --order=ASCEND",
        "get a --from-key --sort-by=CREATE --order=DESCEND --limit=2",
        "get a --from-key --sort-by=NONSENSE",
        "get a --from-key --order=NONSENSE",
        "get a --consistency=s",
        "get a --consistency=l",
        "get a --consistency=x",
        "get a --from-key --count-only",
        "get a --from-key --count-only --write-out=fields",
        "get a --from-key --keys-only",
        "get a --from-key --print-value-only",
        "get a --print-value-only --keys-only",
        "get a --from-key --min-mod-rev=4",
        "get a --from-key --max-mod-rev=4",
        "get a --from-key --min-create-rev=3",
        "get a --from-key --max-create-rev=3",
        "get a --from-key --stream",
        "get a --from-key --stream --limit=2 -w json",
        "get a --from-key --stream --order=DESCEND",
    ] {
        wire.ctl(line).await;
    }
    wire.ctl("compaction 4").await;
    wire.ctl("get a --rev=3").await;
    wire.ctl("get a --rev=3 --stream").await;
}

pub(super) async fn getting_as_text(wire: &mut Wire) {
    some_keys(wire).await;
    for format in ["simple", "json", "fields", "table", "protobuf", "nonsense"] {
        for line in ["get a --from-key", "get nothing", "put x 1 --prev-kv", "del x --prev-kv"] {
            wire.ctl(&format!("{line} -w {format}")).await;
        }
    }
    wire.ctl("get a -w json --hex").await;
    wire.ctl("get a --hex").await;
    wire.ctl("get a -w fields --rev=99").await;
}

pub(super) async fn putting_and_deleting(wire: &mut Wire) {
    for line in [
        "put",
        "put a",
        "put a 1 2",
        "put a 1",
        "put a 2 --prev-kv",
        "put new 1 --prev-kv",
        "put a --ignore-value",
        "put a 1 --ignore-value",
        "put missing --ignore-value",
        "put a 3 --ignore-lease",
        "put missing 3 --ignore-lease",
        "put a 4 --lease=77",
        "put a 4 --lease=zz",
        "put a 5 --ignore-lease --lease=77",
        "get a -w json",
        "put b/1 1",
        "put b/2 2",
        "put b/3 3",
        "put c 4",
        "del",
        "del nothing",
        "del a --prev-kv",
        "del b/1 b/2 --prev-kv",
        "del b/2 --range b/3 --prev-kv",
        "del b/ --prefix",
        "del b/ --prefix --from-key",
        "del a --from-key --prev-kv",
        "get a --from-key -w json",
    ] {
        wire.ctl(line).await;
    }
    wire.program("etcdctl", "put from-stdin", "a value\nof lines", None).await;
    wire.ctl("get from-stdin").await;
}

pub(super) async fn running_txns(wire: &mut Wire) {
    some_keys(wire).await;
    for input in [
        "\n\n\n",
        "val(\"a\") = \"2\"\n\nput a 3\nget a\n\nput a 4\n\n",
        "value(\"a\") = \"2\"\n\nput a 3\nget a\n\nput a 4\nget a\nget b\n\n",
        "mod(\"a\") > \"0\"\nver(\"a\") < \"9\"\n\nget a --prefix\n\nget b\n\n",
        "create(\"b\") = \"3\"\n\nget b\n\nget c\n\n",
        "lease(\"a\") = \"0\"\n\ndel a b\nget a --from-key\nput z 1 --prev-kv\n\n\n",
        "version(\"nothing\") = \"0\"\n\nput nothing 1\nput nothing 2\n\n\n",
        "version(\"nothing\") != \"0\"\n\n\nget nothing\ndel c --prev-kv\n\n",
        "nonsense(\"a\") = \"0\"\n\n\n\n",
        "ver(\"a\") ~ \"0\"\n\n\n\n",
        "\nput a 1 --lease=77\n\n\n",
        "\nget a --rev=99\n\n\n",
    ] {
        wire.program("etcdctl", "txn", input, None).await;
        wire.program("etcdctl", "txn -w json", input, None).await;
    }
    wire.program("etcdctl", "txn -i", "ver(\"b\") > \"0\"\n\nget b\n\n\n", None).await;
    wire.ctl("get a --from-key -w json").await;
}

pub(super) async fn leasing(wire: &mut Wire) {
    let id = wire.lease_grant(600, 0).await;
    wire.hide(format!("{id:016x}"), "LEASE");
    wire.hide(id.to_string(), "DECIMAL");
    let other = wire.lease_grant(900, 0).await;
    wire.hide(format!("{other:016x}"), "OTHER");
    wire.hide(other.to_string(), "ELSE");
    for line in [
        "lease",
        "lease grant",
        "lease grant ten",
        "lease grant 9000000001",
        "lease list",
        "lease list -w json",
        "lease list -w fields",
        "put a 1 --lease=LEASE",
        "put b 1 --lease=LEASE",
        "put a 2 --lease=OTHER",
        "get a --prefix -w json",
        "lease timetolive LEASE --keys -w fields",
        "lease timetolive 77",
        "lease timetolive 77 -w json",
        "lease timetolive zz",
        "lease keep-alive LEASE --once",
        "lease keep-alive 77 --once",
        "lease keep-alive LEASE --once -w json",
        "lease revoke LEASE",
        "lease revoke LEASE",
        "lease revoke OTHER -w json",
        "lease list",
        "get a --from-key",
    ] {
        if line.contains("timetolive LEASE") {
            // It prints seconds that pass; the raw answer is compared instead.
            wire.lease_time_to_live(id, true).await;
        } else {
            wire.ctl(line).await;
        }
    }
}

pub(super) async fn watching(wire: &mut Wire) {
    some_keys(wire).await;
    for (line, lines) in [
        ("watch a --rev=1", 6),
        ("watch a --rev=1 --prev-kv", 8),
        ("watch a --prefix --rev=3", 6),
        ("watch a z --rev=2 -w json", 1),
        ("watch d --rev=1", 6),
        ("watch b --rev=2 -w fields", 11),
    ] {
        wire.program("etcdctl", line, "", Some(lines)).await;
    }
    wire.ctl("compaction 5").await;
    wire.ctl("watch a --rev=2").await;
    wire.ctl("watch").await;
    wire.ctl("watch z a").await;
}

pub(super) async fn locking_and_electing(wire: &mut Wire) {
    for line in ["lock mine echo done", "lock mine false", "lock mine --ttl=5 -- printenv HOME"] {
        wire.ctl(line).await;
        wire.ctl("get mine --prefix").await;
    }
    wire.ctl("lock").await;
    wire.ctl("elect seat").await;
    wire.ctl("elect").await;
    wire.program_with_key("elect seat me", 2).await;
    wire.program_with_key("lock mine", 1).await;
}

impl Wire {
    /// Runs what prints a key that ends in a lease, and goes on.
    async fn program_with_key(&mut self, line: &str, lines: usize) {
        self.program("etcdctl", line, "", Some(lines)).await;
        let last = self.said.last_mut().expect("it was written down");
        for name in ["seat/", "mine/"] {
            last.answered = hide_word(&last.answered, name);
        }
    }
}

pub(super) async fn asking_about_the_server(wire: &mut Wire) {
    wire.ctl("put a 1").await;
    for line in [
        "endpoint health",
        "endpoint health -w json",
        "endpoint status -w json",
        "endpoint status -w fields",
        "endpoint hashkv",
        "endpoint hashkv --rev=1 -w json",
        "endpoint hashkv --rev=99",
        "member list",
        "member list -w json",
        "member list -w fields",
        "member list -w table",
        "member list --consistency=s",
        "member add",
        "member remove 1234",
        "member remove zz",
        "member promote 1234",
        "member update 1234 --peer-urls=http://127.0.0.1:9",
        "alarm list",
        "alarm disarm",
        "compaction",
        "compaction 1",
        "compaction 1",
        "compaction 99",
        "compaction 2 --physical",
        "defrag",
        "move-leader 1234",
        "auth status",
    ] {
        wire.ctl(line).await;
    }
}

/// Columns of a status that differ, and those of a table of health.
const STATUS_COLUMNS: &[usize] = &[4, 5, 6, 10, 11, 12];
const HEALTH_COLUMNS: &[usize] = &[2];

/// Hides columns of the last answer, and how wide all of them are.
fn hide_columns(wire: &mut Wire, between: char, columns: &[usize]) {
    let last = wire.said.last_mut().expect("something was asked");
    let row = |line: &str| {
        let cells = line.trim_matches(between).split(between).map(str::trim).enumerate();
        let hidden = cells.map(|(at, cell)| {
            let is_value = columns.contains(&at) && cell.contains(char::is_numeric);
            if is_value { "_" } else { cell }
        });
        hidden.collect::<Vec<_>>().join("|")
    };
    let lines = last.answered.lines().filter(|line| !line.starts_with(['┌', '├', '└']));
    last.answered = lines.map(row).collect::<Vec<_>>().join("\n");
}

/// A cluster whose members tell truly where they serve.
pub(super) async fn asking_the_whole_cluster(wire: &mut Wire) {
    wire.ctl("put a 1").await;
    let own = format!("{:x}", wire.member_id().await);
    for step in ["alone", "with a learner", "out of space"] {
        match step {
            "with a learner" => {
                wire.ctl("member add new --learner --peer-urls=http://127.0.0.1:1").await;
                hide_member(wire, "learner").await;
            }
            "out of space" => {
                let (action, alarm) = (AlarmAction::Activate.into(), AlarmType::Nospace.into());
                wire.alarm(AlarmRequest { action, member_id: 7, alarm }).await;
            }
            _ => {}
        }
        for form in ["json", "fields"] {
            wire.ctl(&format!("endpoint status --cluster -w {form}")).await;
        }
        for (form, between) in [("simple", ','), ("table", '│')] {
            wire.ctl(&format!("endpoint status --cluster -w {form}")).await;
            hide_columns(wire, between, STATUS_COLUMNS);
        }
        for form in ["simple", "json", "fields", "table"] {
            wire.ctl(&format!("endpoint hashkv --cluster -w {form}")).await;
            wire.ctl(&format!("endpoint health --cluster -w {form}")).await;
        }
        hide_columns(wire, '│', HEALTH_COLUMNS);
        wire.ctl("defrag --cluster").await;
        wire.ctl(&format!("move-leader {own}")).await;
        wire.ctl("alarm list").await;
    }
}

pub(super) async fn asking_for_less(wire: &mut Wire) {
    for line in [
        "user list",
        "role list",
        "user get nobody",
        "role get nobody",
        "auth enable",
        "auth disable",
    ] {
        wire.ctl(line).await;
    }
}

pub(super) async fn asking_to_downgrade(wire: &mut Wire) {
    for line in [
        "downgrade validate 3.5",
        "downgrade validate 3.6",
        "downgrade cancel",
        "downgrade enable 3.5",
        "downgrade enable 3.6",
        "endpoint status -w json",
        "downgrade cancel",
        "endpoint status -w json",
        "downgrade validate",
    ] {
        wire.ctl(line).await;
    }
}

/// Hides the id of the member that the last command added, in the ways in
/// which it is printed.
async fn hide_member(wire: &mut Wire, name: &str) {
    let own = wire.member_id().await;
    let mut client = ClusterClient::new(wire.channel());
    let answer = client.member_list(MemberListRequest::default()).await;
    let members = answer.expect("a member list").into_inner().members;
    let hidden = |id: &str| wire.secrets.iter().any(|(secret, _)| secret == id);
    let is_new = |id: u64| id != own && !hidden(&id.to_string());
    let Some(id) = members.iter().map(|member| member.id).find(|id| is_new(*id)) else { return };
    wire.hide(format!("{id:x}"), &format!("hex-{name}"));
    wire.hide(id.to_string(), &format!("dec-{name}"));
    let last = wire.said.last_mut().expect("something was asked");
    let hex = format!("{id:x}");
    last.answered = last.answered.replace(&hex, &format!("hex-{name}"));
    last.answered = last.answered.replace(&id.to_string(), &format!("dec-{name}"));
}

pub(super) async fn changing_members(wire: &mut Wire) {
    for (at, format) in ["simple", "json", "fields", "table"].into_iter().enumerate() {
        let (add, update) = (2 * at + 1, 2 * at + 2);
        let learner = "--learner --peer-urls=http://127.0.0.1";
        wire.ctl(&format!("member add new {learner}:{add} -w {format}")).await;
        hide_member(wire, format).await;
        wire.ctl(&format!("member add other {learner}:9 -w {format}")).await;
        let new = format!("hex-{format}");
        wire.ctl(&format!("member promote {new} -w {format}")).await;
        let url = format!("--peer-urls=http://127.0.0.1:{update}");
        wire.ctl(&format!("member update {new} {url} -w {format}")).await;
        wire.ctl(&format!("move-leader {new}")).await;
        wire.ctl(&format!("member remove {new} -w {format}")).await;
        wire.ctl(&format!("member remove {new} -w {format}")).await;
    }
    for line in [
        "member list -w fields",
        "member add new --peer-urls=nonsense",
        "member add new --peer-urls=http://127.0.0.1:1/path",
        "member add new --peer-urls=http://127.0.0.1:2380",
        "member add new",
        "endpoint status -w json",
    ] {
        wire.ctl(line).await;
    }
}

/// A stock etcd that goes on from a snapshot.
pub(super) fn restored(file: &Path) -> Server {
    Server::etcd_restored(|data| {
        let (file, data) = (file.display().to_string(), data.display().to_string());
        let mut arguments = ["snapshot", "restore", &file, "--data-dir", &data].to_vec();
        arguments.extend(RESTORED);
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        run("etcdutl", &arguments, "", None);
    })
}

/// The stock tools read what ours saves, and it holds the same.
pub(super) async fn saving_a_snapshot(wire: &mut Wire) {
    some_keys(wire).await;
    wire.lease_grant(600, 5).await;
    wire.put(PutRequest { lease: 5, ..put("leased", "") }).await;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
    wire.hide(folder.path().display().to_string(), "FOLDER");
    wire.ctl("snapshot save FOLDER/file").await;
    // Restoring checks the file, which the other two open for writing.
    // A stock etcd goes on from there.
    let mut other = Wire::new(restored(&folder.path().join("file")));
    "restored: ".clone_into(&mut other.chapter);
    for revision in [0, 2, 5, 7] {
        other.range(RangeRequest { revision, ..all() }).await;
    }
    other.lease_time_to_live(5, true).await;
    other.hash_kv(HashKvRequest { revision: 0 }).await;
    wire.said.append(&mut other.said);

    wire.program("etcdutl", "snapshot status FOLDER/file -w json", "", None).await;
    // It hashes the raft term with all the rest.
    let last = wire.said.last_mut().expect("it was written down");
    last.answered = hide_number(&last.answered, "\"hash\":");
    wire.program("etcdutl", "hashkv FOLDER/file -w json", "", None).await;
}

/// The machine decides the verdict; that there is one decides this test.
pub(super) async fn checking_speed(wire: &mut Wire) {
    let line = if is_slow() { "check perf --load=s" } else { "check datascale --load=s" };
    wire.ctl(line).await;
    let verdict = if is_slow() { "Throughput" } else { "Approximate system memory used" };
    let last = wire.said.last_mut().expect("it was written down");
    last.answered = last.answered.contains(verdict).to_string();
}
