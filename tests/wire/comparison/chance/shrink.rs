//! Fewer and fewer operations, as long as they still make a difference.

use std::time::{Duration, Instant};

use super::game::Sequence;
use super::{Difference, Pair, Start};

/// What is left after so long is short enough.
const PATIENCE: Duration = Duration::from_secs(180);

/// Plays sequences in turn with servers that have seen nothing else.
struct Player {
    start: Start,
    end: Instant,
}

impl Player {
    /// Whether one of these makes a difference.
    fn differs(&self, played: &[Sequence]) -> Option<Difference> {
        let mut pair = Pair::new(self.start);
        played.iter().find_map(|sequence| pair.play(sequence))
    }

    /// Drops steps of the last sequence, half of them, a quarter, and so on.
    fn shrink(&self, played: &mut [Sequence], best: &mut Difference) {
        let last = played.len() - 1;
        let mut size = played[last].steps.len().div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while from < played[last].steps.len() && Instant::now() < self.end {
                let whole = played[last].steps.clone();
                let to = (from + size).min(whole.len());
                played[last].steps.drain(from..to);
                match self.differs(played) {
                    Some(difference) => *best = difference,
                    None => {
                        played[last].steps = whole;
                        from = to;
                    }
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }
}

/// The shortest that makes a difference as well, in words; `None` if nothing does
/// any more.
pub(super) fn report(start: Start, mut played: Vec<Sequence>) -> Option<String> {
    let player = Player { start, end: Instant::now() + PATIENCE };
    let seed = played[played.len() - 1].seed;
    let alone = played.split_off(played.len() - 1);
    let mut best = player.differs(&alone);
    if best.is_some() {
        played = alone;
    } else {
        played.extend(alone);
        best = player.differs(&played);
    }
    let mut best = best?;
    player.shrink(&mut played, &mut best);
    let (before, left) = (played.len() - 1, played[played.len() - 1].steps.len());
    Some(format!(
        "seed {seed} makes a difference, with {left} of its steps after {before} sequences; \
         again: KAT_SEED={seed} KAT_SEQUENCES=1\n{}",
        best.report()
    ))
}
