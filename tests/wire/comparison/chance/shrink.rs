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

    /// Drops sequences before the last, one after another.
    fn shorten(&self, played: &mut Vec<Sequence>, best: &mut Difference) {
        let mut place = 0;
        while place + 1 < played.len() && Instant::now() < self.end {
            let dropped = played.remove(place);
            match self.differs(played) {
                Some(difference) => *best = difference,
                None => {
                    played.insert(place, dropped);
                    place += 1;
                }
            }
        }
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
    let again = format!("KAT_SEED={} KAT_SEQUENCES={}", played[0].seed, played.len());
    player.shorten(&mut played, &mut best);
    player.shrink(&mut played, &mut best);
    let seeds: Vec<_> = played.iter().map(|sequence| sequence.seed).collect();
    let left = played[played.len() - 1].steps.len();
    Some(format!(
        "seed {seed} makes a difference, with {left} of its steps, where {seeds:?} are played; \
         again: {again}\n{}",
        best.report()
    ))
}
