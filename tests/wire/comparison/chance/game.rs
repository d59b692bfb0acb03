//! [`Game`]: a sequence of operations, played against one server.

use std::collections::BTreeMap;

use kat::proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, HashKvRequest, LeaseRevokeRequest, RangeRequest,
    ResponseHeader, WatchCreateRequest,
};

use super::super::Server;
use super::super::wire::{Exchange, Wire};
use super::super::words::{ON, all, compact, delete_range, put, watch};
use super::dice::{Dice, LEASES};
use super::streams::{BEAT, Stream};

/// Streams that are open at once.
const STREAMS_MAX: usize = 3;
const NO_LEASE: i64 = 999;

/// What is played: each number is one operation.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    pub(super) seed: u64,
    /// Whether there are users and roles, and who asks matters.
    pub(super) has_accounts: bool,
    /// Whether the server may name leases, which spoils hashes.
    draws_leases: bool,
    pub(super) steps: Vec<u64>,
}

impl Sequence {
    pub(super) fn new(seed: u64, steps: usize) -> Sequence {
        let mut dice = Dice::new(seed);
        let (has_accounts, draws_leases) = (dice.chance(35), dice.chance(25));
        let steps = (0..steps).map(|_| dice.roll()).collect();
        Sequence { seed, has_accounts, draws_leases, steps }
    }
}

/// One server, and what is known of it.
pub(super) struct Game {
    pub(super) wire: Wire,
    /// The present revision.
    now: i64,
    compacted: i64,
    /// Whether a purge may be going on: nobody waited for it, or a process was killed.
    is_purging: bool,
    /// Up to where it is luck which compactions' hashes are kept: none is of a
    /// compaction that meets another's purge. And up to where keys hung on leases
    /// that each server had named.
    lost: i64,
    streams: Vec<Stream>,
    opened: usize,
    /// Leases that the server named.
    drawn: Vec<i64>,
    granted: i64,
    draws_leases: bool,
    pub(super) has_accounts: bool,
    /// Who has shown a password, and the token that came of it.
    pub(super) tokens: BTreeMap<&'static str, Option<String>>,
    pub(super) root_password: &'static str,
}

impl Game {
    pub(super) fn new(server: Server) -> Game {
        Game {
            wire: Wire::new(server),
            now: 1,
            compacted: 0,
            is_purging: false,
            lost: 0,
            streams: Vec::new(),
            opened: 0,
            drawn: Vec::new(),
            granted: 0,
            draws_leases: false,
            has_accounts: false,
            tokens: BTreeMap::new(),
            root_password: "",
        }
    }

    /// Plays a sequence from an empty store to an empty store, and returns all
    /// that was said.
    pub(super) async fn play(&mut self, sequence: &Sequence) -> Vec<Exchange> {
        self.has_accounts = sequence.has_accounts;
        self.draws_leases = sequence.draws_leases;
        self.tokens.clear();
        self.drawn.clear();
        self.wire.secrets.clear();
        (self.granted, self.opened) = (0, 0);
        if self.has_accounts {
            self.chapter(sequence.seed, "accounts");
            self.open_accounts(Dice::new(!sequence.seed)).await;
        }
        for (place, number) in sequence.steps.iter().enumerate() {
            self.chapter(sequence.seed, &format!("step {place} (0x{number:x})"));
            self.step(Dice::new(*number)).await;
        }
        self.chapter(sequence.seed, "the end");
        self.end().await;
        self.chapter(sequence.seed, "tidying up");
        self.tidy().await;
        std::mem::take(&mut self.wire.said)
    }

    fn chapter(&mut self, seed: u64, name: &str) {
        self.wire.chapter = format!("seed {seed}, {name}: ");
    }

    /// The header of an answer tells the present revision.
    fn later(&mut self, header: Option<ResponseHeader>) {
        self.now = header.map_or(self.now, |header| header.revision.max(self.now));
    }

    async fn step(&mut self, mut dice: Dice) {
        dice.is_straight = self.has_accounts;
        if self.has_accounts {
            if dice.chance(35) {
                return self.administer(&mut dice).await;
            }
            self.ask_as_somebody(&mut dice);
        }
        match dice.below(1000) {
            0..560 => self.use_keys(&mut dice).await,
            560..620 => self.read_on(&mut dice).await,
            620..780 => self.use_leases(&mut dice).await,
            780..960 => self.use_streams(&mut dice).await,
            960..985 => self.ask_the_member(&mut dice).await,
            985..998 => self.raise_an_alarm(&mut dice).await,
            _ => self.crash().await,
        }
    }

    fn leases(&self) -> Vec<i64> {
        let drawn = self.drawn.iter().copied();
        LEASES.into_iter().filter(|id| *id != i64::MIN).chain(drawn).collect()
    }

