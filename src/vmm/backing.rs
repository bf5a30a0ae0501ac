//! The snapshots that a VM's memory shows as long as it is not written.
//!
//! ```text
//!    guest's memory   ████░░░░▒▒▒▒░░░░░░░░████░░     █ pages of the VM's own: what the next difference has
//!    difference               ▒▒▒▒                   ▒ mapped over it, a stretch at a time
//!    whole snapshot   ░░░░░░░░░░░░░░░░░░░░░░░░░░     ░ mapped privately
//! ```
//! A VM that goes on from a snapshot is like this from its beginning, and one of which a snapshot is taken becomes so: what was
//! written is mapped from there. So the next snapshot can tell what has changed since, the VM gives up memory of its own for
//! pages that it shares with all that go on from the snapshot, and nothing is to be merged when a difference is restored.

use std::{cell::RefCell, fs::File, io, ops::Range, os::fd::AsRawFd, ptr};

use anyhow::Context;
use hull_devices::device::Memory;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::{
    page_map::PageMap,
    snapshot::{self, Difference, MEMORY_OFFSET, PAGE, State, parts},
};

/// Most stretches of one difference: each is a mapping of its own, of which a process may have 65,530.
const MAX_STRETCHES: usize = 8192;
/// Most stretches of all differences that are mapped over each other.
const MAX_ALL: usize = 3 * MAX_STRETCHES;
/// Most snapshots that are mapped over each other.
pub const MAX_FILES: usize = 32;

/// A snapshot that a VM is to go on from, and what it differs from.
pub struct Layers {
    /// All of the VM but its memory.
    pub state: State,
    /// The files and what each has of the memory, the snapshot first.
    memory: Vec<(File, Vec<Range<u64>>)>,
    top: Top,
}

impl Layers {
    /// Opens a snapshot, the first of these `files`, and those that it differs from, each of which the one before it differs from.
    ///
    /// # Errors
    /// When a file is no snapshot or does not fit the one above it.
    pub fn open(files: Vec<File>) -> anyhow::Result<Self> {
        anyhow::ensure!(files.len() <= MAX_FILES, "over {MAX_FILES} snapshots differ from each other");
        let mut files = files.into_iter();
        let mut file = files.next().context("there is no snapshot to go on from")?;
        let state = snapshot::read(&file)?;
        let digest = hex::encode(snapshot::digest(&file)?);
        let (mut difference, mut memory) = (state.difference.clone(), Vec::new());
        while let Some(Difference { from, stretches }) = difference {
            memory.push((file, stretches));
            file = files.next().context("the snapshot that it differs from is missing")?;
            let below = snapshot::read_layer(&file, &from, state.memory);
            difference = below.context("the snapshot that it differs from")?.difference;
        }
        let stretches = memory.iter().map(|(_, stretches)| stretches.len()).sum();
        anyhow::ensure!(
            stretches <= MAX_ALL,
            "the snapshot has {stretches} stretches of memory: it is damaged"
        );
        let top = Top { digest, files: memory.len() + 1, stretches };
        memory.push((file, std::iter::once(0..state.memory).collect()));
        Ok(Self { state, memory, top })
    }

    /// Has all of a VM's memory that the snapshot has show it.
    ///
    /// # Errors
    /// When a file cannot be mapped.
    pub fn show(self, memory: &Memory) -> anyhow::Result<(State, Backing)> {
        for (file, stretches) in self.memory.iter().rev() {
            show(memory, file, stretches, place).context("cannot map the snapshot's memory")?;
        }
        Ok((self.state, Backing { top: RefCell::new(Some(self.top)), ..Backing::none() }))
    }

    /// The VM, when somebody else has the memory.
    ///
    /// # Errors
    /// When the snapshot has only what differs from another.
    pub fn without_memory(self) -> anyhow::Result<State> {
        anyhow::ensure!(
            self.state.difference.is_none(),
            "a snapshot that differs from another is not served by a page fault handler; go on from one that is whole"
        );
        Ok(self.state)
    }
}

/// What a VM's memory is mapped from.
pub struct Backing {
    /// `None` where the system does not say what was written.
    pages: Option<PageMap>,
    top: RefCell<Option<Top>>,
}

/// The snapshot on top.
#[derive(Debug, Clone)]
struct Top {
    digest: String,
    /// It and those below it.
    files: usize,
    /// Those of all of them.
    stretches: usize,
}

impl Backing {
    /// That of memory of which there is no snapshot. To be made before the process is confined.
    pub fn none() -> Self {
        Self { pages: PageMap::open().ok(), top: RefCell::new(None) }
    }

