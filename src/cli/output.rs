//! Standard output whose reader may leave: `hull images | head -1` ends like any other program in a pipe.

use std::io::{self, Write};
use std::process::ExitCode;

/// Writes `text` to standard output. A reader that left is no error.
pub fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
