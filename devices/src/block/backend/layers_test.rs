use std::io::Write;

use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::queue::Segment;
use crate::test_driver::memory;

fn layer(length: usize, byte: u8) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![byte; length]).unwrap();
    file
}

fn buffers(segments: &[(u64, u32)]) -> Buffers {
    Buffers::of(
        segments.iter().map(|(address, length)| Segment { address: GuestAddress(*address), length: *length }),
    )
}

#[test]
fn extents_are_aligned_and_follow_each_other() {
    let sizes = [0, 1, 4096, 4097];
    let layers = Layers::new(sizes.iter().map(|size| layer(*size, 1)).collect()).unwrap();
    let extents: Vec<_> = layers.extents().iter().map(|extent| (extent.offset, extent.length)).collect();
    assert_eq!(extents, [(0, 0), (0, 4096), (4096, 4096), (8192, 8192)]);
    assert_eq!(layers.capacity(), 16384);
    assert_eq!(Layers::new(vec![]).unwrap().capacity(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the layers and wherever a read begins and ends: it sees the files one after the other, padded.
    #[test]
    fn reads_see_the_concatenation(
        sizes in prop::collection::vec(0usize..20_000, 1..8),
        start in 0.0..1.0f64,
        lengths in prop::collection::vec(1u32..9000, 1..6),
    ) {
        let mut expected = vec![];
        for (number, size) in sizes.iter().enumerate() {
            expected.extend(vec![number as u8 + 1; *size]);
            expected.resize(expected.len().next_multiple_of(4096), 0);
        }
        let layers = Layers::new(sizes.iter().zip(1..).map(|(size, byte)| layer(*size, byte)).collect()).unwrap();
        prop_assert_eq!(layers.capacity(), expected.len() as u64);

        let memory = memory();
        let mut at = 0x1000u64;
        let segments: Vec<_> = lengths.iter().map(|length| {
            at += 10_000;
            (at, *length)
        }).collect();
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        let offset = (expected.len() as f64 * start) as usize;
        let result = layers.read(offset as u64, &memory, &mut buffers(&segments));
        prop_assert_eq!(result.is_ok(), offset + total <= expected.len());
        if result.is_ok() {
            let mut read = vec![];
            for (address, length) in segments {
                let mut part = vec![0; length as usize];
                memory.read_slice(&mut part, GuestAddress(address)).unwrap();
                read.extend(part);
            }
            prop_assert_eq!(&read, &expected[offset..offset + total]);
        }
    }
}
