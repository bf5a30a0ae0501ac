use std::{io::Write, os::fd::AsFd};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::*;

const PAGE: u64 = 4096;

#[test]
fn pages_that_are_near_are_one_range() {
    let mut touched = Touched::default();
    for page in [0, 1, 4, 100, 105, 111] {
        touched.add(page * PAGE, PAGE);
    }
    assert_eq!(touched.0, [(0, 5 * PAGE), (100 * PAGE, 6 * PAGE), (111 * PAGE, PAGE)]);
}

#[test]
fn only_mappings_of_the_file_count() {
    let line = "7f00-8f00 rw-p 00002000 fe:01 77                 /a file";
    assert_eq!(Mapping::parse(line, 77), Some(Mapping { start: 0x7f00, end: 0x8f00, offset: 0x2000 }));
    for (line, inode) in
        [(line, 78), ("8f00-7f00 r 0 0:0 77", 77), ("x-y r 0 0:0 77", 77), ("", 0), ("1-2 r 0", 0)]
    {
        assert_eq!(Mapping::parse(line, inode), None, "{line}");
    }
}

/// What this process reads of a file is seen, and only that: the file is larger than what the kernel maps around a page.
#[test]
fn what_is_read_is_seen() {
    const PAGES: u64 = 256;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![7; (PAGES * PAGE) as usize]).unwrap();
    let length = (PAGES * PAGE) as usize;
    // SAFETY: a new mapping, of which a byte is read and a byte is written before it is gone.
    let address = unsafe {
        let flags = MapFlags::PRIVATE;
        let address =
            mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags, file.as_fd(), 0)
                .unwrap();
        let bytes = address.cast::<u8>();
        assert_eq!(bytes.read_volatile(), 7);
        bytes.add(200 * PAGE as usize).write_volatile(8);
        address
    };
    let seen = |touched: &Touched, page: u64| {
        let at = page * PAGE;
        touched.0.iter().any(|(offset, length)| (*offset..offset + length).contains(&at))
    };
    // A system that is short of memory may take the page that was read away again, before it is looked.
    let look = |_| {
        // SAFETY: a byte of the mapping.
        unsafe { address.cast::<u8>().read_volatile() };
        Touched::by(std::process::id(), &file).unwrap()
    };
    let touched = (0..100).map(look).find(|touched| seen(touched, 0) && seen(touched, 200));
    // SAFETY: nothing of it is used any more.
    unsafe { munmap(address, length).unwrap() };
    let touched = touched.expect("what was read and written is seen");
    assert!(!seen(&touched, 100), "{touched:?}");
    touched.read_ahead(&file);
    assert_eq!(Touched::by(std::process::id(), &file).unwrap(), Touched::default());
}
