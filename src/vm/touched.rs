//! Which parts of a snapshot a VM that goes on from it needs: seen once, and read ahead for those that come after.
//!
//! Without this a snapshot that is not in memory is read page by page, each when the guest waits for it.

use std::{
    fs::{self, File},
    io,
    num::NonZeroU64,
    os::unix::fs::MetadataExt,
};

use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use crate::vmm::page_map::PageMap;

/// Bytes between two ranges that are as well read with them.
const GAP: u64 = 4 * 4096;

/// Of a longer range the kernel reads no more than it reads ahead at once, which is this on most disks.
const PIECE: u64 = 128 << 10;

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
        let page_map = PageMap::of(process)?;
        let mut touched = Self::default();
        for Mapping { start, end, offset } in maps.lines().filter_map(|line| Mapping::parse(line, inode)) {
            for stretch in page_map.present(start, end - start)? {
                touched.add(offset + stretch.start, stretch.end - stretch.start);
            }
        }
        Ok(touched)
    }

    /// Adds a range of the file that begins behind all others.
    fn add(&mut self, offset: u64, length: u64) {
        match self.0.last_mut() {
            Some((start, before)) if (*start..=*start + *before + GAP).contains(&offset) => {
                *before = (*before).max(offset + length - *start);
            }
            _ => self.0.push((offset, length)),
        }
    }

    /// Has the kernel read these ranges of the file now, as far as they are not in memory; does not wait for it.
    pub fn read_ahead(&self, file: &File) {
        let size = file.metadata().map_or(0, |file| file.len());
        for (offset, length) in &self.0 {
            let end = offset.saturating_add(*length).min(size);
            let mut at = *offset;
            while at < end {
                let piece = (end - at).min(PIECE);
                let _ = fadvise(file, at, NonZeroU64::new(piece), Advice::WillNeed);
                at += piece;
            }
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
}

#[cfg(test)]
#[path = "touched_test.rs"]
mod tests;
