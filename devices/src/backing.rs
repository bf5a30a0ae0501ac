//! The guest's memory, as devices that give some of it back to the host know it.

use std::io;

use vm_memory::GuestAddress;

/// Memory that the host can have back.
pub trait Backing: Send {
    /// Gives `length` bytes at `address` back to the host, both of whole pages of 4 KiB, all in guest memory. They can be used
    /// on; what is found there first is zero or something that the guest had there before.
    ///
    /// # Errors
    /// When the host does not take it.
    fn give_back(&mut self, address: GuestAddress, length: u64) -> io::Result<()>;
}
