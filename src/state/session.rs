//! A lease that is kept alive, and who is told when it cannot be.
//!
//! The store counts a lease from the moment at which it handles a keep-alive;
//! the session counts it from the moment at which it sent one, which is
//! earlier. So its clock runs out first, and it runs on through a suspend: a
//! laptop that wakes up has lost its leadership before it does anything.
//!
//! Deliberately not here: what the lease is for.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::{Clients, Connection, patiently};
use super::error::{Result, is_lease_gone};
use crate::ids::LeaseId;

/// How long a suspend may go unnoticed after the machine wakes up, because the
/// runtime's timers stand still in the meantime.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// When a keep-alive that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Why leadership ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostReason {
    /// The store ended the lease.
    LeaseExpired,
    /// Somebody deleted the election key.
    KeyDeleted,
    /// No keep-alive was acknowledged for as long as the lease lives.
    ConnectionLost,
    /// The leader resigned.
    Resigned,
    /// The store was closed by its user.
    Shutdown,
}

impl LostReason {
    /// The reason as logs and status show it.
    pub fn as_str(self) -> &'static str {
        match self {
            LostReason::LeaseExpired => "lease_expired",
            LostReason::KeyDeleted => "key_deleted",
            LostReason::ConnectionLost => "connection_lost",
            LostReason::Resigned => "resigned",
            LostReason::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::LeaseExpired => "lease expired",
            LostReason::KeyDeleted => "key deleted",
            LostReason::ConnectionLost => "connection lost",
            LostReason::Resigned => "resigned",
            LostReason::Shutdown => "shutdown",
        })
    }
}

/// Whether something still holds, and if not, why. The first reason stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenure {
    pub(super) lost: CancellationToken,
    reason: Arc<OnceLock<LostReason>>,
}

impl Tenure {
    /// Names the reason of the end that is about to come.
    pub(super) fn prepare(&self, reason: LostReason) {
        // A reason that came earlier is the true one.
        self.reason.set(reason).ok();
    }

    pub(super) fn end(&self, reason: LostReason) {
        self.prepare(reason);
        self.lost.cancel();
    }

    pub(super) fn reason(&self) -> Option<LostReason> {
        self.reason.get().copied().filter(|_| self.lost.is_cancelled())
    }
}

/// A lease of ours. Dropping it revokes the lease in the background.
pub(super) struct Session {
    pub(super) lease: LeaseId,
    pub(super) tenure: Tenure,
    connection: Connection,
    is_over: bool,
}

impl Session {
    /// Takes a lease, however long the store cannot be reached.
    pub(super) async fn begin(connection: &Connection, ttl_seconds: i64) -> Result<Session> {
        let grant = |mut clients: Clients| async move {
            let sent = boot_time();
            let granted = clients.lease.grant(ttl_seconds, None).await?;
            Ok((sent, granted))
        };
        let (sent, granted) = patiently(|| connection.read("grant a lease", grant)).await?;
        let session = Session {
            lease: LeaseId(granted.id()),
            tenure: Tenure::default(),
            connection: connection.clone(),
            is_over: false,
        };
        let keeper = Keeper {
            connection: connection.clone(),
            lease: session.lease,
            ttl: Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(0)),
            acknowledged: sent,
            tenure: session.tenure.clone(),
        };
        tokio::spawn(keeper.run());
        Ok(session)
    }

    /// Revokes the lease and waits for it.
    pub(super) async fn revoke(mut self) -> Result<()> {
        self.is_over = true;
        revoke(&self.connection, self.lease).await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tenure.end(LostReason::Shutdown);
        if self.is_over {
            return;
        }
        // Without a runtime there is nobody to do it, and the lease expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (connection, lease) = (self.connection.clone(), self.lease);
            runtime.spawn(async move {
                if let Err(error) = revoke(&connection, lease).await {
                    tracing::debug!(%lease, %error, "the lease is left to expire");
                }
            });
        }
    }
}

async fn revoke(connection: &Connection, lease: LeaseId) -> Result<()> {
    let doing = format!("revoke lease {lease}");
    let call = |mut clients: Clients| async move {
        match clients.lease.revoke(lease.0).await {
            Err(error) if is_lease_gone(&error) => Ok(()),
            done => done.map(drop),
        }
    };
    connection.farewell(&doing, call).await
}

/// Whether the store still knows the lease.
pub(super) async fn is_alive(connection: &Connection, lease: LeaseId) -> Result<bool> {
    let doing = format!("look at lease {lease}");
    let call = |mut clients: Clients| async move {
        Ok(clients.lease.time_to_live(lease.0, None).await?.ttl() > 0)
    };
    connection.read(&doing, call).await
}

/// Renews a lease every third of its life.
struct Keeper {
    connection: Connection,
    lease: LeaseId,
    ttl: Duration,
    /// When the last keep-alive that was acknowledged was sent.
    acknowledged: Duration,
    tenure: Tenure,
}

impl Keeper {
    async fn run(mut self) {
        let mut due = self.acknowledged + self.ttl / 3;
        loop {
            let renewed = tokio::select! {
                biased;
                () = self.tenure.lost.cancelled() => return,
                () = self.connection.closed() => return self.tenure.end(LostReason::Shutdown),
                () = until(self.acknowledged + self.ttl) => {
                    return self.tenure.end(LostReason::ConnectionLost);
                }
                renewed = self.renew(due) => renewed,
            };
            match renewed {
                Ok(Some(sent)) => {
                    self.acknowledged = sent;
                    due = sent + self.ttl / 3;
                }
                Ok(None) => return self.tenure.end(LostReason::LeaseExpired),
                Err(error) => {
                    tracing::debug!(lease = %self.lease, %error, "keep-alive failed");
                    due = boot_time() + RETRY_AFTER;
                }
            }
        }
    }

    /// Says when the keep-alive was sent; `None` if the lease is gone.
    ///
    /// One short stream for each: what is kept open can hang, and needs its
    /// own way back after a failure.
    async fn renew(&self, due: Duration) -> Result<Option<Duration>> {
        until(due).await;
        let lease = self.lease.0;
        let call = |mut clients: Clients| async move {
            let sent = boot_time();
            match clients.lease.keep_alive(lease).await {
                Ok(_) => Ok(Some(sent)),
                Err(error) if is_lease_gone(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.connection.read("keep a lease alive", call).await
    }
}

/// Time since the machine started, suspends included.
fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).expect("the clock begins at zero");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
    Duration::new(seconds, nanoseconds)
}

async fn until(moment: Duration) {
    loop {
        let left = moment.saturating_sub(boot_time());
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stays() {
        let tenure = Tenure::default();
        tenure.prepare(LostReason::Resigned);
        assert_eq!(tenure.reason(), None, "it has not ended yet");
        tenure.end(LostReason::KeyDeleted);
        assert_eq!(tenure.reason(), Some(LostReason::Resigned));
    }
}
