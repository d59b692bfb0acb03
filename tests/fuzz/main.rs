//! The fuzzer: libFuzzer, guided by the coverage of kat's own code.
//!
//! `KAT_FUZZ` names what is fuzzed, `KAT_SEEDS` a folder for what to begin with;
//! the arguments are libFuzzer's. What is done with the bytes stands in
//! `src/fuzz/`; only kat is instrumented (`rustc.sh`), its dependencies, RocksDB
//! among them, are those of every build.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use kat::fuzz::{TARGETS, Target, find};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("KAT_FUZZ").unwrap_or_default();
    find(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("KAT_FUZZ is {name:?}, and should be one of {names:?}")
    })
});

/// Before the fuzzer looks into the folder.
fn sow() {
    let Some(folder) = std::env::var_os("KAT_SEEDS").map(PathBuf::from) else { return };
    for (at, seed) in TARGET.corpus().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{at}")), seed).expect("the folder takes seeds");
    }
}

fuzz_target!(init: sow(), |data: &[u8]| (TARGET.run)(data));
