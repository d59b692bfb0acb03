//! The floor under every server on tonic: handlers that answer at once, with nothing.
//!
//! What a call costs here is HTTP/2, framing, decoding and encoding; what ours
//! costs above it is the store's. It runs as a process of its own, with the
//! allocator of ours, and ends with whoever started it.

use std::io::Read;
use std::pin::Pin;

use anyhow::Result;
use futures::{Stream, StreamExt};
use kat::proto::etcdserverpb as pb;
use pb::kv_server::{Kv, KvServer};
use pb::lease_server::{Lease, LeaseServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Reply<T> = Result<Response<T>, Status>;
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a lease is said to have left; a client gives up at zero.
const TTL_SECONDS: i64 = 100;

struct Nothing;

fn nothing<T: Default>() -> Reply<T> {
    Ok(Response::new(T::default()))
}

/// Serves on a port of the loopback until whoever started this process is gone.
pub(crate) fn run(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let incoming = TcpListenerStream::new(listener).map(|connection| {
            let connection = connection?;
            connection.set_nodelay(true)?;
            Ok::<_, std::io::Error>(connection)
        });
        let parent_gone = async {
            let read = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
            // An error is an end, too.
            drop(read.await);
        };
        Server::builder()
            .add_service(KvServer::new(Nothing))
            .add_service(LeaseServer::new(Nothing))
            .serve_with_incoming_shutdown(incoming, parent_gone)
            .await?;
        Ok(())
    })
}

#[tonic::async_trait]
impl Kv for Nothing {
    type RangeStreamStream = Replies<pb::RangeStreamResponse>;

    async fn range(&self, _: Request<pb::RangeRequest>) -> Reply<pb::RangeResponse> {
        nothing()
    }

    async fn range_stream(&self, _: Request<pb::RangeRequest>) -> Reply<Self::RangeStreamStream> {
        Ok(Response::new(Box::pin(futures::stream::empty())))
    }

    async fn put(&self, _: Request<pb::PutRequest>) -> Reply<pb::PutResponse> {
        nothing()
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Reply<pb::DeleteRangeResponse> {
        nothing()
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Reply<pb::TxnResponse> {
        nothing()
    }

    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Reply<pb::CompactionResponse> {
        nothing()
    }
}

#[tonic::async_trait]
impl Lease for Nothing {
    type LeaseKeepAliveStream = Replies<pb::LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Reply<pb::LeaseGrantResponse> {
        let pb::LeaseGrantRequest { id, ttl } = request.into_inner();
        Ok(Response::new(pb::LeaseGrantResponse { id: id.max(1), ttl, ..Default::default() }))
    }

    async fn lease_revoke(
        &self,
        _: Request<pb::LeaseRevokeRequest>,
    ) -> Reply<pb::LeaseRevokeResponse> {
        nothing()
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Reply<Self::LeaseKeepAliveStream> {
        let answers = request.into_inner().map(|asked| {
            let id = asked?.id;
            Ok(pb::LeaseKeepAliveResponse { id, ttl: TTL_SECONDS, ..Default::default() })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        _: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Reply<pb::LeaseTimeToLiveResponse> {
        nothing()
    }

    async fn lease_leases(
        &self,
        _: Request<pb::LeaseLeasesRequest>,
    ) -> Reply<pb::LeaseLeasesResponse> {
        nothing()
    }
}
