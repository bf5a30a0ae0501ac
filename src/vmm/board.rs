//! What a VM has before anything is put into it, which its size alone says: memory, vCPUs, and how they are interrupted.
//!
//! Half of what a VMM does before the guest's first instruction is this, most of it waiting for the host's kernel. It is made
//! while the keeper still opens what the VM is made of.

use std::{
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::Arc,
};

use anyhow::Context;
use hull_arch::{
    cpu::{CpuModel, Supported},
    layout::{KVM_IDENTITY_MAP, KVM_TSS, MemoryMap},
    quirks::Quirks,
};
use hull_devices::device::Memory;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};

use super::{
    config::VmSize,
    growth::{self, Growth},
};

/// The version of KVM's API.
const API: i32 = 12;

/// A VM with nothing in it.
pub struct Board {
    // In the order in which they must go: what uses the memory before the memory.
    /// The vCPUs, in order.
    pub vcpus: Vec<VcpuFd>,
    /// What the guest sees of the CPU.
    pub model: CpuModel,
    /// The VM.
    pub vm: Arc<VmFd>,
    /// KVM.
    pub kvm: Kvm,
    /// Where the memory is.
    pub map: MemoryMap,
    /// What KVM knows of it.
    pub growth: Growth,
    /// The memory, of zeroes.
    pub memory: Arc<Memory>,
}

impl Board {
    /// Makes one of `/dev/kvm`.
    ///
    /// # Errors
    /// When it is not a KVM that hull knows or gives no VM, or the host has not that much memory or as many CPUs.
    pub fn new(kvm: OwnedFd, size: VmSize, quirks: &Quirks) -> anyhow::Result<Self> {
        // SAFETY: the keeper opened /dev/kvm for this, and the descriptor is handed over.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        let version = kvm.get_api_version();
        anyhow::ensure!(version == API, "/dev/kvm speaks version {version} of its API, hull needs {API}");
        let model = CpuModel::new(&Supported::by(&kvm)?, size.vcpus, quirks)?;
        let map = MemoryMap::new(size.memory, size.growth, model.address_bits())?;
        let memory = Arc::new(growth::reserve(&map)?);

        let vm = Arc::new(kvm.create_vm().context("KVM_CREATE_VM")?);
        // Before the irqchip and ioeventfds: each slot after them waits for the kernel to see all CPUs pass by.
        let growth = Growth::new(vm.clone(), memory.clone(), map.clone())?;
        vm.set_identity_map_address(KVM_IDENTITY_MAP.0).context("KVM_SET_IDENTITY_MAP_ADDR")?;
        vm.set_tss_address(KVM_TSS.0 as usize).context("KVM_SET_TSS_ADDR")?;
        vm.create_irq_chip().context("KVM_CREATE_IRQCHIP")?;
        let vcpus = (0..size.vcpus)
            .map(|index| vm.create_vcpu(index.into()).with_context(|| format!("KVM_CREATE_VCPU {index}")))
            .collect::<Result<_, _>>()?;
        Ok(Self { vcpus, model, vm, kvm, map, growth, memory })
    }
}
