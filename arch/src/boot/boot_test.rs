use proptest::prelude::*;
use proptest::sample::Index;

use super::samples::*;
use super::*;
use crate::layout::{COMMAND_LINE, PVH_START_INFO, ZERO_PAGE};

const MIB: u64 = 1 << 20;

fn guest(mebibytes: u64) -> (MemoryMap, GuestMemoryMmap<()>) {
    let map = MemoryMap::new(mebibytes * MIB, 0, 40).unwrap();
    let memory = GuestMemoryMmap::from_ranges(&map.regions()).unwrap();
    (map, memory)
}

fn load(bytes: &[u8], options: LoadOptions) -> Result<Kernel, LoadError> {
    load_kernel(&guest(32).1, &file(bytes), options)
}

fn read<const N: usize>(memory: &GuestMemoryMmap<()>, address: u64) -> [u8; N] {
    let mut bytes = [0; N];
    memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

fn read_u32(memory: &GuestMemoryMmap<()>, address: u64) -> u32 {
    u32::from_le_bytes(read(memory, address))
}

fn read_u64(memory: &GuestMemoryMmap<()>, address: u64) -> u64 {
    u64::from_le_bytes(read(memory, address))
}

#[test]
fn the_kernel_is_in_memory_and_its_bss_is_zero() {
    for placement in [Placement::Map, Placement::Copy] {
        let (_, memory) = guest(32);
        let bytes = elf(&pvh_note(BASE));
        let options = LoadOptions { placement, protocol: Some(Protocol::Linux64) };
        let kernel = load_kernel(&memory, &file(&bytes), options).unwrap();
        assert_eq!((kernel.protocol, kernel.entry), (Protocol::Linux64, GuestAddress(BASE)));
        assert!(read::<TEXT_SIZE>(&memory, BASE)[..] == bytes[TEXT..TEXT + TEXT_SIZE]);
        assert!(read::<DATA_SIZE>(&memory, DATA_BASE)[..] == bytes[DATA..]);
        let bss = read::<{ DATA_MEMORY as usize - DATA_SIZE }>(&memory, DATA_BASE + DATA_SIZE as u64);
        assert!(bss.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_way_in_that_does_not_exist_is_refused() {
    let pvh = LoadOptions { protocol: Some(Protocol::Pvh), ..Default::default() };
    assert!(matches!(load(&bzimage(), pvh), Err(LoadError::NoSuchEntry(Protocol::Pvh))));
    assert!(matches!(load(&elf(&[]), pvh), Err(LoadError::NoSuchEntry(Protocol::Pvh))));
}

#[test]
fn a_guest_too_small_is_told_how_much_it_needs() {
    let (_, memory) = guest(16);
    let error = load_kernel(&memory, &file(&elf(&[])), LoadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("give the VM 18 MiB or more"), "{error}");
}

#[test]
fn a_kernel_for_the_device_gap_or_above_is_refused() {
    for address in [layout::GAP_START, 1 << 32, 1 << 40] {
        let mut bytes = elf(&pvh_note(BASE));
        put(&mut bytes, program_header(1) + 24, &address.to_le_bytes());
        assert!(matches!(load(&bytes, LoadOptions::default()), Err(LoadError::Place { .. })));
    }
}

#[test]
fn what_is_no_kernel_is_refused_by_what_it_is() {
    let mut arm = vec![0; 4096];
    put(&mut arm, 0x38, b"ARMd");
    for (bytes, expected) in [
        (&[][..], "it is empty"),
        (b"#!/bin/sh\n", "neither an ELF file nor a bzImage"),
        (b"\x1f\x8b\x08\0\0", "decompressed first"),
        (&arm, "arm64 Image"),
    ] {
        let error = load(bytes, LoadOptions::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let folder = File::open("/").unwrap();
    let error = load_kernel(&guest(2).1, &folder, LoadOptions::default()).unwrap_err();
    assert!(matches!(error, LoadError::NotAFile));
}

#[test]
fn a_ram_disk_is_as_high_as_it_fits() {
    let (_, memory) = guest(32);
    let kernel = load_kernel(&memory, &file(&bzimage()), LoadOptions::default()).unwrap();
    let content = vec![7; 5000];
    let initrd = load_initrd(&memory, &file(&content), &kernel, Placement::Map).unwrap();
    assert_eq!(initrd.range, AddressRange::new(32 * MIB - 8192, 5000));
    assert!(read::<5000>(&memory, initrd.range.start)[..] == content);

    let empty = load_initrd(&memory, &file(&[]), &kernel, Placement::Map).unwrap_err();
    assert!(matches!(empty, LoadError::EmptyInitrd));
    let huge = file(&[]);
    huge.set_len(1 << 40).unwrap();
    let error = load_initrd(&memory, &huge, &kernel, Placement::Map).unwrap_err();
    assert!(matches!(error, LoadError::InitrdTooLarge { room, .. } if room == 15 * MIB), "{error}");
}

/// Loads a sample, hands over to it, and returns the memory it finds.
fn handed_over(bytes: &[u8], protocol: Protocol) -> (GuestMemoryMmap<()>, Entry) {
    let (map, memory) = guest(32);
    let options = LoadOptions { protocol: Some(protocol), ..Default::default() };
    let kernel = load_kernel(&memory, &file(bytes), options).unwrap();
    let mut command_line = CommandLine::new();
    command_line.push("quiet root=/dev/vda").unwrap();
    let initrd = Some(Initrd { range: AddressRange::new(0x180_0000, 5000) });
    let data =
        BootData { command_line: &command_line, initrd, acpi: Some(GuestAddress(0xe_0000)), map: &map };
    let entry = write_boot_data(&memory, &kernel, &data).unwrap();
    assert_eq!(&read::<20>(&memory, COMMAND_LINE.0), b"quiet root=/dev/vda\0");
    (memory, entry)
}

#[test]
fn pvh_kernels_find_their_start_info() {
    let (memory, entry) = handed_over(&elf(&pvh_note(BASE)), Protocol::Pvh);
    assert_eq!(entry.parameters, PVH_START_INFO);
    let info = PVH_START_INFO.0;
    assert_eq!(read_u32(&memory, info), 0x336e_c578);
    assert_eq!((read_u32(&memory, info + 4), read_u32(&memory, info + 12)), (1, 1));
    let module = read_u64(&memory, info + 16);
    assert_eq!((read_u64(&memory, module), read_u64(&memory, module + 8)), (0x180_0000, 5000));
    assert_eq!(read_u64(&memory, info + 24), COMMAND_LINE.0);
    assert_eq!(read_u64(&memory, info + 32), 0xe_0000);
    let (entries, count) = (read_u64(&memory, info + 40), read_u32(&memory, info + 48));
    assert_eq!(count, 2);
    let last_ram = entries + 24;
    assert_eq!((read_u64(&memory, last_ram), read_u64(&memory, last_ram + 8)), (MIB, 31 * MIB));
    assert_eq!(read_u32(&memory, last_ram + 16), 1);
}

#[test]
fn linux_finds_its_zero_page() {
    for (bytes, protocol) in
        [(elf(&[]), Protocol::Linux64), (bzimage(), Protocol::Linux64), (bzimage(), Protocol::Linux32)]
    {
        let (memory, entry) = handed_over(&bytes, protocol);
        assert_eq!(entry.parameters, ZERO_PAGE);
        let page = ZERO_PAGE.0;
        assert_eq!(&read::<4>(&memory, page + 0x202), b"HdrS");
        assert_eq!(read::<1>(&memory, page + 0x210), [0xff]);
        assert_eq!(read_u32(&memory, page + 0x228), COMMAND_LINE.0 as u32);
        assert_eq!((read_u32(&memory, page + 0x218), read_u32(&memory, page + 0x21c)), (0x180_0000, 5000));
        assert_eq!(read_u64(&memory, page + 0x070), 0xe_0000);
        assert_eq!(read::<1>(&memory, page + 0x1e8), [2]);
        let last_ram = page + 0x2d0 + 20;
        assert_eq!((read_u64(&memory, last_ram), read_u64(&memory, last_ram + 8)), (MIB, 31 * MIB));
        assert_eq!(read_u32(&memory, last_ram + 16), 1);
        let tables = layout::BOOT_PAGE_TABLES.0;
        let expected = if protocol == Protocol::Linux64 { 511 << 21 | 0x83 } else { 0 };
        assert_eq!(read_u64(&memory, tables + 3 * PAGE_SIZE - 8), expected);
    }
}

#[test]
fn a_command_line_longer_than_the_kernel_takes_is_refused() {
    let mut bytes = bzimage();
    put(&mut bytes, 0x238, &10u32.to_le_bytes());
    let (map, memory) = guest(32);
    let kernel = load_kernel(&memory, &file(&bytes), LoadOptions::default()).unwrap();
    let mut command_line = CommandLine::new();
    command_line.push("root=/dev/vda").unwrap();
    let data = BootData { command_line: &command_line, initrd: None, acpi: None, map: &map };
    let error = write_boot_data(&memory, &kernel, &data).unwrap_err();
    assert!(matches!(error, LoadError::CommandLine { size: 13, limit: 10 }), "{error}");
}

/// Damages `bytes` in a few places, most of them in the headers, and cuts them.
fn damage(mut bytes: Vec<u8>, changes: &[(Index, bool, Vec<u8>)], cut: Option<Index>) -> Vec<u8> {
    for (place, anywhere, with) in changes {
        let range = if *anywhere { bytes.len() } else { 0x300 };
        let place = place.index(range - with.len());
        put(&mut bytes, place, with);
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(Index, bool, Vec<u8>)>> {
    // Numbers at the ends of their ranges find more than random ones.
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8),
        (1usize..9).prop_map(|n| vec![0xff; n]),
        (1usize..9).prop_map(|n| vec![0; n]),
        Just(vec![0xff, 0xff, 0xff, 0x7f]),
    ];
    prop::collection::vec((any::<Index>(), prop::bool::weighted(0.1), bytes), 1..4)
}

/// How often to try: much more in a soak test.
fn cases() -> ProptestConfig {
    let soak = std::env::var_os("HULL_SOAK").is_some_and(|value| !value.is_empty());
    ProptestConfig::with_cases(if soak { 20_000 } else { 256 })
}

proptest! {
    #![proptest_config(cases())]

    /// Whatever a file says, it is loaded where it may be, or refused; nothing panics.
    #[test]
    fn no_damage_does_harm(
        is_elf: bool,
        changes in changes(),
        cut in prop::option::weighted(0.2, any::<Index>()),
    ) {
        let notes = [note(b"Linux\0", 0x101, &[0; 4], 4), pvh_note(BASE)].concat();
        let bytes = damage(if is_elf { elf(&notes) } else { bzimage() }, &changes, cut);
        let file = file(&bytes);
        if let Ok(image) = Image::read(&file) {
            prop_assert!(!image.segments.is_empty() && !image.entries.is_empty());
            for segment in &image.segments {
                prop_assert!(segment.offset + segment.file_size <= bytes.len() as u64);
                prop_assert!(segment.file_size <= segment.range.size);
                prop_assert!(segment.range.start >= MIB);
            }
        }
        let (map, memory) = guest(32);
        if let Ok(kernel) = load_kernel(&memory, &file, LoadOptions::default()) {
            prop_assert!(kernel.range.end() <= 32 * MIB);
            prop_assert!(kernel.range.contains(kernel.entry.0));
            let mut below = vec![0xff; MIB as usize];
            memory.read_slice(&mut below, GuestAddress(0)).unwrap();
            prop_assert!(below.iter().all(|byte| *byte == 0));
            let command_line = CommandLine::new();
            let data = BootData { command_line: &command_line, initrd: None, acpi: None, map: &map };
            write_boot_data(&memory, &kernel, &data).unwrap();
        }
    }
}
