//! Who may do what: the rights of users on ranges of keys, and what a request
//! needs of them.
//!
//! A user may what its roles may, all of them taken together: ranges of several
//! roles that overlap or touch count as one. Whoever holds the role `root` may
//! do everything.

use bytes::Bytes;

use super::auth::{Accounts, ROOT, holds};
use super::command::{AccountChange, Caller, Request};
use super::lease::Leases;
use super::rejection::Denied;
use super::watch::KeyRange;
use crate::ids::LeaseId;
use crate::proto::authpb::Permission;
use crate::proto::authpb::permission::Type;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest};

/// What somebody wants to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To see it.
    Read,
    /// To change it.
    Write,
}

/// What a user may do.
#[derive(Default)]
pub(super) struct Rights {
    read: Cover,
    write: Cover,
}

impl Rights {
    /// All permissions together.
    pub(super) fn of<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Rights {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for permission in permissions {
            let range = KeyRange::new(&permission.key, &permission.range_end);
            match Type::try_from(permission.perm_type) {
                Ok(Type::Read) => read.push(range),
                Ok(Type::Write) => write.push(range),
                Ok(Type::Readwrite) => {
                    read.push(range.clone());
                    write.push(range);
                }
                // A newer member may know what that is.
                Err(_) => {}
            }
        }
        Rights { read: Cover::of(read), write: Cover::of(write) }
    }

    fn allow(&self, access: Access, range: &KeyRange) -> bool {
        match access {
            Access::Read => self.read.holds(range),
            Access::Write => self.write.holds(range),
        }
    }
}

/// Keys, as ranges in order of which no two overlap or touch.
#[derive(Default)]
struct Cover(Vec<KeyRange>);

impl Cover {
    fn of(mut ranges: Vec<KeyRange>) -> Cover {
        ranges.sort();
        let mut merged: Vec<KeyRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if last.to.as_ref().is_none_or(|to| range.from <= *to) => {
                    let reaches_on = match (&last.to, &range.to) {
                        (None, _) => false,
                        (Some(_), None) => true,
                        (Some(end), Some(further)) => further > end,
                    };
                    if reaches_on {
                        last.to = range.to;
                    }
                }
                _ => merged.push(range),
            }
        }
        Cover(merged)
    }

    /// Whether all keys of a range are in here.
    fn holds(&self, range: &KeyRange) -> bool {
        let behind = self.0.partition_point(|held| held.from <= range.from);
        let Some(held) = behind.checked_sub(1).map(|at| &self.0[at]) else { return false };
        held.holds(&range.from)
            && match (&held.to, &range.to) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(end), Some(wanted)) => wanted <= end,
            }
    }
}

/// One caller, about to do something.
pub(super) struct Check<'a> {
    pub(super) accounts: &'a Accounts,
    pub(super) leases: &'a Leases,
    pub(super) caller: &'a Caller,
}

type Checked = Result<(), Denied>;

