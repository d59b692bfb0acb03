//! [`Dice`]: requests that nobody thought of, each from a number.
//!
//! Keys, values and leases are few, so that operations meet. Revisions are drawn
//! around the present one, which both servers must agree on anyway.

use kat::proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use kat::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchCreateRequest,
};

use super::super::words::{Operation, check, delete, get, put, watch};

/// With the key that beats, eleven are live at most: etcd keeps the order of
/// equals when it sorts so few, and promises nothing for more.
pub(super) const KEYS: [&str; 10] = ["a", "a/1", "a/2", "b", "b\0", "c", "d", "e", "e/\u{7f}", "f"];
pub(super) const ENDS: [&str; 8] = ["", "", "\0", "a0", "b", "c", "f", "g"];
const VALUES: [&str; 5] = ["", "1", "2", "2", "three"];

/// Leases that a client names; 0 stands for one that the server names.
pub(super) const LEASES: [i64; 7] = [0, 1, 2, 3, 4, -5, i64::MIN];

/// Numbers that follow from a seed: SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Dice {
    state: u64,
    /// Whether ranges end behind their keys: to some users others are granted or
    /// not as stock etcd's memory falls out.
    pub(super) is_straight: bool,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { state: seed, is_straight: false }
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// True in so many of a hundred throws.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.below(from.len() as u64);
        from[usize::try_from(place).expect("a place in a list")]
    }

    /// Now and then a small number, mostly zero, for what is mostly left out.
    pub(super) fn seldom(&mut self, percent: u64, end: u64) -> i64 {
        if self.chance(percent) { i64::try_from(self.below(end)).expect("small") } else { 0 }
    }

    /// A revision near the present, some in the future, some compacted, a few
    /// that no store has.
    pub(super) fn revision(&mut self, now: i64) -> i64 {
        match self.below(50) {
            0 => self.pick(&[-1, i64::MIN, i64::MAX, now + 1000]),
            1..4 => self.pick(&[1, 2, now / 2]),
            _ => now + 2 - i64::try_from(self.below(14)).expect("small"),
        }
    }

    fn maybe_revision(&mut self, percent: u64, now: i64) -> i64 {
        if self.chance(percent) { self.revision(now) } else { 0 }
    }

    /// Mostly a key; sometimes none, which is refused.
    fn key(&mut self) -> &'static str {
        if self.chance(2) { "" } else { self.pick(&KEYS) }
    }

    /// An end for a range that begins with a key.
    fn end(&mut self, key: &str) -> &'static str {
        let end = self.pick(&ENDS);
        if self.is_straight && end != "\0" && end <= key { "" } else { end }
    }

    /// A number of an enum, sometimes one that it has not.
    fn kind(&mut self, percent: u64, end: u64) -> i32 {
        let kind = if self.chance(1) { self.pick(&[-1, 7]) } else { self.seldom(percent, end) };
        i32::try_from(kind).expect("small")
    }

    pub(super) fn range(&mut self, now: i64) -> RangeRequest {
        let key = self.key();
        RangeRequest {
            range_end: self.end(key).into(),
            limit: if self.chance(2) { -1 } else { self.seldom(30, 5) },
            revision: self.maybe_revision(30, now),
            sort_order: self.kind(40, 3),
            sort_target: self.kind(40, 5),
            serializable: self.chance(30),
            keys_only: self.chance(15),
            count_only: self.chance(15),
            min_mod_revision: self.maybe_revision(10, now),
            max_mod_revision: self.maybe_revision(10, now),
            min_create_revision: self.maybe_revision(10, now),
            max_create_revision: self.maybe_revision(10, now),
            ..get(key)
        }
    }

    /// What may be asked for as a stream; the rest is refused, now and then.
    pub(super) fn streamed_range(&mut self, now: i64) -> RangeRequest {
        let mut request = self.range(now);
        if self.chance(80) {
            (request.sort_order, request.sort_target) = (0, 0);
            (request.min_mod_revision, request.max_mod_revision) = (0, 0);
            (request.min_create_revision, request.max_create_revision) = (0, 0);
        }
        if request.sort_order == 0 {
            // Otherwise stock etcd sorts each piece for itself.
            request.sort_target = 0;
        }
        request
    }

    pub(super) fn put(&mut self, leases: &[i64]) -> PutRequest {
        let ignore_value = self.chance(10);
        let value = if ignore_value && self.chance(80) { "" } else { self.pick(&VALUES) };
        PutRequest {
            lease: if self.chance(25) { self.pick(leases) } else { 0 },
            prev_kv: self.chance(30),
            ignore_value,
            ignore_lease: self.chance(10),
            ..put(self.key(), value)
        }
    }

    pub(super) fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        DeleteRangeRequest {
            range_end: if self.chance(35) { self.end(key) } else { "" }.into(),
            prev_kv: self.chance(30),
            ..delete(key)
        }
    }

    fn compare(&mut self, now: i64, leases: &[i64]) -> Compare {
        let union = match self.below(5) {
            0 => TargetUnion::Version(self.seldom(70, 4)),
            1 => TargetUnion::CreateRevision(self.maybe_revision(70, now)),
            2 => TargetUnion::ModRevision(self.maybe_revision(70, now)),
            3 => TargetUnion::Value(self.pick(&VALUES).into()),
            _ => TargetUnion::Lease(self.pick(leases)),
        };
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let mut result = self.pick(&results);
        if matches!(union, TargetUnion::Lease(id) if !LEASES.contains(&id)) {
            // Of two that the server named, either may be the greater.
            result = if result == CompareResult::Less { CompareResult::NotEqual } else { result };
            result = if result == CompareResult::Greater { CompareResult::Equal } else { result };
        }
        let key = self.key();
        let mut compare = check(key, result, union);
        if self.chance(3) {
            compare.target_union = None;
        }
        if self.chance(3) {
            compare.target = self.pick(&[0, 1, 2, 3, 4, 9, -1]);
        }
        let range_end = if self.chance(25) { self.end(key) } else { "" };
        Compare { range_end: range_end.into(), ..compare }
    }

    fn operation(&mut self, now: i64, leases: &[i64], depth: u32) -> RequestOp {
        match self.below(100) {
            0..40 => self.range(now).op(),
            40..75 => self.put(leases).op(),
            75..90 => {
                // Stock etcd ends itself over a put that is to keep the value of
                // a key which such a delete took away in the same txn.
                let mut delete = self.delete();
                if delete.range_end == "\0" {
                    delete.range_end = "".into();
                }
                delete.op()
            }
            _ if depth < 3 => self.txn(now, leases, depth + 1).op(),
            _ => RequestOp { request: None },
        }
    }

    pub(super) fn txn(&mut self, now: i64, leases: &[i64], depth: u32) -> TxnRequest {
        let operations = |dice: &mut Dice| -> Vec<RequestOp> {
            (0..dice.below(4)).map(|_| dice.operation(now, leases, depth)).collect()
        };
        TxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare(now, leases)).collect(),
            success: operations(self),
            failure: operations(self),
        }
    }

    pub(super) fn watcher(&mut self, now: i64) -> WatchCreateRequest {
        let ids = [0, 0, 0, 1, 2, 7, 100, -3, -1];
        let key = self.key();
        let filters: &[i32] = self.pick(&[&[][..], &[], &[], &[0], &[1], &[0, 1], &[5]]);
        let watch_id = self.pick(&ids);
        let start_revision = self.maybe_revision(60, now);
        WatchCreateRequest {
            // What watcher -1 is told of the past, stock etcd may say before it
            // says that there is such a watcher.
            start_revision: if watch_id == -1 { 0 } else { start_revision },
            progress_notify: self.chance(10),
            filters: filters.to_vec(),
            prev_kv: self.chance(40),
            watch_id,
            fragment: self.chance(20),
            ..watch(key, self.end(key))
        }
    }
}
