//! CPUID (Intel SDM volume 2, `CPUID`; AMD APM volume 3, appendix E; the kernel's
//! `Documentation/virt/kvm/x86/cpuid.rst`): what KVM supports, with one topology on it: one package of as many cores
//! as there are vCPUs, one thread each, the APIC id of a vCPU its number.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

use crate::quirks::Quirks;

/// Frequency of KVM's local APIC timer, in kHz.
const APIC_KHZ: u32 = 1_000_000;

/// Leaf 1.
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;
const HYPER_THREADING: u32 = 1 << 28;
/// Leaf 6: the APIC timer always runs.
const ARAT: u32 = 1 << 2;
/// Leaf 0x8000_0001, AMD: the logical processors of leaf 1 are cores.
const CORES_NOT_THREADS: u32 = 1 << 1;

/// KVM's leaves.
const HYPERVISOR_LEAVES: u32 = 0x4000_0000;
const KVM_FEATURES: u32 = 0x4000_0001;
/// Frequencies of TSC and APIC timer, in kHz: VMware's leaf, which every guest of KVM understands too.
const FREQUENCIES: u32 = 0x4000_0010;

/// CPUID for the vCPUs of a VM, complete but for what differs between them.
#[derive(Debug, Clone)]
pub(super) struct Template {
    vcpus: u8,
    intel: bool,
    entries: Vec<kvm_cpuid_entry2>,
}

impl Template {
    /// From what KVM supports.
    pub(super) fn new(
        supported: &[kvm_cpuid_entry2],
        vcpus: u8,
        deadline_timer: bool,
        quirks: &Quirks,
    ) -> Self {
        let mut template = Template { vcpus, intel: false, entries: supported.to_vec() };
        template.intel = template.leaf(0).is_some_and(|leaf| vendor(leaf) == *b"GenuineIntel");
        // Levels above the core, which this topology does not have.
        template.entries.retain(|entry| entry.function != 0x8000_0026);
        template.features(deadline_timer, quirks);
        template.caches();
        template.topology();
        template
    }

    /// Bits of a guest-physical address.
    pub(super) fn address_bits(&self) -> u8 {
        let Some(leaf) = self.leaf(0x8000_0008) else { return 36 };
        let (host, guest) = (leaf.eax as u8, (leaf.eax >> 16) as u8);
        if guest == 0 { host } else { guest.min(host) }
    }

    /// The entries for vCPU number `index`.
    pub(super) fn for_vcpu(&self, index: u8, tsc_khz: Option<u32>) -> Vec<kvm_cpuid_entry2> {
        let mut entries = self.entries.clone();
        for entry in &mut entries {
            match entry.function {
                0x1 => entry.ebx = entry.ebx & 0x00ff_ffff | u32::from(index) << 24,
                0xb | 0x1f => entry.edx = index.into(),
                0x8000_001e => {
                    entry.eax = index.into();
                    entry.ebx = index.into(); // one thread of core `index`
                    entry.ecx = 0; // the only node
                }
                _ => {}
            }
        }
        if let Some(khz) = tsc_khz {
            self.frequencies(&mut entries, khz);
        }
        entries
    }

    fn features(&mut self, deadline_timer: bool, quirks: &Quirks) {
        let vcpus = self.vcpus;
        self.edit(0x1, |leaf| {
            leaf.ecx |= HYPERVISOR | X2APIC;
            set(&mut leaf.ecx, TSC_DEADLINE, deadline_timer);
            set(&mut leaf.edx, HYPER_THREADING, vcpus > 1);
            leaf.ebx = leaf.ebx & 0xff00_ffff | u32::from(vcpus) << 16;
        });
        self.edit(0x6, |leaf| leaf.eax |= ARAT);
        let intel = self.intel;
        self.edit(0x8000_0001, |leaf| set(&mut leaf.ecx, CORES_NOT_THREADS, !intel && vcpus > 1));
        self.edit(KVM_FEATURES, |leaf| leaf.eax &= !quirks.kvm_features_to_hide());
    }

