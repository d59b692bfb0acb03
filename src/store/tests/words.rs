//! Requests from words, and words from answers.
//!
//! Ends of ranges: none is one key, `end` is from the key on; the key `first` is the
//! lowest there can be.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use goldenscript::{Argument, Command};

use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response;
use crate::proto::mvccpb::KeyValue;
use crate::store::{Changes, Previous, Reader, Reply};

pub(super) type Outcome<T> = Result<T, Box<dyn Error>>;

/// The words of a command that are still to be read.
pub(super) struct Words(VecDeque<String>);

impl Words {
    /// Quoted text counts as the words in it.
    pub(super) fn new(command: &Command) -> Words {
        let mut words = VecDeque::from([command.name.clone()]);
        for arg in &command.args {
            let text = match arg {
                Argument::KeyValue(name, value) => format!("{name}={value}"),
                other => other.to_string().trim_matches(['"', '\'']).to_owned(),
            };
            for mark in text.split_inclusive([' ', ',', '(', ')']) {
                let (word, last) = mark.split_at(mark.len() - usize::from(mark.ends_with(MARKS)));
                let words_of = [word, last].map(str::trim).into_iter();
                words.extend(words_of.filter(|word| !word.is_empty()).map(str::to_owned));
            }
            if text.is_empty() {
                words.push_back(text);
            }
        }
        Words(words)
    }

    pub(super) fn next(&mut self) -> Outcome<String> {
        self.0.pop_front().ok_or_else(|| "a word is missing".into())
    }

    pub(super) fn number<T: std::str::FromStr<Err: Error + 'static>>(&mut self) -> Outcome<T> {
        Ok(self.next()?.parse()?)
    }

    pub(super) fn peek(&self) -> Option<String> {
        self.0.front().cloned()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.0.front().is_some_and(|next| next == word);
        if is_next {
            self.0.pop_front();
        }
        is_next
    }

    pub(super) fn is_done(&self) -> bool {
        self.0.is_empty()
    }

    /// The words up to the end of the operation.
    fn operation(&mut self) -> Vec<String> {
        let ends = |word: &String| [",", ")", "then", "else"].contains(&word.as_str());
        let end = self.0.iter().position(ends).unwrap_or(self.0.len());
        self.0.drain(..end).collect()
    }

    /// One operation: put, get, del or txn.
    pub(super) fn op(&mut self) -> Outcome<Op> {
        Ok(match self.next()?.as_str() {
            "put" => Op::RequestPut(put(&self.operation())?),
            "get" => Op::RequestRange(self.range()?),
            "del" => Op::RequestDeleteRange(delete(&self.operation())?),
            "txn" => {
                let is_nested = self.take("(");
                let txn = self.txn()?;
                if is_nested && !self.take(")") {
                    return Err("a txn in a txn ends with )".into());
                }
                Op::RequestTxn(txn)
            }
            other => return Err(format!("{other} is no operation").into()),
        })
    }

    pub(super) fn range(&mut self) -> Outcome<pb::RangeRequest> {
        range(&self.operation())
    }

    pub(super) fn txn(&mut self) -> Outcome<pb::TxnRequest> {
        let mut txn = pb::TxnRequest::default();
        if self.take("if") {
            txn.compare.push(compare(&self.operation())?);
            while self.take(",") {
                txn.compare.push(compare(&self.operation())?);
            }
        }
        for (word, branch) in [("then", &mut txn.success), ("else", &mut txn.failure)] {
            if self.take(word) {
                branch.push(pb::RequestOp { request: Some(self.op()?) });
                while self.take(",") {
                    branch.push(pb::RequestOp { request: Some(self.op()?) });
                }
            }
        }
        Ok(txn)
    }
}

const MARKS: [char; 4] = [' ', ',', '(', ')'];

pub(super) fn key(word: &str) -> Bytes {
    match word {
        "first" | "end" => Bytes::from_static(&[0]),
        word => word.to_owned().into(),
    }
}

