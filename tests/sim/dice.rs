//! [`Dice`]: the only source of chance in the simulator.
//!
//! SplitMix64 (Steele, Lea and Flood, 2014): one word of state, so that a seed
//! is the whole story.

use std::time::Duration;

/// Numbers that follow from a seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// Dice that fall independently of these from now on.
    pub fn fork(&mut self) -> Dice {
        Dice(self.roll())
    }

    /// Any number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll() % (high - low + 1)
    }

    /// A position in a list of that length.
    pub fn place(&mut self, length: usize) -> usize {
        let place = self.between(0, length as u64 - 1);
        usize::try_from(place).expect("a list fits into memory")
    }

    /// True in so many of a thousand throws.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.between(1, 1000) <= per_mille
    }

    /// A time up to and including `longest`, at least a millisecond.
    pub fn time(&mut self, longest: Duration) -> Duration {
        let millis = u64::try_from(longest.as_millis()).expect("the simulation is short");
        Duration::from_millis(self.between(1, millis.max(1)))
    }
}
