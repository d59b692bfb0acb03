//! [`start`]: gives threads to a member's parts.
//!
//! ```text
//!   callers ──▶ inbox ──▶ driver ──▶ writes ──▶ writer
//!                           ▲  └───▶ committed ──▶ applier ──▶ flusher
//!                           └── persisted ──────────┘ (writer), durable (flusher)
//! ```
//!
//! The driver has a thread for its clock and its messages, but whoever has news
//! for it turns it: the writer reports by turning it, and so takes along all
//! that gathered while it waited for the disk. The little that a lone caller
//! waits for the writer also applies, so that such a put changes threads twice:
//! caller, writer, caller. What many wait for goes to the applier, while the
//! writer is at the disk again.
//!
//! - The driver's lock is held for a turn, and a turn waits for nothing.
//! - What a turn leaves to do is handed on before the lock is released, and
//!   taken under the applier's, so that it stays in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::applier::{Applier, weight};
use super::clock::Clock;
use super::compactor;
use super::driver::{Driver, Outbox};
use super::flusher::{FLUSH_EVERY, Flusher};
use super::inbox::Input;
use super::open::{Damaged, Engines, Options, Parts, open};
use super::queue::Queue;
use super::replica::Replica;
use super::shared::Shared;
use super::writer::Writer;
use crate::ids::MemberId;

/// A member with its threads.
pub struct Running {
    shared: Arc<Shared>,
    driver: JoinHandle<()>,
    writer: JoinHandle<()>,
    applier: JoinHandle<()>,
    flusher: JoinHandle<Flusher>,
    flushes: Arc<Queue<()>>,
}

impl Running {
    /// Its handle.
    pub fn replica(&self) -> Replica {
        Replica::new(self.shared.clone())
    }

    /// Stops the threads and flushes the state, so that a restart replays
    /// nothing. Blocks until done.
    pub fn stop(self) {
        let Running { shared, driver, writer, applier, flusher, flushes } = self;
        shared.inbox.push(Input::Stop);
        join(driver);
        join(writer);
        // Nobody turns the driver any more: what was committed was handed on.
        shared.committed.end();
        join(applier);
        shared.pending.abandon();
        shared.progress.abandon();
        shared.settling.lock().clear();
        shared.watchers.close();
        flushes.end();
        join(flusher).turn();
    }
}

/// Opens a member and starts driver, writer, applier and flusher.
///
/// # Errors
/// A damaged log or store.
pub fn start(
    engines: Engines,
    clock: Arc<dyn Clock>,
    options: &Options,
) -> Result<Running, Damaged> {
    let Parts { replica, driver, applier, durable, .. } =
        open(engines.clone(), clock.clone(), options)?;
    let shared = replica.shared().clone();
    let writer = Writer::new(engines.log, clock, shared.counters.clone());
    let flusher = Flusher::new(shared.clone(), durable);
    let flushes = Arc::new(Queue::new());
    let (driver, applier) = (Mutex::new(driver), Mutex::new(applier));
    let member = Arc::new(Threads { driver, applier, shared: shared.clone() });
    let (for_driver, for_writer, for_applier) = (member.clone(), member.clone(), member);
    let (for_flusher, to_flusher) = (flushes.clone(), flushes.clone());
    Ok(Running {
        shared,
        driver: spawn("kat-driver", move || for_driver.drive()),
        writer: spawn("kat-writer", move || for_writer.write(&writer)),
        applier: spawn("kat-applier", move || for_applier.apply(&to_flusher)),
        flusher: spawn("kat-flusher", move || flush(flusher, &for_flusher)),
        flushes,
    })
}

/// What the threads share: driver and applier, for whoever has news for them.
struct Threads {
    driver: Mutex<Driver>,
    applier: Mutex<Applier>,
    shared: Arc<Shared>,
}

/// Bytes of committed entries that the writer applies itself rather than wake
/// another thread for them: a few small commands.
const APPLIED_BY_WRITER_MAX: usize = 2048;

impl Threads {
    /// One turn of the driver with `inputs` and all that waits. Says how long
    /// there is nothing to do behind it, and whether the caller is to apply what
    /// is committed, because it takes at most `small` bytes.
    fn turn(&self, mut inputs: Vec<Input>, small: usize) -> (Duration, bool) {
        let mut driver = self.driver.lock();
        inputs.extend(self.shared.inbox.take(Duration::ZERO));
        let Outbox { messages, writes, committed, stop } = driver.turn(inputs, self.shared.now());
        for message in messages {
            // There are no wires yet: raft hears what a broken one would tell.
            tracing::trace!(to = message.to, kind = ?message.r#type(), "no wire to a peer");
            driver.lost(MemberId(message.to));
        }
        let bytes: usize = committed.iter().map(weight).sum();
        let is_small = bytes > 0 && bytes <= small;
        if is_small {
            self.shared.committed.add(committed);
        } else {
            self.shared.committed.push(committed);
        }
        self.shared.inbox.write(writes);
        if stop && !self.shared.inbox.has_ended() {
            self.shared.inbox.end();
        }
        (driver.patience(self.shared.now()), is_small)
    }

    fn drive(&self) {
        let inbox = &self.shared.inbox;
        let mut patience = Duration::ZERO;
        while !inbox.has_ended() {
            inbox.await_inputs(patience);
            (patience, _) = self.turn(Vec::new(), 0);
        }
    }

    fn write(&self, writer: &Writer) {
        let mut waiting = VecDeque::new();
        while let Some(writes) = self.shared.inbox.await_writes() {
            waiting.extend(writes);
            if waiting.is_empty() {
                self.turn(Vec::new(), 0);
            }
            while !waiting.is_empty() {
                let persisted = writer.turn(&mut waiting);
                let inputs = vec![Input::Persisted(persisted)];
                if let (_, true) = self.turn(inputs, APPLIED_BY_WRITER_MAX) {
                    self.apply_small();
                }
            }
        }
    }

    /// Applies what there is, unless the applier is at it: then it will see.
    fn apply_small(&self) {
        let Some(mut applier) = self.applier.try_lock() else { return };
        applier.turn(self.shared.committed.take());
        if applier.has_chores() {
            self.shared.committed.nudge();
        }
    }

    fn apply(&self, flushes: &Queue<()>) {
        let mut patience = None;
        while self.shared.committed.wait(patience) {
            let mut applier = self.applier.lock();
            applier.turn(self.shared.committed.take());
            patience = applier.maybe_purge().then_some(compactor::PAUSE);
            if applier.take_flush_due() {
                flushes.nudge();
            }
        }
    }
}

fn flush(mut flusher: Flusher, flushes: &Queue<()>) -> Flusher {
    while flushes.wait(Some(FLUSH_EVERY)) {
        flusher.turn();
    }
    flusher
}

/// A member that has lost a thread keeps no promise any more.
struct Fatal(&'static str);

impl Drop for Fatal {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(thread = self.0, "a thread of the member panicked: the process ends");
            std::process::abort();
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &'static str,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let guarded = move || {
        let _fatal = Fatal(name);
        body()
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .unwrap_or_else(|why| panic!("the system refuses thread {name}: {why}"))
}

fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|_| unreachable!("a panic of the thread ends the process"))
}
