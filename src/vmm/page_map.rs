//! Which pages of memory are there, and which were written since they were mapped.
//!
//! Memory that is mapped privately from a file shows the file's pages until they are written, and from then on pages of its own.
//! Those are anonymous, and the system tells of each page whether it is one
//! (the kernel's `Documentation/admin-guide/mm/pagemap.rst`), whoever wrote it: the guest, KVM or a device. So a guest pays
//! nothing for it while it runs, on any host.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes that the system says of a page.
const ENTRY: usize = 8;
/// Pages asked about at once.
const BATCH: usize = 8192;

/// The page is in memory.
const PRESENT: u64 = 1 << 63;
/// It is swapped out, or on its way to another place.
const SWAPPED: u64 = 1 << 62;
/// It is a file's, or shared.
const OF_FILE: u64 = 1 << 61;

/// What the system says of a process's pages.
pub struct PageMap(File);

impl PageMap {
    /// Opens this process's. To be done before it is confined.
    ///
    /// # Errors
    /// As `open(2)`: there may be no `/proc`.
    pub fn open() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// Opens that of a process of the same user.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn of(process: u32) -> io::Result<Self> {
        File::open(format!("/proc/{process}/pagemap")).map(Self)
    }

    /// The stretches of `length` bytes at `address`, both of whole pages, that are the process's own; in bytes from there.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub fn written(&self, address: u64, length: u64) -> io::Result<Vec<Range<u64>>> {
        self.stretches(address, length, is_own)
    }

    /// The same of those that are there, the process's own or not.
    ///
    /// # Errors
    /// As `pread(2)`.
    pub fn present(&self, address: u64, length: u64) -> io::Result<Vec<Range<u64>>> {
        self.stretches(address, length, |entry| entry & (PRESENT | SWAPPED) != 0)
    }

    fn stretches(&self, address: u64, length: u64, counts: fn(u64) -> bool) -> io::Result<Vec<Range<u64>>> {
        let mut entries = vec![0; BATCH * ENTRY];
        let mut stretches: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < length {
            let pages = ((length - at) / PAGE).min(BATCH as u64) as usize;
            let entries = &mut entries[..pages * ENTRY];
            self.0.read_exact_at(entries, (address + at) / PAGE * ENTRY as u64)?;
            for entry in entries.as_chunks::<ENTRY>().0 {
                if counts(u64::from_le_bytes(*entry)) {
                    match stretches.last_mut() {
                        Some(last) if last.end == at => last.end += PAGE,
                        _ => stretches.push(at..at + PAGE),
                    }
                }
                at += PAGE;
            }
        }
        Ok(stretches)
    }
}

fn is_own(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & OF_FILE == 0
}

#[cfg(test)]
#[path = "page_map_test.rs"]
mod tests;
