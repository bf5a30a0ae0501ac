use std::sync::Mutex;

use super::*;

/// Answers with the offset and remembers what was written.
#[derive(Default)]
struct Probe(Mutex<Vec<(u64, Vec<u8>)>>);

impl BusDevice for Probe {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(offset as u8);
    }
    fn write(&self, offset: u64, data: &[u8]) {
        self.0.lock().unwrap().push((offset, data.to_vec()));
    }
}

#[test]
fn accesses_reach_the_device_that_holds_all_of_them() {
    let (first, second) = (Arc::new(Probe::default()), Arc::new(Probe::default()));
    let mut bus = Bus::new();
    bus.insert(0x2000, 0x1000, second.clone()).unwrap();
    bus.insert(0x1000, 0x10, first.clone()).unwrap();

    let mut data = [0; 4];
    assert!(bus.read(0x2008, &mut data));
    assert_eq!(data, [8; 4]);
    assert!(bus.write(0x1000, &[1, 2]));
    assert_eq!(*first.0.lock().unwrap(), [(0, vec![1, 2])]);

    assert!(!bus.read(0x100e, &mut data), "an access that passes the end of a range is nobody's");
    assert_eq!(data, [0xff; 4]);
    assert!(!bus.write(0xfff, &[0]));
    assert!(!bus.write(u64::MAX, &[0, 0]));
    assert!(!bus.read(0x3000, &mut data));
}

#[test]
fn ranges_do_not_overlap() {
    let mut bus = Bus::new();
    let device = || Arc::new(Probe::default());
    bus.insert(0x1000, 0x100, device()).unwrap();
    for (base, length) in [(0x1000, 1), (0xfff, 2), (0x10ff, 1), (0x800, 0x1000), (0x1010, 4)] {
        assert!(matches!(bus.insert(base, length, device()), Err(BusError::Overlap { .. })), "{base:#x}");
    }
    for (base, length) in [(0x5000, 0), (u64::MAX, 2)] {
        assert_eq!(bus.insert(base, length, device()), Err(BusError::Range { base, length }));
    }
    bus.insert(0xf00, 0x100, device()).unwrap();
    bus.insert(0x1100, 0x100, device()).unwrap();
}
