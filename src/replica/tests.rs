//! A member with its threads, on engines whose disk a test can hold up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::*;
use crate::consensus::FAMILIES;
use crate::engine::{self, Batch, Engine, Family, Frozen, Memory, Visit};
use crate::ids::{ClusterId, LeaseId, LogIndex, MemberId};
use crate::proto::etcdserverpb as pb;
use crate::proto::kat::log::MemberAdd;
use crate::proto::kat::log::command::Request;
use crate::store::{self, Caller, Genesis, Reply};

const OURS: Identity = Identity { cluster: ClusterId(0xca7), member: MemberId(1) };

/// A log engine in memory whose syncs stop at a gate.
struct Gated {
    memory: Memory,
    /// Open, and how often it was passed.
    gate: Mutex<(bool, u64)>,
    moved: Condvar,
}

impl Gated {
    fn new() -> Gated {
        let memory = Memory::new(engine::Options { families: FAMILIES, wal: true });
        Gated { memory, gate: Mutex::new((true, 0)), moved: Condvar::new() }
    }

    fn shut(&self) {
        self.gate.lock().0 = false;
    }

    fn open(&self) {
        self.gate.lock().0 = true;
        self.moved.notify_all();
    }

    fn syncs(&self) -> u64 {
        self.gate.lock().1
    }
}

impl Engine for Gated {
    fn get(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.memory.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Vec<Option<Bytes>> {
        self.memory.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: Option<&[u8]>, visit: &mut Visit<'_>) {
        self.memory.scan(family, from, to, visit);
    }

    fn write(&self, batch: Batch) {
        self.memory.write(batch);
    }

    fn write_synced(&self, batch: Batch) {
        let mut gate = self.gate.lock();
        self.moved.wait_while(&mut gate, |(is_open, _)| !*is_open);
        gate.1 += 1;
        self.memory.write_synced(batch);
    }

    fn flush(&self) {
        self.memory.flush();
    }

    fn compact(&self) {}

    fn freeze(&self) -> Box<dyn Frozen + '_> {
        self.memory.freeze()
    }

    fn disk_bytes(&self) -> u64 {
        self.memory.disk_bytes()
    }
}

/// A disk that outlives the member on it.
struct Disk {
    log: Arc<Gated>,
    state: Arc<Memory>,
}

impl Disk {
    /// The disk of a cluster of so many voters.
    fn of(voters: u64) -> Disk {
        let disk =
            Disk { log: Arc::new(Gated::new()), state: Arc::new(Memory::new(store::ENGINE)) };
        let member = |id| pb::Member { id, ..pb::Member::default() };
        let (index, term) = GENESIS;
        let members = (1..=voters).map(member).collect();
        found(&disk.engines(), OURS, &Genesis { cluster: OURS.cluster, members, index, term });
        disk
    }

    fn engines(&self) -> Engines {
        Engines { log: self.log.clone(), state: self.state.clone() }
    }

    fn start(&self) -> Running {
        start(self.engines(), Arc::new(SystemClock), &options()).unwrap()
    }

    fn crash(&self) {
        self.log.memory.crash();
        self.state.crash();
    }

    /// What a crash leaves. The member that runs on it writes nothing more.
    fn crash_under(&self, _: &Running) -> Disk {
        self.log.shut();
        self.crash();
        let again = Disk { log: Arc::new(Gated::new()), state: self.state.clone() };
        copy(&self.log.memory, &again.log.memory);
        again
    }
}

fn options() -> Options {
    Options {
        timings: Timings {
            heartbeat: Duration::from_millis(20),
            election_ticks: 10,
            request_timeout: Duration::from_secs(20),
        },
        request_bytes_max: 3 << 20,
        store: store::Options::default(),
        slow_apply: Duration::from_secs(1),
        election_ticks_exact: None,
        force_new_cluster: false,
    }
}

fn hasty(request_timeout: Duration) -> Options {
    let timings = Timings { request_timeout, ..options().timings };
    Options { timings, ..options() }
}

fn put(key: &str, bytes: usize) -> Request {
    Request::Put(pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: vec![b'v'; bytes].into(),
        ..pb::PutRequest::default()
    })
}

fn submit(replica: &Replica, request: Request) -> oneshot::Receiver<Outcome> {
    replica.submit(&Caller::default(), request).unwrap()
}

async fn propose(replica: &Replica, request: Request) -> Outcome {
    replica.propose(&Caller::default(), request).await
}

fn count(replica: &Replica) -> i64 {
    let (key, range_end) = (vec![0].into(), vec![0].into());
    let all = pb::RangeRequest { key, range_end, count_only: true, ..pb::RangeRequest::default() };
    replica.reader().range(&all).unwrap().count
}

