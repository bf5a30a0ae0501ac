use super::*;
use crate::container::Config;

pub fn description(config: Config, host_config: HostConfig) -> Description {
    let digest = format!("sha256:{}", "0".repeat(64));
    let json = serde_json::json!({
        "Id": "a".repeat(64), "Name": "web", "Created": "", "Image": digest,
        "Config": config, "HostConfig": host_config,
    });
    serde_json::from_value(json).unwrap()
}

#[test]
fn the_environment_is_docker_s_then_the_container_s() {
    let config = Config {
        hostname: "h".to_owned(),
        tty: true,
        env: ["PATH=/bin", "A=1", "TERM"].map(str::to_owned).to_vec(),
        ..Config::default()
    };
    let description = description(config, HostConfig::default());
    assert_eq!(environment(&description.config, true, &[], &[]), ["PATH=/bin", "HOSTNAME=h", "A=1"]);
    // What the host asks for is there, unless the container has its own.
    assert_eq!(
        environment(&description.config, true, &["A=0", "B=2"], &[]),
        ["PATH=/bin", "HOSTNAME=h", "A=1", "B=2"]
    );
}

#[test]
fn a_tmpfs_has_docker_s_options_unless_told_otherwise() {
    assert_eq!(tmpfs("/t", "").options, ["rw", "noexec", "nosuid", "nodev"]);
    assert_eq!(tmpfs("/t", "size=64m,exec").options, ["rw", "nosuid", "nodev", "size=64m", "exec"]);
    assert_eq!(tmpfs("/t", "ro").options, ["noexec", "nosuid", "nodev", "ro"]);
}

#[test]
fn limits_and_privileges_reach_the_agent() {
    let host_config = HostConfig {
        memory: 64 << 20,
        nano_cpus: 1_500_000_000,
        pids_limit: Some(7),
        privileged: true,
        ..HostConfig::default()
    };
    let description = description(Config::default(), host_config);
    let size = VmSize { memory: 512 << 20, growth: 8 << 30, vcpus: 4 };
    let limits =
        |memory, cpus| container(&description, Vec::new(), size, Share { memory, cpus }, Vec::new()).limits;
    let expected = Limits {
        memory: Some(64 << 20),
        guest_memory: None,
        cpus: None,
        cpu_millis: Some(1500),
        pids: Some(7),
        ..Limits::default()
    };
    assert_eq!(limits(512 << 20, 4), expected);
    assert_eq!(limits(1 << 30, 3), Limits { guest_memory: Some(1 << 30), cpus: Some(3), ..expected.clone() });
    assert_eq!((cpu_limit(0), cpu_limit(2_000_000_000)), (None, None), "the VM has as many");
    let process = process(&description).unwrap();
    assert_eq!(process.capabilities, Capabilities::ALL.0);
    assert_eq!(process.cwd, "/");
}

#[test]
fn security_options_are_known_or_refused() {
    let read = |options: &[&str]| {
        security_options(&options.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>())
    };
    assert!(read(&["no-new-privileges"]).unwrap().no_new_privileges);
    assert!(read(&["no-new-privileges:true"]).unwrap().no_new_privileges);
    assert_eq!(read(&["seccomp:unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
    let profile = "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[]}";
    let expected = Seccomp::Profile(profile.to_owned());
    assert_eq!(read(&[&format!("seccomp={profile}")]).unwrap().seccomp, expected);
    assert!(read(&["seccomp=/no/profile"]).is_err());
    assert!(read(&["apparmor=x"]).unwrap_err().to_string().contains("apparmor=x"));
}

#[test]
fn a_privileged_container_has_the_profile_it_asks_for_and_no_other() {
    let config = |privileged, option: Option<&str>| HostConfig {
        privileged,
        security_opt: option.map(str::to_owned).into_iter().collect(),
        ..HostConfig::default()
    };
    let filter = |host_config| process(&description(Config::default(), host_config)).unwrap().seccomp;
    assert!(filter(config(true, None)).is_empty() && !filter(config(false, None)).is_empty());
    let profile = "seccomp={\"defaultAction\":\"SCMP_ACT_LOG\"}";
    assert_eq!(filter(config(true, Some(profile))), filter(config(false, Some(profile))));
    assert!(!filter(config(true, Some(profile))).is_empty());
    let nonsense = "seccomp={\"nonsense\":1}";
    let error = check_security(&config(true, Some(nonsense))).unwrap_err().to_string();
    assert!(error.contains("nonsense"), "{error}");
}
