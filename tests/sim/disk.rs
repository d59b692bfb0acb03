//! [`Disk`]: a member's two engines and the writer between it and them.
//!
//! A sync takes its time, and what it writes is there when it ends. When the
//! power goes, a sync under way may or may not have reached the disk; whoever
//! waited for it never hears.

use std::sync::Arc;
use std::time::Duration;

use kat::consensus::{self, LogWrite, Persisted, persist};
use kat::engine::{Engine, Memory, Options};
use kat::replica::Engines;
use kat::store;

use crate::dice::Dice;

/// What survives a crash.
pub struct Disk {
    log: Arc<Memory>,
    state: Arc<Memory>,
    waiting: Vec<LogWrite>,
    syncing: Option<(Duration, Vec<LogWrite>)>,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Disk {
        let log = Memory::new(Options { families: consensus::FAMILIES, wal: true });
        let state = Memory::new(store::ENGINE);
        Disk { log: Arc::new(log), state: Arc::new(state), waiting: Vec::new(), syncing: None }
    }

    /// For a member to open.
    pub fn engines(&self) -> Engines {
        Engines { log: self.log.clone(), state: self.state.clone() }
    }

    /// Takes what a turn leaves to write.
    pub fn write(&mut self, writes: Vec<LogWrite>) {
        self.waiting.extend(writes);
    }

    /// Ends a sync whose time has come, and begins the next with all that waits.
    pub fn turn(&mut self, now: Duration, takes: Duration) -> Option<Persisted> {
        let ended = self.syncing.take_if(|(until, _)| *until <= now);
        if self.syncing.is_none() && !self.waiting.is_empty() {
            self.syncing = Some((now + takes, std::mem::take(&mut self.waiting)));
        }
        ended.map(|(_, writes)| persist(&*self.log, writes))
    }

    /// Makes the state durable.
    pub fn flush(&self) {
        self.state.flush();
    }

    /// The power goes.
    pub fn crash(&mut self, dice: &mut Dice) {
        if let Some((_, writes)) = self.syncing.take()
            && dice.chance(500)
        {
            drop(persist(&*self.log, writes));
        }
        if dice.chance(300) {
            // What nobody waited for is sometimes there as well.
            self.log.flush();
        }
        self.waiting.clear();
        self.log.crash();
        self.state.crash();
    }
}
