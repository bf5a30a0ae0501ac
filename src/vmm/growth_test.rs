use vm_memory::Bytes;

use super::*;

const MIB: u64 = 1 << 20;

fn map(memory: u64, growth: u64) -> MemoryMap {
    MemoryMap::new(memory, growth, 46).unwrap()
}

#[test]
fn memory_given_back_is_empty_afterwards() {
    let map = map(4 * MIB, 64 * MIB);
    let memory = Arc::new(reserve(&map).unwrap());
    let at = |offset| GuestAddress(map.growth.start + offset);
    for offset in [0, 2 * MIB, 4 * MIB] {
        memory.write_slice(b"here", at(offset)).unwrap();
    }
    let mut backing = GiveBack::new(memory.clone());
    backing.give_back(at(2 * MIB), 2 * MIB).unwrap();
    let there = [0, 2 * MIB, 4 * MIB].map(|offset| memory.read_obj::<u32>(at(offset)).unwrap() != 0);
    assert_eq!(there, [true, false, true]);
    assert!(backing.give_back(at(63 * MIB), 2 * MIB).is_err());
}
