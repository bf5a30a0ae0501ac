use super::*;

#[test]
fn names_are_one_component() {
    let name = |text: &'static [u8]| Arguments(text).name();
    assert_eq!(name(b"a file\0rest"), Ok(&b"a file"[..]));
    assert_eq!(name(b"...\0"), Ok(&b"..."[..]));
    for wrong in [&b"\0"[..], b".\0", b"..\0", b"a/b\0", b"/\0", b"no end"] {
        assert_eq!(Arguments(wrong).name(), Err(Errno::INVAL), "{wrong:?}");
    }
    let long = [&[b'x'; 256][..], b"\0"].concat();
    assert_eq!(Arguments(&long).name(), Err(Errno::NAMETOOLONG));
}

#[test]
fn what_is_short_is_an_error() {
    let mut arguments = Arguments(&[1, 0, 0, 0, 2]);
    assert_eq!(arguments.u32(), Ok(1));
    assert_eq!(arguments.u64(), Err(Errno::INVAL));
    assert_eq!(arguments.bytes(1), Ok(&[2][..]));
}

#[test]
fn structures_have_the_sizes_of_fuse_h() {
    assert_eq!(Answer::default().entry(&Entry::default()).0.len(), 128);
    assert_eq!(Answer::default().attributes_for(&Attributes::default(), 1).0.len(), 104);
    assert_eq!(Answer::default().opened(1, 0).0.len(), 16);
    assert_eq!(Answer::default().directory_entry(1, 2, 4, b"name").0.len(), 32);
    assert_eq!(Answer::default().directory_entry(1, 2, 4, b"namename!").0.len(), 40);
}
