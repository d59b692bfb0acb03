//! Compiles what stands in this folder.

fn main() {}
