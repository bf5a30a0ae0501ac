//! Small kernels, whole and well-formed, for tests to load and to damage.

use std::fs::File;
use std::io::Write;

use vmm_sys_util::tempfile::TempFile;

/// Where the sample kernels are loaded.
pub const BASE: u64 = 0x100_0000;
/// Offset in the file of the first segment of [`elf`].
pub const TEXT: usize = 0x1000;
/// Bytes of the first segment in the file: whole pages and a tail.
pub const TEXT_SIZE: usize = 0x2345;
/// The second segment, which is not congruent to its place in the file.
pub const DATA: usize = 0x4010;
pub const DATA_SIZE: usize = 0x1800;
/// Where the second segment goes.
pub const DATA_BASE: u64 = BASE + 0x3000;
/// What it takes in memory.
pub const DATA_MEMORY: u64 = 0x5000;
/// Offset in the file of the notes.
pub const NOTES: usize = 0x200;

/// A file of `bytes`.
pub fn file(bytes: &[u8]) -> File {
    let mut file = TempFile::new().unwrap().into_file();
    file.write_all(bytes).unwrap();
    file
}

/// Overwrites what is at `offset`.
pub fn put(bytes: &mut [u8], offset: usize, with: &[u8]) {
    bytes[offset..offset + with.len()].copy_from_slice(with);
}

/// A note.
pub fn note(owner: &[u8], kind: u32, description: &[u8], alignment: usize) -> Vec<u8> {
    let mut note = Vec::new();
    for number in [owner.len() as u32, description.len() as u32, kind] {
        note.extend_from_slice(&number.to_le_bytes());
    }
    note.extend_from_slice(owner);
    note.resize(note.len().next_multiple_of(alignment), 0);
    note.extend_from_slice(description);
    note.resize(note.len().next_multiple_of(alignment), 0);
    note
}

/// The note of a PVH entry at `address`.
pub fn pvh_note(address: u64) -> Vec<u8> {
    note(b"Xen\0", 18, &address.to_le_bytes(), 4)
}

/// Offset of a program header.
pub fn program_header(index: usize) -> usize {
    64 + 56 * index
}

/// A `vmlinux` of two segments and `notes`, entered at the start of its first segment.
pub fn elf(notes: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..DATA + DATA_SIZE).map(|i| (i * 7 + i / 256) as u8 | 1).collect();
    bytes[..0x400].fill(0);
    put(&mut bytes, 0, b"\x7fELF\x02\x01\x01");
    put(&mut bytes, 16, &2u16.to_le_bytes());
    put(&mut bytes, 18, &62u16.to_le_bytes());
    put(&mut bytes, 24, &BASE.to_le_bytes());
    put(&mut bytes, 32, &64u64.to_le_bytes());
    put(&mut bytes, 54, &56u16.to_le_bytes());
    put(&mut bytes, 56, &3u16.to_le_bytes());
    let headers = [
        // kind, offset, address, size in the file, size in memory, alignment
        (1u32, TEXT, BASE, TEXT_SIZE as u64, TEXT_SIZE as u64, 0x1000u64),
        (1, DATA, DATA_BASE, DATA_SIZE as u64, DATA_MEMORY, 0x10),
        (4, NOTES, BASE, notes.len() as u64, notes.len() as u64, 4),
    ];
    for (index, (kind, offset, address, file_size, memory_size, alignment)) in headers.into_iter().enumerate()
    {
        let header = program_header(index);
        put(&mut bytes, header, &kind.to_le_bytes());
        put(&mut bytes, header + 8, &(offset as u64).to_le_bytes());
        put(&mut bytes, header + 16, &(0xffff_ffff_8000_0000 + address).to_le_bytes());
        put(&mut bytes, header + 24, &address.to_le_bytes());
        put(&mut bytes, header + 32, &file_size.to_le_bytes());
        put(&mut bytes, header + 40, &memory_size.to_le_bytes());
        put(&mut bytes, header + 48, &alignment.to_le_bytes());
    }
    put(&mut bytes, NOTES, notes);
    bytes
}

/// Setup sectors of [`bzimage`].
pub const SETUP_SECTORS: usize = 7;
/// Bytes behind them.
pub const PAYLOAD_SIZE: usize = 0x2100;
/// What it needs in memory.
pub const INIT_SIZE: u32 = 0x10_0000;

/// A bzImage with a 64-bit entry.
pub fn bzimage() -> Vec<u8> {
    let payload = 512 * (SETUP_SECTORS + 1);
    let mut bytes: Vec<u8> = (0..payload + PAYLOAD_SIZE).map(|i| (i * 5 + i / 256) as u8 | 1).collect();
    bytes[..payload].fill(0);
    bytes[0x1f1] = SETUP_SECTORS as u8;
    put(&mut bytes, 0x1f4, &(PAYLOAD_SIZE as u32 / 16).to_le_bytes());
    put(&mut bytes, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut bytes, 0x202, b"HdrS");
    put(&mut bytes, 0x206, &0x020f_u16.to_le_bytes());
    bytes[0x211] = 1;
    put(&mut bytes, 0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(&mut bytes, 0x236, &1u16.to_le_bytes());
    put(&mut bytes, 0x238, &2047u32.to_le_bytes());
    put(&mut bytes, 0x258, &BASE.to_le_bytes());
    put(&mut bytes, 0x260, &INIT_SIZE.to_le_bytes());
    bytes
}
