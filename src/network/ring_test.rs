use std::{
    collections::VecDeque,
    io::Write,
    os::{fd::AsFd, unix::net::UnixStream},
};

use proptest::{collection::vec, prelude::*};

use super::*;

fn all(ring: &Ring) -> Vec<u8> {
    let (first, second) = ring.part(0, usize::MAX);
    [first, second].concat()
}

#[derive(Debug, Clone)]
enum Step {
    Extend(usize),
    Consume(usize),
    Receive(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..100_000usize).prop_map(Step::Extend),
        (0..120_000usize).prop_map(Step::Consume),
        (1..60_000usize, 1..300_000usize).prop_map(|(sent, most)| Step::Receive(sent, most)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn keeps_what_a_queue_keeps(steps in vec(step(), 0..40)) {
        let (mut ring, mut queue) = (Ring::default(), VecDeque::new());
        let mut next = 0u8;
        let mut bytes = |count: usize| -> Vec<u8> {
            (0..count).map(|_| { next = next.wrapping_mul(31).wrapping_add(7); next }).collect()
        };
        for step in steps {
            match step {
                Step::Extend(count) => {
                    let bytes = bytes(count);
                    ring.extend(&bytes);
                    queue.extend(bytes);
                }
                Step::Consume(count) => {
                    ring.consume(count);
                    queue.drain(..count.min(queue.len()));
                }
                Step::Receive(count, most) => {
                    let (mut near, far) = UnixStream::pair().unwrap();
                    let bytes = bytes(count);
                    near.write_all(&bytes).unwrap();
                    let before = ring.len();
                    if before < most {
                        let got = ring.receive(far.as_fd(), most).unwrap();
                        prop_assert!(got > 0 && ring.len() <= most);
                        queue.extend(&bytes[..got]);
                    }
                }
            }
            prop_assert_eq!(ring.len(), queue.len());
            let (from, most) = (queue.len() / 3, queue.len() / 2);
            let (first, second) = ring.part(from, most);
            prop_assert!(queue.iter().skip(from).take(most).eq(first.iter().chain(second)));
        }
        prop_assert!(all(&ring).iter().eq(queue.iter()));
    }
}

#[test]
fn a_ring_that_rests_takes_nothing() {
    let mut ring = Ring::default();
    ring.extend(&[1; 200_000]);
    ring.consume(199_999);
    ring.release();
    assert_eq!(ring.len(), 1);
    ring.consume(1);
    ring.release();
    assert!(ring.is_empty());
    assert_eq!(ring.bytes.len(), 0);
}
