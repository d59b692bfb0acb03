//! raft's messages and entries, to and from the types of `proto/kat/peer.proto`.
//!
//! raft's own protobuf types are built and read as structs and never parsed
//! from bytes: their parser recurses without a bound (RUSTSEC-2024-0437). What
//! comes from a disk or a peer is parsed by prost, which has one.

use prost::Message as _;
use raft::eraftpb;

use super::change::Change;
use crate::proto::kat::peer;

/// Appends the row of an entry to `out`.
pub(super) fn encode_entry(entry: &eraftpb::Entry, out: &mut Vec<u8>) {
    entry_from_raft(entry).encode(out).expect("a vector grows");
}

pub(super) fn entry_from_raft(entry: &eraftpb::Entry) -> peer::Entry {
    let kind = match entry.entry_type {
        eraftpb::EntryType::EntryNormal => peer::EntryType::Normal,
        eraftpb::EntryType::EntryConfChange => peer::EntryType::ConfChange,
        eraftpb::EntryType::EntryConfChangeV2 => peer::EntryType::ConfChangeV2,
    };
    peer::Entry {
        r#type: kind.into(),
        term: entry.term,
        index: entry.index,
        data: entry.data.clone(),
        context: entry.context.clone(),
    }
}

pub(super) fn entry_to_raft(entry: peer::Entry) -> Result<eraftpb::Entry, String> {
    let kind = match peer::EntryType::try_from(entry.r#type) {
        Ok(peer::EntryType::Normal) => eraftpb::EntryType::EntryNormal,
        Ok(peer::EntryType::ConfChange) => eraftpb::EntryType::EntryConfChange,
        Ok(peer::EntryType::ConfChangeV2) => eraftpb::EntryType::EntryConfChangeV2,
        Err(unknown) => return Err(format!("entry type {unknown}")),
    };
    let data = match kind {
        eraftpb::EntryType::EntryNormal => entry.data,
        // raft parses it: it gets nothing but what this version writes.
        eraftpb::EntryType::EntryConfChangeV2 => Change::decode(&entry.data)?.encode().into(),
        eraftpb::EntryType::EntryConfChange => return Err(format!("entry type {kind:?}")),
    };
    Ok(eraftpb::Entry {
        entry_type: kind,
        term: entry.term,
        index: entry.index,
        data,
        context: entry.context,
        ..eraftpb::Entry::default()
    })
}

pub(super) fn hard_state_from_raft(state: &eraftpb::HardState) -> peer::HardState {
    peer::HardState { term: state.term, vote: state.vote, commit: state.commit }
}

pub(super) fn hard_state_to_raft(state: &peer::HardState) -> eraftpb::HardState {
    eraftpb::HardState {
        term: state.term,
        vote: state.vote,
        commit: state.commit,
        ..eraftpb::HardState::default()
    }
}

/// Each kind of message by both of its names.
const KINDS: &[(eraftpb::MessageType, peer::MessageType)] = {
    use eraftpb::MessageType as Raft;
    use peer::MessageType as Ours;
    &[
        (Raft::MsgHup, Ours::MsgHup),
        (Raft::MsgBeat, Ours::MsgBeat),
        (Raft::MsgPropose, Ours::MsgPropose),
        (Raft::MsgAppend, Ours::MsgAppend),
        (Raft::MsgAppendResponse, Ours::MsgAppendResponse),
        (Raft::MsgRequestVote, Ours::MsgRequestVote),
        (Raft::MsgRequestVoteResponse, Ours::MsgRequestVoteResponse),
        (Raft::MsgSnapshot, Ours::MsgSnapshot),
        (Raft::MsgHeartbeat, Ours::MsgHeartbeat),
        (Raft::MsgHeartbeatResponse, Ours::MsgHeartbeatResponse),
        (Raft::MsgUnreachable, Ours::MsgUnreachable),
        (Raft::MsgSnapStatus, Ours::MsgSnapStatus),
        (Raft::MsgCheckQuorum, Ours::MsgCheckQuorum),
        (Raft::MsgTransferLeader, Ours::MsgTransferLeader),
        (Raft::MsgTimeoutNow, Ours::MsgTimeoutNow),
        (Raft::MsgReadIndex, Ours::MsgReadIndex),
        (Raft::MsgReadIndexResp, Ours::MsgReadIndexResp),
        (Raft::MsgRequestPreVote, Ours::MsgRequestPreVote),
        (Raft::MsgRequestPreVoteResponse, Ours::MsgRequestPreVoteResponse),
    ]
};

pub(super) fn message_from_raft(message: eraftpb::Message) -> peer::Message {
    let kind = KINDS.iter().find(|(theirs, _)| *theirs == message.msg_type);
    let (_, kind) = kind.expect("the table names every kind of message");
    assert!(message.snapshot.is_none(), "a log that is never cut sends no snapshot");
    peer::Message {
        r#type: (*kind).into(),
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.entries.iter().map(entry_from_raft).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: None,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        deprecated_priority: message.deprecated_priority,
        priority: message.priority,
    }
}

/// # Errors
/// What a member of this version never sends: an unknown kind, a snapshot, or a
/// message that only a member may give itself.
pub(super) fn message_to_raft(message: peer::Message) -> Result<eraftpb::Message, String> {
    let ours =
        peer::MessageType::try_from(message.r#type).map_err(|unknown| unknown.to_string())?;
    let kind = KINDS.iter().find(|(_, kind)| *kind == ours);
    let (kind, _) = kind.ok_or_else(|| format!("{ours:?} is not a message of raft"))?;
    if message.snapshot.is_some() || raft::raw_node::is_local_msg(*kind) {
        return Err(format!("{ours:?} does not come from a peer"));
    }
    let entries: Result<Vec<_>, _> = message.entries.into_iter().map(entry_to_raft).collect();
    Ok(eraftpb::Message {
        msg_type: *kind,
        to: message.to,
        from: message.from,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: entries?.into(),
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        deprecated_priority: message.deprecated_priority,
        priority: message.priority,
        ..eraftpb::Message::default()
    })
}
