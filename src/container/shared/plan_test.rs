use super::*;

fn host() -> Host {
    Host { memory: 16 << 30, cpus: 8, default_vcpus: 4 }
}

#[test]
fn a_vm_without_a_file_is_as_large_as_a_container_s_own() {
    let plan = Plan::parse("", host()).unwrap();
    assert_eq!((plan.size.vcpus, plan.share), (4, Share { memory: 8 << 30, cpus: 4 }));
}

#[test]
fn a_file_says_how_large_it_is() {
    let plan = Plan::parse("[machine]\nvcpus = 3\nmemory = \"1G\"\n", host()).unwrap();
    assert_eq!((plan.size.vcpus, plan.share), (4, Share { memory: 1 << 30, cpus: 3 }));
    // Its containers see the CPUs that it has.
    assert_eq!(plan.limits(&HostConfig::default()).cpus, Some(3));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (text, named) in [
        ("[machine]\nvcpus = 0", "machine.vcpus: 0"),
        ("[machine]\nmemory = \"64M\"", "machine.memory: 64"),
        ("[machine]\nmemory = \"100G\"", "machine.memory: 100"),
        ("[[disk]]\npath = \"x\"", "disk"),
        ("[machine]\nballoon = true", "balloon"),
    ] {
        let error = Plan::parse(text, host()).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn containers_have_no_more_than_their_vm() {
    let plan = Plan::parse("[machine]\nvcpus = 2\nmemory = \"1G\"\n", host()).unwrap();
    let name = "dev".parse().unwrap();
    let check = |host_config: HostConfig| plan.check(&name, &host_config).map_err(|error| error.to_string());
    let some = HostConfig { memory: 1 << 30, nano_cpus: 1_500_000_000, ..HostConfig::default() };
    assert_eq!(plan.limits(&some).cpu_millis, Some(1500));
    check(some).unwrap();
    let error = check(HostConfig { memory: 2 << 30, ..HostConfig::default() }).unwrap_err();
    assert!(error.contains("--memory 2") && error.contains("vm/dev.toml"), "{error}");
    let error = check(HostConfig { nano_cpus: 3_000_000_000, ..HostConfig::default() }).unwrap_err();
    assert!(error.contains("--cpus 3: VM dev has 2"), "{error}");
    let error = check(HostConfig { cpuset_cpus: "0-2".to_owned(), ..HostConfig::default() }).unwrap_err();
    assert!(error.contains("available: 0-1"), "{error}");
}