/// Lets other tasks run until it is so; the test's own time limit is its end.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whatever_waits_for_a_slow_disk_shares_its_next_sync() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    disk.log.shut();
    let first = submit(&replica, put("first", 10));
    // The writer has gone to the disk with the first.
    until(|| replica.shared().inbox.is_idle()).await;
    let rest: Vec<_> = (0..2000).map(|at| submit(&replica, put(&format!("{at}"), 256))).collect();
    let before = disk.log.syncs();
    disk.log.open();
    first.await.unwrap().unwrap();
    for outcome in rest {
        outcome.await.unwrap().unwrap();
    }
    // One for the first, one for all others; a tick may have split them.
    let syncs = disk.log.syncs() - before;
    assert!(syncs <= 2, "{syncs} syncs for 2001 commands");
    assert_eq!(count(&replica), 2001);
    running.stop();
}

#[tokio::test]
async fn a_disk_that_stands_still_holds_up_neither_reads_nor_time() {
    let disk = Disk::of(1);
    let clock = Arc::new(SystemClock);
    let running = start(disk.engines(), clock, &hasty(Duration::from_millis(200))).unwrap();
    let replica = running.replica();
    while replica.ready().await.is_err() {}
    disk.log.shut();
    let refused = propose(&replica, put("a", 1)).await.unwrap_err();
    assert_eq!(refused, Failure::Unavailable(Unavailable::TimedOut));
    replica.linearize().await.unwrap();
    assert!(replica.standing().is_leader);
    disk.log.open();
    running.stop();
}

#[tokio::test]
async fn watchers_know_before_the_writer() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    let (progress_every, fragment_bytes) = (Duration::from_secs(600), 1 << 20);
    let mut stream = replica.watch(WatchOptions { progress_every, fragment_bytes });
    let create = pb::WatchCreateRequest { key: "a".into(), ..pb::WatchCreateRequest::default() };
    let create = pb::watch_request::RequestUnion::CreateRequest(create);
    stream.request(pb::WatchRequest { request_union: Some(create) });
    assert!(stream.next().await.unwrap().created);
    for at in 0..500 {
        propose(&replica, put("a", at)).await.unwrap();
        // There is nothing left to wait for.
        let told = stream.next().now_or_never().flatten();
        assert_eq!(told.map(|told| told.events.len()), Some(1), "write {at}");
    }
    running.stop();
}

#[tokio::test]
async fn what_cannot_wait_is_refused_at_once() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    disk.log.shut();
    // raft takes 64 MiB, and a little while after that the rest is refused.
    let (accepted, refused): (Vec<_>, Vec<_>) = (0..200)
        .map(|at| replica.submit(&Caller::default(), put(&format!("{at}"), 1 << 20)))
        .partition(Result::is_ok);
    until(|| replica.pending() < 80).await;
    let overloaded = Failure::Unavailable(Unavailable::Overloaded);
    assert!(refused.into_iter().all(|refused| refused.unwrap_err() == overloaded));
    let mut outcomes: Vec<_> = accepted.into_iter().map(Result::unwrap).collect();
    let mut answered = outcomes.iter_mut().filter_map(|outcome| outcome.try_recv().ok());
    assert!(answered.all(|outcome| outcome == Err(overloaded.clone())));
    let large = replica.submit(&Caller::default(), put("large", 4 << 20)).unwrap_err();
    assert_eq!(large, Failure::TooLarge);
    disk.log.open();
    until(|| replica.pending() == 0).await;
    propose(&replica, put("later", 1)).await.unwrap();
    running.stop();
}

#[tokio::test]
async fn a_restart_behind_a_clean_stop_replays_nothing() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    let last = submit(&replica, put("a", 1));
    let never = tokio::spawn({
        let replica = replica.clone();
        async move { replica.applied(LogIndex(u64::MAX)).await }
    });
    tokio::task::yield_now().await;
    running.stop();
    never.await.unwrap();
    replica.defragment().await;
    // What was accepted before the stop is carried out, what comes after is not.
    let late = replica.submit(&Caller::default(), put("b", 1)).unwrap_err();
    assert_eq!(late, Failure::Unavailable(Unavailable::Stopped));
    assert_eq!(replica.linearize().await, Err(Unavailable::Stopped));
    let was_done = last.await.unwrap().is_ok();
    let applied = replica.reader().applied();
    disk.crash();
    let parts = open(disk.engines(), Arc::new(SystemClock), &options()).unwrap();
    assert_eq!(parts.durable, applied);
    assert_eq!(parts.replica.reader().applied(), applied);
    assert_eq!(count(&parts.replica), i64::from(was_done));
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_of_the_state() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    for at in 0..50 {
        propose(&replica, put(&format!("{at}"), 10)).await.unwrap();
    }
    let again = disk.crash_under(&running);
    let second = again.start();
    second.replica().ready().await.unwrap();
    second.replica().linearize().await.unwrap();
    assert_eq!(count(&second.replica()), 50);
    second.stop();
    disk.log.open();
}

