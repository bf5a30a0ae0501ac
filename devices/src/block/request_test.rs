use proptest::collection::vec;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::queue::Segment;
use crate::test_driver::memory;

fn parse_bytes(bytes: &[u8], room: u32) -> Result<Request, Status> {
    let memory = memory();
    memory.write_slice(bytes, GuestAddress(0x1000)).unwrap();
    let readable = Buffers::of([Segment { address: GuestAddress(0x1000), length: bytes.len() as u32 }]);
    let writable = Buffers::of([Segment { address: GuestAddress(0x9000), length: room }]);
    parse(readable, writable, &memory)
}

proptest! {
    /// Requests that are accepted keep what the backends are promised.
    #[test]
    fn requests_are_whole_sectors(kind in 0u32..16, rest in vec(any::<u8>(), 0..300), room in 0u32..2000) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(rest);
        let whole = |bytes: u64| bytes.is_multiple_of(SECTOR_SIZE);
        match parse_bytes(&bytes, room) {
            Ok(Request::Read { offset, into: data }) | Ok(Request::Write { offset, from: data }) => {
                prop_assert!(whole(offset) && whole(data.len() as u64));
            }
            Ok(Request::Discard(ranges)) => {
                prop_assert!(ranges.iter().all(|range| whole(range.offset) && whole(range.length) && !range.unmap));
            }
            Ok(Request::WriteZeroes(ranges)) => {
                prop_assert!(!ranges.is_empty() && ranges.len() <= 16);
                prop_assert!(ranges.iter().all(|range| range.length <= 1 << 30));
            }
            Ok(Request::Flush | Request::GetId { .. }) => prop_assert!(kind == 4 || kind == 8),
            Err(status) => prop_assert_ne!(status, Status::Ok),
        }
    }
}
