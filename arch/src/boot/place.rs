//! Getting a part of a file into guest memory, by mapping it if that can be.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;

use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryMmap, GuestMemoryRegion,
};

use super::image::Segment;
use super::{LoadError, Placement};
use crate::layout::{AddressRange, PAGE_SIZE};

/// Puts the bytes that `segment` has in `file` where they belong. What the file does not have is left as it is,
/// which in a new guest is zero.
pub(super) fn place<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    segment: &Segment,
    placement: Placement,
) -> Result<(), LoadError> {
    let Segment { offset, file_size, range } = *segment;
    let all = AddressRange::new(range.start, file_size);
    let pages = whole_pages(&all);
    // A page of the file can be a page of the guest only if both begin at the same byte.
    let congruent = offset % PAGE_SIZE == range.start % PAGE_SIZE;
    if placement == Placement::Copy || !congruent || pages.size == 0 {
        return read(memory, file, offset, &all);
    }
    let at = |address: u64| offset + (address - range.start);
    if !map(memory, file, at(pages.start), &pages)? {
        return read(memory, file, offset, &all);
    }
    read(memory, file, offset, &AddressRange::new(range.start, pages.start - range.start))?;
    read(memory, file, at(pages.end()), &AddressRange::new(pages.end(), all.end() - pages.end()))
}

/// The pages that are wholly in `range`.
fn whole_pages(range: &AddressRange) -> AddressRange {
    let start = range.start.next_multiple_of(PAGE_SIZE);
    let end = range.end() / PAGE_SIZE * PAGE_SIZE;
    AddressRange::new(start, end.saturating_sub(start))
}

/// Reads `range.size` bytes at `offset` of the file.
fn read<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    offset: u64,
    range: &AddressRange,
) -> Result<(), LoadError> {
    let mut source = file;
    source.seek(SeekFrom::Start(offset))?;
    let mut address = range.start;
    while address < range.end() {
        let rest = (range.end() - address) as usize;
        match memory.read_volatile_from(GuestAddress(address), &mut source, rest) {
            // Its size was looked at before: somebody is writing it.
            Ok(0) => return Err(LoadError::Malformed("it was shortened while it was being read")),
            Ok(count) => address += count as u64,
            Err(GuestMemoryError::IOError(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(GuestMemoryError::IOError(error)) => return Err(LoadError::Read(error)),
            Err(error) => return Err(LoadError::Memory(error)),
        }
    }
    Ok(())
}

/// Replaces the guest's `pages` by those of the file from `offset` on, as private copies on write.
///
/// `false`, with nothing changed, says that this memory or this file cannot be mapped so.
fn map<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    offset: u64,
    pages: &AddressRange,
) -> Result<bool, LoadError> {
    let address = GuestAddress(pages.start);
    let Some(region) = memory.find_region(address) else { return Ok(false) };
    // Shared memory has somebody at its other end, who would go on seeing the old pages; huge pages cannot be
    // replaced by small ones.
    if region.flags() & libc::MAP_SHARED != 0 || region.is_hugetlbfs() == Some(true) {
        return Ok(false);
    }
    let (Ok(size), Ok(offset)) = (usize::try_from(pages.size), libc::off_t::try_from(offset)) else {
        return Ok(false);
    };
    let slice = memory.get_slice(address, size)?;
    let target = slice.ptr_guard_mut().as_ptr();
    if !(target as u64).is_multiple_of(PAGE_SIZE) {
        return Ok(false);
    }

    // SAFETY: a new private mapping at an address of the kernel's choice touches no memory there is.
    let mapping = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            region.prot(),
            libc::MAP_PRIVATE | libc::MAP_NORESERVE,
            file.as_raw_fd(),
            offset,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Ok(false);
    }
    // Moved rather than made in place: what can fail because of the file has failed by now, with the old pages intact.
    //
    // SAFETY: `mapping` is the one just made, `size` long, and nobody else's. `target` is `size` bytes inside one mapping
    // that `memory` owns, as `get_slice` made sure, in whole pages. Nothing but volatile accesses through `memory` reaches
    // these bytes, no reference to them exists, and to the program their change is like a write by the guest. The mapping
    // put there has the same size and protection, and goes with the region when it is unmapped.
    let moved = unsafe {
        libc::mremap(
            mapping,
            size,
            size,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            target.cast::<libc::c_void>(),
        )
    };
    if moved == libc::MAP_FAILED {
        return Err(LoadError::Map(io::Error::last_os_error()));
    }
    slice.bitmap().mark_dirty(0, size);
    Ok(true)
}

#[cfg(test)]
#[path = "place_test.rs"]
mod tests;
