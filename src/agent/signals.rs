//! Being asked to stop: once in order, twice at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::errors::{Kind, Report};

/// Whether the process was asked to stop, and how.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    /// Cancelled by the first signal.
    pub(super) token: CancellationToken,
    signal: Arc<AtomicI32>,
}

/// What a second signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    /// The process ends at once, with 128 and the signal's number.
    Exits,
    /// Nothing: the first one is being obeyed as fast as it can be.
    IsIgnored,
}

impl Stop {
    /// Listens to SIGTERM and SIGINT from now on. In etcd's place, what ends no
    /// program of Go's ends nothing either.
    pub(super) fn listen(second: Second) -> Result<Stop, Report> {
        let catch = |kind| {
            signal(kind).map_err(|why: std::io::Error| {
                Kind::IO.report("cannot listen to signals", "start again").because(why)
            })
        };
        let mut terminate = catch(SignalKind::terminate())?;
        let mut interrupt = catch(SignalKind::interrupt())?;
        if second == Second::IsIgnored {
            for deaf in [
                SignalKind::user_defined1(),
                SignalKind::user_defined2(),
                SignalKind::alarm(),
                SignalKind::io(),
            ] {
                drop(catch(deaf)?);
            }
        }
        let stop = Stop { token: CancellationToken::new(), signal: Arc::default() };
        let told = stop.clone();
        tokio::spawn(async move {
            let first = either(&mut terminate, &mut interrupt).await;
            let signal = if first == SIGTERM { "terminated" } else { "interrupt" };
            tracing::info!(signal, "received signal; shutting down");
            told.signal.store(first, Ordering::SeqCst);
            told.token.cancel();
            loop {
                let again = either(&mut terminate, &mut interrupt).await;
                if second == Second::Exits {
                    tracing::warn!(event = "shutdown", "second signal: skipping the rest");
                    signal_hook::low_level::exit(128 + again);
                }
            }
        });
        Ok(stop)
    }

    /// The signal that came first, if one came.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> i32 {
    tokio::select! {
        _ = terminate.recv() => SIGTERM,
        _ = interrupt.recv() => SIGINT,
    }
}
