//! [`Writer`]: the only code that waits for the log's disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::counters::Counters;
use crate::consensus::{LogWrite, Persisted, persist};
use crate::engine::Engine;

/// Bytes of entries that one sync carries; what waits beyond goes into the next.
/// There is no bound on their number: the slower the disk, the more share a sync.
/// What one turn of the driver left is not split; raft bounds that.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// A sync that takes longer is worth a line in the log, as in etcd.
const SLOW: Duration = Duration::from_secs(1);

/// Turns what waits into one write and one sync.
pub(super) struct Writer {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    counters: Counters,
}

impl Writer {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        counters: Counters,
    ) -> Writer {
        Writer { engine, clock, counters }
    }

    /// Takes from the front of `waiting` what one sync may carry, at least one
    /// write, and returns when it is on disk.
    pub(super) fn turn(&self, waiting: &mut VecDeque<LogWrite>) -> Persisted {
        let (mut batch, mut bytes) = (Vec::with_capacity(waiting.len()), 0);
        while let Some(write) = waiting.front() {
            bytes += write.bytes();
            if bytes > BATCH_BYTES_MAX && !batch.is_empty() {
                bytes -= write.bytes();
                break;
            }
            batch.extend(waiting.pop_front());
        }
        let began = self.clock.now();
        let persisted = persist(&*self.engine, batch);
        if persisted.synced {
            let took = self.clock.now().saturating_sub(began);
            self.counters.log_syncs.observe(took.as_secs_f64());
            if took > SLOW {
                tracing::warn!(event = "slow_fsync", ?took, expected = ?SLOW, "slow fdatasync");
            }
        }
        self.counters.log_bytes.inc_by(bytes as u64);
        persisted
    }
}
