use super::*;

#[test]
fn the_guest_gets_what_it_has_room_for() {
    let mut credit = Credit::new(1000);
    assert_eq!(credit.may_send(), 0, "nothing is known of the guest yet");
    credit.learn(500, 0);
    assert_eq!(credit.may_send(), 500);
    credit.send(300);
    assert_eq!(credit.may_send(), 200);
    credit.learn(500, 100);
    assert_eq!(credit.may_send(), 300);
    credit.learn(100, 100);
    assert_eq!(credit.may_send(), 0, "it shrank below what is under way");
    credit.learn(500, 301);
    assert_eq!(credit.may_send(), 0, "it claims more than it was sent");
}

#[test]
fn the_guest_may_not_send_more_than_is_kept() {
    let mut credit = Credit::new(1000);
    assert!(credit.receive(600));
    assert!(!credit.receive(401));
    assert!(!credit.receive(u32::MAX));
    assert!(credit.receive(400));
    assert!(credit.receive(0));
    credit.forward(10);
    assert!(!credit.receive(11));
    assert!(credit.receive(10));
}

#[test]
fn it_is_told_when_half_is_free_again() {
    let mut credit = Credit::new(1000);
    assert!(credit.receive(1000));
    credit.forward(499);
    assert!(!credit.should_announce());
    credit.forward(1);
    assert!(credit.should_announce());
    assert_eq!(credit.announce(), (1000, 500));
    assert!(!credit.should_announce());
}

#[test]
fn counts_run_over() {
    let mut credit = Credit::new(1 << 20);
    credit.learn(1 << 20, 0);
    for round in 1u32..=10_000 {
        assert!(credit.receive(1 << 20));
        credit.forward(1 << 20);
        assert!(credit.should_announce());
        assert_eq!(credit.announce(), (1 << 20, round.wrapping_mul(1 << 20)));
        credit.send(1 << 20);
        assert_eq!(credit.may_send(), 0);
        credit.learn(1 << 20, round.wrapping_mul(1 << 20));
        assert_eq!(credit.may_send(), 1 << 20);
    }
}
