//! Kill -9 at any moment: what was acknowledged stays, and damage is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use rustix::process::Signal;
use tokio::sync::mpsc::{Sender, channel};

use super::{Site, UID, block_on, value};

const CRASHES: u32 = 50;
const WRITERS: u32 = 8;
/// How long a run may take from its start until it has served its first read.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Puts until the store goes away, and tells of each that was acknowledged.
async fn write(mut client: Client, writer: u32, round: u32, tell: Sender<(String, String)>) {
    for count in 0.. {
        let (key, value) = (format!("load/{writer}/{}", count % 100), format!("{round}/{count}"));
        if client.put(key.as_str(), value.as_str(), None).await.is_err() {
            return;
        }
        tell.send((key, value)).await.unwrap();
    }
}

/// A value that was sent may have arrived although nobody heard of it; one that
/// was acknowledged must be there, or a later one.
fn check(found: &BTreeMap<String, String>, acknowledged: &BTreeMap<String, String>) {
    let order = |value: &str| -> Vec<u32> {
        value.split('/').map(|part| part.parse().expect("a number")).collect()
    };
    for (key, value) in acknowledged {
        let held = found.get(key).unwrap_or_else(|| panic!("{key}={value} is lost"));
        assert!(order(held) >= order(value), "{key}: {held} is older than {value}");
    }
}

/// Fails when an answer takes too long.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BACK_WITHIN, work).await.expect("a put is answered, or fails, soon")
}

async fn all(client: &mut Client) -> BTreeMap<String, String> {
    let found = client.get("load/", Some(GetOptions::new().with_prefix())).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    found.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect()
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let site = Site::new("home");
    let mut agent = site.init();
    let uid = site.record()["uid"].as_str().unwrap().to_owned();
    let mut acknowledged = BTreeMap::new();
    for round in 0..CRASHES {
        let begin = Instant::now();
        block_on(async {
            let mut client = site.client().await;
            check(&all(&mut client).await, &acknowledged);
            assert_eq!(value(&mut client, UID).await, uid);
            let (tell, mut told) = channel(1024);
            for writer in 0..WRITERS {
                tokio::spawn(write(client.clone(), writer, round, tell.clone()));
            }
            drop(tell);
            // The moment differs from round to round.
            for _ in 0..100 + 37 * round % 400 {
                acknowledged.extend(soon(told.recv()).await);
            }
            agent.signal(Signal::KILL);
            while let Some(written) = soon(told.recv()).await {
                acknowledged.extend([written]);
            }
        });
        agent.end();
        let down = Instant::now();
        agent = site.start("crash.log", &["run"]);
        agent.says("Successfully initialized etcd");
        assert!(down.elapsed() < BACK_WITHIN, "round {round}: {:?}", down.elapsed());
        assert!(begin.elapsed() < 3 * BACK_WITHIN, "round {round}: {:?}", begin.elapsed());
    }
    assert!(acknowledged.len() > 100, "{} keys are not much of a load", acknowledged.len());
    block_on(async { check(&all(&mut site.client().await).await, &acknowledged) });
    agent.stop();
}

#[test]
fn a_node_that_crashed_while_it_led_leads_again_at_once() {
    let site = Site::new("home");
    let mut agent = site.init();
    super::until("the key is recorded", || site.record().get("electionKey").map(drop));
    agent.kill();
    let begin = Instant::now();
    let mut agent = site.start("run.log", &["run"]);
    agent.says("Became leader: node-a");
    assert!(begin.elapsed() < Duration::from_secs(5), "it waited for its own lease");
    agent.stop();
}

/// The files of a part of the store with this ending, the largest first.
fn files(site: &Site, part: &str, ending: &str) -> Vec<PathBuf> {
    let folder = site.data_dir().join("member").join(part);
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == ending))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    found
}

#[test]
fn a_hole_in_the_log_is_refused_and_not_repaired() {
    let site = Site::new("home");
    let mut agent = site.init();
    block_on(async {
        let mut client = site.client().await;
        for count in 0..200 {
            client.put(format!("k{count}"), "v".repeat(200), None).await.unwrap();
        }
    });
    agent.kill();
    let log = &files(&site, "log", "log")[0];
    let mut bytes = fs::read(log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
    fs::write(log, &bytes).unwrap();

    for _ in 0..2 {
        let (exit, said) = site.refused(&["run"]);
        assert_eq!(exit, 11, "{said}");
        assert!(said.contains("damaged") && said.contains("member/log"), "{said}");
        assert_eq!(fs::read(log).unwrap(), bytes, "nothing was overwritten");
    }
}

#[test]
fn a_torn_tail_of_the_log_is_dropped() {
    let site = Site::new("home");
    let mut agent = site.init();
    block_on(async {
        let mut client = site.client().await;
        for count in 0..50 {
            client.put(format!("k{count}"), "v", None).await.unwrap();
        }
    });
    agent.kill();
    // As if the power went while a record was being written.
    let log = &files(&site, "log", "log")[0];
    let mut bytes = fs::read(log).unwrap();
    bytes.extend_from_slice(&[0x5a; 5]);
    fs::write(log, &bytes).unwrap();
    let mut agent = site.start("run.log", &["run"]);
    agent.says("Became leader: node-a");
    block_on(async { assert_eq!(value(&mut site.client().await, "k49").await, "v") });
    agent.stop();
}
