//! Sequences of operations that nobody thought of, each from a seed.
//!
//! Keys, values and leases are few, so that operations meet. Revisions are drawn
//! around the present one, which both servers must agree on anyway. A watcher
//! tells what came of it, and now and then the process is killed.

use kat::proto::etcdserverpb::compare::{CompareResult, TargetUnion};
use kat::proto::etcdserverpb::{
    Compare, DeleteRangeRequest, HashKvRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    RequestOp, ResponseHeader, TxnRequest,
};

use super::is_slow;
use super::wire::Wire;
use super::words::{ON, Operation, all, check, compact, create, delete, get, put, watch};

const SEQUENCES: u64 = 50;
const SEQUENCES_SLOW: u64 = 500;
const STEPS: u64 = 60;
const CRASH_EVERY: u64 = 25;

/// With the key that ends a sequence, eleven are live at most: etcd keeps the
/// order of equals when it sorts so few, and promises nothing for more.
const KEYS: [&str; 10] = ["a", "a/1", "a/2", "b", "b\0", "c", "d", "e", "e/\u{7f}", "f"];
const ENDS: [&str; 8] = ["", "", "\0", "a0", "b", "c", "f", "g"];
const VALUES: [&str; 5] = ["", "1", "2", "2", "three"];

/// Numbers that follow from a seed: SplitMix64 (Steele, Lea and Flood, 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// True in so many of a hundred throws.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let place = self.below(from.len() as u64);
        from[usize::try_from(place).expect("a place in a list")]
    }

    /// Now and then a small number, mostly zero, for what is mostly left out.
    fn seldom(&mut self, percent: u64, end: u64) -> i64 {
        if self.chance(percent) { i64::try_from(self.below(end)).expect("small") } else { 0 }
    }

    /// A revision near the present, some in the future, some compacted.
    fn revision(&mut self, now: i64) -> i64 {
        now + 2 - i64::try_from(self.below(14)).expect("small")
    }

    fn maybe_revision(&mut self, percent: u64, now: i64) -> i64 {
        if self.chance(percent) { self.revision(now) } else { 0 }
    }

    fn range(&mut self, now: i64) -> RangeRequest {
        RangeRequest {
            range_end: self.pick(&ENDS).into(),
            limit: self.seldom(30, 5),
            revision: self.maybe_revision(30, now),
            sort_order: i32::try_from(self.seldom(40, 3)).expect("small"),
            sort_target: i32::try_from(self.seldom(40, 5)).expect("small"),
            serializable: self.chance(30),
            keys_only: self.chance(15),
            count_only: self.chance(15),
            min_mod_revision: self.maybe_revision(10, now),
            max_mod_revision: self.maybe_revision(10, now),
            min_create_revision: self.maybe_revision(10, now),
            max_create_revision: self.maybe_revision(10, now),
            ..get(self.pick(&KEYS))
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.chance(10);
        let value = if ignore_value && self.chance(80) { "" } else { self.pick(&VALUES) };
        PutRequest {
            lease: self.seldom(25, 5),
            prev_kv: self.chance(30),
            ignore_value,
            ignore_lease: self.chance(10),
            ..put(self.pick(&KEYS), value)
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest {
            range_end: if self.chance(35) { self.pick(&ENDS) } else { "" }.into(),
            prev_kv: self.chance(30),
            ..delete(self.pick(&KEYS))
        }
    }

    fn compare(&mut self, now: i64) -> Compare {
        let union = match self.below(5) {
            0 => TargetUnion::Version(self.seldom(70, 4)),
            1 => TargetUnion::CreateRevision(self.maybe_revision(70, now)),
            2 => TargetUnion::ModRevision(self.maybe_revision(70, now)),
            3 => TargetUnion::Value(self.pick(&VALUES).into()),
            _ => TargetUnion::Lease(self.seldom(70, 4)),
        };
        let results = [
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ];
        let compare = check(self.pick(&KEYS), self.pick(&results), union);
        let range_end = if self.chance(25) { self.pick(&ENDS) } else { "" };
        Compare { range_end: range_end.into(), ..compare }
    }

    fn operation(&mut self, now: i64, depth: u32) -> RequestOp {
        match self.below(100) {
            0..40 => self.range(now).op(),
            40..75 => self.put().op(),
            75..90 => {
                // Stock etcd ends itself over a put that is to keep the value of
                // a key which such a delete took away in the same txn.
                let mut delete = self.delete();
                if delete.range_end == "\0" {
                    delete.range_end = "".into();
                }
                delete.op()
            }
            _ if depth < 2 => self.txn(now, depth + 1).op(),
            _ => RequestOp { request: None },
        }
    }

    fn txn(&mut self, now: i64, depth: u32) -> TxnRequest {
        let operations = |dice: &mut Dice| -> Vec<RequestOp> {
            (0..dice.below(4)).map(|_| dice.operation(now, depth)).collect()
        };
        TxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare(now)).collect(),
            success: operations(self),
            failure: operations(self),
        }
    }
}

fn later(now: i64, header: Option<ResponseHeader>) -> i64 {
    header.map_or(now, |header| header.revision.max(now))
}

/// Does one thing, and returns the present revision.
async fn step(wire: &mut Wire, mut dice: Dice, now: i64) -> i64 {
    match dice.below(100) {
        0..24 => later(now, wire.put(dice.put()).await.and_then(|answer| answer.header)),
        24..48 => later(now, wire.range(dice.range(now)).await.and_then(|answer| answer.header)),
        48..60 => {
            let answer = wire.delete_range(dice.delete()).await;
            later(now, answer.and_then(|answer| answer.header))
        }
        60..84 => later(now, wire.txn(dice.txn(now, 0)).await.and_then(|answer| answer.header)),
        84..87 => {
            wire.compact(compact(dice.revision(now) - 6)).await;
            now
        }
        87..91 => {
            let id = 1 + dice.seldom(100, 4);
            wire.lease_grant(600 + id, id).await;
            now
        }
        91..94 => {
            let request = LeaseRevokeRequest { id: 1 + dice.seldom(100, 4) };
            later(now, wire.lease_revoke(request).await.and_then(|answer| answer.header))
        }
        94..96 => {
            wire.lease_time_to_live(1 + dice.seldom(100, 4), true).await;
            now
        }
        96..98 => {
            wire.hash_kv(HashKvRequest { revision: dice.revision(now) }).await;
            now
        }
        _ => {
            let mut request = dice.range(now);
            if request.sort_order == 0 {
                // Otherwise stock etcd sorts each piece for itself.
                request.sort_target = 0;
            }
            wire.range_stream(request).await;
            now
        }
    }
}

pub(super) async fn playing_at_random(wire: &mut Wire) {
    let mut now = 1;
    for seed in 0..if is_slow() { SEQUENCES_SLOW } else { SEQUENCES } {
        let mut dice = Dice(seed);
        let mut watching = wire.watching();
        wire.tell(&watching, create(watch("\0", ON))).await;
        wire.hear(&mut watching, 1).await;
        for number in 0..STEPS {
            wire.chapter = format!("seed {seed}, step {number}: ");
            now = step(wire, Dice(dice.roll()), now).await;
        }
        wire.chapter = format!("after seed {seed}: ");
        now = later(now, wire.put(put("z", "the end")).await.and_then(|answer| answer.header));
        wire.hear_until(&mut watching, now).await;
        if seed % CRASH_EVERY == CRASH_EVERY - 1 {
            wire.crash();
        }
        wire.range(all()).await;
        wire.hash_kv(HashKvRequest { revision: 0 }).await;
    }
}