    /// Who shares a cache: all do the last level, nobody the others.
    fn caches(&mut self) {
        let last = u32::from(self.vcpus) - 1;
        for entry in &mut self.entries {
            let (kind, level) = (entry.eax & 0x1f, entry.eax >> 5 & 7);
            if !matches!(entry.function, 0x4 | 0x8000_001d) || kind == 0 {
                continue;
            }
            let sharing = if level >= 3 { last } else { 0 };
            entry.eax = entry.eax & !(0xfff << 14) | sharing << 14;
            if entry.function == 0x4 {
                // Its top bits number the cores of the package.
                entry.eax = entry.eax & !(0x3f << 26) | last << 26;
            }
        }
    }

    fn topology(&mut self) {
        let vcpus = u32::from(self.vcpus);
        let bits = vcpus.next_power_of_two().trailing_zeros();
        // 0xb is there for every guest, since it names the whole x2APIC id; 0x1f where the CPU has it.
        self.edit(0x0, |leaf| leaf.eax = leaf.eax.max(0xb));
        for leaf in [0xb, 0x1f] {
            if leaf == 0x1f && self.leaf(leaf).is_none() {
                continue;
            }
            self.entries.retain(|entry| entry.function != leaf);
            // A level: the bits of the APIC id below the next one, processors in it, number and kind.
            for (index, eax, ebx, kind) in [(0, 0, 1, 1), (1, bits, vcpus, 2), (2, 0, 0, 0)] {
                self.entries.push(kvm_cpuid_entry2 {
                    function: leaf,
                    index,
                    flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                    eax,
                    ebx,
                    ecx: kind << 8 | index,
                    ..Default::default()
                });
            }
        }
        self.edit(0x8000_0008, |leaf| {
            if leaf.ecx != 0 || vcpus > 1 {
                leaf.ecx = leaf.ecx & !0xf0ff | bits << 12 | (vcpus - 1);
            }
        });
    }

    /// Leaves by which a guest knows its clocks and need not measure them, which takes tens of milliseconds.
    fn frequencies(&self, entries: &mut Vec<kvm_cpuid_entry2>, tsc_khz: u32) {
        let leaf =
            |function, eax, ebx, ecx| kvm_cpuid_entry2 { function, eax, ebx, ecx, ..Default::default() };
        let mut frequencies = Vec::new();
        let highest = self.leaf(0).map_or(0, |leaf| leaf.eax);
        if self.intel && highest >= 0x15 {
            // TSC = crystal × ebx ÷ eax. The crystal drives the APIC timer, so it is that of KVM.
            frequencies.push(leaf(0x15, APIC_KHZ, tsc_khz, APIC_KHZ * 1000));
        }
        if self.intel && highest >= 0x16 {
            let mhz = tsc_khz / 1000;
            frequencies.push(leaf(0x16, mhz, mhz, 100));
        }
        if self.leaf(HYPERVISOR_LEAVES).is_some() {
            frequencies.push(leaf(FREQUENCIES, tsc_khz, APIC_KHZ, 0));
        }
        entries.retain(|entry| frequencies.iter().all(|new| new.function != entry.function));
        entries.extend(frequencies);
        for entry in entries.iter_mut().filter(|entry| entry.function == HYPERVISOR_LEAVES) {
            entry.eax = entry.eax.max(FREQUENCIES);
        }
    }

    /// The entry of a leaf without subleaves, or its first.
    fn leaf(&self, function: u32) -> Option<&kvm_cpuid_entry2> {
        self.entries.iter().find(|entry| entry.function == function)
    }

    fn edit(&mut self, function: u32, change: impl FnOnce(&mut kvm_cpuid_entry2)) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.function == function) {
            change(entry);
        }
    }
}

fn set(register: &mut u32, bit: u32, on: bool) {
    if on { *register |= bit } else { *register &= !bit }
}

fn vendor(leaf: &kvm_cpuid_entry2) -> [u8; 12] {
    let mut name = [0; 12];
    for (bytes, register) in name.chunks_exact_mut(4).zip([leaf.ebx, leaf.edx, leaf.ecx]) {
        bytes.copy_from_slice(&register.to_le_bytes());
    }
    name
}

#[cfg(test)]
#[path = "cpuid_test.rs"]
mod tests;
