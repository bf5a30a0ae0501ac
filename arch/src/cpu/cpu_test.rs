//! A few instructions in a real VM, entered by each protocol.

use vm_memory::{Bytes, GuestAddress};

use super::guest::{Guest, kernel, kvm, output};
use super::*;
use crate::boot::{LoadOptions, Placement, Protocol};

/// Writes the first four bytes of what RSI or RBX points to, then reads. The same bytes mean the same in 32-bit and
/// 64-bit mode.
fn code(protocol: Protocol) -> Vec<u8> {
    let load = match protocol {
        Protocol::Pvh => [0x8b, 0x03],                         // mov eax, [ebx]
        Protocol::Linux64 | Protocol::Linux32 => [0x8b, 0x46], // mov eax, [rsi + …]
    };
    let mut code = load.to_vec();
    if protocol != Protocol::Pvh {
        code.push(0x70); // … the ACPI root pointer's field, which is 0
    }
    code.extend([0xe7, 0xf4]); // out 0xf4, eax
    // A data segment and a stack that work: push eax, pop ecx only where there is a stack.
    code.extend([0xe5, 0xf4]); // in eax, 0xf4
    code
}

#[test]
fn a_guest_runs_in_the_mode_of_its_protocol_and_finds_its_parameters() {
    let Some(kvm) = kvm("a_guest_runs_in_the_mode_of_its_protocol_and_finds_its_parameters") else { return };
    for protocol in [Protocol::Pvh, Protocol::Linux64, Protocol::Linux32] {
        for placement in [Placement::Map, Placement::Copy] {
            let guest = Guest::new(&kvm, 1);
            let file = kernel(protocol, &code(protocol));
            let mut vcpu = guest.boot(&file, LoadOptions { placement, protocol: Some(protocol) });
            let expected: u32 = if protocol == Protocol::Pvh { 0x336e_c578 } else { 0 };
            assert_eq!(output(&mut vcpu), expected.to_le_bytes(), "{protocol:?} {placement:?}");
            let sregs = vcpu.get_sregs().unwrap();
            assert_eq!(sregs.cs.l == 1, protocol == Protocol::Linux64);
            assert_eq!(sregs.efer >> 10 & 1 == 1, protocol == Protocol::Linux64);
        }
    }
}

#[test]
fn the_guest_sees_the_cpuid_it_was_given() {
    let Some(kvm) = kvm("the_guest_sees_the_cpuid_it_was_given") else { return };
    let guest = Guest::new(&kvm, 4);
    #[rustfmt::skip]
    let code = [
        0xb8, 0x0b, 0, 0, 0,    // mov eax, 0xb
        0xb9, 0x01, 0, 0, 0,    // mov ecx, 1
        0x0f, 0xa2,             // cpuid
        0xe7, 0xf4,             // out 0xf4, eax
        0x89, 0xd8,             // mov eax, ebx
        0xe7, 0xf4,             // out 0xf4, eax
        0xb8, 0x10, 0, 0, 0x40, // mov eax, 0x40000010
        0x0f, 0xa2,             // cpuid
        0xe7, 0xf4,             // out 0xf4, eax
        0xe5, 0xf4,             // in eax, 0xf4
    ];
    let file = kernel(Protocol::Linux64, &code);
    let options = LoadOptions { protocol: Some(Protocol::Linux64), ..Default::default() };
    let mut vcpu = guest.boot(&file, options);
    let tsc_khz = vcpu.get_tsc_khz().unwrap();
    let numbers: Vec<_> =
        output(&mut vcpu).chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(numbers, [2, 4, tsc_khz]);
}

#[test]
fn every_vcpu_can_be_configured() {
    let Some(kvm) = kvm("every_vcpu_can_be_configured") else { return };
    let guest = Guest::new(&kvm, MAX_VCPUS);
    for index in 0..MAX_VCPUS {
        let vcpu = guest.vm.create_vcpu(index.into()).unwrap();
        guest.model.configure(&vcpu, index).unwrap();
        let id = vcpu.get_lapic().unwrap().regs[0x23] as u8;
        assert_eq!(id, index);
    }
    let supported = Supported::by(&kvm).unwrap();
    for vcpus in [0, MAX_VCPUS + 1] {
        assert!(matches!(CpuModel::new(&supported, vcpus, &Quirks::default()), Err(CpuError::Vcpus(_))));
    }
    // The memory is used by the VM until here.
    let _: u64 = guest.memory.read_obj(GuestAddress(0)).unwrap();
}
