//! A VM for tests: a few instructions on `/dev/kvm`, and what they write to a port.

use std::fs::File;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::{CpuModel, Supported, configure_boot_vcpu};
use crate::boot::{self, BootData, LoadOptions, Protocol, samples};
use crate::cmdline::CommandLine;
use crate::layout::{self, MemoryMap};
use crate::quirks::Quirks;

/// `/dev/kvm`, or `None` with a note in the test's output that `test` was skipped.
pub fn kvm(test: &str) -> Option<Kvm> {
    match Kvm::new() {
        Ok(kvm) => Some(kvm),
        Err(error) => {
            println!("skipped: {test} (no access to /dev/kvm: {error})");
            None
        }
    }
}

pub struct Guest {
    pub vm: VmFd,
    pub memory: GuestMemoryMmap<()>,
    pub map: MemoryMap,
    pub model: CpuModel,
}

impl Guest {
    pub fn new(kvm: &Kvm, vcpus: u8) -> Self {
        let model = CpuModel::new(&Supported::by(kvm).unwrap(), vcpus, &Quirks::detect()).unwrap();
        let map = MemoryMap::new(32 << 20, 0, model.address_bits()).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&map.regions()).unwrap();
        let vm = kvm.create_vm().unwrap();
        for (slot, region) in memory.iter().enumerate() {
            let region = kvm_userspace_memory_region {
                slot: slot as u32,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
                flags: 0,
            };
            // SAFETY: the memory outlives the VM: both are in `Guest`, whose `vm` is dropped first.
            unsafe { vm.set_user_memory_region(region) }.unwrap();
        }
        vm.set_tss_address(layout::KVM_TSS.0 as usize).unwrap();
        vm.set_identity_map_address(layout::KVM_IDENTITY_MAP.0).unwrap();
        vm.create_irq_chip().unwrap();
        Guest { vm, memory, map, model }
    }

    /// vCPU 0, at the entry of the kernel in `file`.
    pub fn boot(&self, file: &File, options: LoadOptions) -> VcpuFd {
        let kernel = boot::load_kernel(&self.memory, file, options).unwrap();
        let command_line = CommandLine::new();
        let data = BootData { command_line: &command_line, initrd: None, acpi: None, map: &self.map };
        let entry = boot::write_boot_data(&self.memory, &kernel, &data).unwrap();
        let vcpu = self.vm.create_vcpu(0).unwrap();
        self.model.configure(&vcpu, 0).unwrap();
        configure_boot_vcpu(&vcpu, &entry).unwrap();
        vcpu
    }
}

/// Bytes written to port 0xf4 until the guest reads from it.
pub fn output(vcpu: &mut VcpuFd) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        match vcpu.run().unwrap() {
            VcpuExit::IoOut(0xf4, data) => output.extend_from_slice(data),
            VcpuExit::IoIn(0xf4, _) => return output,
            exit => panic!("{exit:?} after {output:x?}"),
        }
    }
}

/// The sample kernel with `code` at its entry by `protocol`.
pub fn kernel(protocol: Protocol, code: &[u8]) -> File {
    let (mut bytes, entry) = match protocol {
        Protocol::Linux32 => (samples::bzimage(), 512 * (samples::SETUP_SECTORS + 1)),
        _ => (samples::elf(&samples::pvh_note(samples::BASE)), samples::TEXT),
    };
    samples::put(&mut bytes, entry, code);
    samples::file(&bytes)
}