    /// A lease that may be there.
    fn lease(&self, dice: &mut Dice) -> i64 {
        let id = dice.pick(&LEASES);
        if id == 0 { self.drawn.last().copied().unwrap_or(NO_LEASE) } else { id }
    }

    async fn use_keys(&mut self, dice: &mut Dice) {
        let (now, leases) = (self.now, self.leases());
        let header = match dice.below(100) {
            0..30 => self.wire.put(dice.put(&leases)).await.and_then(|answer| answer.header),
            30..55 => self.wire.range(dice.range(now)).await.and_then(|answer| answer.header),
            55..68 => {
                let answer = self.wire.delete_range(dice.delete()).await;
                answer.and_then(|answer| answer.header)
            }
            _ => self.wire.txn(dice.txn(now, &leases, 0)).await.and_then(|answer| answer.header),
        };
        self.later(header);
    }

    /// Streams of a range, compactions and hashes.
    async fn read_on(&mut self, dice: &mut Dice) {
        match dice.below(100) {
            0..40 => self.wire.range_stream(dice.streamed_range(self.now)).await,
            40..75 => {
                let revision = dice.revision(self.now) - dice.pick(&[0, 3, 6, 9]);
                self.compact(CompactionRequest { revision, physical: dice.chance(80) }).await;
            }
            _ => {
                let revision = dice.revision(self.now);
                self.hash(revision).await;
            }
        }
    }

    /// What was replaced is looked up when an event is sent, and may be gone by
    /// then; so all is heard before.
    ///
    /// If a compaction at 0 keeps its hash, that passes for the hash of the present;
    /// so nobody compacts there while another's purge decides whether it does.
    async fn compact(&mut self, request: CompactionRequest) {
        let CompactionRequest { revision, physical } = request;
        let is_luck = revision == 0 && (self.is_purging || !physical);
        if !is_luck && self.beat().await && self.wire.compact(request).await.is_some() {
            self.compacted = revision;
            if self.is_purging || !physical {
                self.lost = revision;
            }
            self.is_purging = !physical;
        }
    }

    async fn hash(&mut self, revision: i64) {
        let meant = if revision == 0 { self.now } else { revision };
        let is_lost = (1..=self.lost).contains(&meant);
        if self.drawn.is_empty() && !is_lost {
            self.wire.hash_kv(HashKvRequest { revision }).await;
        }
    }

    async fn use_leases(&mut self, dice: &mut Dice) {
        match dice.below(100) {
            0..30 => self.grant(dice).await,
            30..50 => {
                let request = LeaseRevokeRequest { id: self.lease(dice) };
                let answer = self.wire.lease_revoke(request).await;
                self.later(answer.and_then(|answer| answer.header));
            }
            50..70 => self.wire.lease_time_to_live(self.lease(dice), dice.chance(70)).await,
            70..85 => {
                let ids: Vec<_> = (0..1 + dice.below(3)).map(|_| self.lease(dice)).collect();
                self.wire.keep_alive(&ids).await;
            }
            _ => drop(self.wire.lease_leases(Default::default()).await),
        }
    }

    /// Leases are listed as they expire, so each lives much longer than the last.
    async fn grant(&mut self, dice: &mut Dice) {
        self.granted += 1;
        let ttl = match dice.below(20) {
            0 => dice.pick(&[9_000_000_001, i64::MAX]),
            _ => 1000 * self.granted,
        };
        let mut id = dice.pick(&LEASES);
        if id == 0 && !self.draws_leases {
            id = 1;
        }
        let granted = self.wire.lease_grant(ttl, id).await;
        if id == 0 && granted > 0 {
            let name = format!("LEASE{}", self.drawn.len());
            self.wire.hide(granted.to_string(), &name);
            self.drawn.push(granted);
        }
    }

    async fn use_streams(&mut self, dice: &mut Dice) {
        if self.streams.is_empty() || self.streams.len() < STREAMS_MAX && dice.chance(10) {
            self.opened += 1;
            let opened = Stream::open(&mut self.wire, self.opened).await;
            self.streams.extend(opened);
        }
        if self.streams.is_empty() {
            return;
        }
        let place = dice.below(self.streams.len() as u64);
        let place = usize::try_from(place).expect("a place in a list");
        let request = dice.watcher(self.now);
        let what = dice.below(100);
        if what < 65 && !(1..=self.now).contains(&request.start_revision) {
            return self.create(place, request).await;
        }
        // Progress is told once per revision, so there must be a new one; and whoever
        // is cancelled should have heard everything.
        if !self.beat().await {
            return;
        }
        match what {
            0..65 => self.create(place, request).await,
            65..82 => {
                let mut watchers = self.streams[place].watchers();
                watchers.push(55);
                self.streams[place].cancel(&mut self.wire, dice.pick(&watchers)).await;
            }
            82..92 => self.streams[place].progress(&mut self.wire, self.now).await,
            _ => self.streams.remove(place).close(&mut self.wire),
        }
    }

