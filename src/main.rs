//! The `hull` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hull::cli::main()
}
