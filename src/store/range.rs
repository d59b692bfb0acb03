//! Range: the live keys of a range at one revision.
//!
//! Keys come in their natural order, so the usual request stops as soon as it
//! has enough. An explicit order or a bound on revisions needs all keys first;
//! what the index knows (key and `mod_revision`) is then sorted and cut before
//! bodies are fetched. Two oddities are etcd's: a sort target without an order
//! sorts what the limit has left over, and keys without values show no lease.

use bytes::Bytes;

use super::body;
use super::cursor::Cursor;
use super::keyspace::{Pick, Wants};
use super::rejection::Rejection;
use super::schema::signed;
use super::view::{FETCH_MAX, Source};
use super::watch::KeyRange;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use crate::proto::mvccpb::KeyValue;

/// A header with a revision and nothing else.
pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

/// What a request wants done with the keys of its range.
struct Plan<'a> {
    request: &'a RangeRequest,
    order: SortOrder,
    target: SortTarget,
    limit: usize,
}

impl<'a> Plan<'a> {
    fn new(request: &'a RangeRequest) -> Result<Plan<'a>, Rejection> {
        let order = SortOrder::try_from(request.sort_order).or(Err(Rejection::Malformed))?;
        let target = SortTarget::try_from(request.sort_target).or(Err(Rejection::Malformed))?;
        // Nobody has more keys than fit into a usize.
        let limit = usize::try_from(request.limit.max(0)).unwrap_or(usize::MAX);
        Ok(Plan { request, order, target, limit })
    }

    /// Whether all keys must be seen before any can be left out.
    fn is_whole(&self) -> bool {
        let is_natural = match self.order {
            SortOrder::None => true,
            SortOrder::Ascend => self.target == SortTarget::Key,
            SortOrder::Descend => false,
        };
        !is_natural || self.bounds_mod() || self.bounds_create()
    }

    fn bounds_mod(&self) -> bool {
        (self.request.min_mod_revision, self.request.max_mod_revision) != (0, 0)
    }

    fn bounds_create(&self) -> bool {
        (self.request.min_create_revision, self.request.max_create_revision) != (0, 0)
    }

    /// Whether bodies are needed to tell which keys to answer, or in what order.
    fn needs_bodies(&self) -> bool {
        let by_index = matches!(self.target, SortTarget::Key | SortTarget::Mod);
        !by_index || self.bounds_create()
    }

    /// Whether the index alone can make up the answer.
    fn shows_values(&self) -> bool {
        !self.request.keys_only || self.target == SortTarget::Value
    }

    fn holds_mod(&self, revision: i64) -> bool {
        within(revision, self.request.min_mod_revision, self.request.max_mod_revision)
    }

    fn holds_create(&self, revision: i64) -> bool {
        within(revision, self.request.min_create_revision, self.request.max_create_revision)
    }

    /// Keys are in their natural order, and stay so where they are equal.
    fn sort<T>(&self, items: &mut [T], compare: impl Fn(&T, &T) -> std::cmp::Ordering) {
        match self.order {
            SortOrder::None | SortOrder::Ascend => items.sort_by(compare),
            SortOrder::Descend => items.sort_by(|first, second| compare(second, first)),
        }
    }

    fn sort_picks(&self, picks: &mut [Pick]) {
        match self.target {
            SortTarget::Key if self.order == SortOrder::Descend => picks.reverse(),
            SortTarget::Mod => {
                self.sort(picks, |first, second| first.version.main.cmp(&second.version.main));
            }
            _ => {}
        }
    }

    fn sort_kvs(&self, kvs: &mut [KeyValue]) {
        match self.target {
            SortTarget::Key if self.order == SortOrder::Descend => kvs.reverse(),
            SortTarget::Key => {}
            SortTarget::Version => self.sort(kvs, |a, b| a.version.cmp(&b.version)),
            SortTarget::Create => self.sort(kvs, |a, b| a.create_revision.cmp(&b.create_revision)),
            SortTarget::Mod => self.sort(kvs, |a, b| a.mod_revision.cmp(&b.mod_revision)),
            SortTarget::Value => self.sort(kvs, |a, b| a.value.cmp(&b.value)),
        }
    }

    /// Cuts to the limit; whether there was more.
    fn cut<T>(&self, items: &mut Vec<T>) -> bool {
        let more = self.limit > 0 && items.len() > self.limit;
        if more {
            items.truncate(self.limit);
        }
        more
    }
}

fn within(revision: i64, min: i64, max: i64) -> bool {
    (min == 0 || revision >= min) && (max == 0 || revision <= max)
}

/// Whether a request can be understood.
pub(super) fn check(request: &RangeRequest) -> Result<(), Rejection> {
    Plan::new(request).map(|_| ())
}

/// How many keys are looked at, at most.
pub(super) fn keys_looked_at(request: &RangeRequest) -> usize {
    match Plan::new(request) {
        Ok(plan) if !plan.is_whole() && plan.limit > 0 => plan.limit.saturating_add(1),
        Ok(_) => usize::MAX,
        Err(_refused) => 0,
    }
}

/// Carries out a request at the revision of the source; `revision` is what the
/// header says.
pub(super) fn answer(
    source: Source<'_>,
    request: &RangeRequest,
    revision: i64,
) -> Result<RangeResponse, Rejection> {
    let plan = Plan::new(request)?;
    let range = KeyRange::new(&request.key, &request.range_end);
    let count = source.count(&range);
    let by_body = plan.shows_values() || plan.needs_bodies();
    let mut cursor = Cursor::new(&range, Wants { keys: !by_body, bodies: by_body });
    let mut response = RangeResponse { header: header(revision), ..RangeResponse::default() };
    if request.count_only {
        response.count = count.unwrap_or_else(|| cursor.count(source));
        return Ok(response);
    }
    let is_whole = plan.is_whole();
    let max = if is_whole || plan.limit == 0 { usize::MAX } else { plan.limit.saturating_add(1) };
    let mut picks = cursor.collect(source, max);
    let seen = signed(picks.len() as u64);
    response.count = count.unwrap_or_else(|| seen + cursor.count(source));
    if plan.bounds_mod() {
        picks.retain(|pick| plan.holds_mod(pick.version.main));
    }
    if plan.needs_bodies() {
        let mut kvs = full(source, picks);
        if plan.bounds_create() {
            kvs.retain(|kv| plan.holds_create(kv.create_revision));
        }
        plan.sort_kvs(&mut kvs);
        response.more = plan.cut(&mut kvs);
        for kv in kvs.iter_mut().filter(|_| request.keys_only) {
            kv.value.clear();
            kv.lease = if plan.shows_values() { kv.lease } else { 0 };
        }
        response.kvs = kvs;
        return Ok(response);
    }
    plan.sort_picks(&mut picks);
    response.more = plan.cut(&mut picks);
    response.kvs = if plan.shows_values() { full(source, picks) } else { heads(source, picks) };
    Ok(response)
}

/// Keys with all they hold.
pub(super) fn full(source: Source<'_>, mut picks: Vec<Pick>) -> Vec<KeyValue> {
    source.fetch(&mut picks);
    let bodies = picks.into_iter().filter_map(|pick| pick.body);
    bodies.map(body::decode).collect()
}

/// Keys without value and lease.
pub(super) fn heads(source: Source<'_>, mut picks: Vec<Pick>) -> Vec<KeyValue> {
    for part in picks.chunks_mut(FETCH_MAX).filter(|part| part.iter().any(|p| p.head.is_none())) {
        source.fetch(part);
    }
    picks.into_iter().map(|pick| head(source, pick)).collect()
}

fn head(source: Source<'_>, pick: Pick) -> KeyValue {
    let Some(head) = pick.head else {
        let kv = body::decode(source.body(pick));
        return KeyValue { value: Bytes::new(), lease: 0, ..kv };
    };
    KeyValue {
        key: pick.key,
        create_revision: head.create_revision,
        mod_revision: pick.version.main,
        version: head.version,
        ..KeyValue::default()
    }
}

/// The answer about one key.
pub(super) fn single(body: Option<Bytes>, request: &RangeRequest, revision: i64) -> RangeResponse {
    let mut response = RangeResponse { header: header(revision), ..RangeResponse::default() };
    if let Some(body) = body {
        response.count = 1;
        response.kvs = if request.count_only { vec![] } else { vec![body::decode(body)] };
    }
    response
}

/// Whether a request asks for nothing but the newest version of one key.
pub(super) fn is_plain(request: &RangeRequest) -> bool {
    request.range_end.is_empty()
        && request.revision <= 0
        && !request.keys_only
        && Plan::new(request).is_ok_and(|plan| !plan.bounds_mod() && !plan.bounds_create())
}

/// Whether keys come in their natural order and nothing else is asked for.
pub(super) fn is_natural(request: &RangeRequest) -> bool {
    Plan::new(request).is_ok_and(|plan| !plan.is_whole() && plan.target == SortTarget::Key)
}

/// Whether a request asks for whole rows in their natural order.
pub(super) fn is_list(request: &RangeRequest) -> Result<bool, Rejection> {
    check(request)?;
    Ok(is_natural(request) && !request.keys_only && !request.count_only)
}
