//! A container's log: lines as `2026-11-22T07:32:01.123456789Z stdout F text`, the form the Kubernetes container
//! runtime interface gives its logs.
//!
//! `F` ends with a newline in the output, `P` does not (the rest follows, or the output ended there). So the exact
//! bytes come back, also of binary output, and writing costs a scan for newlines and one `write`.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{control::Stream, timestamp};

mod files;

pub use files::Files;

/// Bytes of the time at the front of a line.
const TIME: usize = 30;
/// Bytes before the text: time, stream, tag, and a space after each.
const PREFIX: usize = TIME + " stdout F ".len();

/// How much of a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a file, as far as whole lines make that possible; `None` is no limit.
    pub size: Option<u64>,
    /// Files, with the one that is written.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { size: None, files: 1 }
    }
}

/// Where an older file of a log is: `log.1` is the latest of them.
fn older(path: &Path, number: u32) -> PathBuf {
    path.with_extension(number.to_string())
}

/// Appends to a log.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// Where it is, and what is kept, if there is a limit.
    rotation: Option<(PathBuf, Limits)>,
    size: u64,
    lines: Vec<u8>,
    formatter: timestamp::Formatter,
}

impl Writer {
    /// A writer at the end of this file, which is opened for appending.
    pub fn new(file: File) -> Self {
        let size = file.metadata().map_or(0, |about| about.len());
        Self { file, rotation: None, size, lines: Vec::new(), formatter: timestamp::Formatter::default() }
    }

    /// The same for a log of which not everything is kept; the file is at this path.
    pub fn limited(file: File, path: PathBuf, limits: Limits) -> Self {
        let rotation = limits.size.is_some().then_some((path, limits));
        Self { rotation, ..Self::new(file) }
    }

    /// Begins a new file, and forgets the oldest.
    fn rotate(&mut self) -> io::Result<()> {
        let Some((path, limits)) = &self.rotation else { return Ok(()) };
        // Made first, so that nothing is moved for one that cannot be.
        let new = path.with_added_extension("new");
        let file = File::options().append(true).create(true).open(&new)?;
        for number in (1..limits.files).rev() {
            let from = if number == 1 { path.clone() } else { older(path, number - 1) };
            match fs::rename(from, older(path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        // One that is there is replaced and not cut short: somebody may be reading it.
        fs::rename(new, path)?;
        self.file = file;
        self.size = 0;
        Ok(())
    }

    /// Appends what a stream gave.
    ///
    /// # Errors
    /// As `write(2)`: a full disk. Nothing or all of it may be written.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let mut time = [0; TIME];
        time.copy_from_slice(self.formatter.format(SystemTime::now()));
        self.lines.clear();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let start = self.lines.len();
            self.lines.extend_from_slice(&time);
            self.lines.extend_from_slice(if stream == Stream::Stderr { b" stderr " } else { b" stdout " });
            match line.strip_suffix(b"\n") {
                Some(_) => self.lines.extend_from_slice(b"F "),
                None => self.lines.extend_from_slice(b"P "),
            }
            self.lines.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                self.lines.push(b'\n');
            }
            if self.size + start as u64 > 0 && self.is_over(self.lines.len()) {
                let rest = self.lines.split_off(start);
                self.flush()?;
                self.rotate()?;
                self.lines = rest;
            }
        }
        self.flush()
    }

    /// Whether with so many bytes more the file would be larger than it may be.
    fn is_over(&self, more: usize) -> bool {
        let most = self.rotation.as_ref().and_then(|(_, limits)| limits.size);
        most.is_some_and(|most| self.size + more as u64 > most)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.size += self.lines.len() as u64;
        self.file.write_all(&self.lines)
    }
}

/// One line of a log.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When, as [`timestamp::now`] writes it.
    pub time: &'a str,
    /// Where from: stdout or stderr.
    pub stream: Stream,
    /// Whether a newline follows the text.
    pub full: bool,
    /// What.
    pub text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads a line, its newline already taken off. `None` for what is no line of a log.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (prefix, text) = line.split_at_checked(PREFIX)?;
        let (time, rest) = prefix.split_at(TIME);
        let (stream, full) = match rest {
            b" stdout F " => (Stream::Stdout, true),
            b" stdout P " => (Stream::Stdout, false),
            b" stderr F " => (Stream::Stderr, true),
            b" stderr P " => (Stream::Stderr, false),
            _ => return None,
        };
        Some(Self { time: str::from_utf8(time).ok()?, stream, full, text })
    }
}

/// Reads a log, also one that is still being written.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    line: Vec<u8>,
    /// `line` was given out and is to be cleared.
    taken: bool,
}

impl Reader {
    /// Reads from the beginning, or only the last `tail` lines.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn new(mut file: File, tail: Option<u64>) -> io::Result<Self> {
        if let Some(lines) = tail {
            let start = tail_offset(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(Self { file: BufReader::with_capacity(64 << 10, file), line: Vec::new(), taken: false })
    }

    /// The next line; `None` where the log ends so far.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_>>> {
        loop {
            if std::mem::take(&mut self.taken) {
                self.line.clear();
            }
            // A line that is not whole yet stays in `line` until its rest is there.
            self.file.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                return Ok(None);
            }
            self.taken = true;
            // Looked at twice, because a borrow that is returned from a loop lasts for all of it.
            if Entry::parse(&self.line[..self.line.len() - 1]).is_some() {
                return Ok(Entry::parse(&self.line[..self.line.len() - 1]));
            }
        }
    }

    /// Whether there is more by now than was read.
    ///
    /// # Errors
    /// As `read(2)`.
    pub fn has_more(&mut self) -> io::Result<bool> {
        Ok(!self.file.fill_buf()?.is_empty())
    }
}

/// Where the last `lines` lines of output begin, found from the end backwards.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut window, mut window_start) = (Vec::new(), length);
    let (mut line_end, mut start, mut full) = (length, length, 0);
    // `line_end` is the end of a physical line whose start is looked for.
    while line_end > 0 {
        let within = (line_end - window_start) as usize;
        let newline = window[..within.saturating_sub(1)].iter().rposition(|&byte| byte == b'\n');
        let line_start = match newline {
            Some(at) => window_start + at as u64 + 1,
            None if window_start == 0 => 0,
            None => {
                let from = window_start.saturating_sub(BLOCK);
                let mut block = vec![0; (window_start - from) as usize];
                file.seek(SeekFrom::Start(from))?;
                file.read_exact(&mut block)?;
                block.extend_from_slice(&window[..within]);
                (window, window_start) = (block, from);
                continue;
            }
        };
        let line = &window[(line_start - window_start) as usize..(line_end - window_start) as usize];
        let partial = line.get(PREFIX - 2) == Some(&b'P');
        // A partial line belongs to the full one after it, except at the very end.
        if !partial || start == length {
            if full == lines {
                break;
            }
            full += 1;
        }
        (start, line_end) = (line_start, line_start);
    }
    Ok(start)
}

#[cfg(test)]
#[path = "log_test.rs"]
mod tests;
