use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::queue::Segment;
use crate::test_driver::{MEMORY_SIZE, memory};

fn buffers(segments: &[(u64, u32)]) -> Buffers {
    Buffers::of(
        segments.iter().map(|(address, length)| Segment { address: GuestAddress(*address), length: *length }),
    )
}

#[test]
fn a_file_goes_to_memory_and_back() {
    let memory = memory();
    let file = tempfile::tempfile().unwrap();
    let data: Vec<u8> = (0..10_000u32).map(|i| (i / 3) as u8).collect();
    // Across two regions, and in more pieces than go into one call.
    memory.write_slice(&data, GuestAddress(MEMORY_SIZE / 2 - 5000)).unwrap();
    let pieces: Vec<_> = (0..1000).map(|i| (MEMORY_SIZE / 2 - 5000 + i * 10, 10)).collect();
    let mut source = buffers(&pieces);
    let mut written = 0;
    while !source.is_empty() {
        written += write_at(file.as_fd(), 7 + written as u64, &memory, &mut source).unwrap();
    }
    assert_eq!(written, data.len());

    let mut target = buffers(&[(0x1000, 4000), (0x9000, 7000)]);
    let mut read = 0;
    loop {
        match read_at(file.as_fd(), 7 + read as u64, &memory, &mut target).unwrap() {
            0 => break,
            length => read += length,
        }
    }
    assert_eq!((read, target.len()), (10_000, 1000));
    let mut back = vec![0; 10_000];
    memory.read_slice(&mut back[..4000], GuestAddress(0x1000)).unwrap();
    memory.read_slice(&mut back[4000..], GuestAddress(0x9000)).unwrap();
    assert_eq!(back, data);
}

#[test]
fn a_stream_is_read_no_further_than_the_limit() {
    let memory = memory();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    memory.write_slice(b"hello world", GuestAddress(0x1000)).unwrap();
    let mut source = buffers(&[(0x1000, 5), (0x1005, 6)]);
    assert_eq!(send(ours.as_fd(), &memory, &mut source).unwrap(), 11);
    let mut text = [0; 11];
    theirs.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello world");

    std::io::Write::write_all(&mut theirs, b"abcdefgh").unwrap();
    let mut target = buffers(&[(0x2000, 3), (0x3000, 100)]);
    assert_eq!(receive(ours.as_fd(), 5, &memory, &mut target).unwrap(), 5);
    assert_eq!(target.len(), 98);
    assert_eq!(receive(ours.as_fd(), 50, &memory, &mut target).unwrap(), 3);
    let error = receive(ours.as_fd(), 50, &memory, &mut target).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let mut parts = [0; 8];
    memory.read_slice(&mut parts[..3], GuestAddress(0x2000)).unwrap();
    memory.read_slice(&mut parts[3..], GuestAddress(0x3000)).unwrap();
    assert_eq!(&parts, b"abcdefgh");

    drop(theirs);
    assert_eq!(receive(ours.as_fd(), 50, &memory, &mut target).unwrap(), 0);
    let error = send(ours.as_fd(), &memory, &mut buffers(&[(0x1000, 5)])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "and no signal");
}

#[test]
fn errors_leave_the_buffers_alone() {
    let memory = memory();
    let null = File::open("/dev/null").unwrap();
    let mut some = buffers(&[(0x1000, 5)]);
    assert!(write_at(null.as_fd(), 0, &memory, &mut some).is_err());
    assert!(read_at(null.as_fd(), u64::MAX, &memory, &mut some).is_err());
    assert!(send(null.as_fd(), &memory, &mut some).is_err());
    assert_eq!(some.len(), 5);
}
