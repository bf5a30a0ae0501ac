use std::os::unix::fs::FileExt;

use hull_arch::layout::MemoryMap;
use vm_memory::{Bytes, GuestAddress};

use super::{super::growth, *};

const REGIONS: [(GuestAddress, usize); 2] = [(GuestAddress(0), 4 << 20), (GuestAddress(1 << 32), 2 << 20)];

/// A file with some words in it, by their places in memory.
fn file(words: &[(u64, &[u8])]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(MEMORY_OFFSET + (6 << 20)).unwrap();
    for (at, word) in words {
        file.write_all_at(word, MEMORY_OFFSET + at).unwrap();
    }
    file
}

/// Memory that shows such a file.
fn mapped(file: &File) -> Memory {
    let memory = Memory::from_ranges(&REGIONS).unwrap();
    show(&memory, file, &[0..6 << 20; 1], place).unwrap();
    memory
}

fn read(memory: &Memory, address: u64) -> [u8; 5] {
    let mut word = [0; 5];
    memory.read_slice(&mut word, GuestAddress(address)).unwrap();
    word
}

#[test]
fn memory_is_what_the_file_has_until_it_is_written() {
    let file = file(&[(0x1ffe, b"below"), ((4 << 20) + 0x10_0000, b"above")]);
    let memory = mapped(&file);
    assert_eq!(read(&memory, 0x1ffe), *b"below");
    assert_eq!(read(&memory, (1 << 32) + 0x10_0000), *b"above");
    // What one VM writes, no other sees.
    memory.write_slice(b"other", GuestAddress(0x1ffe)).unwrap();
    assert_eq!(read(&mapped(&file), 0x1ffe), *b"below");
}

#[test]
fn what_grew_is_saved_and_the_rest_is_there_again() {
    const MIB: u64 = 1 << 20;
    let map = MemoryMap::new(4 * MIB, 64 * MIB, 46).unwrap();
    let start = map.growth.start;
    let memory = growth::reserve(&map).unwrap();
    // 2 MiB of the growth.
    show(&memory, &file(&[(5 * MIB, b"grown")]), &[0..6 * MIB; 1], place).unwrap();
    assert_eq!(read(&memory, start + MIB), *b"grown");
    // A buffer may lie on both sides of what was saved.
    memory.write_slice(b"both sides", GuestAddress(start + 2 * MIB - 5)).unwrap();
    assert_eq!(read(&memory, start + 2 * MIB - 1), *b" side");
    assert_eq!(read(&memory, start + 64 * MIB - 5), [0; 5]);
}

#[test]
fn what_was_written_is_known_and_can_be_mapped_from_elsewhere() {
    let whole = file(&[(0, b"first"), (0x5000, b"still")]);
    let memory = mapped(&whole);
    let top = Top { digest: "00".to_owned(), files: 1, stretches: 0 };
    let backing = Backing { top: RefCell::new(Some(top)), ..Backing::none() };
    assert_eq!(backing.difference(&memory, u64::MAX).unwrap().stretches, []);
    // The last page of one region and the first of the next lie in one stretch of the file.
    memory.write_slice(b"newer", GuestAddress(8)).unwrap();
    memory.write_slice(b"low", GuestAddress((4 << 20) - 4)).unwrap();
    memory.write_slice(b"high", GuestAddress(1 << 32)).unwrap();
    let difference = backing.difference(&memory, u64::MAX).unwrap();
    let border = 4 << 20;
    assert_eq!(difference.stretches, [0..0x1000, border - 0x1000..border, border..border + 0x1000]);
    assert_eq!(difference.from, "00");

    // What is mapped over it may as well be one stretch.
    let newer = file(&[(0, b"third"), (border - 0x1000, b"fifth"), (border, b"sixth"), (0x5000, b"never")]);
    show(&memory, &newer, &[0..0x1000, border - 0x1000..border + 0x1000], exchange).unwrap();
    assert_eq!(read(&memory, 0), *b"third");
    assert_eq!(read(&memory, border - 0x1000), *b"fifth");
    assert_eq!(read(&memory, 1 << 32), *b"sixth");
    assert_eq!(read(&memory, 0x5000), *b"still");
    assert_eq!(backing.difference(&memory, u64::MAX).unwrap().stretches, []);
    memory.write_slice(b"again", GuestAddress(1 << 32)).unwrap();
    assert_eq!(backing.difference(&memory, u64::MAX).unwrap().stretches, [border..border + 0x1000; 1]);
}

#[test]
fn memory_that_cannot_be_mapped_stays_as_it_is() {
    let memory = mapped(&file(&[(0, b"first")]));
    memory.write_slice(b"newer", GuestAddress(0)).unwrap();
    let (read_end, _write_end) = rustix::pipe::pipe().unwrap();
    show(&memory, &File::from(read_end), &[0..0x1000; 1], exchange).unwrap_err();
    assert_eq!(read(&memory, 0), *b"newer");
}

#[test]
fn there_is_a_difference_only_from_something() {
    let memory = mapped(&file(&[]));
    let refusal = |backing: &Backing| backing.difference(&memory, u64::MAX).unwrap_err().to_string();
    assert!(refusal(&Backing::none()).contains("without --diff"));
    let at_most = Top { digest: String::new(), files: MAX_FILES, stretches: 0 };
    let backing = Backing { top: RefCell::new(Some(at_most)), ..Backing::none() };
    assert!(refusal(&backing).contains("32 snapshots"));
    let untold = Backing {
        pages: None,
        top: RefCell::new(Some(Top { digest: String::new(), files: 1, stretches: 0 })),
    };
    assert!(refusal(&untold).contains("/proc"));
}

#[test]
fn stretches_are_joined_until_they_are_few() {
    let page = PAGE as u64;
    let all = || -> Vec<_> { [0, 2, 4, 9, 30].map(|at| at * page..(at + 1) * page).into() };
    let joined = |most| {
        let mut stretches = all();
        join(&mut stretches, most);
        stretches
    };
    assert_eq!(joined(5), all());
    assert_eq!(joined(4), [0..5 * page, 9 * page..10 * page, 30 * page..31 * page]);
    assert_eq!(joined(2), [0..10 * page, 30 * page..31 * page]);
    assert_eq!(joined(1), [0..31 * page; 1]);
}
