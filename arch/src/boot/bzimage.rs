//! Kernels as bzImage (the kernel's `Documentation/arch/x86/boot.rst`): a setup header, and behind the real-mode
//! code a program that decompresses the kernel.

use super::image::{Image, Segment, u16_at, u32_at, u64_at};
use super::{LoadError, Protocol};
use crate::layout::AddressRange;

/// Where the setup header starts, in the file and in the zero page.
pub(super) const SETUP_HEADER: usize = 0x1f1;

/// Fields of the setup header, by their offset in the file.
pub(super) mod field {
    pub const SETUP_SECTORS: usize = 0x1f1;
    pub const SYSTEM_SIZE: usize = 0x1f4;
    pub const BOOT_FLAG: usize = 0x1fe;
    pub const JUMP: usize = 0x200;
    pub const MAGIC: usize = 0x202;
    pub const VERSION: usize = 0x206;
    pub const LOADER: usize = 0x210;
    pub const LOAD_FLAGS: usize = 0x211;
    pub const CODE32_START: usize = 0x214;
    pub const INITRD_ADDRESS: usize = 0x218;
    pub const INITRD_SIZE: usize = 0x21c;
    pub const COMMAND_LINE: usize = 0x228;
    pub const INITRD_ADDRESS_MAX: usize = 0x22c;
    pub const KERNEL_ALIGNMENT: usize = 0x230;
    pub const EXTENDED_LOAD_FLAGS: usize = 0x236;
    pub const COMMAND_LINE_SIZE: usize = 0x238;
    pub const PREFERRED_ADDRESS: usize = 0x258;
    pub const INIT_SIZE: usize = 0x260;
}

pub(super) const BOOT_FLAG: u16 = 0xaa55;
pub(super) const MAGIC: &[u8; 4] = b"HdrS";

/// The first version with a preferred address and the size the kernel needs.
const OLDEST_VERSION: u16 = 0x020a;
/// The first version with extended load flags.
const EXTENDED_VERSION: u16 = 0x020c;
/// The part behind the real-mode code is loaded high, as in every bzImage.
const LOADED_HIGH: u8 = 1;
/// There is a 64-bit entry.
const KERNEL_64: u16 = 1;
/// Where the 64-bit entry is in the loaded part.
const ENTRY_64: u64 = 0x200;
/// Where the header ends whatever it says, up to the last field used here.
const HEADER_END: usize = field::INIT_SIZE + 4;

/// Whether `head`, the start of a file, is that of a bzImage.
pub(super) fn is_one(head: &[u8]) -> bool {
    head.get(field::MAGIC..field::MAGIC + 4) == Some(MAGIC) && u16_at(head, field::BOOT_FLAG) == BOOT_FLAG
}

pub(super) fn parse(size: u64, head: &[u8]) -> Result<Image, LoadError> {
    let truncated = |what, end| LoadError::Truncated { what, end, size };
    if head.len() < HEADER_END {
        return Err(truncated("its setup header", HEADER_END as u64));
    }
    let version = u16_at(head, field::VERSION);
    if version < OLDEST_VERSION {
        return Err(LoadError::TooOld(version));
    }
    if head[field::LOAD_FLAGS] & LOADED_HIGH == 0 {
        return Err(LoadError::NotAKernel("it is a zImage, which is loaded below 1 MiB"));
    }
    // The jump over the header has its length.
    let end = field::MAGIC + usize::from(head[field::JUMP + 1]);
    if end < HEADER_END {
        return Err(LoadError::Malformed("its setup header is shorter than its version says"));
    }
    let setup_header =
        head.get(SETUP_HEADER..end).ok_or_else(|| truncated("its setup header", end as u64))?;

    let sectors = match head[field::SETUP_SECTORS] {
        0 => 4, // as the protocol has it, for the oldest kernels
        sectors => sectors.into(),
    };
    let offset = (sectors + 1) * 512;
    // The field counts paragraphs of 16 bytes, and kernels round it up.
    let claimed = u64::from(u32_at(head, field::SYSTEM_SIZE)) * 16;
    let there = size.saturating_sub(offset);
    if claimed == 0 {
        return Err(LoadError::Malformed("there is nothing behind its setup code"));
    }
    if there + 15 < claimed {
        return Err(truncated("its compressed kernel", offset + claimed));
    }
    let file_size = claimed.min(there);

    let start = u64_at(head, field::PREFERRED_ADDRESS);
    let memory_size = u64::from(u32_at(head, field::INIT_SIZE)).max(claimed);
    if start.checked_add(memory_size).is_none() {
        return Err(LoadError::Malformed("it wants to be loaded beyond the last address"));
    }
    let segment = Segment { offset, file_size, range: AddressRange::new(start, memory_size) };

    let has_64 = version >= EXTENDED_VERSION && u16_at(head, field::EXTENDED_LOAD_FLAGS) & KERNEL_64 != 0;
    let mut entries = Vec::new();
    if has_64 {
        entries.push((Protocol::Linux64, start + ENTRY_64.min(memory_size)));
    }
    entries.push((Protocol::Linux32, start));
    Ok(Image { segments: vec![segment], entries, setup_header: setup_header.to_vec() })
}

#[cfg(test)]
#[path = "bzimage_test.rs"]
mod tests;
