//! Every command of stock `etcdctl`, in every format: compared here, or where else,
//! or why not. [`COMMANDS`] is the list; a command that is not in it fails a test.
//!
//! It is held by whoever may do everything: by anybody where accounts do not
//! count, by root where they do, and over TLS by who has root's certificate.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use kat::proto::etcdserverpb::kv_client::KvClient;
use kat::proto::etcdserverpb::lease_client::LeaseClient;
use kat::proto::etcdserverpb::{AlarmRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseStatus};
use tokio::time::interval;

use super::etcdctl::Running;
use super::wire::{Wire, hide_number, hide_word};
use super::words::{all, get, range};
use super::{GLANCE_EVERY, peer};
use crate::tls::papers::Papers;

/// What `etcdctl` can print; where it cannot, it says so.
const FORMATS: [&str; 5] = ["simple", "json", "fields", "table", "protobuf"];

const ROOTS_WORD: &str = "r00t";

/// Where a command is compared.
enum Where {
    /// Here, in these command lines; what follows `<` is typed.
    Here(&'static [&'static str]),
    /// Here, in every format before any other command: what leases draw by chance
    /// changes a hash.
    First(&'static [&'static str]),
    /// In another subject.
    In(&'static str),
    /// Nowhere, for that reason.
    Not(&'static str),
}
use Where::{First, Here, In, Not};

/// In an order in which they make sense. NOW is the present revision, PAST the one
/// before, LEASE the lease that was granted last.
const COMMANDS: &[(&str, Where)] = &[
    ("endpoint hashkv", First(&["endpoint hashkv", "endpoint hashkv --rev=PAST"])),
    ("version", Here(&["version"])),
    (
        "put",
        Here(&[
            "put k 1",
            "put k 2 --prev-kv",
            "put k --ignore-value --prev-kv",
            "put missing --ignore-value",
            "put k 3 --lease=77",
            "put typed < a value",
        ]),
    ),
    (
        "get",
        Here(&[
            "get k",
            "get k z",
            "get nothing",
            "get k --hex",
            "get k --from-key --limit=1",
            "get k --rev=PAST",
            "get k --rev=99999",
            "get k --count-only",
            "get k --keys-only",
            "get k --print-value-only",
            "get k --stream",
        ]),
    ),
    (
        "txn",
        Here(&["txn < ver(\"k\") > \"0\"\n\nput k 4 --prev-kv\nget k --prefix\ndel typed\n\n\n"]),
    ),
    ("watch", Here(&["put k 5", "watch k --rev=NOW", "watch k --rev=NOW --prev-kv", "watch z a"])),
    ("compaction", Here(&["compaction PAST", "compaction NOW --physical", "compaction 99999"])),
    ("del", Here(&["del k --prev-kv", "del nothing"])),
    ("lease grant", Here(&["lease grant 600", "lease grant 9000000001"])),
    ("lease list", Here(&["put k 6 --lease=LEASE", "lease list"])),
    (
        "lease timetolive",
        Here(&["lease timetolive LEASE", "lease timetolive LEASE --keys", "lease timetolive 77"]),
    ),
    ("lease keep-alive", Here(&["lease keep-alive LEASE --once", "lease keep-alive 77 --once"])),
    ("lease revoke", Here(&["lease revoke LEASE", "lease revoke LEASE"])),
    ("lock", Here(&["lock mine echo done", "lock mine false"])),
    ("elect", Here(&["elect FORMAT me", "elect FORMAT"])),
    ("endpoint health", Here(&["endpoint health"])),
    ("endpoint status", Here(&["endpoint status"])),
    ("member list", Here(&["member list", "member list --hex"])),
    ("member add", Here(&["member add", "member add it --peer-urls=nonsense"])),
    ("member remove", Here(&["member remove 1234", "member remove zz"])),
    ("member update", Here(&["member update 1234 --peer-urls=http://127.0.0.1:9"])),
    ("member promote", Here(&["member promote 1234"])),
    ("move-leader", Here(&["move-leader 1234", "move-leader"])),
    ("downgrade validate", Here(&["downgrade validate 3.6", "downgrade validate nonsense"])),
    ("downgrade enable", Here(&["downgrade enable 3.5", "downgrade enable"])),
    ("downgrade cancel", Here(&["downgrade cancel"])),
    ("defrag", Here(&["defrag"])),
    ("snapshot save", Here(&["snapshot save FOLDER/file", "snapshot save FOLDER/no/file"])),
    ("alarm list", Here(&["alarm list", "ALARM", "alarm list"])),
    ("alarm disarm", Here(&["alarm disarm", "alarm disarm"])),
    ("role add", Here(&["role add r", "role add r"])),
    (
        "role grant-permission",
        Here(&["role grant-permission r readwrite x y", "role grant-permission r no x"]),
    ),
    ("role get", Here(&["role get r", "role get missing"])),
    ("role list", Here(&["role list"])),
    ("user add", Here(&["user add new:1", "user add new:1"])),
    ("user grant-role", Here(&["user grant-role new r", "user grant-role new missing"])),
    ("user get", Here(&["user get new", "user get new --detail", "user get missing"])),
    ("user list", Here(&["user list"])),
    ("user passwd", Here(&["user passwd new --interactive=false < other\n"])),
    ("user revoke-role", Here(&["user revoke-role new r", "user revoke-role new r"])),
    ("user delete", Here(&["user delete new", "user delete new"])),
    (
        "role revoke-permission",
        Here(&["role revoke-permission r x y", "role revoke-permission r x y"]),
    ),
    ("role delete", Here(&["role delete r", "role delete r"])),
    ("auth status", Here(&["auth status"])),
    ("auth disable", Here(&["auth disable", "auth status"])),
    ("auth enable", Here(&["auth enable", "auth status"])),
    ("make-mirror", In("commands::mirroring")),
    ("check datascale", In("etcdctl::checking_speed")),
    ("check perf", In("etcdctl::checking_speed")),
    ("completion", Not("it asks no server")),
    ("help", Not("it asks no server")),
    ("options", Not("it asks no server")),
];

/// Every command, where accounts do not count.
pub(super) async fn running_them_all(wire: &mut Wire) {
    run_all(wire, &FORMATS).await;
}

/// Every command, by root.
pub(super) async fn running_them_as_root(wire: &mut Wire) {
    enforce(wire).await;
    wire.flags.push(format!("--user=root:{ROOTS_WORD}"));
    run_all(wire, &FORMATS).await;
}

/// Every command over TLS, by who shows a certificate that says `root`.
pub(super) async fn running_them_over_tls(wire: &mut Wire, papers: &Path) {
    enforce(wire).await;
    wire.flags[0] = wire.flags[0].replace("http://", "https://");
    for (flag, file) in [("--cacert", "ca.pem"), ("--cert", "root.pem"), ("--key", "root.key")] {
        wire.flags.push(format!("{flag}={}", papers.join(file).display()));
    }
    run_all(wire, &["simple", "json"]).await;
}

/// Flags of a server that takes clients with certificates where it takes those
/// without TLS, and who is who.
pub(super) fn mutual_tls(folder: &Path) -> Vec<String> {
    let papers = Papers::new(folder.to_owned());
    papers.server(7);
    papers.client("root");
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        "--bcrypt-cost=4".into(),
        "--unsafe-no-fsync".into(),
        "--client-cert-auth".into(),
        "--listen-client-urls=http://127.0.0.1:CLIENT,https://127.0.0.1:CLIENT".into(),
        format!("--cert-file={}", file("server.pem")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.pem")),
    ]
}

async fn enforce(wire: &mut Wire) {
    wire.program("etcdctl", &format!("user add root:{ROOTS_WORD}"), "", None).await;
    // It makes the role, and grants it.
    wire.program("etcdctl", "auth enable", "", None).await;
    wire.log_in("root", ROOTS_WORD).await;
}

async fn run_all(wire: &mut Wire, formats: &[&str]) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
    wire.hide(folder.path().display().to_string(), "FOLDER");
    for line in ["put a 1", "put b 2", "put a 3", "del b"] {
        wire.program("etcdctl", line, "", None).await;
    }
    for format in formats {
        for (_, place) in COMMANDS {
            if let First(lines) = place {
                run_lines(wire, lines, format).await;
            }
        }
    }
    for format in formats {
        for (_, place) in COMMANDS {
            if let Here(lines) = place {
                run_lines(wire, lines, format).await;
            }
        }
    }
}

