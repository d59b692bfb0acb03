//! [`Change`]: one change of who takes part, as an entry holds it.
//!
//! What raft must know of it stands in the entry's data, in raft's own form;
//! the command that the store carries out is beside it, in the entry's context.
//! Bytes from a disk or a peer are read by prost and written anew, so that
//! raft's parser sees none but ours.

use prost::Message;
use raft::eraftpb;

use crate::ids::MemberId;

/// What becomes of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets a vote, whether it listened before or is new.
    Vote(MemberId),
    /// It is new, and only listens.
    Listen(MemberId),
    /// It takes no part any more.
    Leave(MemberId),
}

/// raft's `ConfChangeV2`, without what is never used here.
#[derive(Message)]
struct Changes {
    #[prost(int32, tag = "1")]
    transition: i32,
    #[prost(message, repeated, tag = "2")]
    changes: Vec<Single>,
}

/// raft's `ConfChangeSingle`.
#[derive(Message)]
struct Single {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint64, tag = "2")]
    member: u64,
}

impl Change {
    /// The data of an entry.
    pub(super) fn encode(self) -> Vec<u8> {
        let (kind, member) = self.parts();
        let change = Single { kind: kind as i32, member: member.0 };
        Changes { transition: 0, changes: vec![change] }.encode_to_vec()
    }

    /// # Errors
    /// What no member of this version proposes.
    pub(super) fn decode(data: &[u8]) -> Result<Change, String> {
        let Changes { transition, changes } =
            Changes::decode(data).map_err(|why| format!("a change of members: {why}"))?;
        match (transition, changes.as_slice()) {
            (0, [Single { kind: 0, member }]) => Ok(Change::Vote(MemberId(*member))),
            (0, [Single { kind: 1, member }]) => Ok(Change::Leave(MemberId(*member))),
            (0, [Single { kind: 2, member }]) => Ok(Change::Listen(MemberId(*member))),
            _ => Err(format!("{} changes of members at once", changes.len())),
        }
    }

    fn parts(self) -> (eraftpb::ConfChangeType, MemberId) {
        use eraftpb::ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};
        match self {
            Change::Vote(member) => (AddNode, member),
            Change::Listen(member) => (AddLearnerNode, member),
            Change::Leave(member) => (RemoveNode, member),
        }
    }

    pub(super) fn to_raft(self) -> eraftpb::ConfChangeV2 {
        let (kind, member) = self.parts();
        let change = eraftpb::ConfChangeSingle {
            change_type: kind,
            node_id: member.0,
            ..eraftpb::ConfChangeSingle::default()
        };
        eraftpb::ConfChangeV2 { changes: vec![change].into(), ..Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use protobuf::Message as _;

    use super::*;

    #[test]
    fn a_change_is_written_as_raft_writes_it() {
        let member = MemberId(0x8e9e_05c5_2164_694d);
        for change in [Change::Vote(member), Change::Listen(member), Change::Leave(member)] {
            let bytes = change.encode();
            assert_eq!(bytes, change.to_raft().write_to_bytes().unwrap(), "{change:?}");
            assert_eq!(Change::decode(&bytes), Ok(change));
        }
    }

    #[test]
    fn what_no_member_proposes_is_refused() {
        let single = |kind| Single { kind, member: 7 };
        for (transition, changes) in [
            (0, vec![]),
            (0, vec![single(0), single(0)]),
            (0, vec![single(3)]),
            (1, vec![single(0)]),
        ] {
            let bytes = Changes { transition, changes }.encode_to_vec();
            Change::decode(&bytes).unwrap_err();
        }
        Change::decode(b"\xff").unwrap_err();
    }
}
