//! The program: everything is in the library.

use std::process::ExitCode;

/// Answers are built and dropped at a high rate, and memory must come back after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    proxyd::cli::run()
}
