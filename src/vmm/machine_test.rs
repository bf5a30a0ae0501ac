use super::*;

#[test]
fn a_snapshot_fits_a_vm_of_its_size_only() {
    const MIB: u64 = 1 << 20;
    let map = MemoryMap::new(512 * MIB, 64 * MIB, 46).unwrap();
    let check = |snapshot| check_size(snapshot, (&map, 2)).map_err(|error| error.to_string());
    assert_eq!(check((512 * MIB, 0, 2)), Ok(()));
    assert_eq!(check((576 * MIB, 64 * MIB, 2)), Ok(()));
    for other in [(576 * MIB, 0, 2), (512 * MIB, 2 * MIB, 2), (512 * MIB, 0, 1), (MIB, u64::MAX, 2)] {
        assert!(check(other).unwrap_err().contains("not 2 and 512"), "{other:?}");
    }
    let more = check((640 * MIB, 128 * MIB, 2)).unwrap_err();
    assert_eq!(more, "the snapshot's guest has got 128 MiB of memory, this VM can get 64");
}
