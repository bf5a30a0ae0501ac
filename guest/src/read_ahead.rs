//! What starting a program reads: its file, its interpreter and its libraries, brought into memory before anybody waits for
//! them. Whatever an image holds is followed no further than some files and some bytes.

use std::collections::{HashSet, VecDeque};

use object::{
    Endianness,
    elf::{DT_NEEDED, DT_STRTAB, FileHeader64, PT_DYNAMIC, PT_INTERP},
    read::elf::{Dyn, FileHeader, ProgramHeader},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::fstat,
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
};

use crate::inside;

/// Files are read ahead as long as they have no more bytes than this together.
const MOST_BYTES: u64 = 64 << 20;

/// So many files, at most.
const MOST_FILES: usize = 64;

/// Program headers, and entries of a dynamic section, that are looked at.
const MOST_SEGMENTS: usize = 64;
const MOST_ENTRIES: usize = 512;

/// `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// Where libraries are in the images there are. What a program says of its own (`DT_RUNPATH`) is not followed: a file that was not
/// found is only read later.
const LIBRARIES: &[&str] = &[
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib64",
    "usr/lib64",
    "lib",
    "usr/lib",
    "usr/local/lib",
];

/// Reads what the first of these programs that exists is started from.
pub fn program(root: BorrowedFd<'_>, candidates: &[String]) {
    let mut budget = MOST_BYTES;
    let Some(needed) = candidates.iter().find_map(|path| file(root, path, &mut budget)) else { return };
    let mut waiting = VecDeque::from(needed);
    if !waiting.is_empty() {
        // It has libraries, and this is how they are found.
        file(root, "etc/ld.so.cache", &mut budget);
    }
    let mut known = HashSet::new();
    while let Some(name) = waiting.pop_front() {
        if known.len() == MOST_FILES || !known.insert(name.clone()) {
            continue;
        }
        let further = if name.contains('/') {
            file(root, &name, &mut budget)
        } else {
            LIBRARIES.iter().find_map(|folder| file(root, &format!("{folder}/{name}"), &mut budget))
        };
        waiting.extend(further.unwrap_or_default());
    }
}

/// Reads a file and gives what it needs: paths, and names of libraries. `None` if it is not there.
fn file(root: BorrowedFd<'_>, path: &str, budget: &mut u64) -> Option<Vec<String>> {
    let file = inside::open(root, path)?;
    let length = u64::try_from(fstat(&file).ok()?.st_size).ok()?.min(*budget);
    if length == 0 {
        return Some(Vec::new());
    }
    *budget -= length;
    with_content(file.as_fd(), length as usize, needs)
}

/// Shows a file's content, all of it in memory, without copying it.
fn with_content<T>(file: BorrowedFd<'_>, length: usize, show: impl FnOnce(&[u8]) -> T) -> Option<T> {
    // SAFETY: a new mapping, where the kernel wants it.
    let address =
        unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }.ok()?;
    // SAFETY: the mapping was just made, with this length.
    let populated = unsafe { madvise(address, length, Advice::LinuxPopulateRead) };
    let shown = populated.is_ok().then(|| {
        // SAFETY: every page of it was there a moment ago, and layers do not change. The slice ends before the mapping does.
        show(unsafe { std::slice::from_raw_parts(address.cast_const().cast(), length) })
    });
    // SAFETY: nothing of it is used any more.
    let _ = unsafe { munmap(address, length) };
    shown
}

/// The interpreter and the libraries that an ELF file of 64 bits names (System V ABI, "Program Interpreter", "Dynamic Section").
fn needs(content: &[u8]) -> Vec<String> {
    parse(content).unwrap_or_default()
}

fn parse(content: &[u8]) -> object::read::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(content)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, content)?;
    // Real programs have a dozen; of what there may be only one, the first counts.
    let segments = &segments[..segments.len().min(MOST_SEGMENTS)];
    let first = |kind| segments.iter().find(|segment| segment.p_type(endian) == kind);
    let mut needed = Vec::new();
    if let Some(segment) = first(PT_INTERP) {
        needed.extend(segment.interpreter(endian, content)?.and_then(name));
    }
    let Some(segment) = first(PT_DYNAMIC) else { return Ok(needed) };
    let entries = segment.dynamic(endian, content)?.unwrap_or_default();
    let entries = &entries[..entries.len().min(MOST_ENTRIES)];
    let with_tag = |tag| {
        let those = entries.iter().filter(move |entry| entry.tag32(endian) == Some(tag));
        those.map(|entry| entry.d_val(endian))
    };
    let Some(strings) = with_tag(DT_STRTAB).next() else { return Ok(needed) };
    for offset in with_tag(DT_NEEDED).take(MOST_FILES) {
        let address = strings.wrapping_add(offset);
        // From there to the segment's end.
        let text = segments.iter().find_map(|segment| {
            let (start, bytes) = (segment.p_vaddr(endian), segment.data(endian, content).ok()?);
            bytes.get(usize::try_from(address.checked_sub(start)?).ok()?..)
        });
        needed.extend(text.and_then(|text| text.split(|byte| *byte == 0).next()).and_then(name));
    }
    Ok(needed)
}

/// A path or a name, unless it is empty or longer than any.
fn name(bytes: &[u8]) -> Option<String> {
    let fits = (1..LONGEST_PATH).contains(&bytes.len());
    fits.then(|| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
#[path = "read_ahead_test.rs"]
mod tests;
