//! What starting a program reads: its file, its interpreter and its libraries, brought into memory before anybody waits for
//! them. Whatever an image holds is followed no further than some files and some bytes.

use std::collections::{HashSet, VecDeque};

use object::{
    Endianness,
    elf::{DT_NEEDED, FileHeader64},
    read::elf::{Dyn, FileHeader, ProgramHeader},
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
};

/// Files are read ahead as long as they have no more bytes than this together.
const MOST_BYTES: u64 = 64 << 20;

/// So many files, at most.
const MOST_FILES: usize = 64;

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
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let status = fstat(&file).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    let length = u64::try_from(status.st_size).ok().filter(|length| (1..=*budget).contains(length))?;
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
    // SAFETY: every page of it was there a moment ago, and layers do not change. The slice ends before the mapping does.
    let shown = populated
        .is_ok()
        .then(|| show(unsafe { std::slice::from_raw_parts(address.cast_const().cast(), length) }));
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
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut needed = Vec::new();
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, content)? {
            needed.push(text(interpreter));
        }
        let Some(entries) = segment.dynamic(endian, content)? else { continue };
        let value = |tag| {
            entries.iter().find(|entry| entry.tag32(endian) == Some(tag)).map(|entry| entry.d_val(endian))
        };
        let Some(strings) = value(object::elf::DT_STRTAB) else { continue };
        for entry in entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED)).take(MOST_FILES) {
            let address = strings.wrapping_add(entry.d_val(endian));
            // A name is no longer than this (NAME_MAX).
            let name = segments.iter().find_map(|segment| {
                let data = segment.data_range(endian, content, address, 1).ok()??;
                let start = data.as_ptr() as usize - content.as_ptr() as usize;
                content
                    .get(start..)?
                    .iter()
                    .take(256)
                    .position(|byte| *byte == 0)
                    .map(|end| &content[start..start + end])
            });
            needed.extend(name.filter(|name| !name.is_empty()).map(text));
        }
    }
    Ok(needed)
}

#[cfg(test)]
#[path = "read_ahead_test.rs"]
mod tests;
