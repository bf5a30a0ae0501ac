use proptest::prelude::*;
use rustix::fs::{CWD, openat};

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
    assert_eq!(file(root.as_fd(), "/program", &mut 10), None, "more than is left");
    program(root.as_fd(), &["fifo".to_owned(), "link".to_owned()]);
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
