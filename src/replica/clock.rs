//! [`Clock`]: where time enters.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A clock that never goes back; zero is some moment before its first use.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Duration;
}

/// The machine's own, suspend included: a lease runs out while the lid is shut.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).expect("a machine's uptime is not negative");
        let nanos = u32::try_from(now.tv_nsec).expect("nanoseconds of a second fit into 32 bits");
        Duration::new(seconds, nanos)
    }
}

/// The time of day, in seconds since 1970: to be told, and to decide nothing.
pub(super) fn unix_seconds() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock;
        let mut before = clock.now();
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= before, "{now:?} after {before:?}");
            before = now;
        }
        assert!(before > Duration::ZERO);
    }
}
