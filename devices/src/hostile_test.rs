//! No device panics, loops for ever or takes memory without end, whatever its guest does.

use proptest::collection::vec;
use proptest::prelude::*;

fn program() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..4000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn queue(program in program()) {
        super::queue(&program);
    }

    #[test]
    fn block_request(program in program()) {
        super::block_request(&program);
    }

    #[test]
    fn console(program in program()) {
        super::console(&program);
    }

    #[test]
    fn disk(program in program()) {
        super::disk(&program);
    }

    #[test]
    fn layers(program in program()) {
        super::layers(&program);
    }

    #[test]
    fn entropy(program in program()) {
        super::entropy(&program);
    }

    #[test]
    fn vsock(program in program()) {
        super::vsock(&program);
    }

    #[test]
    fn balloon(program in program()) {
        super::balloon(&program);
    }

    #[test]
    fn net(program in program()) {
        super::net(&program);
    }

    #[test]
    fn mem(program in program()) {
        super::mem(&program);
    }
}
