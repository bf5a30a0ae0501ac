use super::*;

#[test]
fn each_init_is_asked_in_its_own_way() {
    let mut system = System::default();
    assert_eq!(system.translate(15, "systemd"), 15);
    assert!(!system.asked);
    assert_eq!(system.translate(SHUT_DOWN, "systemd"), SHUT_DOWN);
    assert_eq!(system.translate(SHUT_DOWN, "init"), CTRL_ALT_DEL);
    assert!(system.asked);
}

#[test]
fn a_system_that_was_shut_down_ended_well() {
    let ended = |asked, status| System { asked }.ending(status);
    assert_eq!(ended(false, ExitStatus::Signal(2)), ExitStatus::Code(0));
    assert_eq!(ended(true, ExitStatus::Signal(1)), ExitStatus::Code(0));
    assert_eq!(ended(false, ExitStatus::Signal(1)), ExitStatus::Signal(1), "it wants to be started again");
    for asked in [false, true] {
        for other in [ExitStatus::Signal(9), ExitStatus::Code(3)] {
            assert_eq!(ended(asked, other), other);
        }
    }
}

#[test]
fn a_further_process_stays_in_the_container_s_tree() {
    let path = |told| path_in(told, "/cgroup/1");
    assert_eq!(path("0::/1\n").unwrap(), "/cgroup/1");
    assert_eq!(path("0::/1/init.scope\n").unwrap(), "/cgroup/1/init.scope");
    for told in ["0::/\n", "0::/12/init.scope\n", "0::/1/../2\n", "", "1:name=x:/1\n"] {
        assert_eq!(path(told), None, "{told:?}");
    }
    assert_eq!(path_in("0::/containers/4/a", "/cgroup/containers/4").unwrap(), "/cgroup/containers/4/a");
}

#[test]
fn programs_are_known_by_their_names() {
    assert!(!program(std::process::id()).is_empty());
    assert_eq!(program(u32::MAX), "");
}