    async fn create(&mut self, place: usize, request: WatchCreateRequest) {
        let history = (self.now, self.compacted);
        self.streams[place].create(&mut self.wire, request, history).await;
    }

    /// Has every stream hear all that happened until now; false if an alarm is in
    /// the way.
    async fn beat(&mut self) -> bool {
        if self.streams.is_empty() {
            return true;
        }
        let token = self.become_root().await;
        let is_heard = self.wait_for_beat().await;
        self.wire.token = token;
        is_heard
    }

    async fn wait_for_beat(&mut self) -> bool {
        let answer = self.wire.put(put(BEAT, "")).await;
        let Some(header) = answer.and_then(|answer| answer.header) else { return false };
        self.now = header.revision;
        for stream in &mut self.streams {
            stream.hear_beat(self.now).await;
        }
        true
    }

    async fn ask_the_member(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => drop(self.wire.member_list(Default::default()).await),
            1 => drop(self.wire.status(Default::default()).await),
            2 => drop(self.wire.defragment(Default::default()).await),
            _ => drop(self.wire.alarm(Default::default()).await),
        }
    }

    /// An alarm, what it stands in the way of, and its end.
    async fn raise_an_alarm(&mut self, dice: &mut Dice) {
        let member_id = dice.pick(&[0, 5]);
        let alarm = dice.pick(&[1, 1, 2]);
        self.wire.alarm(AlarmRequest { action: 1, alarm, member_id }).await;
        for _ in 0..4 {
            match dice.below(100) {
                0..60 => self.use_keys(dice).await,
                60..75 => self.read_on(dice).await,
                75..95 => self.use_leases(dice).await,
                _ => self.ask_the_member(dice).await,
            }
        }
        self.disarm().await;
    }

    async fn disarm(&mut self) {
        let token = self.become_root().await;
        let found = self.wire.alarm(Default::default()).await.unwrap_or_default();
        for alarm in found.alarms {
            let (alarm, member_id) = (alarm.alarm, alarm.member_id);
            self.wire.alarm(AlarmRequest { action: 2, alarm, member_id }).await;
        }
        self.wire.token = token;
    }

    async fn crash(&mut self) {
        self.beat().await;
        self.close_streams();
        self.wire.write("the process is killed", "");
        self.wire.crash();
        // No hash is kept over it, and purges go on.
        self.is_purging = true;
        // Of tokens, etcd finds some again in its log, and some not.
        self.tokens.clear();
        self.wire.token = None;
    }

    fn close_streams(&mut self) {
        for stream in std::mem::take(&mut self.streams) {
            stream.close(&mut self.wire);
        }
    }

    /// Asks for all there is, and for all there was.
    async fn end(&mut self) {
        self.become_root().await;
        let awaited = self.streams.iter().map(Stream::awaited).filter(|start| *start < i64::MAX);
        let awaited = awaited.filter(|start| *start < self.now + 10).max().unwrap_or(0);
        while self.now < awaited && self.wait_for_beat().await {}
        self.beat().await;
        self.close_streams();
        self.tell_history().await;
        for revision in [0, self.compacted, self.compacted.midpoint(self.now)] {
            self.wire.range(RangeRequest { revision, ..all() }).await;
            self.hash(revision).await;
        }
        self.wire.range_stream(all()).await;
        self.wire.alarm(Default::default()).await;
        let leases = self.wire.lease_leases(Default::default()).await.unwrap_or_default();
        for lease in leases.leases {
            self.wire.lease_time_to_live(lease.id, true).await;
        }
        if self.has_accounts {
            self.list_accounts().await;
        }
    }

    async fn tell_history(&mut self) {
        self.opened += 1;
        let Some(mut stream) = Stream::open(&mut self.wire, self.opened).await else { return };
        let start_revision = self.compacted.max(1);
        let past = WatchCreateRequest { start_revision, prev_kv: true, ..watch("\0", ON) };
        stream.create(&mut self.wire, past, (self.now, self.compacted)).await;
        stream.close(&mut self.wire);
    }

    /// Leaves nothing but revisions behind.
    async fn tidy(&mut self) {
        self.become_root().await;
        if self.has_accounts {
            self.close_accounts().await;
        }
        let leases = self.wire.lease_leases(Default::default()).await.unwrap_or_default();
        for lease in leases.leases {
            let answer = self.wire.lease_revoke(LeaseRevokeRequest { id: lease.id }).await;
            self.later(answer.and_then(|answer| answer.header));
        }
        let answer = self.wire.delete_range(delete_range("\0", ON)).await;
        self.later(answer.and_then(|answer| answer.header));
        self.compact(compact(self.now)).await;
        if !self.drawn.is_empty() {
            self.lost = self.now;
        }
    }
}