async fn run_lines(wire: &mut Wire, lines: &[&str], format: &str) {
    for line in lines {
        if *line == "ALARM" {
            raise_the_alarm(wire).await;
            continue;
        }
        let (line, input) = line.split_once(" < ").unwrap_or((line, ""));
        let now = revision(wire).await;
        let line = line.replace("NOW", &now.to_string());
        let line = line.replace("PAST", &(now - 1).to_string()).replace("FORMAT", format);
        let asked = format!("{line} -w {format}");
        // Some go on until they are stopped; what they print is counted.
        let count = match (line.split(' ').next(), format) {
            _ if line == "watch z a" => None,
            (Some("watch"), "simple") if line.contains("prev-kv") => Some(5),
            (Some("watch"), "simple") => Some(3),
            (Some("watch"), "fields") if line.contains("prev-kv") => Some(17),
            (Some("watch"), "fields") => Some(11),
            (Some("elect"), "simple") if line.ends_with("me") => Some(2),
            (Some("elect"), "fields") if line.ends_with("me") => Some(12),
            (Some("elect"), _) if !line.ends_with("me") => None,
            (Some("watch" | "elect"), "json" | "protobuf") => Some(1),
            _ => None,
        };
        if line.starts_with("lease grant") {
            grant(wire, &asked).await;
        } else {
            wire.program("etcdctl", &asked, input, count).await;
        }
        if line.starts_with("lock") || line.starts_with("elect") {
            revoke_all(wire).await;
        }
        if line == "auth enable" && wire.token.is_some() {
            // The old token ended with the accounts.
            wire.log_in("root", ROOTS_WORD).await;
            continue;
        }
        let last = wire.said.last_mut().expect("it was written down");
        last.answered = settled(&line, format, &last.answered);
    }
}

