use super::*;
use crate::boot::samples::{self, *};

fn read(bytes: &[u8]) -> Result<Image, LoadError> {
    Image::read(&file(bytes))
}

/// The sample with a PVH note, and `with` at `offset`.
fn damaged(offset: usize, with: &[u8]) -> Result<Image, LoadError> {
    let mut bytes = elf(&pvh_note(BASE));
    put(&mut bytes, offset, with);
    read(&bytes)
}

#[test]
fn segments_are_where_the_headers_say() {
    let image = read(&elf(&pvh_note(BASE + 0x40))).unwrap();
    let text = AddressRange::new(BASE, TEXT_SIZE as u64);
    let data = AddressRange::new(DATA_BASE, DATA_MEMORY);
    assert_eq!(
        image.segments,
        [
            Segment { offset: TEXT as u64, file_size: TEXT_SIZE as u64, range: text },
            Segment { offset: DATA as u64, file_size: DATA_SIZE as u64, range: data },
        ]
    );
    assert_eq!(image.range(), AddressRange::new(BASE, DATA_BASE - BASE + DATA_MEMORY));
}

#[test]
fn only_linux_is_entered_by_its_elf_entry_when_there_is_a_pvh_note() {
    let pvh = (Protocol::Pvh, BASE + 0x40);
    let linux = (Protocol::Linux64, BASE);
    assert_eq!(read(&elf(&pvh_note(BASE + 0x40))).unwrap().entries, [pvh, linux]);
    let notes = [samples::note(b"Linux\0", 0x101, &[0; 4], 4), pvh_note(BASE + 0x40)].concat();
    assert_eq!(read(&elf(&notes)).unwrap().entries, [linux, pvh]);
    assert_eq!(read(&elf(&[])).unwrap().entries, [linux]);
    // A kernel whose ELF entry is a virtual address.
    assert_eq!(
        damaged(24, &(0xffff_ffff_8100_0000_u64).to_le_bytes()).unwrap().entries,
        [(Protocol::Pvh, BASE)]
    );
}

#[test]
fn pvh_notes_of_either_size_and_alignment_are_understood() {
    let build_id = samples::note(b"GNU\0", 3, &[9; 20], 4);
    let short = samples::note(b"Xen\0", 18, &(BASE as u32 + 8).to_le_bytes(), 4);
    let image = read(&elf(&[build_id, short].concat())).unwrap();
    assert_eq!(image.entries[0], (Protocol::Pvh, BASE + 8));

    let aligned =
        [samples::note(b"Xen\0", 6, b"other", 8), samples::note(b"Xen\0", 18, &BASE.to_le_bytes(), 8)];
    let mut bytes = elf(&aligned.concat());
    put(&mut bytes, program_header(2) + 48, &8u64.to_le_bytes());
    assert_eq!(read(&bytes).unwrap().entries[0], (Protocol::Pvh, BASE));
}

#[test]
fn other_architectures_are_named() {
    for (offset, with, name) in [
        (4, &[1u8][..], "32-bit"),
        (5, &[2], "big-endian"),
        (18, &183u16.to_le_bytes(), "arm64"),
        (18, &243u16.to_le_bytes(), "RISC-V"),
        (18, &8u16.to_le_bytes(), "machine 8"),
    ] {
        let error = damaged(offset, with).unwrap_err();
        assert!(matches!(error, LoadError::Architecture(_)) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn what_is_elf_but_no_kernel_is_refused() {
    let interpreter = damaged(program_header(2), &3u32.to_le_bytes());
    let object = damaged(16, &1u16.to_le_bytes());
    let empty = damaged(56, &0u16.to_le_bytes());
    let too_many = damaged(56, &u16::MAX.to_le_bytes());
    for result in [interpreter, object, empty, too_many] {
        assert!(matches!(result, Err(LoadError::NotAKernel(_))), "{result:?}");
    }
    let mut nothing = elf(&[]);
    for index in 0..2 {
        put(&mut nothing, program_header(index) + 40, &0u64.to_le_bytes());
    }
    assert!(matches!(read(&nothing), Err(LoadError::NotAKernel(_))));
}

#[test]
fn every_truncation_is_noticed() {
    let bytes = elf(&pvh_note(BASE));
    for length in (0..bytes.len()).step_by(37).chain([63, 64, bytes.len() - 1]) {
        let error = read(&bytes[..length]).unwrap_err();
        let expected = if length < 4 { "is not a kernel" } else { "truncated" };
        assert!(error.to_string().contains(expected), "{length}: {error}");
    }
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let text = program_header(0);
    let data = program_header(1);
    for (what, result) in [
        ("more in the file than in memory", damaged(data + 40, &1u64.to_le_bytes())),
        ("beyond the last address", damaged(data + 24, &(u64::MAX - 1).to_le_bytes())),
        ("overlapping", damaged(data + 24, &(BASE + 0x2000).to_le_bytes())),
        ("header size", damaged(54, &32u16.to_le_bytes())),
        ("PVH entry outside", {
            let mut bytes = elf(&pvh_note(BASE - 1));
            put(&mut bytes, 0, b"\x7fELF");
            read(&bytes)
        }),
        ("PVH entry at the last address", read(&elf(&pvh_note(u64::MAX)))),
    ] {
        assert!(matches!(result, Err(LoadError::Malformed(_))), "{what}: {result:?}");
    }
    assert!(matches!(damaged(text + 8, &u64::MAX.to_le_bytes()), Err(LoadError::Truncated { .. })));
    assert!(matches!(damaged(32, &u64::MAX.to_le_bytes()), Err(LoadError::Truncated { .. })));
    assert!(matches!(damaged(text + 24, &0x1000u64.to_le_bytes()), Err(LoadError::Place { .. })));
}

#[test]
fn notes_that_run_out_of_themselves_are_ignored() {
    let mut notes = Notes::default();
    for (name, description) in [(u32::MAX, 0), (0, u32::MAX), (4, 100), (100, 4)] {
        let mut note = samples::note(b"Xen\0", 18, &[0; 8], 4);
        put(&mut note, 0, &name.to_le_bytes());
        put(&mut note, 4, &description.to_le_bytes());
        notes.read(&note, 4);
        notes.read(&note, 8);
    }
    assert_eq!((notes.pvh_entry, notes.linux), (None, false));
}
