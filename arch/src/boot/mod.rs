//! Loading a kernel, and handing over to it.
//!
//! - [`Protocol::Pvh`]: the x86/HVM direct boot ABI of Xen, entered in 32-bit protected mode with paging off;
//! - [`Protocol::Linux64`] and [`Protocol::Linux32`]: the Linux/x86 boot protocol
//!   (`Documentation/arch/x86/boot.rst` in the kernel's tree), entered in long mode or in 32-bit protected mode.
//!
//! Linux as an ELF file offers both. Measured where the guest's kernel is interpreted, it comes to its first C function in
//! 2.5 ms by the 64-bit protocol and in 5.5 ms by PVH, which has it build page tables and `boot_params` itself: so the
//! former is preferred, for Linux. Mapping the kernel takes 0.1 ms, copying its 12 MB more than 10 ms.

mod bzimage;
mod elf;
mod error;
mod image;
mod linux;
mod place;
mod pvh;

use std::fs::File;

use serde::{Deserialize, Serialize};
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

pub use self::error::LoadError;
pub use self::image::{Image, Segment};

use self::bzimage::field;
use crate::cmdline::CommandLine;
use crate::cpu::segments;
use crate::layout::{self, AddressRange, MemoryMap, PAGE_SIZE};

/// How a kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// PVH: any ELF with a PVH note.
    Pvh,
    /// The 64-bit Linux boot protocol: an ELF `vmlinux`, or a bzImage whose `xloadflags` allow it.
    Linux64,
    /// The 32-bit Linux boot protocol: any bzImage.
    Linux32,
}

/// How a file gets into guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Whole pages are mapped privately from the file: nothing is copied, and VMs share the page cache until they
    /// write. The file must not be changed or shortened while the VM runs.
    #[default]
    Map,
    /// Everything is read.
    Copy,
}

/// How to load a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// How it gets into guest memory.
    pub placement: Placement,
    /// How it is to be entered; `None` takes what is fastest of what it offers.
    pub protocol: Option<Protocol>,
}

/// A kernel in guest memory.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// How it is entered.
    pub protocol: Protocol,
    /// Where it is entered.
    pub entry: GuestAddress,
    /// What it needs for itself until it has set up its memory management.
    pub range: AddressRange,
    /// The setup header of a bzImage.
    setup_header: Vec<u8>,
}

/// A RAM disk in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initrd {
    /// Where it is.
    pub range: AddressRange,
}

/// Where the boot processor starts, for [`crate::cpu::configure_boot_vcpu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// In which mode.
    pub protocol: Protocol,
    /// Its first instruction.
    pub address: GuestAddress,
    /// The structure it is given: `hvm_start_info` or `boot_params`.
    pub parameters: GuestAddress,
}

/// What a kernel is told.
#[derive(Debug, Clone, Copy)]
pub struct BootData<'a> {
    /// Its arguments.
    pub command_line: &'a CommandLine,
    /// Its RAM disk.
    pub initrd: Option<Initrd>,
    /// The root of the ACPI tables, as [`crate::tables::acpi::write`] returns it.
    pub acpi: Option<GuestAddress>,
    /// The guest's memory.
    pub map: &'a MemoryMap,
}

/// Loads the kernel in `file` into `memory`, which must be as new: zero wherever nothing was written.
pub fn load_kernel<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    options: LoadOptions,
) -> Result<Kernel, LoadError> {
    let image = Image::read(file)?;
    let (protocol, entry) = match options.protocol {
        None => image.entries[0],
        Some(wanted) => *image
            .entries
            .iter()
            .find(|(protocol, _)| *protocol == wanted)
            .ok_or(LoadError::NoSuchEntry(wanted))?,
    };
    let range = image.range();
    let low = low_memory(memory);
    if range.end() > layout::GAP_START {
        let there = "its device gap or memory behind it";
        return Err(LoadError::Place { start: range.start, end: range.end(), there });
    }
    if range.end() > low {
        return Err(LoadError::TooLittleMemory { needed: range.end(), memory: low });
    }
    if protocol == Protocol::Linux64 && range.end() > linux::MAPPED {
        let there = "no mapping yet (the boot page tables end at 1 GiB)";
        return Err(LoadError::Place { start: range.start, end: range.end(), there });
    }
    for segment in &image.segments {
        place::place(memory, file, segment, options.placement)?;
    }
    Ok(Kernel { protocol, entry: GuestAddress(entry), range, setup_header: image.setup_header })
}

