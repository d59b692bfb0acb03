//! [`Alarms`]: what is wrong with members, until somebody says that it is not.

use std::collections::BTreeSet;

use super::reader::Damaged;
use super::rejection::Rejection;
use super::schema::ALARMS;
use crate::engine::Batch;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType};

/// Active alarms.
#[derive(Default)]
pub(super) struct Alarms(BTreeSet<Alarm>);

/// The worse comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Corrupt,
    NoSpace,
}

type Alarm = (Kind, u64);

impl Kind {
    fn of(alarm: AlarmType) -> Option<Kind> {
        match alarm {
            AlarmType::None => None,
            AlarmType::Nospace => Some(Kind::NoSpace),
            AlarmType::Corrupt => Some(Kind::Corrupt),
        }
    }

    fn alarm(self) -> AlarmType {
        match self {
            Kind::Corrupt => AlarmType::Corrupt,
            Kind::NoSpace => AlarmType::Nospace,
        }
    }
}

impl Alarms {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8]) -> Result<(), Damaged> {
        let read = || {
            let (kind, member) = key.split_first()?;
            let kind = Kind::of(AlarmType::try_from(i32::from(*kind)).ok()?)?;
            Some((kind, u64::from_be_bytes(member.try_into().ok()?)))
        };
        self.0.insert(read().ok_or_else(|| Damaged(format!("bad row of an alarm: {key:?}")))?);
        Ok(())
    }

    /// All, by type and member.
    pub(super) fn all(&self) -> Vec<AlarmMember> {
        self.0.iter().map(|alarm| member(*alarm)).collect()
    }

    /// Whether writes of any kind are refused.
    pub(super) fn is_corrupt(&self) -> bool {
        self.0.iter().any(|(kind, _)| *kind == Kind::Corrupt)
    }

    /// Whether writes that take space are refused.
    pub(super) fn is_full(&self) -> bool {
        self.0.iter().any(|(kind, _)| *kind == Kind::NoSpace)
    }

    /// Lists, raises, clears: the alarms that the answer names, and whether
    /// anything changed.
    pub(super) fn carry_out(
        &mut self,
        request: &AlarmRequest,
        batch: &mut Batch,
    ) -> Result<(Vec<AlarmMember>, bool), Rejection> {
        let action = AlarmAction::try_from(request.action).or(Err(Rejection::Malformed))?;
        let kind = AlarmType::try_from(request.alarm).or(Err(Rejection::Malformed))?;
        let Some(kind) = Kind::of(kind) else {
            let all = if action == AlarmAction::Get { self.all() } else { Vec::new() };
            return Ok((all, false));
        };
        let alarm = (kind, request.member_id);
        Ok(match action {
            AlarmAction::Get => {
                let same = self.0.iter().filter(|(held, _)| *held == kind);
                (same.map(|alarm| member(*alarm)).collect(), false)
            }
            AlarmAction::Activate => {
                batch.put(ALARMS, &key(alarm), &[]);
                (vec![member(alarm)], self.0.insert(alarm))
            }
            AlarmAction::Deactivate if self.0.remove(&alarm) => {
                batch.delete(ALARMS, &key(alarm));
                (vec![member(alarm)], true)
            }
            AlarmAction::Deactivate => (Vec::new(), false),
        })
    }
}

fn member((kind, member_id): Alarm) -> AlarmMember {
    AlarmMember { member_id, alarm: kind.alarm().into() }
}

fn key((kind, member): Alarm) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = match kind {
        Kind::NoSpace => 1,
        Kind::Corrupt => 2,
    };
    key[1..].copy_from_slice(&member.to_be_bytes());
    key
}
