//! Memory that a VM gets while it runs: addresses that are kept for it, and what is behind them.
//!
//! The whole range is mapped from the start, privately and lazily, so that what a device was told of memory stays true; it costs
//! nothing before it is touched. KVM is told of it in steps, as the guest is to have more: it keeps tables for all that it knows of.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use anyhow::Context;
use hull_arch::layout::{AddressRange, MemoryMap};
use hull_devices::backing::Backing;
use hull_devices::device::Memory;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestRegionMmap, MmapRegion};

/// KVM is told of a multiple of this many bytes at once: a slot takes milliseconds once there are vCPUs, and memory of the host by its
/// size.
const STEP: u64 = 512 << 20;

/// The memory of a VM, as KVM knows it.
pub struct Growth {
    vm: Arc<VmFd>,
    memory: Arc<Memory>,
    map: MemoryMap,
    /// Bytes of the growth, from its beginning, that KVM knows of.
    known: Cell<u64>,
    slots: Cell<u32>,
}

/// Memory of a VM, of zeroes, and the addresses that are kept for more: a region of its own, behind all others.
///
/// # Errors
/// When the addresses are not to be had.
pub fn reserve(map: &MemoryMap) -> anyhow::Result<Memory> {
    let memory = Memory::from_ranges(&map.regions())
        .with_context(|| format!("cannot reserve {} MiB of memory", map.memory() >> 20))?;
    let AddressRange { start, size } = map.growth;
    if size == 0 {
        return Ok(memory);
    }
    let more = reserve_region(size as usize, libc::PROT_READ | libc::PROT_WRITE)
        // A host that never promises more than it has (`vm.overcommit_memory` 2) promises memory that may not be touched.
        .or_else(|_| reserve_region(size as usize, libc::PROT_NONE))
        .with_context(|| format!("cannot reserve {} MiB of memory", size >> 20))?;
    let more = GuestRegionMmap::new(more, GuestAddress(start)).context("the memory wraps around")?;
    memory.insert_region(Arc::new(more)).context("the memory overlaps")
}

fn reserve_region(size: usize, protection: libc::c_int) -> Result<MmapRegion, MmapRegionError> {
    MmapRegionBuilder::new(size)
        .with_mmap_prot(protection)
        .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
        .build()
}

impl Growth {
    /// Tells KVM of the memory that the VM begins with.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn new(vm: Arc<VmFd>, memory: Arc<Memory>, map: MemoryMap) -> anyhow::Result<Self> {
        let growth = Self { vm, memory, map, known: Cell::new(0), slots: Cell::new(0) };
        for range in &growth.map.ram {
            growth.add_slot(*range)?;
        }
        Ok(growth)
    }

    /// Sees to it that KVM knows of the first `size` bytes of the growth, or of all of it; gives how many it knows of.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn cover(&self, size: u64) -> anyhow::Result<u64> {
        let AddressRange { start, size: most } = self.map.growth;
        let known = self.known.get();
        let missing = size.min(most).saturating_sub(known);
        if missing > 0 {
            let range = AddressRange::new(start + known, missing.next_multiple_of(STEP).min(most - known));
            self.make_usable(range).context("the host has no memory left to promise")?;
            self.add_slot(range)?;
            self.known.set(known + range.size);
        }
        Ok(self.known.get())
    }

    /// Bytes of the growth that KVM knows of.
    pub fn known(&self) -> u64 {
        self.known.get()
    }

    /// Bytes of the growth.
    pub fn most(&self) -> u64 {
        self.map.growth.size
    }

    /// Bytes that a snapshot has of the memory.
    pub fn saved_size(&self) -> u64 {
        self.map.memory() + self.known()
    }

    /// Memory that was only [reserved](reserve) can be touched from now on.
    fn make_usable(&self, range: AddressRange) -> anyhow::Result<()> {
        let host = self.memory.get_slice(GuestAddress(range.start), range.size as usize)?;
        let address = host.ptr_guard_mut().as_ptr().cast();
        // SAFETY: the range is guest memory that is mapped, and becomes or stays readable and writable.
        if unsafe { libc::mprotect(address, host.len(), libc::PROT_READ | libc::PROT_WRITE) } != 0 {
            return Err(io::Error::last_os_error().into());
        }
        Ok(())
    }

    fn add_slot(&self, range: AddressRange) -> anyhow::Result<()> {
        let host = self.memory.get_slice(GuestAddress(range.start), range.size as usize)?;
        let slot = self.slots.get();
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: range.start,
            memory_size: range.size,
            userspace_addr: host.ptr_guard_mut().as_ptr() as u64,
        };
        // SAFETY: the range is within one mapping, which lives as long as the VM, see `Machine`.
        unsafe { self.vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        self.slots.set(slot + 1);
        Ok(())
    }
}

/// Gives memory back to the host. What was restored from a snapshot is there as before when it is used again.
pub struct GiveBack(Arc<Memory>);

impl GiveBack {
    /// For this memory.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self(memory)
    }
}

impl Backing for GiveBack {
    fn give_back(&mut self, address: GuestAddress, length: u64) -> io::Result<()> {
        for slice in self.0.get_slices(address, length as usize) {
            let slice = slice.map_err(io::Error::other)?;
            let address = slice.ptr_guard_mut().as_ptr().cast();
            // SAFETY: the range is mapped, it is the guest's memory, which nobody here holds references into.
            if unsafe { libc::madvise(address, slice.len(), libc::MADV_DONTNEED) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "growth_test.rs"]
mod tests;
