//! [`Shards`]: threads that serve connections, each its own.
//!
//! A connection and all its requests stay on one thread, so that handing a
//! request over to its task, and its answer back, wakes nobody, and all answers
//! that are ready leave in one write. Work stealing would spread the tasks of
//! one connection over all threads, and make a write of each answer: measured,
//! that costs a third more processor time per call.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::Arrival;

/// More threads than this do not share the work better; the store has its own.
const SHARDS_MAX: usize = 8;

/// The threads; they end with this value, and with what runs on them.
pub(super) struct Shards {
    shards: Vec<Shard>,
    next: AtomicUsize,
    stop: CancellationToken,
}

struct Shard {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Shards {
    /// Starts a thread for each core, within bounds.
    pub(super) fn start() -> io::Result<Shards> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let mut shards = Vec::new();
        for number in 0..cores.min(SHARDS_MAX) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let stop = stop.clone();
            let thread = std::thread::Builder::new()
                .name(format!("kat-api-{number}"))
                .spawn(move || runtime.block_on(stop.cancelled()))?;
            shards.push(Shard { handle, thread: Some(thread) });
        }
        Ok(Shards { shards, next: AtomicUsize::new(0), stop })
    }

    /// Gives a connection to the thread whose turn it is.
    pub(super) fn spawn<F>(
        &self,
        connections: &TaskTracker,
        arrival: Arrival,
        serve: impl FnOnce(Arrival) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let attach = arrival.detach()?;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        let connection = async move {
            match attach() {
                Ok(arrival) => serve(arrival).await,
                Err(error) => tracing::debug!(%error, "a connection broke before it began"),
            }
        };
        connections.spawn_on(connection, &self.shards[turn].handle);
        Ok(())
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop.cancel();
        for shard in &mut self.shards {
            if let Some(thread) = shard.thread.take() {
                thread.join().expect("a thread that panics ends the process");
            }
        }
    }
}
