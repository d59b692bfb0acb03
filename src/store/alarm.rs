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

/// What is wrong, by its number on the wire: one that nobody knows is kept, too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    rank: u8,
    number: i32,
}

type Alarm = (Kind, u64);

/// In front of a row whose type is no single byte.
const OTHER: u8 = 0;

impl Kind {
    const CORRUPT: Kind = Kind::of(AlarmType::Corrupt as i32);
    const NO_SPACE: Kind = Kind::of(AlarmType::Nospace as i32);
    const NONE: Kind = Kind::of(AlarmType::None as i32);

    /// The worse comes first.
    const fn of(number: i32) -> Kind {
        let rank = match number {
            2 => 0,
            1 => 1,
            _ => 2,
        };
        Kind { rank, number }
    }
}

impl Alarms {
    /// Takes a row.
    pub(super) fn load(&mut self, key: &[u8]) -> Result<(), Damaged> {
        let read = || {
            let (kind, rest) = key.split_first()?;
            let (kind, member) = match *kind {
                OTHER => {
                    let (number, member) = rest.split_first_chunk()?;
                    (Kind::of(i32::from_be_bytes(*number)), member)
                }
                known => (Kind::of(i32::from(known)), rest),
            };
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
        self.0.iter().any(|(kind, _)| *kind == Kind::CORRUPT)
    }

    /// Whether writes that take space are refused.
    pub(super) fn is_full(&self) -> bool {
        self.0.iter().any(|(kind, _)| *kind == Kind::NO_SPACE)
    }

    /// Lists, raises, clears: the alarms that the answer names, and whether
    /// anything changed.
    pub(super) fn carry_out(
        &mut self,
        request: &AlarmRequest,
        batch: &mut Batch,
    ) -> Result<(Vec<AlarmMember>, bool), Rejection> {
        let action = AlarmAction::try_from(request.action).or(Err(Rejection::Malformed))?;
        let kind = Kind::of(request.alarm);
        if kind == Kind::NONE {
            let all = if action == AlarmAction::Get { self.all() } else { Vec::new() };
            return Ok((all, false));
        }
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
    AlarmMember { member_id, alarm: kind.number }
}

fn key((kind, member): Alarm) -> Vec<u8> {
    let head = match kind {
        Kind::NO_SPACE => vec![1],
        Kind::CORRUPT => vec![2],
        Kind { number, .. } => [&[OTHER][..], &number.to_be_bytes()].concat(),
    };
    [head, member.to_be_bytes().to_vec()].concat()
}
