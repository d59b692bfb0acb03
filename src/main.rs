//! `kat-agent`: parse, run, exit code.

fn main() {}