    /// What of the memory, of which a snapshot has the first `size` bytes, was written since the last one.
    ///
    /// # Errors
    /// When there was none, or the system does not tell.
    pub fn difference(&self, memory: &Memory, size: u64) -> anyhow::Result<Difference> {
        let top = self.top.borrow();
        let top = top.as_ref().context(
            "there is no snapshot of this VM yet that another could differ from; take one without --diff",
        )?;
        anyhow::ensure!(
            top.files < MAX_FILES && top.stretches + MAX_STRETCHES <= MAX_ALL,
            "{} snapshots differ from each other by now; take one without --diff",
            top.files
        );
        let pages = self.pages.as_ref().context("this host has no /proc to say which pages have changed")?;
        let (mut stretches, mut offset) = (Vec::new(), 0);
        for region in memory.iter() {
            let address = region.get_host_address(MemoryRegionAddress(0))? as u64;
            let length = region.len().min(size.saturating_sub(offset));
            let written = pages.written(address, length).context("cannot tell what has changed")?;
            stretches.extend(written.into_iter().map(|part| offset + part.start..offset + part.end));
            offset += region.len();
        }
        join(&mut stretches, MAX_STRETCHES);
        Ok(Difference { from: top.digest.clone(), stretches })
    }

    /// Has the memory show a snapshot that was just written of it; nobody may use the memory meanwhile. Where it cannot, the next
    /// difference is refused, and nothing else is different.
    pub fn rest_on(&self, file: &File, memory: &Memory, state: &State, digest: [u8; 32]) {
        let mut top = self.top.borrow_mut();
        let below = top.take();
        if self.pages.is_none() {
            return;
        }
        let whole = 0..state.memory;
        let (stretches, files, count) = match (&state.difference, below) {
            (Some(Difference { stretches, .. }), Some(below)) => {
                (stretches.as_slice(), below.files + 1, below.stretches + stretches.len())
            }
            _ => (std::slice::from_ref(&whole), 1, 0),
        };
        if show(memory, file, stretches, exchange).is_ok() {
            *top = Some(Top { digest: hex::encode(digest), files, stretches: count });
        }
    }
}

/// Joins stretches with what is between them, until there are no more than `most`.
fn join(stretches: &mut Vec<Range<u64>>, most: usize) {
    let mut gap = PAGE as u64;
    while stretches.len() > most {
        stretches.dedup_by(|next, last| {
            let near = next.start - last.end <= gap;
            if near {
                last.end = next.end;
            }
            near
        });
        gap *= 2;
    }
}

/// Maps a file's bytes from there on privately over so many bytes of guest memory at an address, which lie in one region.
type Map = fn(file: &File, offset: u64, address: *mut u8, length: usize) -> io::Result<()>;

/// Has stretches of memory show what the file has of them. What they were is gone.
fn show(memory: &Memory, file: &File, stretches: &[Range<u64>], map: Map) -> anyhow::Result<()> {
    for part in parts(memory, stretches) {
        let (region, at) = memory.to_region_addr(part.address).context("memory that is not there")?;
        map(file, MEMORY_OFFSET + part.at, region.get_host_address(at)?, part.length as usize)?;
    }
    Ok(())
}

/// A [`Map`] for memory that is nothing yet: if it fails, nobody knows what that is.
fn place(file: &File, offset: u64, address: *mut u8, length: usize) -> io::Result<()> {
    // SAFETY: over guest memory, that has no references to it, only accesses by address. It stays mapped, readable and writable; or the
    // VM never runs.
    unsafe { map(file, offset, address, length, libc::MAP_FIXED) }.map(drop)
}

/// A [`Map`] for memory of a VM that goes on: what cannot be mapped leaves it as it is.
fn exchange(file: &File, offset: u64, address: *mut u8, length: usize) -> io::Result<()> {
    // SAFETY: a new mapping, where the system chooses.
    let new = unsafe { map(file, offset, ptr::null_mut(), length, 0) }?;
    let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: from a mapping that is this function's alone to one that is guest memory: that has no references to it, only
    // accesses by address, and nobody makes any while it is remapped. It stays mapped, readable and writable.
    let moved = unsafe { libc::mremap(new, length, length, how, address.cast::<libc::c_void>()) };
    if moved == libc::MAP_FAILED {
        let error = io::Error::last_os_error();
        // SAFETY: the mapping made above.
        unsafe { libc::munmap(new, length) };
        return Err(error);
    }
    Ok(())
}

/// # Safety
/// As that of `mmap(2)` with these flags.
unsafe fn map(
    file: &File,
    offset: u64,
    address: *mut u8,
    length: usize,
    flags: libc::c_int,
) -> io::Result<*mut libc::c_void> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_PRIVATE | libc::MAP_NORESERVE);
    // SAFETY: the caller's.
    let mapped =
        unsafe { libc::mmap(address.cast(), length, prot, flags, file.as_raw_fd(), offset.cast_signed()) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped) }
}

#[cfg(test)]
#[path = "backing_test.rs"]
mod tests;
