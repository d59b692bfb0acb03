//! [`Stream`]: a watch stream, and all that was heard on it.
//!
//! What a watcher is told comes in order; what two watchers are told does not.
//! So each has a list of its own, and answers to requests have another. The
//! first watcher of a stream looks at a key that beats: when it has heard a
//! beat, all that happened before has been heard on the stream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kat::proto::etcdserverpb::watch_request::RequestUnion;
use kat::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use kat::proto::mvccpb::Event;
use tokio::time::timeout;

use super::super::wire::{IN_VAIN, Watching, Wire};
use super::super::words::{cancel, create, progress, watch};

/// The key that beats: it comes before all that are played with.
pub(super) const BEAT: &str = "!beat";

/// How long a stream may say nothing when it must say something; the machine may
/// be busy with anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long an answer is waited for that may never come, before asking again.
const PAUSE: Duration = Duration::from_millis(30);
/// How often that is asked.
const ASKED_MAX: u32 = 300;

/// A watch stream, and all that was heard on it.
pub(super) struct Stream {
    watching: Watching,
    number: usize,
    answers: Vec<String>,
    told: BTreeMap<i64, Vec<String>>,
    known: BTreeSet<i64>,
    /// Watchers that wait for a revision to come.
    waiting: BTreeMap<i64, i64>,
    /// Watchers that a compaction ended; the server keeps their ids.
    compacted: BTreeSet<i64>,
    /// The revision of the last beat heard.
    beat: i64,
    /// The revision of the last progress heard.
    progress: i64,
    is_silent: bool,
}

fn is_answer(response: &WatchResponse) -> bool {
    response.created || response.canceled && response.compact_revision == 0
}

impl Stream {
    /// Opens a stream with its first watcher; `None` if it may not watch.
    pub(super) async fn open(wire: &mut Wire, number: usize) -> Option<Stream> {
        let mut stream = Stream {
            watching: wire.watching(),
            number,
            answers: Vec::new(),
            told: BTreeMap::new(),
            known: BTreeSet::new(),
            waiting: BTreeMap::new(),
            compacted: BTreeSet::new(),
            beat: 0,
            progress: 0,
            is_silent: false,
        };
        let answer = stream.ask(wire, create(watch(BEAT, ""))).await;
        if answer.is_some_and(|answer| !answer.canceled) {
            return Some(stream);
        }
        stream.close(wire);
        None
    }

    /// The watchers that have not ended, but for the first.
    pub(super) fn watchers(&self) -> Vec<i64> {
        self.known.iter().copied().filter(|id| *id != 0).collect()
    }

    /// The revision that the last of its watchers waits for.
    pub(super) fn awaited(&self) -> i64 {
        self.waiting.values().copied().max().unwrap_or(0)
    }

    /// Takes what comes next, and files it.
    async fn hear(&mut self, patience: Duration) -> Option<WatchResponse> {
        if self.is_silent {
            return None;
        }
        let end = match timeout(patience, self.watching.next()).await {
            Ok(Ok(Some(response))) => {
                self.file(&response);
                return Some(response);
            }
            Ok(Ok(None)) => "the end".to_owned(),
            Ok(Err(status)) => format!("{:?} {:?}", status.code(), status.message()),
            Err(_) if patience < PATIENCE => return None,
            Err(_) => IN_VAIN.to_owned(),
        };
        self.is_silent = true;
        self.answers.push(end);
        None
    }

    fn file(&mut self, response: &WatchResponse) {
        let (id, text) = (response.watch_id, format!("{response:?}"));
        if is_answer(response) {
            if response.created && !response.canceled {
                self.known.insert(id);
            }
            self.answers.push(text);
            return;
        }
        // Whoever hears the same beat does so before the first watcher or after, or
        // no more.
        let is_beat = |event: &Event| event.kv.as_ref().is_some_and(|kv| kv.key == BEAT);
        if id != 0 && !response.events.is_empty() && response.events.iter().all(is_beat) {
            return;
        }
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.canceled {
            self.compacted.insert(id);
        } else if id == -1 && response.events.is_empty() {
            // One answer to several requests is as good as several.
            if revision == self.progress {
                return;
            }
            self.progress = revision;
        } else if !self.known.contains(&id) {
            self.answers.push(format!("too early for watcher {id}"));
        }
        if id == 0 {
            self.beat = revision;
        }
        self.told.entry(id).or_default().push(text);
    }

