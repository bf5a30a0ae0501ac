//! Kernels as ELF files (System V ABI, chapters 4 and 5), and the PVH entry note in them (Xen's
//! `docs/misc/pvh.pandoc`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::image::{Image, Segment, u16_at, u32_at, u64_at};
use super::{LoadError, Protocol};
use crate::layout::AddressRange;

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
/// More program headers than any kernel has.
const MAX_PROGRAM_HEADERS: usize = 128;
/// More bytes of notes than any kernel has.
const MAX_NOTES: u64 = 64 << 10;

/// Values of the header.
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EXECUTABLE: u16 = 2;
const SHARED: u16 = 3;
const X86_64: u16 = 62;

/// Kinds of program headers.
const LOAD: u32 = 1;
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;

/// The note with the physical address of the PVH entry, owned by `Xen`.
const PHYS32_ENTRY: u32 = 18;

pub(super) fn parse(file: &File, size: u64, head: &[u8]) -> Result<Image, LoadError> {
    let truncated = |what, end| LoadError::Truncated { what, end, size };
    if head.len() < HEADER_SIZE {
        return Err(truncated("its ELF header", HEADER_SIZE as u64));
    }
    check_header(head)?;

    let table = u64_at(head, 32);
    let count = usize::from(u16_at(head, 56));
    if count == 0 || count > MAX_PROGRAM_HEADERS {
        return Err(LoadError::NotAKernel("its ELF header lists no segments, or more than a kernel has"));
    }
    if usize::from(u16_at(head, 54)) != PROGRAM_HEADER_SIZE {
        return Err(LoadError::Malformed("its program headers are not of the size ELF gives them"));
    }
    let mut headers = vec![0; count * PROGRAM_HEADER_SIZE];
    let end = table.saturating_add(headers.len() as u64);
    if end > size {
        return Err(truncated("its program header table", end));
    }
    file.read_exact_at(&mut headers, table)?;

    let mut segments = Vec::new();
    let mut notes = Notes::default();
    for header in headers.chunks_exact(PROGRAM_HEADER_SIZE) {
        let (offset, file_size) = (u64_at(header, 8), u64_at(header, 32));
        let end = offset.saturating_add(file_size);
        match u32_at(header, 0) {
            LOAD if u64_at(header, 40) == 0 => {}
            LOAD if end > size => return Err(truncated("a segment", end)),
            LOAD => segments.push(segment(header)?),
            INTERPRETER => return Err(LoadError::NotAKernel("it is a program, which has an interpreter")),
            NOTE if end > size => return Err(truncated("its notes", end)),
            NOTE if file_size > MAX_NOTES => return Err(LoadError::Malformed("its notes are too long")),
            NOTE => {
                let mut bytes = vec![0; file_size as usize];
                file.read_exact_at(&mut bytes, offset)?;
                notes.read(&bytes, if u64_at(header, 48) == 8 { 8 } else { 4 });
            }
            _ => {}
        }
    }
    if segments.is_empty() {
        return Err(LoadError::NotAKernel("it has nothing to load"));
    }
    segments.sort_by_key(|segment| segment.range.start);
    let entries = entries(&notes, u64_at(head, 24), &segments);
    if entries.is_empty() {
        return Err(LoadError::NotAKernel("it has neither a PVH note nor a physical entry point"));
    }
    Ok(Image { segments, entries, setup_header: Vec::new() })
}

/// Whether this is ELF for an x86_64 kernel.
fn check_header(head: &[u8]) -> Result<(), LoadError> {
    let machine = u16_at(head, 18);
    let architecture = match (head[4], head[5], machine) {
        (CLASS_64, LITTLE_ENDIAN, X86_64) => None,
        (CLASS_64, LITTLE_ENDIAN, 183) => Some("an arm64 kernel".to_owned()),
        (CLASS_64, LITTLE_ENDIAN, 243) => Some("a RISC-V kernel".to_owned()),
        (CLASS_64, LITTLE_ENDIAN, _) => Some(format!("an ELF file for machine {machine}")),
        (CLASS_64, _, _) => Some("a big-endian ELF file".to_owned()),
        _ => Some("a 32-bit ELF file".to_owned()),
    };
    match architecture {
        Some(other) => Err(LoadError::Architecture(other)),
        None if !matches!(u16_at(head, 16), EXECUTABLE | SHARED) => {
            Err(LoadError::NotAKernel("it is an object file that has not been linked"))
        }
        None => Ok(()),
    }
}

fn segment(header: &[u8]) -> Result<Segment, LoadError> {
    let (start, file_size, memory_size) = (u64_at(header, 24), u64_at(header, 32), u64_at(header, 40));
    if file_size > memory_size {
        return Err(LoadError::Malformed("a segment has more bytes in the file than in memory"));
    }
    if start.checked_add(memory_size).is_none() {
        return Err(LoadError::Malformed("a segment goes beyond the last address"));
    }
    Ok(Segment { offset: u64_at(header, 8), file_size, range: AddressRange::new(start, memory_size) })
}

/// The ways into the kernel.
///
/// The PVH note is a promise made by any kernel. The entry point of the ELF header is one that only Linux makes
/// good (elsewhere it is a virtual address, or expects another loader).
fn entries(notes: &Notes, entry: u64, segments: &[Segment]) -> Vec<(Protocol, u64)> {
    let physical = segments.iter().any(|s| s.range.contains(entry));
    let linux = physical.then_some((Protocol::Linux64, entry));
    let pvh = notes.pvh_entry.map(|address| (Protocol::Pvh, address));
    if notes.linux { linux.into_iter().chain(pvh).collect() } else { pvh.into_iter().chain(linux).collect() }
}

/// What is of use in the notes.
#[derive(Default)]
struct Notes {
    pvh_entry: Option<u64>,
    /// Whether any is owned by `Linux`.
    linux: bool,
}

impl Notes {
    /// Goes through the notes in `bytes`, names and descriptions padded to `alignment`; stops where they make no sense.
    fn read(&mut self, bytes: &[u8], alignment: usize) {
        let mut rest = bytes;
        while rest.len() >= 12 {
            let (name_size, description_size, kind) =
                (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize, u32_at(rest, 8));
            if name_size > bytes.len() || description_size > bytes.len() {
                return;
            }
            let description_start = (12 + name_size).next_multiple_of(alignment);
            let Some(description) = rest.get(description_start..description_start + description_size) else {
                return;
            };
            match &rest[12..12 + name_size] {
                b"Xen\0" if kind == PHYS32_ENTRY && description_size >= 8 => {
                    self.pvh_entry = Some(u64_at(description, 0));
                }
                b"Xen\0" if kind == PHYS32_ENTRY && description_size >= 4 => {
                    self.pvh_entry = Some(u32_at(description, 0).into());
                }
                b"Linux\0" => self.linux = true,
                _ => {}
            }
            let end = (description_start + description_size).next_multiple_of(alignment);
            rest = rest.get(end..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
#[path = "elf_test.rs"]
mod tests;