/// The lease that a client cannot name is known from the list.
async fn grant(wire: &mut Wire, asked: &str) {
    wire.program("etcdctl", asked, "", None).await;
    let mut client = LeaseClient::new(wire.channel());
    let found = client.lease_leases(wire.signed(LeaseLeasesRequest {})).await;
    let found = found.expect("a list").into_inner().leases;
    let last = wire.said.last_mut().expect("it was written down");
    let printed = last.answered.clone();
    let forms = |id: i64| [(format!("{id:016x}"), "LEASE"), (id.to_string(), "LEASES-NUMBER")];
    for lease in found {
        if forms(lease.id).iter().any(|(text, _)| printed.contains(text.as_str())) {
            wire.secrets.retain(|(_, name)| !name.starts_with("LEASE"));
            for (secret, name) in forms(lease.id) {
                last.answered = last.answered.replace(&secret, name);
                wire.secrets.push((secret, name.to_owned()));
            }
            break;
        }
    }
}

/// Whoever was stopped leaves a lease, and a key, which are not to go by themselves.
async fn revoke_all(wire: &Wire) {
    let mut client = LeaseClient::new(wire.channel());
    let found = client.lease_leases(wire.signed(LeaseLeasesRequest {})).await;
    for LeaseStatus { id } in found.expect("a list").into_inner().leases {
        // It may have been revoked by whoever was stopped.
        client.lease_revoke(wire.signed(LeaseRevokeRequest { id })).await.ok();
    }
}

async fn revision(wire: &Wire) -> i64 {
    let answer = KvClient::new(wire.channel()).range(wire.signed(get("k"))).await;
    let header = answer.expect("a range").into_inner().header;
    header.expect("every answer has a header").revision
}

async fn raise_the_alarm(wire: &mut Wire) {
    wire.alarm(AlarmRequest { action: 1, alarm: 1, member_id: 0 }).await;
}

