use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, OFlags, openat};

use super::*;

/// A dynamic program of this machine.
fn shell() -> Vec<u8> {
    std::fs::read("/bin/sh").unwrap()
}

#[test]
fn a_program_needs_its_interpreter_and_its_libraries() {
    let needed = needs(&shell());
    assert!(needed.iter().any(|name| name.starts_with("/lib") && name.contains("ld-")), "{needed:?}");
    assert!(needed.iter().any(|name| name.starts_with("libc.so")), "{needed:?}");
    assert_eq!(needs(b"#!/bin/sh\n"), Vec::<String>::new());
}

#[test]
fn a_programs_files_are_read_and_others_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let root = openat(CWD, folder.path(), OFlags::PATH, Mode::empty()).unwrap();
    std::fs::write(folder.path().join("program"), shell()).unwrap();
    rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink("/program", folder.path().join("link")).unwrap();
    let mut budget = MOST_BYTES;
    assert_eq!(file(root.as_fd(), "fifo", &mut budget), None);
    assert_eq!(file(root.as_fd(), "absent", &mut budget), None);
    assert_eq!(budget, MOST_BYTES);
    assert!(file(root.as_fd(), "/link", &mut budget).unwrap().len() > 1, "a link stays inside the root");
    assert_eq!(budget, MOST_BYTES - shell().len() as u64);
    let mut little = 10;
    assert_eq!(file(root.as_fd(), "/program", &mut little), Some(Vec::new()), "as far as the budget goes");
    assert_eq!(little, 0);
    program(root.as_fd(), &["fifo".to_owned(), "link".to_owned()]);
}

#[test]
fn a_program_of_nothing_but_headers_costs_little() {
    let mut content = shell();
    content.resize(8 << 20, b'/');
    // Where the table of program headers is, how large each is, and how many there are.
    content[32..40].copy_from_slice(&64u64.to_le_bytes());
    content[54..58].copy_from_slice(&[56, 0, 0xff, 0xff]);
    for number in 0..0xffff {
        let header = &mut content[64 + number * 56..][..56];
        header[..4].copy_from_slice(&PT_INTERP.to_le_bytes());
        header[8..16].copy_from_slice(&0u64.to_le_bytes());
        header[32..40].copy_from_slice(&(8u64 << 20).to_le_bytes());
    }
    let begun = std::time::Instant::now();
    assert!(needs(&content).iter().all(|name| name.len() < LONGEST_PATH));
    assert!(begun.elapsed().as_millis() < 500);
}

proptest! {
    #[test]
    fn no_damage_is_a_danger(changes in proptest::collection::vec((0usize..4096, any::<u8>()), 1..40), cut in 0usize..8192) {
        let mut content = shell();
        for (at, byte) in changes {
            content[at] = byte;
        }
        needs(&content);
        content.truncate(cut);
        needs(&content);
    }
}
