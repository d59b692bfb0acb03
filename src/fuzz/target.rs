//! [`TARGETS`]: the table of what there is to fuzz.

use super::{bolt, json, requests};

/// Something to throw bytes at.
#[derive(Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Takes any bytes, and panics when something is wrong.
    pub run: fn(&[u8]),
    /// What is made here.
    pub(super) seeds: fn() -> Vec<Vec<u8>>,
    /// Inputs in hexadecimal, one a line.
    learnt: &'static str,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "requests",
        run: requests::run,
        seeds: requests::seeds,
        learnt: include_str!("../../tests/fuzz/corpus/requests.hex"),
    },
    Target {
        name: "json",
        run: json::run,
        seeds: json::seeds,
        learnt: include_str!("../../tests/fuzz/corpus/json.hex"),
    },
    Target {
        name: "bolt",
        run: bolt::run,
        seeds: bolt::seeds,
        learnt: include_str!("../../tests/fuzz/corpus/bolt.hex"),
    },
];

/// A target by its name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// What to begin with: seeds, what was learnt from them, what once went wrong.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        let lines = self.learnt.lines().filter(|line| !line.starts_with('#'));
        (self.seeds)().into_iter().chain(lines.map(bytes)).collect()
    }
}

fn bytes(line: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("two digits are a byte");
    (0..line.len()).step_by(2).map(byte).collect()
}