/// What lies on one disk, on another.
fn copy(from: &Memory, to: &Memory) {
    let mut batch = Batch::default();
    for family in [Family(0), Family(1)] {
        from.scan(family, &[], None, &mut |key, value| {
            batch.put(family, key, value);
            std::ops::ControlFlow::Continue(())
        });
    }
    to.write_synced(batch);
}

#[tokio::test]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    let disk = Disk::of(1);
    let clock = Arc::new(Pushed::default());
    let running = start(disk.engines(), clock.clone(), &options()).unwrap();
    let replica = running.replica();
    replica.ready().await.unwrap();
    let grant = pb::LeaseGrantRequest { ttl: 60, id: 7 };
    let granted = propose(&replica, Request::LeaseGrant(grant)).await.unwrap();
    assert!(matches!(granted, Reply::LeaseGrant(response) if response.ttl == 60));
    clock.push(Duration::from_secs(59));
    assert_eq!(replica.keep_alive(LeaseId(7)).await, Ok(60));
    clock.push(Duration::from_secs(59));
    let left = replica.time_to_live(LeaseId(7)).await.unwrap().unwrap();
    assert_eq!((left.granted, left.left), (60, Duration::from_secs(1)));
    clock.push(Duration::from_secs(2));
    // Its time is up: the answer comes when it is gone.
    assert_eq!(replica.keep_alive(LeaseId(7)).await, Ok(0));
    assert_eq!(replica.time_to_live(LeaseId(7)).await, Ok(None));
    assert_eq!(replica.reader().leases(), []);
    assert_eq!(replica.counters().leases_expired.get(), 1);
    running.stop();
}

/// A clock that stands still until it is pushed.
#[derive(Default)]
struct Pushed(AtomicU64);