/// What is printed, but for what depends on the moment.
fn settled(line: &str, format: &str, printed: &str) -> String {
    let mut text = printed.to_owned();
    let hide = |text: &str, names: &[&str], how: fn(&str, &str) -> String| {
        names.iter().fold(text.to_owned(), |text, name| how(&text, name))
    };
    if line.starts_with("lease timetolive LEASE") {
        text = hide(&text, &["remaining(", "\"ttl\":", "\"TTL\" : "], hide_number);
    }
    if line.starts_with("elect") {
        text = hide(&text, &["\"lease\":", "\"Lease\" : ", " 6: "], hide_number);
        text = hide(&text, &[&format!("{format}/"), "\"key\":\""], hide_word);
    }
    if line.starts_with("endpoint health") {
        text = hide(&text, &["\"Took\" : "], hide_word);
    }
    if line.starts_with("endpoint") && format == "table" {
        // What is in it decides how wide it is.
        let words = text.split(|c: char| c.is_whitespace() || c == '─');
        text = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    }
    let cells = match (line, format) {
        ("endpoint status", "simple") => (", ", &STATUS[..]),
        ("endpoint status", "table") => (" │ ", &STATUS[..]),
        ("endpoint health", "table") => (" │ ", &[2][..]),
        _ => return text,
    };
    hide_cells(&text, cells.0, cells.1)
}

/// Sizes, the share that is not in use, the raft term, the raft indices.
const STATUS: [usize; 6] = [4, 5, 6, 10, 11, 12];

fn hide_cells(text: &str, between: &str, places: &[usize]) -> String {
    let row = text.rfind("ENDPOINT").unwrap_or_default();
    let (before, row) = text.split_at(row);
    let cells = row.split(between).enumerate();
    let cells = cells.map(|(place, cell)| if places.contains(&place) { "_" } else { cell });
    format!("{before}{}", cells.collect::<Vec<_>>().join(between))
}

/// A mirror of some keys among others of the same store, as it is made, and as it
/// follows.
pub(super) async fn mirroring(wire: &mut Wire) {
    for line in ["put from/a 1", "put from/b 2", "put from/a 3", "put other 4"] {
        wire.program("etcdctl", line, "", None).await;
    }
    let endpoint = wire.server.endpoint();
    let arguments = ["make-mirror", "--prefix=from/", "--dest-prefix=to/", &endpoint];
    let child = Command::new(peer("etcdctl")).args(&wire.flags).args(arguments).spawn();
    let mirror = Running(child.expect("the program can be started"));
    copied(wire, 2).await;
    wire.program("etcdctl", "put from/c 5", "", None).await;
    copied(wire, 3).await;
    let input = "\nput from/a 6\nput from/d 7\n\n\n";
    wire.program("etcdctl", "txn", input, None).await;
    copied(wire, 4).await;
    wire.program("etcdctl", "del from/b", "", None).await;
    copied(wire, 3).await;
    drop(mirror);
    wire.range(all()).await;
}

/// Waits until there are so many copies.
async fn copied(wire: &mut Wire, count: i64) {
    let mut glances = interval(GLANCE_EVERY);
    let mut client = KvClient::new(wire.channel());
    while client.range(range("to/", "to0")).await.expect("a range").into_inner().count != count {
        glances.tick().await;
    }
}

/// The commands that stock `etcdctl` tells of, and those below them.
fn told(above: &[&str]) -> BTreeSet<String> {
    let output = Command::new(peer("etcdctl")).args(above).arg("--help").output();
    let help = String::from_utf8(output.expect("it can be run").stdout).expect("text");
    let mut found = BTreeSet::new();
    let mut is_listed = false;
    for line in help.lines() {
        let Some(row) = line.strip_prefix("  ") else {
            is_listed = line.to_lowercase().trim_end_matches(':').ends_with("commands");
            continue;
        };
        let name = row.split(' ').next().expect("a word");
        if !is_listed || name.is_empty() {
            continue;
        }
        let path = [above, &[name]].concat();
        let below = if name == "help" { BTreeSet::new() } else { told(&path) };
        if below.is_empty() {
            found.insert(path.join(" "));
        }
        found.extend(below);
    }
    found
}

#[test]
fn every_command_is_in_the_list() {
    let listed: BTreeSet<_> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(told(&[]), listed);
    for (name, place) in COMMANDS {
        match place {
            Here(lines) | First(lines) => {
                assert!(lines.iter().any(|line| line.starts_with(name)), "{name} is not run");
            }
            In(subject) => {
                let (module, name) = subject.split_once("::").expect("module::name");
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/comparison");
                let source = std::fs::read_to_string(folder.join(module).with_extension("rs"));
                assert!(source.expect("a module").contains(&format!("fn {name}(")), "{subject}");
            }
            Not(why) => assert!(!why.is_empty(), "{name}"),
        }
    }
}
