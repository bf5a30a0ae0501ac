use super::*;

#[test]
fn descriptors_are_those_of_the_manual() {
    assert_eq!(
        gdt(Protocol::Linux64),
        [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x8b00_0000_0067, 0]
    );
    let protected = [0, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x8b00_0000_0067, 0];
    assert_eq!(gdt(Protocol::Linux32), protected);
    assert_eq!(gdt(Protocol::Pvh), protected);
}
