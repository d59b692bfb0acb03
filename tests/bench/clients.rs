//! Our own clients, for what etcd's tool cannot ask: paced reads, large answers, many keys.
//!
//! A large answer is counted and not decoded, or the client would cost more
//! than the server that is measured.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{Buf, Bytes};
use futures::future::try_join_all;
use http::uri::PathAndQuery;
use kat::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::request_op::Request as Op;
use prost::Message;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::Status;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};

use crate::load::Load;

/// etcd's default bound on the operations of one txn is 128.
const KEYS_PER_TXN: usize = 100;
const FILLERS: usize = 8;
/// Large enough that flow control is not what is measured.
const WINDOW_BYTES: u32 = 4 << 20;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Readers that ask the same thing again and again.
#[derive(Clone, Copy)]
pub(crate) struct Readers {
    /// How many, each on a connection of its own.
    pub(crate) count: usize,
    /// How long they go on.
    pub(crate) span: Duration,
    /// How often each asks; `None`: as soon as it was answered.
    pub(crate) every: Option<Duration>,
}

/// The name of a key among many with one prefix.
pub(crate) fn key(number: usize) -> Bytes {
    format!("k/{number:08}").into()
}

/// A request for the keys from the first on, as many as told.
pub(crate) fn range_of(keys: usize) -> pb::RangeRequest {
    pb::RangeRequest { key: key(0), range_end: key(keys), ..Default::default() }
}

/// Connects to the first of some endpoints.
pub(crate) async fn connect(endpoints: &[String]) -> Result<Channel> {
    let first = endpoints.first().context("there is no endpoint")?;
    let endpoint = Endpoint::from_shared(format!("http://{first}"))?
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .tcp_nodelay(true);
    Ok(endpoint.connect().await?)
}

/// Puts one key.
pub(crate) async fn put(endpoints: &[String], name: &'static str, bytes: usize) -> Result<()> {
    let request =
        pb::PutRequest { key: name.into(), value: vec![b'v'; bytes].into(), ..Default::default() };
    KvClient::new(connect(endpoints).await?).put(request).await?;
    Ok(())
}

/// Puts many keys, in large txns.
pub(crate) async fn fill(endpoints: &[String], keys: usize, value_bytes: usize) -> Result<()> {
    let channel = connect(endpoints).await?;
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let fillers = (0..FILLERS).map(async |filler| {
        let mut client = KvClient::new(channel.clone());
        for start in (filler * KEYS_PER_TXN..keys).step_by(FILLERS * KEYS_PER_TXN) {
            let put = |number| {
                let (key, value) = (key(number), value.clone());
                let put = pb::PutRequest { key, value, ..Default::default() };
                pb::RequestOp { request: Some(Op::RequestPut(put)) }
            };
            let success = (start..keys.min(start + KEYS_PER_TXN)).map(put).collect();
            let txn = pb::TxnRequest { success, ..Default::default() };
            timeout(PATIENCE, client.txn(txn)).await??;
        }
        Ok::<_, anyhow::Error>(())
    });
    try_join_all(fillers).await?;
    Ok(())
}

/// Asks once, on a connection of its own; the length of the answer.
pub(crate) async fn read(endpoints: &[String], request: pb::RangeRequest) -> Result<usize> {
    Reader::new(endpoints).await?.ask(&request).await
}

/// Asks once for a list in pieces; the length of all of them.
pub(crate) async fn read_stream(endpoints: &[String], request: pb::RangeRequest) -> Result<usize> {
    let Reader { mut grpc } = Reader::new(endpoints).await?;
    let path = PathAndQuery::from_static("/etcdserverpb.KV/RangeStream");
    grpc.ready().await?;
    let request = tonic::Request::new(request);
    let mut pieces = grpc.server_streaming(request, path, Unread).await?.into_inner();
    let mut sum = 0;
    while let Some(length) = timeout(PATIENCE, pieces.message()).await?? {
        sum += length;
    }
    Ok(sum)
}

/// Lets readers ask for a while. With a pace, time counts from when an answer
/// was due to be asked for, so that a stall is felt by all it would delay.
pub(crate) async fn hammer(
    endpoints: &[String],
    request: &pb::RangeRequest,
    readers: Readers,
) -> Result<Load> {
    let readings = (0..readers.count).map(async |_| {
        let mut reader = Reader::new(endpoints).await?;
        let mut ticker = readers.every.map(interval);
        if let Some(ticker) = &mut ticker {
            ticker.set_missed_tick_behavior(MissedTickBehavior::Burst);
        }
        let begin = Instant::now();
        let mut latencies = Vec::new();
        while begin.elapsed() < readers.span {
            let due = match &mut ticker {
                Some(ticker) => ticker.tick().await.into_std(),
                None => Instant::now(),
            };
            reader.ask(request).await?;
            latencies.push(due.elapsed());
        }
        Ok::<_, anyhow::Error>(latencies)
    });
    let begin = Instant::now();
    let mut latencies = try_join_all(readings).await?.concat();
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let operations = latencies.len() as f64;
    Ok(Load {
        operations,
        per_second: operations / seconds,
        p50_ms: percentile_ms(&latencies, 50),
        p99_ms: percentile_ms(&latencies, 99),
    })
}

/// The latency that so many of a hundred kept within, of sorted ones.
pub(crate) fn percentile_ms(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
}

struct Reader {
    grpc: Grpc<Channel>,
}

impl Reader {
    async fn new(endpoints: &[String]) -> Result<Reader> {
        let grpc = Grpc::new(connect(endpoints).await?).max_decoding_message_size(usize::MAX);
        Ok(Reader { grpc })
    }

    async fn ask(&mut self, request: &pb::RangeRequest) -> Result<usize> {
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
        self.grpc.ready().await?;
        let request = tonic::Request::new(request.clone());
        let answer = timeout(PATIENCE, self.grpc.unary(request, path, Unread)).await??;
        Ok(answer.into_inner())
    }
}

/// Encodes a request, and of the answer keeps the length.
#[derive(Clone, Copy)]
struct Unread;

impl Codec for Unread {
    type Encode = pb::RangeRequest;
    type Decode = usize;
    type Encoder = Unread;
    type Decoder = Unread;

    fn encoder(&mut self) -> Unread {
        Unread
    }

    fn decoder(&mut self) -> Unread {
        Unread
    }
}

impl Encoder for Unread {
    type Item = pb::RangeRequest;
    type Error = Status;

    fn encode(&mut self, item: pb::RangeRequest, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Unread {
    type Item = usize;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<usize>, Status> {
        let length = from.remaining();
        from.advance(length);
        Ok(Some(length))
    }
}