impl Check<'_> {
    /// Whether a command may be carried out. What no client proposes passes, and
    /// so does what is decided where it is asked.
    pub(super) fn command(&self, request: &Request) -> Checked {
        if !self.accounts.is_on() {
            return Ok(());
        }
        match request {
            Request::Put(put) => self.put(put),
            Request::DeleteRange(delete) => self.delete(delete),
            Request::Txn(txn) => self.txn(txn),
            Request::LeaseRevoke(revoke) => self.lease(LeaseId(revoke.id), Access::Write),
            Request::Accounts(accounts) => match accounts.change {
                Some(AccountChange::Login(_)) => Ok(()),
                _ => self.administer(),
            },
            _ => Ok(()),
        }
    }

    /// Whether the caller has the role `root`.
    pub(super) fn administer(&self) -> Checked {
        if !self.accounts.is_on() {
            return Ok(());
        }
        if self.caller.user.is_empty() {
            return Err(Denied::UserEmpty);
        }
        let user = self.accounts.user(&self.caller.user)?;
        if holds(user, ROOT) { Ok(()) } else { Err(Denied::PermissionDenied) }
    }

    /// Whether the caller may use all keys of a range.
    pub(super) fn range(&self, access: Access, key: &Bytes, range_end: &Bytes) -> Checked {
        if !self.accounts.is_on() {
            return Ok(());
        }
        // Of those who said who they are, the revision is known.
        if self.caller.auth_revision == 0 {
            return Err(Denied::UserEmpty);
        }
        if self.caller.auth_revision < self.accounts.revision() {
            return Err(Denied::AuthOldRevision);
        }
        let name = &self.caller.user;
        let user = self.accounts.user(name).or(Err(Denied::PermissionDenied))?;
        let range = KeyRange::new(key, range_end);
        let allows = |rights: &Rights| rights.allow(access, &range);
        if holds(user, ROOT) || self.accounts.rights(name).is_some_and(allows) {
            Ok(())
        } else {
            Err(Denied::PermissionDenied)
        }
    }

    /// Whether the caller may use all keys of a lease; without keys, anybody may.
    pub(super) fn lease(&self, id: LeaseId, access: Access) -> Checked {
        if self.administer().is_ok() {
            return Ok(());
        }
        let keys = self.leases.view(id).map_or(Vec::new(), |lease| lease.keys);
        keys.iter().try_for_each(|key| self.range(access, key, &Bytes::new()))
    }

    fn put(&self, put: &PutRequest) -> Checked {
        self.range(Access::Write, &put.key, &Bytes::new())?;
        // Whoever could not revoke the lease must not hang keys on it.
        if put.lease != 0 {
            self.lease(LeaseId(put.lease), Access::Write)?;
        }
        if put.prev_kv { self.range(Access::Read, &put.key, &Bytes::new()) } else { Ok(()) }
    }

    /// Whether the caller may delete a range, and see what it held if it asks to.
    pub(super) fn delete(&self, delete: &DeleteRangeRequest) -> Checked {
        self.range(Access::Write, &delete.key, &delete.range_end)?;
        if delete.prev_kv {
            self.range(Access::Read, &delete.key, &delete.range_end)?;
        }
        Ok(())
    }

    /// Whether the caller may do whatever a txn could come to.
    pub(super) fn txn(&self, txn: &TxnRequest) -> Checked {
        for compare in &txn.compare {
            self.range(Access::Read, &compare.key, &compare.range_end)?;
        }
        txn.success.iter().chain(&txn.failure).try_for_each(|op| self.op(op))
    }

    fn op(&self, op: &RequestOp) -> Checked {
        match &op.request {
            Some(Op::RequestRange(range)) => self.range(Access::Read, &range.key, &range.range_end),
            Some(Op::RequestPut(put)) => self.put(put),
            Some(Op::RequestDeleteRange(delete)) => self.delete(delete),
            Some(Op::RequestTxn(txn)) => self.txn(txn),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(&key.into(), &end.into())
    }

    fn cover(ranges: &[(&'static str, &'static str)]) -> Cover {
        Cover::of(ranges.iter().map(|(key, end)| range(key, end)).collect())
    }

    #[test]
    fn ranges_that_overlap_or_touch_count_as_one() {
        let cover = cover(&[("m", "p"), ("a", "c"), ("c", "e"), ("b", "d"), ("e", "")]);
        assert!(cover.holds(&range("a", "e\0")) && cover.holds(&range("e", "")));
        assert!(!cover.holds(&range("a", "f")) && !cover.holds(&range("e\0", "")));
        assert!(cover.holds(&range("m", "p")) && !cover.holds(&range("m", "p\0")));
        assert!(!cover.holds(&range("d", "n")) && !cover.holds(&range("a", "\0")));
    }

    #[test]
    fn a_range_within_another_does_not_shorten_it() {
        let cover = cover(&[("a", "z"), ("b", "c"), ("a", "m")]);
        assert!(cover.holds(&range("a", "z")) && !cover.holds(&range("z", "")));
    }

    #[test]
    fn what_has_no_end_covers_everything_behind_it() {
        let cover = cover(&[("k", "\0"), ("x", "y")]);
        assert!(cover.holds(&range("k", "\0")) && cover.holds(&range("z", "")));
        assert!(!cover.holds(&range("j", "\0")) && !cover.holds(&range("j", "k")));
    }

    #[test]
    fn an_empty_range_is_covered_only_where_it_lies() {
        let cover = cover(&[("a", "c")]);
        assert!(!cover.holds(&range("z", "b")) && cover.holds(&range("b", "b")));
        assert!(!Cover::default().holds(&range("a", "")));
    }
}
