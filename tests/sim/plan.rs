//! [`Plan`]: what a seed holds in store for the cluster, drawn before it runs.
//!
//! A third of the seeds are spared each kind of trouble, so that every pair of
//! troubles also meets alone.

use std::time::Duration;

use crate::dice::Dice;

/// How many members there are.
pub const MEMBERS: usize = 3;
/// The length of a step of the simulation.
pub const STEP: Duration = Duration::from_millis(5);
/// A clock runs at most so much faster or slower than true, in thousandths.
pub const SKEW_MAX: u64 = 50;

/// The parameters of one run; chances are in thousandths.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long trouble lasts.
    pub trouble: Duration,
    /// Clients, each with one operation at a time.
    pub clients: usize,
    /// The longest pause of a client.
    pub pause: Duration,
    /// Messages that are lost.
    pub loss: u64,
    /// Messages that arrive twice.
    pub duplicate: u64,
    /// Messages that come late, overtaken by many.
    pub late: u64,
    /// How late.
    pub late_max: Duration,
    /// The longest that a sync takes.
    pub sync_max: Duration,
    /// Steps in which an applier has no time.
    pub apply_pause: u64,
    /// Steps in which a state engine flushes.
    pub flush: u64,
    /// Votes behind which the voter crashes and comes straight back; entries
    /// are acknowledged so a tenth as often.
    pub faint: u64,
    /// The longest time between two blows.
    pub blow_every: Option<Duration>,
    /// How fast each member's clock runs, in thousandths of the truth.
    pub clocks: [u64; MEMBERS],
}

impl Plan {
    /// What the seed says.
    pub fn draw(dice: &mut Dice) -> Plan {
        let mut maybe = |most: u64| if dice.chance(333) { 0 } else { dice.between(1, most) };
        let (loss, duplicate, late) = (maybe(150), maybe(100), maybe(250));
        let (apply_pause, flush, skew) = (maybe(900), maybe(50), maybe(SKEW_MAX));
        let faint = maybe(200);
        let blow_every = [0, 300, 1_000, 3_000, 8_000][dice.place(5)];
        Plan {
            trouble: Duration::from_secs(dice.between(20, 60)),
            clients: dice.place(8) + 2,
            pause: Duration::from_millis(dice.between(10, 200)),
            loss,
            duplicate,
            late,
            late_max: Duration::from_millis(dice.between(100, 8_000)),
            sync_max: Duration::from_millis(dice.between(1, 5) * dice.between(1, 40)),
            apply_pause,
            flush,
            faint,
            blow_every: (blow_every > 0).then(|| Duration::from_millis(blow_every)),
            clocks: std::array::from_fn(|_| dice.between(1000 - skew, 1000 + skew)),
        }
    }
}
