//! Carries out scripts, on a store in memory without a cache and on a store on
//! disk with one: both must say the same.

use std::error::Error;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use goldenscript::{Command, Context, Runner};
use tempfile::TempDir;

use super::accounts;
use super::words::{self, Outcome, Words};
use crate::engine::{Engine, Memory, Rocks};
use crate::ids::{ClusterId, LeaseId, LogIndex, ProposalId, Revision, Term};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::kat::log::{ClusterVersion, LeaseExpire, MemberAttributes};
use crate::store::{
    Applied, Caller, ENGINE, Genesis, KeyRange, Options, Reader, Request, Store, append_command,
    begin_entry,
};

const TERM: Term = Term(1);
const FIRST: LogIndex = LogIndex(1);

/// What a store stands on.
enum Disk {
    Memory(Arc<Memory>),
    Rocks(TempDir),
}

/// A store that can be closed, and the log that it follows.
struct World {
    disk: Disk,
    engine: Option<Arc<dyn Engine>>,
    store: Option<Store>,
    options: Options,
    log: Vec<Bytes>,
}

impl World {
    fn new(disk: Disk, cache_bytes: usize) -> World {
        let options = Options { cache_bytes, quota_bytes: 13 * 4096 };
        let mut world = World { disk, engine: None, store: None, options, log: Vec::new() };
        let engine = world.engine();
        let member = |id| pb::Member { id, is_learner: id == 3, ..pb::Member::default() };
        let members = (1..=3).map(member).collect();
        let genesis = Genesis { cluster: ClusterId(7), members, index: FIRST, term: TERM };
        Store::found(&*engine, &genesis);
        world.open(engine);
        world
    }

    fn engine(&self) -> Arc<dyn Engine> {
        match &self.disk {
            Disk::Memory(memory) => memory.clone(),
            Disk::Rocks(folder) => Arc::new(Rocks::open(folder.path(), ENGINE).unwrap()),
        }
    }

    /// Opens the store, and follows the log again; how many entries that took.
    fn open(&mut self, engine: Arc<dyn Engine>) -> u64 {
        let mut store = Store::open(engine.clone(), &self.options).unwrap();
        let applied = store.reader().applied();
        let entries = (FIRST.0 + 1..).map(LogIndex).zip(&self.log);
        let mut replayed = 0;
        for (index, entry) in entries.filter(|(index, _)| *index > applied) {
            store.apply(index, TERM, entry);
            replayed += 1;
        }
        self.engine = Some(engine);
        self.store = Some(store);
        replayed
    }

    /// A clean stop flushes.
    fn restart(&mut self) -> u64 {
        self.engine.as_ref().unwrap().flush();
        self.reopen()
    }

    fn reopen(&mut self) -> u64 {
        self.store = None;
        self.engine = None;
        let engine = self.engine();
        self.open(engine)
    }

    fn crash(&mut self) -> u64 {
        match &self.disk {
            Disk::Memory(memory) => memory.crash(),
            Disk::Rocks(folder) => {
                let copy = loop {
                    // The engine goes on meanwhile, and may remove what is listed.
                    if let Some(copy) = copied(folder.path()) {
                        break copy;
                    }
                };
                self.store = None;
                self.engine = None;
                self.disk = Disk::Rocks(copy);
            }
        }
        self.reopen()
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn reader(&mut self) -> Reader {
        self.store().reader()
    }

    fn apply(&mut self, entry: &[u8]) -> Applied {
        let entry = Bytes::copy_from_slice(entry);
        self.log.push(entry.clone());
        let index = LogIndex(FIRST.0 + self.log.len() as u64);
        self.store().apply(index, TERM, &entry)
    }

    fn purge(&mut self) -> usize {
        let mut slices = 1;
        while self.store().purge() {
            slices += 1;
        }
        slices
    }
}

/// One script's stores.
struct Script {
    worlds: Vec<World>,
    /// Commands that wait for `commit`.
    entry: Option<Vec<u8>>,
    /// Who asks.
    caller: Caller,
}

impl Script {
    fn new() -> Script {
        let memory = Disk::Memory(Arc::new(Memory::new(ENGINE)));
        let rocks = Disk::Rocks(tempfile::tempdir().unwrap());
        Script {
            worlds: vec![World::new(memory, 0), World::new(rocks, 1 << 20)],
            entry: None,
            caller: Caller::default(),
        }
    }

    /// What all stores say.
    fn all(&mut self, mut ask: impl FnMut(&mut World) -> String) -> String {
        let mut answers: Vec<String> = self.worlds.iter_mut().map(&mut ask).collect();
        let last = answers.pop().unwrap();
        assert!(answers.iter().all(|answer| *answer == last), "{answers:#?} is not {last:#}");
        last
    }

    fn each(&mut self, act: impl FnMut(&mut World)) {
        self.worlds.iter_mut().for_each(act);
    }

    fn read(&mut self, ask: impl Fn(&Reader) -> Outcome<String>) -> Outcome<String> {
        Ok(self.all(|world| ask(&world.reader()).unwrap_or_else(|why| format!("refused: {why}"))))
    }

