use super::*;

#[test]
fn a_note_is_whole_or_none() {
    let owner = Ownership { uid: 1, gid: 2, mode: 0o104_000, rdev: 5 };
    assert_eq!(parse(b"1:2:104000:5"), Some(owner));
    for wrong in [
        &b""[..],
        b"1:2:104000",
        b"1:2:9:5",
        b"1:2:104000:5:6",
        b"-1:2:0:0",
        b"a:b:c:d",
        b"\xff",
        b"1:2:0: 5",
    ] {
        assert_eq!(parse(wrong), None, "{wrong:?}");
    }
}

#[test]
fn set_id_bits_go_as_linux_has_it() {
    assert_eq!(Share::without_set_id(0o106_755), 0o100_755);
    // Without the right to execute, that of the group means something else.
    assert_eq!(Share::without_set_id(0o106_744), 0o102_744);
    assert_eq!(Share::without_set_id(0o042_755), 0o042_755);
}
