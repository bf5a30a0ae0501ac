use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn a_header_is_its_bytes(halves in prop::array::uniform2(prop::array::uniform22(any::<u8>()))) {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..22].copy_from_slice(&halves[0]);
        bytes[22..].copy_from_slice(&halves[1]);
        prop_assert_eq!(Header::parse(&bytes).bytes(), bytes);
    }
}

#[test]
fn fields_are_where_the_specification_has_them() {
    let bytes: [u8; HEADER_SIZE] = std::array::from_fn(|at| at as u8);
    let header = Header::parse(&bytes);
    assert_eq!(header.src_cid, 0x0706_0504_0302_0100);
    assert_eq!(header.dst_cid, 0x0f0e_0d0c_0b0a_0908);
    assert_eq!(header.src_port, 0x1312_1110);
    assert_eq!(header.dst_port, 0x1716_1514);
    assert_eq!(header.len, 0x1b1a_1918);
    assert_eq!(header.kind, 0x1d1c);
    assert_eq!(header.op, 0x1f1e);
    assert_eq!(header.flags, 0x2322_2120);
    assert_eq!(header.buf_alloc, 0x2726_2524);
    assert_eq!(header.fwd_cnt, 0x2b2a_2928);
}

#[test]
fn operations_have_their_numbers() {
    for number in 0..=u16::MAX {
        match Op::from_number(number) {
            Some(op) => assert!((1..=7).contains(&number) && op as u16 == number),
            None => assert!(!(1..=7).contains(&number)),
        }
    }
    for flags in 0..4 {
        assert_eq!(Ends::from_flags(flags | 0xf0).flags(), flags);
    }
}
