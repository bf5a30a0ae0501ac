use super::*;

fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut matcher = keys.parse::<DetachKeys>().unwrap().matcher();
    let mut passed = Vec::new();
    let detached = pieces.iter().any(|piece| matcher.push(piece, &mut passed));
    (passed, detached)
}

#[test]
fn the_keys_detach_and_all_else_is_passed_on() {
    assert_eq!(typed("ctrl-p,ctrl-q", &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
    assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10", b"\x11"]), (Vec::new(), true));
    assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10x", b"\x11"]), (b"\x10x\x11".to_vec(), false));
    assert_eq!(typed("ctrl-p,ctrl-q", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
    assert_eq!(typed("q", &[b"abq"]), (b"ab".to_vec(), true));
}

#[test]
fn keys_as_people_write_them() {
    assert_eq!("ctrl-@,a,ctrl-[,ctrl-_".parse::<DetachKeys>().unwrap(), DetachKeys(vec![0, b'a', 27, 31]));
    for wrong in ["", "ctrl-", "ctrl-1", "abc", "a,,b"] {
        assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong}");
    }
}
