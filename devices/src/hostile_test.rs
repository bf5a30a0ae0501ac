//! No device panics, loops for ever or takes memory without end, whatever its guest does.

use proptest::collection::vec;
use proptest::prelude::*;

fn program() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..4000)
}

/// Requests to a file system, which look like some as far as their header goes.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = (0..60u8, 0..6u8, vec(any::<u8>(), 0..100)).prop_map(|(opcode, node, arguments)| {
        let mut bytes = vec![0; 42];
        (bytes[0], bytes[1], bytes[6], bytes[18]) = (40 + arguments.len() as u8, 127, opcode, node);
        bytes.extend(arguments);
        bytes
    });
    vec(request, 0..40).prop_map(|requests| requests.concat())
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
    fn share(program in requests()) {
        super::share(&program);
    }

    #[test]
    fn mem(program in program()) {
        super::mem(&program);
    }
}