fn put(words: &[String]) -> Outcome<pb::PutRequest> {
    let mut put = pb::PutRequest::default();
    for (place, word) in words.iter().enumerate() {
        match (place, word.split_once('=')) {
            (0, Some((name, value))) => (put.key, put.value) = (key(name), value.to_owned().into()),
            (0, None) => put.key = key(word),
            (_, Some(("lease", id))) => put.lease = id.parse()?,
            (_, None) if word == "prev" => put.prev_kv = true,
            (_, None) if word == "keep_value" => put.ignore_value = true,
            (_, None) if word == "keep_lease" => put.ignore_lease = true,
            _ => return Err(format!("{word} says nothing to a put").into()),
        }
    }
    Ok(put)
}

fn delete(words: &[String]) -> Outcome<pb::DeleteRangeRequest> {
    let mut delete = pb::DeleteRangeRequest::default();
    for (place, word) in words.iter().enumerate() {
        match (place, word.as_str()) {
            (0, word) => delete.key = key(word),
            (_, "prev") => delete.prev_kv = true,
            (_, word) => delete.range_end = key(word),
        }
    }
    Ok(delete)
}

fn range(words: &[String]) -> Outcome<pb::RangeRequest> {
    let mut range = pb::RangeRequest::default();
    for (place, word) in words.iter().enumerate() {
        match (place, word.split_once('=')) {
            (0, _) => range.key = key(word),
            (_, Some(("rev", number))) => range.revision = number.parse()?,
            (_, Some(("limit", number))) => range.limit = number.parse()?,
            (_, Some(("order", order))) => range.sort_order = sort_order(order)?.into(),
            (_, Some(("by", target))) => range.sort_target = sort_target(target)?.into(),
            (_, Some(("min_mod", number))) => range.min_mod_revision = number.parse()?,
            (_, Some(("max_mod", number))) => range.max_mod_revision = number.parse()?,
            (_, Some(("min_create", number))) => range.min_create_revision = number.parse()?,
            (_, Some(("max_create", number))) => range.max_create_revision = number.parse()?,
            (_, None) if word == "keys" => range.keys_only = true,
            (_, None) if word == "count" => range.count_only = true,
            (1, None) => range.range_end = key(word),
            _ => return Err(format!("{word} says nothing to a range").into()),
        }
    }
    Ok(range)
}

fn sort_order(word: &str) -> Outcome<SortOrder> {
    SortOrder::from_str_name(&word.to_uppercase()).ok_or_else(|| "no such order".into())
}

fn sort_target(word: &str) -> Outcome<SortTarget> {
    SortTarget::from_str_name(&word.to_uppercase()).ok_or_else(|| "no such target".into())
}