impl Pushed {
    fn push(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Pushed {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn nobody_is_served_where_nobody_leads() {
    let disk = Disk::of(3);
    let running =
        start(disk.engines(), Arc::new(SystemClock), &hasty(Duration::from_millis(100))).unwrap();
    let replica = running.replica();
    let no_leader = Failure::Unavailable(Unavailable::NoLeader);
    let not_proposed = Failure::Unavailable(Unavailable::NotProposed);
    assert_eq!(propose(&replica, put("a", 1)).await, Err(not_proposed));
    assert_eq!(replica.linearize().await, Err(Unavailable::TimedOut));
    assert_eq!(replica.ready().await, Err(Unavailable::NoLeader));
    assert_eq!(replica.keep_alive(LeaseId(7)).await, Err(no_leader.clone()));
    assert_eq!(replica.time_to_live(LeaseId(7)).await, Err(no_leader));
    assert_eq!(replica.pending(), 0);
    running.stop();
}

#[tokio::test]
async fn space_comes_back_behind_a_compaction() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    for _ in 0..100 {
        propose(&replica, put("a", 100)).await.unwrap();
    }
    let revision = replica.reader().revision();
    let compact = pb::CompactionRequest { revision, physical: false };
    propose(&replica, Request::Compact(compact)).await.unwrap();
    replica.purged(revision).await;
    assert_eq!(replica.reader().purged_revision(), revision);
    let before = replica.reader().sizes();
    replica.defragment().await;
    let after = replica.reader().sizes();
    assert!(after.total < before.total, "{after:?} after {before:?}");
    running.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_answered_reads_what_it_wrote_whichever_thread_applied_it() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    let client = |name: usize| {
        let replica = replica.clone();
        async move {
            let mut revisions = Vec::new();
            for round in 0..100 {
                // Some are too large for the writer, most are not.
                let bytes = if (name + round).is_multiple_of(7) { 5000 } else { 10 };
                let reply = propose(&replica, put(&format!("{name}"), bytes)).await;
                let Ok(Reply::Put(response)) = reply else { panic!("{reply:?}") };
                let written = response.header.unwrap().revision;
                replica.linearize().await.unwrap();
                let (key, get) = (format!("{name}").into(), pb::RangeRequest::default());
                let read = replica.reader().range(&pb::RangeRequest { key, ..get }).unwrap();
                assert_eq!(read.kvs[0].mod_revision, written);
                assert_eq!(read.kvs[0].value.len(), bytes);
                revisions.push(written);
            }
            revisions
        }
    };
    let clients: Vec<_> = (0..12).map(|name| tokio::spawn(client(name))).collect();
    let mut revisions = Vec::new();
    for client in clients {
        revisions.extend(client.await.unwrap());
    }
    revisions.sort_unstable();
    // An empty store is at revision 1, and every put makes one more.
    assert!(revisions.into_iter().eq(2..=1201));
    running.stop();
}

#[test]
fn the_log_is_cut_a_flush_behind_what_is_durable() {
    let disk = Disk::of(1);
    let parts = open(disk.engines(), Arc::new(Pushed::default()), &options()).unwrap();
    let Parts { replica, inbox, mut driver, mut applier, .. } = parts;
    let mut turn = |inputs: Vec<Input>| {
        let mut inputs = inputs;
        inputs.extend(inbox.take(Duration::ZERO));
        let mut outbox = driver.turn(inputs, Duration::ZERO);
        while !(outbox.writes.is_empty() && outbox.committed.is_empty()) {
            applier.turn(outbox.committed);
            let persisted = crate::consensus::persist(&*disk.log, outbox.writes);
            outbox = driver.turn(vec![Input::Persisted(persisted)], Duration::ZERO);
        }
    };
    let first_kept = || {
        let mut first = None;
        disk.log.scan(Family(0), &[], None, &mut |key, _| {
            first = Some(u64::from_be_bytes(key.try_into().unwrap()));
            std::ops::ControlFlow::Break(())
        });
        first.unwrap()
    };
    turn(Vec::new());
    let mut durable = Vec::new();
    for round in 0..3 {
        for at in 0..10 {
            drop(submit(&replica, put(&format!("{round}/{at}"), 10)));
            turn(Vec::new());
        }
        disk.state.flush();
        durable.push(replica.reader().applied());
        turn(vec![Input::Durable(replica.reader().applied())]);
        let cut = durable.len().checked_sub(2).map_or(GENESIS.0, |at| durable[at]);
        assert_eq!(LogIndex(first_kept()), LogIndex(cut.0 + 1), "round {round}");
    }
    // What is kept is enough for a restart.
    disk.crash();
    let parts = open(disk.engines(), Arc::new(Pushed::default()), &options()).unwrap();
    assert_eq!(count(&parts.replica), 30);
}

/// Starts a member that goes on alone, and waits until it serves.
async fn secede(disk: &Disk) -> Running {
    let options = Options { force_new_cluster: true, ..options() };
    let running = start(disk.engines(), Arc::new(SystemClock), &options).unwrap();
    running.replica().ready().await.unwrap();
    running
}

#[tokio::test]
async fn whoever_lost_the_others_can_go_on_alone() {
    let disk = Disk::of(3);
    let running = secede(&disk).await;
    let replica = running.replica();
    assert_eq!(replica.reader().voters(), [OURS.member]);
    assert!([2, 3].into_iter().all(|id| replica.reader().was_removed(MemberId(id))));
    propose(&replica, put("a", 1)).await.unwrap();
    let again = disk.crash_under(&running);
    // It stays alone, and loses nothing, whether it is told again or not.
    for is_told in [true, false] {
        let second = if is_told { secede(&again).await } else { again.start() };
        let replica = second.replica();
        replica.ready().await.unwrap();
        assert_eq!((replica.reader().voters(), count(&replica)), (vec![OURS.member], 1));
        second.stop();
    }
    disk.log.open();
    running.stop();
}

#[tokio::test]
async fn going_on_alone_keeps_what_was_acknowledged_before_others_came() {
    let disk = Disk::of(1);
    let running = disk.start();
    let replica = running.replica();
    replica.ready().await.unwrap();
    propose(&replica, put("acknowledged", 1)).await.unwrap();
    let member = pb::Member { id: 2, ..pb::Member::default() };
    let add = MemberAdd { member: Some(member), learners_max: 0 };
    let added = replica.change_members(&Caller::default(), Request::MemberAdd(add)).await;
    assert!(matches!(added.unwrap(), Reply::Members(members) if members.len() == 2));
    // In the log, but nobody agrees to it.
    let lost = submit(&replica, put("lost", 1));
    until(|| replica.standing().leader.is_none()).await;
    let again = disk.crash_under(&running);
    let second = secede(&again).await;
    let replica = second.replica();
    assert_eq!((replica.reader().voters(), count(&replica)), (vec![OURS.member], 1));
    assert!(replica.reader().was_removed(MemberId(2)));
    second.stop();
    disk.log.open();
    drop(lost);
    running.stop();
}
