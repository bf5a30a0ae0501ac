use super::*;

#[test]
fn an_init_is_known_by_its_path() {
    let is = |command: &str, host_config: &HostConfig| is_init(&[command.to_owned()], host_config);
    let none = HostConfig::default();
    for command in ["/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"] {
        assert!(is(command, &none), "{command}");
    }
    for command in ["init", "systemd", "/usr/bin/systemctl", "/sbin/initctl", "/init", "sh", ""] {
        assert!(!is(command, &none), "{command}");
    }
    assert!(!is_init(&[], &none));
    assert!(!is("/sbin/init", &HostConfig { init: true, ..none }), "it is not PID 1 then");
}
