//! `hull logs`.

use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Args;

use super::time::parse_time;
use crate::{
    container::{
        Error,
        state::{Folder, Store},
    },
    vm::{
        control::Stream,
        log::{Entry, Files},
    },
};

/// How often a log that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// Show a container's output
#[derive(Debug, Args)]
pub struct Logs {
    /// Go on showing what comes
    #[arg(short, long)]
    follow: bool,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Show so many lines from the end, or all
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    tail: String,
    /// Show what was written since a time (2026-11-22T07:32:01Z) or for a duration until now (10m)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<jiff::Timestamp>,
    /// Show what was written before a time or a duration ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<jiff::Timestamp>,
    /// The container
    container: String,
}

impl Logs {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let folder = store.find(&self.container)?;
        let path = folder.file("log");
        if self.follow && !path.exists() {
            // Never started, so nothing was written.
            folder.open_log()?;
        }
        // `all`, and what Docker takes for it: anything that is no number.
        let reader = match Files::open(&path, self.tail.parse().ok()) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(Error::file("cannot open", &path)(error).into()),
        };
        match self.print(reader, &folder) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn print(&self, mut reader: Files, folder: &Folder) -> io::Result<()> {
        let mut stdout = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
        let mut stderr = io::stderr().lock();
        // The text before belongs to the same line of its stream, so a time would be in the middle of it.
        let mut continued = [false; 2];
        loop {
            // Asked before reading: what was written until then is read.
            let over = !self.follow || !is_alive(folder);
            while let Some(entry) = reader.next_entry()? {
                let within = self.includes(&entry);
                let is_stderr = entry.stream == Stream::Stderr;
                let first = !std::mem::replace(&mut continued[usize::from(is_stderr)], !entry.full);
                if within && is_stderr {
                    stdout.flush()?;
                    self.print_entry(&entry, first, &mut stderr)?;
                } else if within {
                    self.print_entry(&entry, first, &mut stdout)?;
                }
            }
            stdout.flush()?;
            if reader.advance()? {
                continue;
            }
            if over {
                return Ok(());
            }
            thread::sleep(INTERVAL);
        }
    }

    fn print_entry(&self, entry: &Entry<'_>, first: bool, to: &mut impl Write) -> io::Result<()> {
        if self.timestamps && first {
            write!(to, "{} ", entry.time)?;
        }
        to.write_all(entry.text)?;
        if entry.full { to.write_all(b"\n") } else { Ok(()) }
    }

    fn includes(&self, entry: &Entry<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = entry.time.parse::<jiff::Timestamp>() else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Whether more may be written: somebody holds the container's lock.
fn is_alive(folder: &Folder) -> bool {
    matches!(folder.try_lock(), Ok(None))
}
