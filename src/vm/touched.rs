//! Which parts of a snapshot a VM that goes on from it needs: seen once, and read ahead for those that come after.
//!
//! Without this a snapshot that is not in memory is read page by page, each when the guest waits for it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    num::NonZeroU64,
    os::unix::fs::{FileExt, MetadataExt},
};

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes of a page's entry in `pagemap`.
const ENTRY: u64 = 8;
/// The page is in memory, or was and is swapped out (Documentation/admin-guide/mm/pagemap.rst).
const PRESENT: u64 = 3 << 62;
/// Pages between two ranges that are as well read with them.
const GAP: u64 = 4;
/// Most entries that are read at a time.
const CHUNK: u64 = 8192;

/// Ranges of a file, in bytes: offset and length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched(Vec<(u64, u64)>);

impl Touched {
    /// What a process has in memory of its mappings of this file, or had before it wrote there.
    ///
    /// # Errors
    /// When the process is gone, or somebody else's.
    pub fn by(process: u32, file: &File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let pagemap = File::open(format!("/proc/{process}/pagemap"))?;
        let mut touched = Self::default();
        for mapping in maps.lines().filter_map(|line| Mapping::parse(line, inode)) {
            mapping.look(&pagemap, &mut touched)?;
        }
        Ok(touched)
    }

    /// Adds a page of the file, unless it is there.
    fn add(&mut self, offset: u64) {
        match self.0.last_mut() {
            Some((start, length)) if (*start..=*start + *length + GAP * PAGE).contains(&offset) => {
                *length = (*length).max(offset + PAGE - *start);
            }
            _ => self.0.push((offset, PAGE)),
        }
    }

    /// Has the kernel read these ranges of the file now, as far as they are not in memory; does not wait for it.
    pub fn read_ahead(&self, file: &File) {
        for (offset, length) in &self.0 {
            // A record that was tampered with is no more than a strange advice.
            let _ = fadvise(file, *offset, NonZeroU64::new(*length), Advice::WillNeed);
        }
    }
}

/// A line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    /// Of `start`, in the file.
    offset: u64,
}

impl Mapping {
    /// `None` when it is not of the file with this inode.
    fn parse(line: &str, inode: u64) -> Option<Self> {
        let words: Vec<_> = line.split_whitespace().take(5).collect();
        let [range, _, offset, _, of] = words[..] else { return None };
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let mapping = Self { start: number(start)?, end: number(end)?, offset: number(offset)? };
        (of.parse() == Ok(inode) && mapping.start < mapping.end).then_some(mapping)
    }

    fn look(&self, pagemap: &File, touched: &mut Touched) -> io::Result<()> {
        let pages = (self.end - self.start) / PAGE;
        let mut buffer = vec![0; (pages.min(CHUNK) * ENTRY) as usize];
        let mut done = 0;
        while done < pages {
            let count = (pages - done).min(CHUNK);
            let entries = &mut buffer[..(count * ENTRY) as usize];
            match pagemap.read_exact_at(entries, (self.start / PAGE + done) * ENTRY) {
                // The process has ended.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
            for (page, entry) in (done..).zip(entries.chunks_exact(ENTRY as usize)) {
                let entry = entry.try_into().map_or(0, u64::from_le_bytes);
                if entry & PRESENT != 0 {
                    touched.add(self.offset + page * PAGE);
                }
            }
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "touched_test.rs"]
mod tests;
