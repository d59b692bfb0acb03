//! Those who read much, or slowly, or not at all.

use std::convert::Infallible;

use futures::future::join_all;
use futures::stream;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

use super::super::agent::block_on;
use super::*;

const KEYS: usize = 65_536;
const VALUE_BYTES: usize = 1024;

#[test]
fn many_long_lists_at_once_cost_little_and_are_complete() {
    const LISTS: usize = 8;
    block_on(async {
        let server = Server::kat();
        fill(&server, KEYS, VALUE_BYTES).await;
        let bystander = Bystander::at(&server).await;
        let before = server.memory_peak_from_now();
        let lists = (0..LISTS).map(async |number| {
            let channel = channel(&server).await;
            let mut client = KvClient::new(channel).max_decoding_message_size(usize::MAX);
            let mut seen = 0_usize;
            let mut count = 0;
            let mut take = |range: pb::RangeResponse| {
                for kv in range.kvs {
                    assert_eq!(kv.key, format!("k{seen:08}"));
                    assert_eq!(kv.value.len(), VALUE_BYTES);
                    seen += 1;
                }
                count = range.count;
            };
            if number % 2 == 0 {
                take(client.range(everything()).await.unwrap().into_inner());
            } else {
                let mut pieces = client.range_stream(everything()).await.unwrap().into_inner();
                while let Some(piece) = pieces.message().await.unwrap() {
                    take(piece.range_response.unwrap());
                }
            }
            assert_eq!((seen, count), (KEYS, i64::try_from(KEYS).unwrap()));
        });
        timeout(PATIENCE * 2, join_all(lists)).await.expect("lists end");
        let grown = server.memory_peak().saturating_sub(before);
        // They are 544 MiB together.
        assert!(grown < 96 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn lists_that_nobody_reads_cost_a_piece_each() {
    const LISTS: usize = 200;
    block_on(async {
        let server = Server::kat();
        fill(&server, KEYS, VALUE_BYTES).await;
        let bystander = Bystander::at(&server).await;
        let before = server.memory_peak_from_now();
        let send = raw(&server).await;
        let mut unread = Vec::new();
        for _ in 0..LISTS {
            let mut send = send.clone().ready().await.unwrap();
            let (response, mut stream) =
                send.send_request(head("/etcdserverpb.KV/Range"), false).unwrap();
            stream.send_data(framed(&everything()), true).unwrap();
            unread.push(timeout(PATIENCE, response).await.unwrap().unwrap());
        }
        // What was sent first is there, and nothing that nobody has room for.
        let mut first = unread.remove(0).into_body();
        let data = timeout(PATIENCE, first.data()).await.unwrap().unwrap().unwrap();
        assert_eq!(data[0], 0);
        let grown = server.memory_peak().saturating_sub(before);
        // They are 13.6 GiB together.
        assert!(grown < 256 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
        drop(unread);
    });
}

#[test]
fn watch_streams_that_nobody_reads_cost_little() {
    const STREAMS: usize = 2000;
    block_on(async {
        let server = Server::kat();
        let bystander = Bystander::at(&server).await;
        let before = server.memory_peak_from_now();
        // What one stream leaves unread is not to be in the way of another.
        let endpoint = Endpoint::from_shared(server.endpoint()).unwrap();
        let channel = endpoint.initial_connection_window_size(1 << 30).connect().await.unwrap();
        let create = pb::WatchCreateRequest { key: "by".into(), ..Default::default() };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let mut unread = Vec::new();
        for _ in 0..STREAMS {
            let mut client = WatchClient::new(channel.clone());
            // One request, and then the client's half ends.
            let requests = stream::iter([create.clone()]);
            let opened = timeout(PATIENCE, client.watch(requests)).await.unwrap().unwrap();
            unread.push(opened.into_inner());
        }
        fill(&server, 10_000, VALUE_BYTES).await;
        for watching in unread.iter_mut().step_by(100) {
            let told = timeout(PATIENCE, watching.message()).await.unwrap().unwrap().unwrap();
            assert!(told.created);
            let told = timeout(PATIENCE, watching.message()).await.unwrap().unwrap().unwrap();
            assert_eq!(told.events[0].kv.as_ref().unwrap().key, "by");
        }
        let grown = server.memory_peak().saturating_sub(before);
        assert!(grown < 256 * MIB, "{} MiB", grown / MIB);
        assert!(bystander.leave().await > 0);
    });
}

#[test]
fn ten_thousand_watchers_share_a_stream() {
    const WATCHERS: usize = 10_000;
    block_on(async {
        let server = Server::kat();
        let bystander = Bystander::at(&server).await;
        let mut client = WatchClient::new(channel(&server).await);
        let create = |number: usize| {
            let key = format!("k{number:08}").into();
            let create = pb::WatchCreateRequest { key, ..Default::default() };
            pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
        };
        let requests = stream::iter((0..WATCHERS).map(create));
        let mut responses = client.watch(requests).await.unwrap().into_inner();
        for _ in 0..WATCHERS {
            let told = timeout(PATIENCE, responses.message()).await.unwrap().unwrap().unwrap();
            assert!(told.created);
        }
        let filling = fill(&server, WATCHERS, 8);
        let hearing = async {
            for number in 0..WATCHERS {
                let told = timeout(PATIENCE, responses.message()).await.unwrap().unwrap().unwrap();
                assert_eq!(told.events.len(), 1, "event {number}");
            }
            Ok::<_, Infallible>(())
        };
        let (_, heard) = tokio::join!(filling, hearing);
        heard.unwrap();
        assert!(bystander.leave().await > 0);
    });
}
