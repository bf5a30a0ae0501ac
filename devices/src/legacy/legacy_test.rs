use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::*;
use crate::bus::Bus;

fn event() -> (EventFd, EventFd) {
    let event = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    (event.try_clone().unwrap(), event)
}

#[test]
fn only_the_reset_command_resets() {
    let (reset, seen) = event();
    let mut bus = Bus::new();
    bus.insert(I8042_BASE, I8042_SIZE, Arc::new(I8042::new(reset))).unwrap();
    let mut status = [0xff];
    assert!(bus.read(0x64, &mut status));
    assert_eq!(status, [0]);
    for (port, value) in [(0x64, 0xd1), (0x60, 0xfe), (0x61, 0xfe)] {
        bus.write(port, &[value]);
        assert!(seen.read().is_err());
    }
    bus.write(0x64, &[0xfe, 0xfe]);
    assert!(seen.read().is_err());
    bus.write(0x64, &[0xfe]);
    assert_eq!(seen.read().unwrap(), 1);
}

#[test]
fn only_s5_powers_off() {
    let (power_off, seen) = event();
    let mut bus = Bus::new();
    bus.insert(0x600, SLEEP_SIZE, Arc::new(SleepRegisters::new(power_off))).unwrap();
    let mut status = [0xff; 2];
    assert!(bus.read(0x600, &mut status));
    assert_eq!(status, [0; 2]);
    let s5 = 0x20 | SLEEP_TYPE_S5 << 2;
    for (port, value) in [(0x600, 0x20 | 3 << 2), (0x600, SLEEP_TYPE_S5 << 2), (0x601, s5)] {
        bus.write(port, &[value]);
        assert!(seen.read().is_err());
    }
    bus.write(0x600, &[s5]);
    assert_eq!(seen.read().unwrap(), 1);
}

#[test]
fn only_a_panic_is_a_panic() {
    let (panicked, seen) = event();
    let mut bus = Bus::new();
    bus.insert(0x505, PVPANIC_SIZE, Arc::new(Pvpanic::new(panicked))).unwrap();
    let mut events = [0xff];
    assert!(bus.read(0x505, &mut events));
    assert_eq!(events, [1]);
    // A crash kernel was loaded, an orderly shutdown.
    for event in [0, 2, 4] {
        bus.write(0x505, &[event]);
        assert!(seen.read().is_err());
    }
    bus.write(0x505, &[1]);
    assert_eq!(seen.read().unwrap(), 1);
}