    /// Sends a request that is answered, and waits for the answer.
    async fn ask(&mut self, wire: &mut Wire, request: RequestUnion) -> Option<WatchResponse> {
        self.say(wire, request).await;
        loop {
            let response = self.hear(PATIENCE).await?;
            if is_answer(&response) {
                return Some(response);
            }
        }
    }

    async fn say(&mut self, wire: &mut Wire, request: RequestUnion) {
        wire.write(format!("on stream {}: {request:?}", self.number), "");
        if !self.is_silent {
            self.watching.send(request).await;
        }
    }

    /// Waits until all is heard that happened up to the beat of that revision.
    pub(super) async fn hear_beat(&mut self, revision: i64) {
        while self.beat < revision && self.hear(PATIENCE).await.is_some() {}
    }

    /// Ends a watcher that has heard everything.
    pub(super) async fn cancel(&mut self, wire: &mut Wire, id: i64) {
        if self.known.remove(&id) {
            self.waiting.remove(&id);
            self.compacted.remove(&id);
            self.ask(wire, cancel(id)).await;
        } else {
            // Nobody answers that.
            self.say(wire, cancel(id)).await;
        }
    }

    /// Creates a watcher, and waits until it has caught up.
    pub(super) async fn create(
        &mut self,
        wire: &mut Wire,
        request: WatchCreateRequest,
        (now, compacted): (i64, i64),
    ) {
        let start = request.start_revision;
        let is_past = (1..=now).contains(&start);
        if is_past {
            self.unblock(wire, now).await;
        }
        let Some(answer) = self.ask(wire, create(request)).await else { return };
        let id = answer.watch_id;
        if answer.canceled {
            return;
        }
        if start > now {
            self.waiting.insert(id, start);
        } else if is_past && start < compacted {
            while !self.compacted.contains(&id) && self.hear(PATIENCE).await.is_some() {}
        } else if is_past {
            self.settle(wire, now).await;
        }
    }

    /// Ends the watchers in whose presence nobody is told of progress.
    async fn unblock(&mut self, wire: &mut Wire, now: i64) {
        self.waiting.retain(|_, start| *start > now);
        for id in self.blockers() {
            self.cancel(wire, id).await;
        }
    }

    fn blockers(&self) -> Vec<i64> {
        self.waiting.keys().chain(&self.compacted).copied().collect()
    }

    /// Asks for progress until it is told: everybody has caught up then.
    async fn settle(&mut self, wire: &mut Wire, now: i64) {
        for asked in 1..=ASKED_MAX {
            if self.is_silent {
                return;
            }
            self.watching.send(progress()).await;
            while self.progress < now && self.hear(PAUSE).await.is_some() {}
            if self.progress >= now {
                if asked > 1 {
                    self.fence().await;
                }
                return;
            }
        }
        wire.write(format!("on stream {}: progress", self.number), IN_VAIN);
    }

    /// Asks for progress; nobody tells as long as somebody waits.
    pub(super) async fn progress(&mut self, wire: &mut Wire, now: i64) {
        self.waiting.retain(|_, start| *start > now);
        wire.write(format!("on stream {}: progress", self.number), "");
        if self.blockers().is_empty() {
            return self.settle(wire, now).await;
        }
        if !self.is_silent {
            self.watching.send(progress()).await;
            self.fence().await;
        }
    }

    /// Has all requests before it taken, by one that cannot but be refused.
    async fn fence(&mut self) {
        self.watching.send(create(watch("z", "a"))).await;
        while let Some(response) = self.hear(PATIENCE).await {
            if is_answer(&response) {
                // How often it was asked is nobody's business.
                self.answers.pop();
                return;
            }
        }
    }

    /// Writes down all that was heard.
    pub(super) fn close(self, wire: &mut Wire) {
        let number = self.number;
        for (place, answer) in self.answers.into_iter().enumerate() {
            wire.write(format!("stream {number}, answer {place}"), answer);
        }
        for (id, told) in self.told {
            for (place, response) in told.into_iter().enumerate() {
                wire.write(format!("stream {number}, watcher {id}, response {place}"), response);
            }
        }
    }
}