/// Loads a RAM disk for `kernel`, as high as the kernel can find it.
pub fn load_initrd<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    kernel: &Kernel,
    placement: Placement,
) -> Result<Initrd, LoadError> {
    let size = image::regular_size(file)?;
    if size == 0 {
        return Err(LoadError::EmptyInitrd);
    }
    let limit = low_memory(memory).min(u64::from(kernel.initrd_address_max()) + 1) / PAGE_SIZE * PAGE_SIZE;
    let room = limit.saturating_sub(kernel.range.end().next_multiple_of(PAGE_SIZE));
    let pages = size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
    if pages > room {
        return Err(LoadError::InitrdTooLarge { size, room });
    }
    let range = AddressRange::new(limit - pages, size);
    place::place(memory, file, &Segment { offset: 0, file_size: size, range }, placement)?;
    Ok(Initrd { range })
}

/// Writes everything the kernel finds in memory when it starts.
pub fn write_boot_data<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    kernel: &Kernel,
    data: &BootData,
) -> Result<Entry, LoadError> {
    let command_line = data.command_line.to_c_string();
    let (size, limit) = (command_line.as_bytes().len(), kernel.command_line_limit());
    if size > limit {
        return Err(LoadError::CommandLine { size, limit });
    }
    memory.write_slice(command_line.as_bytes_with_nul(), layout::COMMAND_LINE)?;

    for (index, descriptor) in segments::gdt(kernel.protocol).iter().enumerate() {
        memory.write_obj(*descriptor, GuestAddress(layout::BOOT_GDT.0 + 8 * index as u64))?;
    }
    let parameters = match kernel.protocol {
        Protocol::Pvh => {
            pvh::write(memory, data)?;
            layout::PVH_START_INFO
        }
        Protocol::Linux64 => {
            linux::write_page_tables(memory)?;
            linux::write_zero_page(memory, kernel, data)?;
            layout::ZERO_PAGE
        }
        Protocol::Linux32 => {
            linux::write_zero_page(memory, kernel, data)?;
            layout::ZERO_PAGE
        }
    };
    Ok(Entry { protocol: kernel.protocol, address: kernel.entry, parameters })
}

impl Kernel {
    /// Highest address at which a byte of the RAM disk may be.
    fn initrd_address_max(&self) -> u32 {
        self.header_u32(field::INITRD_ADDRESS_MAX).unwrap_or(linux::INITRD_ADDRESS_MAX)
    }

    /// Most bytes of a command line, without its NUL.
    fn command_line_limit(&self) -> usize {
        self.header_u32(field::COMMAND_LINE_SIZE).map_or(crate::cmdline::MAX_SIZE - 1, |limit| limit as usize)
    }

    /// A field of the setup header by its offset in the file, if there is a header and it says something there.
    fn header_u32(&self, field: usize) -> Option<u32> {
        let bytes = self.setup_header.get(field - bzimage::SETUP_HEADER..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes)).filter(|value| *value != 0)
    }
}

/// End of the RAM below the gap.
fn low_memory<B: Bitmap + 'static>(memory: &GuestMemoryMmap<B>) -> u64 {
    memory.find_region(GuestAddress(0)).map_or(0, |region| region.len())
}

#[cfg(test)]
#[path = "samples_test.rs"]
pub(crate) mod samples;

#[cfg(test)]
#[path = "boot_test.rs"]
mod tests;
