//! The store behind the contract: an etcd client, wherever its server is.
//!
//! The embedded store is reached over a channel in memory, any other over TCP
//! or a unix socket; nothing else differs. Deliberately not here: retries and
//! deadlines (`connection.rs`), watches and elections, which have their own files.

use async_trait::async_trait;
use etcd_client::{Compare as Check, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::connection::{Clients, Connection, Options};
use super::election::{Ballot, Leadership};
use super::error::{Error, Result};
use super::observer::{self, LeaderStream};
use super::session::LostReason;
use super::store::{
    Compare, KV, Listing, Op, OpResult, OpType, StateStore, TxnResult, check_key, check_start,
    check_transaction,
};
use super::watch::{self, Target, WatchStream, key_value};
use crate::ids::Revision;

/// How many keys a listing reads at a time.
const PAGE: i64 = 1_000;

/// A store that speaks etcd's v3 API.
pub struct EtcdStore {
    /// Taken away by `close`.
    connection: Mutex<Option<Connection>>,
    ballot: Ballot,
}

impl EtcdStore {
    /// Prepares to reach a store at one of `endpoints`, without calling any.
    ///
    /// Must run within the async runtime. A store that cannot be reached shows
    /// in the calls, as [`Error::Unavailable`].
    pub fn connect(endpoints: &[String], options: Options) -> Result<EtcdStore> {
        Ok(EtcdStore::new(Connection::to(endpoints, options)?))
    }

    /// Reaches a store over a channel that leads to it.
    pub fn over(channel: &Channel) -> EtcdStore {
        EtcdStore::new(Connection::over(channel, Options::default()))
    }

    fn new(connection: Connection) -> EtcdStore {
        EtcdStore { connection: Mutex::new(Some(connection)), ballot: Ballot::default() }
    }

    fn connection(&self) -> Result<Connection> {
        self.connection.lock().clone().ok_or(Error::Closed)
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.lock().take() {
            connection.close();
        }
    }
}

#[async_trait]
impl StateStore for EtcdStore {
    async fn put(&self, key: &str, value: &[u8]) -> Result<Revision> {
        check_key(key)?;
        let call = |mut clients: Clients| async move { clients.kv.put(key, value, None).await };
        let answer = self.connection()?.write(&format!("put {key:?}"), call).await?;
        Ok(revision(answer.header()))
    }

    async fn get(&self, key: &str) -> Result<Option<KV>> {
        check_key(key)?;
        let call = |mut clients: Clients| async move { clients.kv.get(key, None).await };
        let answer = self.connection()?.read(&format!("get {key:?}"), call).await?;
        answer.kvs().first().map(key_value).transpose()
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        check_key(key)?;
        let call = |mut clients: Clients| async move { clients.kv.delete(key, None).await };
        let answer = self.connection()?.write(&format!("delete {key:?}"), call).await?;
        Ok(answer.deleted() > 0)
    }

    async fn list(&self, prefix: &str) -> Result<Listing> {
        let connection = self.connection()?;
        let deadline = connection.deadline();
        match list(&connection, prefix, deadline).await {
            Err(Error::Compacted { .. }) => list(&connection, prefix, deadline).await,
            listed => listed,
        }
    }

    async fn watch_key(&self, key: &str, start: Revision) -> Result<WatchStream> {
        check_key(key)?;
        check_start(start)?;
        watch::open(&self.connection()?, Target::Key(key.to_owned()), start).await
    }

    async fn watch_prefix(&self, prefix: &str, start: Revision) -> Result<WatchStream> {
        check_start(start)?;
        watch::open(&self.connection()?, Target::Prefix(prefix.to_owned()), start).await
    }

    async fn do_transaction(
        &self,
        checks: &[Compare],
        on_success: &[Op],
        on_failure: &[Op],
    ) -> Result<TxnResult> {
        check_transaction(checks, [on_success, on_failure])?;
        let connection = self.connection()?;
        let call = |mut clients: Clients| async move {
            clients.kv.txn(transaction(checks, on_success, on_failure)).await
        };
        // One that only reads may be sent twice.
        let is_read = on_success.iter().chain(on_failure).all(|op| op.op_type == OpType::Get);
        let answer = match is_read {
            true => connection.read("transaction", call).await?,
            false => connection.write("transaction", call).await?,
        };
        let results = answer.op_responses().iter().map(result).collect::<Result<_>>()?;
        let revision = revision(answer.header());
        Ok(TxnResult { committed: answer.succeeded(), revision, results })
    }

    async fn campaign(&self, leader_id: &str, lease_ttl_seconds: i64) -> Result<Leadership> {
        if leader_id.is_empty() || lease_ttl_seconds < 1 {
            return Err(Error::misuse("a candidate has a name and a lease of at least a second"));
        }
        self.ballot.campaign(&self.connection()?, leader_id, lease_ttl_seconds).await
    }

    async fn resign(&self) -> Result<()> {
        self.ballot.leave(&self.connection()?, LostReason::Resigned).await
    }

    async fn get_leader(&self) -> Result<Option<String>> {
        let leader = observer::current(&self.connection()?).await?;
        Ok(leader.map(|leader| leader.id))
    }

    async fn observe(&self) -> Result<LeaderStream> {
        observer::open(&self.connection()?).await
    }

    async fn close(&self) -> Result<()> {
        let Some(connection) = self.connection.lock().take() else {
            return Ok(());
        };
        let left = self.ballot.leave(&connection, LostReason::Shutdown).await;
        connection.close();
        left
    }
}

fn revision(header: Option<&etcd_client::ResponseHeader>) -> Revision {
    Revision(header.map_or(0, etcd_client::ResponseHeader::revision))
}

/// Reads page after page, all at the revision of the first.
async fn list(connection: &Connection, prefix: &str, deadline: Instant) -> Result<Listing> {
    let doing = format!("list {prefix:?}");
    let end = end_of(prefix);
    // The smallest key there is.
    let mut from = if prefix.is_empty() { vec![0] } else { prefix.as_bytes().to_vec() };
    let mut listing = Listing { items: Vec::new(), revision: Revision(0) };
    loop {
        let (from_here, end, at) = (&from, &end, listing.revision.0);
        let call = |mut clients: Clients| async move {
            let options =
                GetOptions::new().with_range(end.as_slice()).with_limit(PAGE).with_revision(at);
            clients.kv.get(from_here.as_slice(), Some(options)).await
        };
        let answer = match connection.read_until(deadline, &doing, call).await {
            Err(Error::Compacted { .. }) => {
                return Err(Error::Compacted { compact_revision: Revision(at + 1) });
            }
            answer => answer?,
        };
        if listing.revision == Revision(0) {
            listing.revision = revision(answer.header());
        }
        for kv in answer.kvs() {
            listing.items.push(key_value(kv)?);
        }
        match answer.kvs().last() {
            Some(last) if answer.more() => from = [last.key(), &[0]].concat(),
            _ => return Ok(listing),
        }
    }
}

/// The first key that does not start with `prefix`, in etcd's terms.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        // No byte of UTF-8 is the largest there is.
        Some(last) => *last += 1,
        None => end.push(0),
    }
    end
}

