use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::boot::{LoadOptions, Protocol};
use crate::cpu::guest::{Guest, kernel, kvm, output};

/// Fills registers and memory, says that it may be stopped, and then writes out what it finds in them.
#[rustfmt::skip]
const CODE: &[u8] = &[
    0xb9, 0x78, 0x56, 0x34, 0x12,           // mov ecx, 0x12345678
    0x89, 0x0c, 0x25, 0x00, 0x00, 0x80, 1,  // mov [0x1800000], ecx
    0x31, 0xc0,                             // xor eax, eax
    0x0f, 0x23, 0xc8,                       // mov dr1, rax
    0xe5, 0xf4,                             // in eax, 0xf4
    0xe7, 0xf4,                             // out 0xf4, eax
    0x89, 0xc8,                             // mov eax, ecx
    0xe7, 0xf4,                             // out 0xf4, eax
    0x8b, 0x04, 0x25, 0x00, 0x00, 0x80, 1,  // mov eax, [0x1800000]
    0xe7, 0xf4,                             // out 0xf4, eax
    0xe5, 0xf4,                             // in eax, 0xf4
];

#[test]
fn a_guest_goes_on_in_another_vm() {
    let Some(kvm) = kvm("a_guest_goes_on_in_another_vm") else { return };
    let first = Guest::new(&kvm, 2);
    let options = LoadOptions { protocol: Some(Protocol::Linux64), ..Default::default() };
    let mut vcpu = first.boot(&kernel(Protocol::Linux64, CODE), options);
    let second_vcpu = first.vm.create_vcpu(1).unwrap();
    first.model.configure(&second_vcpu, 1).unwrap();
    assert!(output(&mut vcpu).is_empty());
    // The value read, 0 as the buffer was, is only the guest's after another run.
    vcpu.set_kvm_immediate_exit(1);
    assert_eq!(vcpu.run().unwrap_err().errno(), libc::EINTR);

    let format = StateFormat::new(&kvm, &first.vm).unwrap();
    let saved = [format.save(&vcpu).unwrap(), format.save(&second_vcpu).unwrap()];
    let saved = serde_json::to_string(&saved).unwrap();
    let vm = serde_json::to_string(&VmState::save(&first.vm, false).unwrap()).unwrap();
    let mut content = vec![0; first.map.memory() as usize];
    first.memory.read_slice(&mut content, GuestAddress(0)).unwrap();
    drop((vcpu, second_vcpu, first));

    let second = Guest::new(&kvm, 2);
    second.memory.write_slice(&content, GuestAddress(0)).unwrap();
    serde_json::from_str::<VmState>(&vm).unwrap().restore(&second.vm).unwrap();
    let format = StateFormat::new(&kvm, &second.vm).unwrap();
    let states: [VcpuState; 2] = serde_json::from_str(&saved).unwrap();
    let mut vcpus: Vec<_> = [0, 1].map(|index| second.vm.create_vcpu(index).unwrap()).into();
    for (vcpu, state) in vcpus.iter().zip(&states) {
        format.restore(vcpu, state).unwrap();
        let again = format.save(vcpu).unwrap();
        assert_eq!(again.regs, state.regs);
        assert_eq!(again.sregs, state.sregs);
        assert_eq!(again.mp_state, state.mp_state);
        assert_eq!(again.xsave, state.xsave);
        assert_eq!(again.msrs.len(), state.msrs.len());
    }
    let expected = [0u32, 0x1234_5678, 0x1234_5678].map(u32::to_le_bytes).concat();
    assert_eq!(output(&mut vcpus[0]), expected);
}

#[test]
fn a_state_that_was_cut_is_refused() {
    let Some(kvm) = kvm("a_state_that_was_cut_is_refused") else { return };
    let guest = Guest::new(&kvm, 1);
    let vcpu = guest.vm.create_vcpu(0).unwrap();
    let format = StateFormat::new(&kvm, &guest.vm).unwrap();
    guest.model.configure(&vcpu, 0).unwrap();
    let mut state = format.save(&vcpu).unwrap();
    format.restore(&vcpu, &state).unwrap();
    state.xsave.truncate(1000);
    assert!(matches!(format.restore(&vcpu, &state), Err(CpuError::ExtendedState)));
}

#[test]
fn time_that_passed_is_added_to_what_counts_it() {
    let Some(kvm) = kvm("time_that_passed_is_added_to_what_counts_it") else { return };
    let guest = Guest::new(&kvm, 1);
    let vcpu = guest.vm.create_vcpu(0).unwrap();
    guest.model.configure(&vcpu, 0).unwrap();
    let mut vm = VmState::save(&guest.vm, false).unwrap();
    assert!(vm.age() < Duration::from_secs(60));
    let clock = vm.clock.clock;
    vm.advance(Duration::from_secs(90));
    assert_eq!(vm.clock.clock, clock + 90_000_000_000);
    vm.saved += Duration::from_secs(1 << 20);
    assert_eq!(vm.age(), Duration::ZERO);
    // What somebody wrote into a snapshot is no harm.
    vm.advance(Duration::MAX);

    let mut state = StateFormat::new(&kvm, &guest.vm).unwrap().save(&vcpu).unwrap();
    state.tsc_khz = Some(2_000_000);
    let tsc = |state: &VcpuState| state.msrs.iter().find(|msr| msr.index == TSC).unwrap().data;
    let before = tsc(&state);
    state.advance(Duration::from_secs(90));
    assert_eq!(tsc(&state), before + 180_000_000_000);
    state.tsc_khz = None;
    state.advance(Duration::MAX);
    assert_eq!(tsc(&state), before + 180_000_000_000);
    state.tsc_khz = Some(u32::MAX);
    state.advance(Duration::MAX);
}

#[test]
fn a_guest_whose_tsc_moved_is_interrupted_first_of_all() {
    let Some(kvm) = kvm("a_guest_whose_tsc_moved_is_interrupted_first_of_all") else { return };
    let guest = Guest::new(&kvm, 1);
    let vcpu = guest.vm.create_vcpu(0).unwrap();
    guest.model.configure(&vcpu, 0).unwrap();
    let mut state = StateFormat::new(&kvm, &guest.vm).unwrap().save(&vcpu).unwrap();
    state.expire_timer();
    let deadline = state.msrs.iter().find(|msr| msr.index == TSC_DEADLINE);
    assert_eq!(deadline.map(|msr| msr.data), Some(1));

    assert!(!state.rests(), "it is about to run");
    state.mp_state.mp_state = kvm_bindings::KVM_MP_STATE_HALTED;
    assert!(state.rests());

    assert!(!state.is_of_another_boot());
    state.msrs.iter_mut().filter(|msr| msr.index == TSC).for_each(|msr| msr.data = u64::MAX);
    assert!(state.is_of_another_boot());
}
