use super::*;

fn sorted(options: &[&str]) -> (MountFlags, String) {
    let options: Vec<String> = options.iter().map(ToString::to_string).collect();
    sort(&options).unwrap()
}

#[test]
fn options_are_sorted() {
    let (flags, rest) = sorted(&["ro", "nosuid", "size=64m", "mode=1770"]);
    assert_eq!(flags, MountFlags::RDONLY | MountFlags::NOSUID);
    assert_eq!(rest, "size=64m,mode=1770");
}

#[test]
fn the_last_one_counts() {
    assert_eq!(sorted(&["ro", "rw"]).0, MountFlags::empty());
    assert_eq!(sorted(&["noexec", "exec", "noexec"]).0, MountFlags::NOEXEC);
    assert_eq!(sorted(&["noatime", "relatime"]).0, MountFlags::RELATIME);
}

#[test]
fn one_string_may_hold_several() {
    let (flags, rest) = sorted(&["noexec,,nodev,size=1m", ""]);
    assert_eq!(flags, MountFlags::NOEXEC | MountFlags::NODEV);
    assert_eq!(rest, "size=1m");
}

#[test]
fn what_is_not_possible_is_named() {
    let mount = Mount {
        kind: "tmpfs".to_owned(),
        destination: "/x".to_owned(),
        options: vec!["rw,rshared".to_owned()],
        ..Mount::default()
    };
    assert!(step(&mount).err().unwrap().message.contains("\"rshared\""));
    for destination in ["", "/", "x", "//"] {
        let mount =
            Mount { kind: "tmpfs".to_owned(), destination: destination.to_owned(), ..Mount::default() };
        assert!(steps(&[mount]).is_err(), "{destination:?}");
    }
    let bind = Mount { kind: "bind".to_owned(), destination: "/x".to_owned(), ..Mount::default() };
    assert!(step(&bind).is_err());
}
