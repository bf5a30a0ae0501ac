use super::*;

const MAP: &str = "\
0000000000000000 D __per_cpu_start
ffffffff81000000 T _stext
ffffffff81000100 t memset_orig
not a line
ffffffff81000200 D some_data
ffffffff81000300 W weak_one
";

#[test]
fn addresses_become_functions() {
    let map = SymbolMap::parse(MAP);
    for (address, name) in [
        (0xffff_ffff_8100_0000, "_stext"),
        (0xffff_ffff_8100_01ff, "memset_orig"),
        (0xffff_ffff_8100_0250, "memset_orig"),
        (0xffff_ffff_9000_0000, "weak_one"),
        (0x40_1000, USER),
    ] {
        assert_eq!(map.name(address), name, "{address:x}");
    }
    assert_eq!(SymbolMap::default().name(u64::MAX), USER);
}

#[test]
fn the_hottest_come_first_and_a_cut_sample_is_left_out() {
    let map = SymbolMap::parse(MAP);
    let mut bytes = Vec::new();
    for rip in [0xffff_ffff_8100_0110u64, 0x1000, 0xffff_ffff_8100_0120] {
        bytes.extend(7u64.to_le_bytes());
        bytes.extend(rip.to_le_bytes());
    }
    bytes.extend([1, 2, 3]);
    assert_eq!(hottest(&map, samples(&bytes)), [("memset_orig", 2), (USER, 1)]);
}