    fn propose(&mut self, request: Request, context: &Context) -> String {
        let is_grouped = self.entry.is_some();
        let entry = self.entry.get_or_insert_with(begin_entry);
        append_command(entry, ProposalId::default(), &self.caller, request);
        if is_grouped { String::new() } else { self.commit(context) }
    }

    fn commit(&mut self, context: &Context) -> String {
        let entry = self.entry.take().unwrap_or_default();
        let shows = |tag| context.tags.contains(tag);
        self.all(|world| {
            let applied = world.apply(&entry);
            let mut lines = String::new();
            for answer in &applied.answers {
                let line = match &answer.outcome {
                    Ok(reply) => words::reply(reply),
                    Err(why) => format!("refused: {why}"),
                };
                writeln!(lines, "{line}").unwrap();
            }
            if shows("watch") {
                lines += &words::changes(&applied.changes, &world.reader());
            }
            for change in applied.leases.iter().filter(|_| shows("leases")) {
                writeln!(lines, "{change:?}").unwrap();
            }
            for change in applied.tokens.iter().filter(|_| shows("tokens")) {
                writeln!(lines, "{change:?}").unwrap();
            }
            lines
        })
    }

    fn request(name: &str, words: &mut Words) -> Outcome<Request> {
        Ok(match name {
            "put" | "del" | "txn" => match words.op()? {
                Op::RequestPut(put) => Request::Put(put),
                Op::RequestDeleteRange(delete) => Request::DeleteRange(delete),
                Op::RequestTxn(txn) => Request::Txn(txn),
                Op::RequestRange(_) => return Err("a range is no command".into()),
            },
            _ => {
                words.next()?;
                match accounts::request(name, words)? {
                    Some(request) => request,
                    None => Script::other(name, words)?,
                }
            }
        })
    }

    fn other(name: &str, words: &mut Words) -> Outcome<Request> {
        Ok(match name {
            "compact" => Request::Compact(pb::CompactionRequest {
                revision: words.number()?,
                physical: false,
            }),
            "grant" => Request::LeaseGrant(pb::LeaseGrantRequest {
                id: words.number()?,
                ttl: words.number()?,
            }),
            "revoke" => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: words.number()? }),
            "expire" => {
                let mut ids = Vec::new();
                while !words.is_done() {
                    ids.push(words.number()?);
                }
                Request::LeaseExpire(LeaseExpire { ids })
            }
            "checkpoint" => Request::LeaseCheckpoint(pb::LeaseCheckpointRequest {
                checkpoints: vec![pb::LeaseCheckpoint {
                    id: words.number()?,
                    remaining_ttl: words.number()?,
                }],
            }),
            "alarm" => Request::Alarm(pb::AlarmRequest {
                action: action(&words.next()?)?.into(),
                alarm: alarm(&words.next()?)?.into(),
                member_id: words.number()?,
            }),
            "describe" => Request::MemberAttributes(MemberAttributes {
                member: words.number()?,
                name: words.next()?,
                client_urls: vec![words.next()?],
            }),
            "speak" => Request::ClusterVersion(ClusterVersion { version: words.next()? }),
            other => return Err(format!("{other} is no command").into()),
        })
    }

    fn look(&mut self, name: &str, words: &mut Words) -> Outcome<Option<String>> {
        let answer = match name {
            "get" => {
                let range = words.range()?;
                self.read(|reader| Ok(words::range_response(&reader.range(&range)?)))
            }
            "stream" => {
                let (bytes, range) = (words.number()?, words.range()?);
                self.read(|reader| {
                    let mut stream = reader.range_stream(&range, bytes)?;
                    let mut pieces = String::new();
                    while let Some(piece) = stream.next_piece()? {
                        writeln!(pieces, "piece {}", words::range_response(&piece))?;
                    }
                    Ok(pieces)
                })
            }
            "read_txn" => {
                let txn = words.txn()?;
                self.read(|reader| Ok(words::txn_response(&reader.txn(&txn)?)))
            }
            "hashkv" => {
                let revision = words.number()?;
                self.read(|reader| Ok(format!("{:?}", reader.hash_kv(revision)?)))
            }
            "before" => {
                let (key, revision) = (words.next()?, Revision(words.number()?));
                self.read(|reader| {
                    let held = reader.before(key.as_bytes(), revision);
                    Ok(held.map_or("nothing".to_owned(), |held| words::kv(&held)))
                })
            }
            "history" => self.history(words),
            "status" => self.read(|reader| Ok(status(reader))),
            "sizes" => self.read(|reader| Ok(format!("{:?}", reader.sizes()))),
            "members" => self.read(|reader| Ok(members(reader))),
            "alarms" => self.read(|reader| Ok(words::alarms(&reader.alarms()))),
            "leases" => self.read(|reader| Ok(leases(reader))),
            "accounts" => self.read(|reader| Ok(accounts::told(reader))),
            _ => return Ok(None),
        };
        answer.map(Some)
    }

    /// From a revision on, all of it, in pieces of so many bytes.
    fn history(&mut self, words: &mut Words) -> Outcome<String> {
        let (from, bytes): (i64, usize) = (words.number()?, words.number()?);
        let range = words.range()?;
        let range = KeyRange::new(&range.key, &range.range_end);
        self.read(|reader| {
            let mut lines = String::new();
            let mut next = Revision(from);
            while next.0 <= reader.revision() {
                let piece = reader.history(&range, next, bytes)?;
                write!(lines, "{}", words::changes(&piece.changes, reader))?;
                assert!(piece.next > next, "history goes on");
                next = piece.next;
                writeln!(lines, "next {next}")?;
            }
            Ok(lines)
        })
    }
}