/// Target, key, perhaps an end, operator, operand.
fn compare(words: &[String]) -> Outcome<pb::Compare> {
    let [target, name, end @ .., operator, operand] = words else {
        return Err("a compare has a target, a key, an operator and an operand".into());
    };
    let target = CompareTarget::from_str_name(&target.to_uppercase()).ok_or("no such target")?;
    let result = match operator.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => return Err(format!("{other} is no operator").into()),
    };
    let union = match target {
        CompareTarget::Version => TargetUnion::Version(operand.parse()?),
        CompareTarget::Create => TargetUnion::CreateRevision(operand.parse()?),
        CompareTarget::Mod => TargetUnion::ModRevision(operand.parse()?),
        CompareTarget::Value => TargetUnion::Value(operand.clone().into()),
        CompareTarget::Lease => TargetUnion::Lease(operand.parse()?),
    };
    Ok(pb::Compare {
        result: result.into(),
        target: target.into(),
        key: key(name),
        range_end: end.first().map(|end| key(end)).unwrap_or_default(),
        target_union: Some(union),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// A key, as it was (c)reated, last (m)odified, its (v)ersion and (l)ease.
pub(super) fn kv(kv: &KeyValue) -> String {
    let KeyValue { create_revision, mod_revision, version, lease, .. } = kv;
    let mut words = format!("{}={}", text(&kv.key), text(&kv.value));
    for (letter, number) in
        [('c', create_revision), ('m', mod_revision), ('v', version), ('l', lease)]
    {
        if *number != 0 {
            write!(words, " {letter}{number}").unwrap();
        }
    }
    words
}

fn kvs(kvs: &[KeyValue]) -> String {
    kvs.iter().map(|next| format!("\n  {}", kv(next))).collect()
}

fn rev(header: Option<&pb::ResponseHeader>) -> String {
    let header = header.map(|header| header.revision);
    header.map_or("no header".to_owned(), |revision| format!("rev {revision}"))
}

pub(super) fn range_response(range: &pb::RangeResponse) -> String {
    let more = if range.more { " more" } else { "" };
    format!("{} count {}{more}{}", rev(range.header.as_ref()), range.count, kvs(&range.kvs))
}

pub(super) fn txn_response(txn: &pb::TxnResponse) -> String {
    let mut words = format!("{} succeeded {}", rev(txn.header.as_ref()), txn.succeeded);
    for op in &txn.responses {
        let op = match op.response.as_ref().unwrap() {
            Response::ResponseRange(range) => format!("get: {}", range_response(range)),
            Response::ResponsePut(put) => format!("put: {}", put_response(put)),
            Response::ResponseDeleteRange(delete) => format!("del: {}", delete_response(delete)),
            Response::ResponseTxn(txn) => format!("txn: {}", txn_response(txn)),
        };
        write!(words, "\n  {}", op.replace('\n', "\n  ")).unwrap();
    }
    words
}

fn put_response(put: &pb::PutResponse) -> String {
    let prev = put.prev_kv.as_ref().map(|prev| format!(" prev {}", kv(prev)));
    rev(put.header.as_ref()) + &prev.unwrap_or_default()
}

fn delete_response(delete: &pb::DeleteRangeResponse) -> String {
    let header = rev(delete.header.as_ref());
    format!("{header} deleted {}{}", delete.deleted, kvs(&delete.prev_kvs))
}

pub(super) fn alarms(alarms: &[pb::AlarmMember]) -> String {
    let each = alarms.iter().map(|alarm| format!(" {}:{:?}", alarm.member_id, alarm.alarm()));
    format!("alarms{}", each.collect::<String>())
}

pub(super) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Put(put) => put_response(put),
        Reply::DeleteRange(delete) => delete_response(delete),
        Reply::Txn(txn) => txn_response(txn),
        Reply::Compact(compact) => rev(compact.header.as_ref()),
        Reply::LeaseGrant(grant) => {
            format!("{} lease {} ttl {}", rev(grant.header.as_ref()), grant.id, grant.ttl)
        }
        Reply::LeaseRevoke(revoke) => rev(revoke.header.as_ref()),
        Reply::LeaseCheckpoint(checkpoint) => rev(checkpoint.header.as_ref()),
        Reply::Alarm(alarm) => alarms(&alarm.alarms),
        Reply::Accounts(revision) => format!("rev {revision}"),
        Reply::Token { token, revision } => format!("rev {revision} token {token}"),
        Reply::Members(members) => {
            let each = members.iter().map(|member| format!(" {:x}", member.id));
            format!("members{}", each.collect::<String>())
        }
        Reply::Done => "done".to_owned(),
    }
}

/// Events, each with what the key held before, wherever that is to be found.
pub(super) fn changes(changes: &[Changes], reader: &Reader) -> String {
    let mut words = String::new();
    for Changes { revision, events } in changes {
        for event in events {
            let what = if event.deleted { "DELETE" } else { "PUT" };
            let held = match &event.previous {
                Previous::None => None,
                Previous::Known(body) => {
                    Some(<KeyValue as prost::Message>::decode(body.clone()).unwrap())
                }
                Previous::Unknown => reader.before(&event.kv.key, *revision),
            };
            let held = held.map(|held| format!(", was {}", kv(&held))).unwrap_or_default();
            writeln!(words, "{revision} {what} {}{held}", kv(&event.kv)).unwrap();
        }
    }
    words
}
