use super::*;

/// What the kernel leaves of 512 MiB.
const SMALL: u64 = 490 * MIB;

#[test]
fn a_container_is_seen_before_there_is_nothing_left() {
    assert!(mark(SMALL) > 256 * MIB && mark(SMALL) < SMALL - RESERVE);
    assert_eq!(mark(64 * MIB), 0);
    assert!(mark(8 << 30) > 7 << 30);
}

#[test]
fn a_guest_asks_for_half_as_much_again_but_for_no_more_than_it_may_have() {
    assert_eq!(step(SMALL, 8 << 30), Some(768 * MIB));
    assert_eq!(step(SMALL + (2 << 30), 8 << 30), Some((2560 + 1280) * MIB));
    assert_eq!(step(SMALL + 256 * MIB, 1 << 30), Some(1 << 30));
    assert_eq!(step(SMALL + 256 * MIB, (1 << 30) - 1), Some(896 * MIB));
    assert_eq!(step(SMALL, 512 * MIB), None);
    assert_eq!(step(SMALL, 600 * MIB), None);
    assert_eq!(step(SMALL, 0), None);
}
