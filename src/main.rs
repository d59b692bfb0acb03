//! `kat-agent`: parse, run, exit code.

use std::process::ExitCode;

/// Gives memory back to the system after bursts, which the system's own
/// allocator does not.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kat::cli::main()
}
