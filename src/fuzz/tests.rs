//! What every fuzzer begins with, thrown once more.

use super::TARGETS;

#[test]
fn whatever_was_learnt_goes_well() {
    for target in TARGETS {
        let corpus = target.corpus();
        assert!(corpus.len() > (target.seeds)().len(), "{} has learnt nothing", target.name);
        for input in corpus {
            // The last of these lines tells the culprit.
            println!("{}: {input:02x?}", target.name);
            (target.run)(&input);
        }
    }
}

#[test]
fn seeds_are_taken_whole_and_cut_off() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            for end in (0..=seed.len()).rev().step_by(1 + seed.len() / 16) {
                (target.run)(&seed[..end]);
            }
        }
    }
}

#[test]
fn any_byte_may_be_another() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            for at in (0..seed.len()).step_by(1 + seed.len() / 64) {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = seed.clone();
                    bytes[at] ^= flip;
                    (target.run)(&bytes);
                }
            }
        }
    }
}
