use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::test_driver::memory;

/// Buffers of these lengths, far apart in memory.
fn buffers(lengths: &[u32]) -> Buffers {
    Buffers::of(
        (1..)
            .zip(lengths)
            .map(|(i, length)| Segment { address: GuestAddress(i * 0x1_0000), length: *length }),
    )
}

#[test]
fn nothing_is_left_of_nothing() {
    let memory = memory();
    let mut empty = buffers(&[0, 0]);
    assert!(empty.is_empty());
    assert_eq!(empty.read(&memory, &mut [0; 4]), 0);
    assert_eq!(empty.write(&memory, &[0; 4]), 0);
    assert_eq!(empty.read_array::<1>(&memory), Err(TooShort));
    assert_eq!(empty.read_array::<0>(&memory), Ok([]));
    assert_eq!(empty.write_all(&memory, b"x"), Err(TooShort));
    empty.advance(10);
    assert!(empty.split_off(3).is_empty());
}

#[test]
fn what_does_not_fit_is_not_begun() {
    let memory = memory();
    let mut some = buffers(&[2, 2]);
    assert_eq!(some.write_all(&memory, b"12345"), Err(TooShort));
    assert_eq!(some.len(), 4);
    assert_eq!(some.read_array(&memory), Ok([0; 4]), "nothing was written");
}

proptest! {
    /// Cut up anyhow, buffers carry the bytes they were given.
    #[test]
    fn bytes_survive(lengths in vec(0u32..200, 0..10), cuts in vec(0usize..300, 0..10)) {
        let memory = memory();
        let total: usize = lengths.iter().map(|length| *length as usize).sum();
        let data: Vec<u8> = (0..total).map(|i| i as u8 ^ (i >> 8) as u8).collect();
        let mut whole = buffers(&lengths);
        prop_assert_eq!(whole.len(), total);
        prop_assert_eq!(whole.clone().write(&memory, &data), total);

        let mut read = Vec::<u8>::new();
        for cut in cuts {
            let mut rest = whole.split_off(cut);
            prop_assert_eq!(whole.len(), cut.min(total - read.len()));
            let mut part = vec![0; whole.len() + 5];
            let skipped = whole.len() / 3;
            let copy = whole.clone();
            whole.advance(skipped);
            let mut tail = vec![0; copy.len()];
            prop_assert_eq!(whole.read(&memory, &mut tail), copy.len() - skipped);
            prop_assert!(whole.is_empty());
            let mut again = copy;
            let length = again.read(&memory, &mut part);
            prop_assert_eq!(&part[skipped..length], &tail[..length - skipped]);
            read.extend(&part[..length]);
            std::mem::swap(&mut whole, &mut rest);
        }
        let mut part = vec![0; total];
        let length = whole.read(&memory, &mut part);
        read.extend(&part[..length]);
        prop_assert_eq!(read, data);
    }
}