/// A copy of a folder, unless one of its files goes in the meantime.
fn copied(folder: &Path) -> Option<TempDir> {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        match std::fs::copy(file.path(), copy.path().join(file.file_name())) {
            Err(why) if why.kind() == ErrorKind::NotFound => return None,
            copied => drop(copied.unwrap()),
        }
    }
    Some(copy)
}

fn action(word: &str) -> Outcome<pb::alarm_request::AlarmAction> {
    let action = pb::alarm_request::AlarmAction::from_str_name(&word.to_uppercase());
    action.ok_or_else(|| "no such action".into())
}

fn alarm(word: &str) -> Outcome<pb::AlarmType> {
    pb::AlarmType::from_str_name(&word.to_uppercase()).ok_or_else(|| "no such alarm".into())
}

fn status(reader: &Reader) -> String {
    let (applied, revision) = (reader.applied(), reader.revision());
    let (compacted, purged) = (reader.compact_revision(), reader.purged_revision());
    let keys = reader.keys_total();
    format!("applied {applied} rev {revision} compacted {compacted} purged {purged} keys {keys}")
}

fn members(reader: &Reader) -> String {
    let mut lines = format!("voters {:?} speak {:?}\n", reader.voters(), reader.cluster_version());
    for pb::Member { id, name, client_ur_ls, .. } in reader.members() {
        writeln!(lines, "{id} {name:?} {client_ur_ls:?}").unwrap();
    }
    lines
}

fn leases(reader: &Reader) -> String {
    let mut lines = String::new();
    for (LeaseId(id), ttl, remaining) in reader.leases() {
        let keys = reader.lease(LeaseId(id)).unwrap().keys;
        writeln!(lines, "{id} ttl {ttl} remaining {remaining} keys {keys:?}").unwrap();
    }
    lines
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let mut words = Words::new(command);
        let name = command.name.as_str();
        match name {
            "begin" => self.entry = Some(begin_entry()),
            "commit" => return Ok(self.commit(context)),
            "as" => {
                words.next()?;
                self.caller = Caller { user: words.next()?, auth_revision: words.number()? };
            }
            "flush" => {
                self.each(|world| world.engine.as_ref().unwrap().flush());
            }
            "restart" => return Ok(self.all(|world| format!("replayed {}", world.restart()))),
            "crash" => return Ok(self.all(|world| format!("replayed {}", world.crash()))),
            "purge" => return Ok(self.all(|world| format!("slices {}", world.purge()))),
            "settle" => {
                self.each(|world| world.store().settle());
            }
            "fill" => {
                words.next()?;
                let (key, count, bytes) = (words.next()?, words.number()?, words.number()?);
                for _ in 0..count {
                    let put = pb::PutRequest {
                        key: key.clone().into(),
                        value: vec![b'x'; bytes].into(),
                        ..pb::PutRequest::default()
                    };
                    self.propose(Request::Put(put), context);
                }
            }
            "exceeds" => {
                words.next()?;
                let request = Script::request(&words.peek().unwrap_or_default(), &mut words)?;
                return self.read(|reader| Ok(reader.exceeds_quota(&request).to_string()));
            }
            _ => {
                let mut rest = Words::new(command);
                rest.next()?;
                if let Some(answer) = self.look(name, &mut rest)? {
                    return Ok(answer);
                }
                return Ok(self.propose(Script::request(name, &mut words)?, context));
            }
        }
        Ok(String::new())
    }
}

fn run(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/testscripts");
    goldenscript::run(&mut Script::new(), folder.join(name)).unwrap();
}

macro_rules! scripts {
    ($($name:ident => $file:literal)*) => {
        $(#[test]
        fn $name() {
            run($file);
        })*

        #[test]
        fn every_script_is_run() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/testscripts");
            let files = std::fs::read_dir(folder).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            let mut run = vec![$($file),*];
            run.sort();
            assert_eq!(names, run);
        }
    };
}

scripts! {
    keys_are_put_and_deleted => "put"
    ranges_are_cut_sorted_and_counted => "range"
    ranges_come_in_pieces => "stream"
    a_txn_decides_before_it_acts => "txn"
    a_txn_that_cannot_be_carried_out_does_nothing => "txn_refused"
    a_compaction_takes_history_away => "compact"
    a_hash_is_that_of_etcd => "hash"
    a_lease_takes_its_keys_with_it => "lease"
    history_tells_what_watchers_missed => "history"
    alarms_stop_writes => "alarm"
    members_describe_themselves => "members"
    a_store_comes_back_where_it_was => "crash"
    who_may_not_is_refused => "accounts"
}
