//! Why a kernel or a RAM disk cannot be loaded.
//!
//! The messages do not name the file, which the loader knows only as a descriptor: the caller puts `kernel "x"` in
//! front of them.

use std::io;

use crate::boot::Protocol;

/// Why a kernel or a RAM disk cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// Not something of a known length that can be mapped.
    #[error("is not a regular file; give the file itself, not a pipe, folder or device")]
    NotAFile,
    /// Not a kernel at all.
    #[error("is not a kernel: {0}; give an uncompressed x86_64 vmlinux or a bzImage")]
    NotAKernel(&'static str),
    /// A kernel, but not for this machine.
    #[error("is {0}, and hull runs x86_64 guests; give an x86_64 kernel")]
    Architecture(String),
    /// It ends before its headers say.
    #[error("is truncated: {what} ends at byte {end}, the file has {size}; copy or build it again")]
    Truncated {
        /// What lacks bytes.
        what: &'static str,
        /// Where that would end.
        end: u64,
        /// Size of the file.
        size: u64,
    },
    /// Its headers contradict each other or themselves.
    #[error("is damaged: {0}; copy or build it again")]
    Malformed(&'static str),
    /// A kernel from before the features needed.
    #[error("speaks version {}.{:02} of the boot protocol, hull needs 2.10 (Linux 2.6.31); give a newer kernel", .0 >> 8, .0 & 0xff)]
    TooOld(u16),
    /// It wants to be where no kernel can be.
    #[error(
        "has a segment at {start:#x}..{end:#x}, where the guest has {there}; it is not built for this machine"
    )]
    Place {
        /// First address.
        start: u64,
        /// The address behind it.
        end: u64,
        /// What is there.
        there: &'static str,
    },
    /// The guest is too small.
    #[error("needs guest memory up to {needed:#x}, the guest has {memory:#x} bytes below its device gap; give the VM {} MiB or more", .needed.div_ceil(2 << 20) * 2)]
    TooLittleMemory {
        /// Where its last byte would be.
        needed: u64,
        /// RAM below the gap.
        memory: u64,
    },
    /// The way to enter it that was asked for is not one it has.
    #[error("cannot be entered by {0:?}; leave the choice to hull")]
    NoSuchEntry(Protocol),
    /// The command line is longer than this kernel takes.
    #[error("takes a command line of at most {limit} bytes, this one has {size}; shorten it")]
    CommandLine {
        /// Bytes of the line.
        size: usize,
        /// Bytes the kernel takes.
        limit: usize,
    },
    /// There is nothing in the RAM disk.
    #[error("is empty; give a RAM disk with something in it, or none")]
    EmptyInitrd,
    /// The RAM disk does not fit behind the kernel.
    #[error("has {size} bytes, and {room} are left beside the kernel; give the VM more memory")]
    InitrdTooLarge {
        /// Size of the RAM disk.
        size: u64,
        /// Room for it.
        room: u64,
    },
    /// The mapping of guest memory could not be changed.
    #[error("cannot be mapped into guest memory")]
    Map(#[source] io::Error),
    /// Guest memory could not be written.
    #[error("cannot be written to guest memory")]
    Memory(#[from] vm_memory::GuestMemoryError),
}
