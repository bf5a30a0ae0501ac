use std::ptr;

use super::*;

#[test]
fn pages_of_a_private_mapping_are_told_from_those_that_were_written() {
    const PAGES: usize = 20_000;
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGES as u64 * PAGE).unwrap();
    file.write_all_at(b"there", 7 * PAGE).unwrap();
    let length = PAGES * PAGE as usize;
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_NORESERVE);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    // SAFETY: a new mapping of an open file.
    let memory = unsafe { libc::mmap(ptr::null_mut(), length, prot, flags, fd, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    let byte = |page: usize| {
        // SAFETY: within the mapping.
        unsafe { memory.cast::<u8>().add(page * PAGE as usize) }
    };
    let map = PageMap::open().unwrap();
    let written = || map.written(memory as u64, length as u64).unwrap();
    assert!(written().is_empty());
    // Reading makes no page one's own, neither of data nor of a hole.
    for page in [7, 8, PAGES - 1] {
        // SAFETY: within the mapping, which the file is long enough for.
        let _ = unsafe { byte(page).read_volatile() };
    }
    assert!(written().is_empty());
    for page in [0, 7, 8, BATCH - 1, BATCH, PAGES - 1] {
        // SAFETY: as above.
        unsafe { byte(page).write_volatile(0) };
    }
    let pages = |range: Range<usize>| range.start as u64 * PAGE..range.end as u64 * PAGE;
    let expected = [pages(0..1), pages(7..9), pages(BATCH - 1..BATCH + 1), pages(PAGES - 1..PAGES)];
    assert_eq!(written(), expected);
    // SAFETY: the mapping made above, which nothing uses any more.
    unsafe { libc::munmap(memory, length) };
}

#[test]
fn a_page_that_is_swapped_out_is_still_ones_own() {
    assert!(is_own(SWAPPED | 0x1234));
    assert!(!is_own(SWAPPED | OF_FILE));
    assert!(!is_own(0));
}