fn transaction(checks: &[Compare], on_success: &[Op], on_failure: &[Op]) -> Txn {
    let check = |check: &Compare| match check.expected_version.0 {
        0 => Check::create_revision(check.key.as_str(), CompareOp::Equal, 0),
        version => Check::mod_revision(check.key.as_str(), CompareOp::Equal, version),
    };
    let op = |op: &Op| match op.op_type {
        OpType::Put => TxnOp::put(op.key.as_str(), op.value.as_slice(), None),
        OpType::Delete => TxnOp::delete(op.key.as_str(), None),
        OpType::Get => TxnOp::get(op.key.as_str(), None),
    };
    Txn::new()
        .when(checks.iter().map(check).collect::<Vec<_>>())
        .and_then(on_success.iter().map(op).collect::<Vec<_>>())
        .or_else(on_failure.iter().map(op).collect::<Vec<_>>())
}

fn result(response: &TxnOpResponse) -> Result<OpResult> {
    Ok(match response {
        TxnOpResponse::Put(_) => OpResult::Put,
        TxnOpResponse::Delete(deleted) => OpResult::Delete { existed: deleted.deleted() > 0 },
        TxnOpResponse::Get(found) => OpResult::Get(found.kvs().first().map(key_value).transpose()?),
        TxnOpResponse::Txn(_) => {
            return Err(Error::misuse("the store answered what was not asked"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_last_byte_grows() {
        assert_eq!(end_of("/kat/"), b"/kat0");
        assert_eq!(end_of("ä"), [0xc3, 0xa5]);
        assert_eq!(end_of(""), [0], "which stands for all the rest");
    }
}
