use super::*;

fn of(added: &[&str], dropped: &[&str]) -> Capabilities {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    Capabilities::of_container(&owned(added), &owned(dropped)).unwrap()
}

#[test]
fn docker_s_defaults_have_docker_s_number() {
    let names = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    assert_eq!(Capabilities::from_names(names), Some(of(&[], &[])));
    assert_eq!(Capabilities::ALL.0, 0x0000_01ff_ffff_ffff);
}

#[test]
fn adding_and_dropping() {
    assert_eq!(of(&["SYS_ADMIN"], &[]).0, 0xa804_25fb | 1 << 21);
    assert_eq!(of(&["cap_net_admin"], &["ALL"]).0, 1 << 12);
    assert_eq!(of(&["ALL"], &["CAP_CHOWN"]).0, 0x0000_01ff_ffff_fffe);
    assert_eq!(of(&[], &["all"]), Capabilities::NONE);
    let error = Capabilities::of_container(&["NOPE".to_owned()], &[]).unwrap_err();
    assert_eq!(error.to_string(), "invalid CapAdd: unknown capability: \"NOPE\"");
}
