//! [`Leases`]: which there are, and which keys go with each.
//!
//! Time is not here: the raft leader's lessor keeps the clocks, and proposes
//! what follows from them. A row holds what was granted and what a checkpoint
//! last recorded; which keys are attached follows from the newest version of
//! each key, and is found anew when the store is opened.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::reader::{Damaged, LeaseView};
use super::rejection::Rejection;
use super::schema::{LEASES, number, pair, pair_row};
use crate::engine::Batch;
use crate::ids::LeaseId;
use crate::proto::etcdserverpb::{LeaseCheckpoint, LeaseGrantRequest};

/// Seconds; more would overflow clocks.
const TTL_MAX: i64 = 9_000_000_000;

/// All leases.
#[derive(Default)]
pub(super) struct Leases(BTreeMap<LeaseId, Lease>);

struct Lease {
    ttl: i64,
    remaining: i64,
    keys: BTreeSet<Bytes>,
}

impl Leases {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8], row: &[u8]) -> Result<(), Damaged> {
        let (Some(id), Some((ttl, remaining))) = (number(key), pair(row)) else {
            return Err(Damaged(format!("bad row of a lease: {key:?}")));
        };
        self.0.insert(LeaseId(id), Lease { ttl, remaining, keys: BTreeSet::new() });
        Ok(())
    }

    /// Whether there is such a lease.
    pub(super) fn exists(&self, id: LeaseId) -> bool {
        self.0.contains_key(&id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Id, TTL, remaining TTL as recorded.
    pub(super) fn all(&self) -> Vec<(LeaseId, i64, i64)> {
        self.0.iter().map(|(id, lease)| (*id, lease.ttl, lease.remaining)).collect()
    }

    /// One lease.
    pub(super) fn view(&self, id: LeaseId) -> Option<LeaseView> {
        let lease = self.0.get(&id)?;
        Some(LeaseView { ttl: lease.ttl, keys: lease.keys.iter().cloned().collect() })
    }

    /// A new lease.
    pub(super) fn grant(
        &mut self,
        request: LeaseGrantRequest,
        batch: &mut Batch,
    ) -> Result<LeaseId, Rejection> {
        let id = LeaseId(request.id);
        // Whoever proposes it names the lease, and raises what is too short.
        if id.0 == 0 || request.ttl < 1 {
            return Err(Rejection::Malformed);
        }
        if request.ttl > TTL_MAX {
            return Err(Rejection::LeaseTtlTooLarge);
        }
        if self.exists(id) {
            return Err(Rejection::LeaseExists);
        }
        let lease = Lease { ttl: request.ttl, remaining: 0, keys: BTreeSet::new() };
        lease.write(id, batch);
        self.0.insert(id, lease);
        Ok(id)
    }

    /// Records what is left of a lease; `None` if there is no such lease.
    pub(super) fn checkpoint(
        &mut self,
        checkpoint: &LeaseCheckpoint,
        batch: &mut Batch,
    ) -> Option<i64> {
        let id = LeaseId(checkpoint.id);
        let lease = self.0.get_mut(&id)?;
        lease.remaining = checkpoint.remaining_ttl.clamp(0, lease.ttl);
        lease.write(id, batch);
        Some(lease.remaining)
    }

    /// Ends a lease, whose keys are gone by now.
    pub(super) fn end(&mut self, id: LeaseId, batch: &mut Batch) {
        let lease = self.0.remove(&id);
        assert!(lease.is_none_or(|lease| lease.keys.is_empty()), "its keys went before it");
        batch.delete(LEASES, &id.0.to_be_bytes());
    }

    /// A key goes from one lease to another, either of which may be none.
    pub(super) fn attach(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(lease) = self.0.get_mut(&LeaseId(from)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.0.get_mut(&LeaseId(to)) {
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }
}

impl Lease {
    fn write(&self, id: LeaseId, batch: &mut Batch) {
        batch.put(LEASES, &id.0.to_be_bytes(), &pair_row(self.ttl, self.remaining));
    }
}
