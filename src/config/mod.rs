//! What a VM is, and the file formats it can be written in.

mod name;
mod size;
mod vm_file;

pub use name::Name;
pub use size::Size;
pub use vm_file::{Console, Disk, FileError, Kernel, MAX_VCPUS, Machine, VmFile};
