//! Loading a kernel, and handing over to it.
//!
//! - [`Protocol::Pvh`]: the x86/HVM direct boot ABI of Xen, entered in 32-bit protected mode with paging off;
//! - [`Protocol::Linux64`] and [`Protocol::Linux32`]: the Linux/x86 boot protocol
//!   (`Documentation/arch/x86/boot.rst` in the kernel's tree), entered in long mode or in 32-bit protected mode.

use std::fs::File;

use serde::{Deserialize, Serialize};
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::cmdline::CommandLine;
use crate::layout::{AddressRange, MemoryMap};

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
    /// write. The file must not be changed while the VM runs.
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
}

/// Why a kernel or a RAM disk cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Not a kernel.
    #[error("is not a kernel: neither an ELF file nor a bzImage; give an uncompressed vmlinux or a bzImage")]
    NotAKernel,
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

/// Loads `file` into `memory`.
pub fn load_kernel<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    options: LoadOptions,
) -> Result<Kernel, LoadError> {
    let _ = (memory, file, options);
    unimplemented!("being written")
}

/// Loads a RAM disk for `kernel`, as high as the kernel can find it.
pub fn load_initrd<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    file: &File,
    kernel: &Kernel,
    placement: Placement,
) -> Result<Initrd, LoadError> {
    let _ = (memory, file, kernel, placement);
    unimplemented!("being written")
}

/// Writes everything the kernel finds in memory when it starts.
pub fn write_boot_data<B: Bitmap + 'static>(
    memory: &GuestMemoryMmap<B>,
    kernel: &Kernel,
    data: &BootData,
) -> Result<Entry, LoadError> {
    let _ = (memory, kernel, data);
    unimplemented!("being written")
}
