//! Handing over by the Linux boot protocol: the zero page (`boot_params`), and for its 64-bit form page tables
//! (the kernel's `Documentation/arch/x86/{boot,zero-page}.rst`).

use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend};

use super::bzimage::{self, SETUP_HEADER, field};
use super::{BootData, Kernel, LoadError};
use crate::layout::{BOOT_PAGE_TABLES, COMMAND_LINE, PAGE_SIZE, ZERO_PAGE};

/// Fields of the zero page outside the setup header.
const ACPI_ROOT: usize = 0x070;
const E820_ENTRIES: usize = 0x1e8;
const E820_TABLE: usize = 0x2d0;
/// Address, size, type.
const E820_ENTRY_SIZE: usize = 20;

/// Type of memory that the guest may use.
const E820_RAM: u32 = 1;

/// A boot loader without a number of its own.
const UNKNOWN_LOADER: u8 = 0xff;
/// Highest address of a RAM disk for kernels that do not say.
pub(super) const INITRD_ADDRESS_MAX: u32 = 0x7fff_ffff;

/// Writes the zero page.
pub(super) fn write_zero_page<M: GuestMemoryBackend>(
    memory: &M,
    kernel: &Kernel,
    data: &BootData,
) -> Result<(), LoadError> {
    let mut page = ZeroPage([0; PAGE_SIZE as usize]);
    if kernel.setup_header.is_empty() {
        // An ELF file has none, and all that Linux reads of it is what a loader fills in.
        page.put(field::BOOT_FLAG, &bzimage::BOOT_FLAG.to_le_bytes());
        page.put(field::MAGIC, bzimage::MAGIC);
        page.put(field::VERSION, &0x020f_u16.to_le_bytes());
        page.put_u32(field::KERNEL_ALIGNMENT, 1 << 24);
        page.put_u32(field::INITRD_ADDRESS_MAX, INITRD_ADDRESS_MAX);
    } else {
        page.put(SETUP_HEADER, &kernel.setup_header);
        page.put_u32(field::CODE32_START, kernel.range.start as u32);
    }
    page.put(field::LOADER, &[UNKNOWN_LOADER]);
    page.put_u32(field::COMMAND_LINE, COMMAND_LINE.0 as u32);
    page.put_u32(field::COMMAND_LINE_SIZE, data.command_line.as_str().len() as u32);
    if let Some(initrd) = data.initrd {
        page.put_u32(field::INITRD_ADDRESS, initrd.range.start as u32);
        page.put_u32(field::INITRD_SIZE, initrd.range.size as u32);
    }
    if let Some(root) = data.acpi {
        page.put(ACPI_ROOT, &root.0.to_le_bytes());
    }
    let entries = data.map.e820();
    page.put(E820_ENTRIES, &[entries.len() as u8]);
    for (index, entry) in entries.iter().enumerate() {
        let place = E820_TABLE + index * E820_ENTRY_SIZE;
        page.put(place, &entry.start.to_le_bytes());
        page.put(place + 8, &entry.size.to_le_bytes());
        page.put_u32(place + 16, E820_RAM);
    }
    Ok(memory.write_slice(&page.0, ZERO_PAGE)?)
}

struct ZeroPage([u8; PAGE_SIZE as usize]);

impl ZeroPage {
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }
}

/// Bytes that the boot page tables map.
pub(super) const MAPPED: u64 = 1 << 30;

/// Flags of a page table entry: present and writable; a large page.
const TABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7 | TABLE;

/// Writes page tables that map the first GiB as it is, in pages of 2 MiB.
pub(super) fn write_page_tables<M: GuestMemoryBackend>(memory: &M) -> Result<(), LoadError> {
    let table = |index: u64| BOOT_PAGE_TABLES.unchecked_add(index * PAGE_SIZE);
    let (level_4, level_3, level_2): (_, _, GuestAddress) = (table(0), table(1), table(2));
    memory.write_obj(level_3.0 | TABLE, level_4)?;
    memory.write_obj(level_2.0 | TABLE, level_3)?;
    let mut entries = [0; PAGE_SIZE as usize];
    for (index, entry) in entries.chunks_exact_mut(8).enumerate() {
        entry.copy_from_slice(&((index as u64) << 21 | LARGE_PAGE).to_le_bytes());
    }
    Ok(memory.write_slice(&entries, level_2)?)
}
