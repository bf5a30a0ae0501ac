//! Options of `run` that are seen in the container, and what `update` and `ps` make of containers.

mod common;

use common::{Home, eventually};

#[test]
fn options_are_seen_in_the_container_and_changed_while_it_runs() {
    let Some(home) = Home::with_busybox("options_are_seen_in_the_container_and_changed_while_it_runs") else {
        return;
    };
    let labels = home.folder.path().join("labels");
    std::fs::write(&labels, "# of a file\ntier=front\nkeep\n").expect("a file");
    let profile = home.folder.path().join("profile.json");
    // The mode is the second argument of one, and the third of the other.
    let no_fifos = r#"{ "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mknod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
                       "args": [{ "index": 1, "value": 4096, "valueTwo": 4096, "op": "SCMP_CMP_MASKED_EQ" }] },
                     { "names": ["mknodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
                       "args": [{ "index": 2, "value": 4096, "valueTwo": 4096, "op": "SCMP_CMP_MASKED_EQ" }] }] }"#;
    std::fs::write(&profile, no_fifos).expect("a file");
    let profile = format!("seccomp={}", profile.display());
    home.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--security-opt",
        &profile,
        "--group-add",
        "29",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--oom-score-adj",
        "500",
        "--cpuset-cpus",
        "0",
        "--cpu-quota=20000",
        "--cpu-period=40000",
        "--memory-reservation=32m",
        "--memory-swap=-1",
        "--device-write-bps=/dev/vdc:4mb",
        "--device-read-iops=/dev/vdc:500",
        "--annotation",
        "a=b",
        "--label-file",
        labels.to_str().expect("a path in UTF-8"),
        "--label",
        "keep=yes",
        "busybox",
        "sleep",
        "100000",
    ]);
    let script = "id -G; cat /proc/sys/net/ipv4/ip_forward /proc/1/oom_score_adj; grep -o 'list:.*' /proc/1/status | head -1";
    let told = home.ok(&["exec", "web", "sh", "-c", script]);
    assert_eq!(told, "0 29\n1\n500\nlist:\t0\n");
    let limits = "cd /sys/fs/cgroup; cat cpu.max memory.low; tr ' ' '\n' <io.max | grep = | grep -v max";
    let told = home.ok(&["exec", "web", "sh", "-c", limits]);
    assert_eq!(told, "20000 40000\n33554432\nwbps=4194304\nriops=500\n");
    // The profile's error is seen where its conditions hold, and nowhere else.
    let told = home.ok(&["exec", "web", "sh", "-c", "mkfifo /f 2>&1; mkdir /d && ls -d /d"]);
    assert_eq!(told, "mkfifo: /f: No space left on device\n/d\n");
    let told = home.ok(&["ps", "--format", "{{.Names}} {{.Label \"tier\"}} {{.Label \"keep\"}} {{.State}}"]);
    assert_eq!(told, "web front yes running\n");

    home.ok(&[
        "update",
        "-m",
        "64m",
        "--memory-reservation",
        "16m",
        "--pids-limit",
        "20",
        "--restart",
        "on-failure:3",
        "web",
    ]);
    let limits = "cd /sys/fs/cgroup; cat pids.max memory.max memory.low cpu.max";
    assert_eq!(home.ok(&["exec", "web", "sh", "-c", limits]), "20\n67108864\n16777216\n20000 40000\n");
    let template = "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(home.ok(&["inspect", "-f", template, "web"]), "67108864 on-failure 3\n");
    home.ok(&["update", "--pids-limit", "-1", "web"]);
    assert!(home.ok(&["exec", "web", "sh", "-c", limits]).starts_with("max\n"));
    // Fewer CPUs can be taken back.
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        home.ok(&["run", "-d", "--name", "two", "--cpus", "2", "busybox", "sleep", "100000"]);
        assert!(home.fails(1, &["update", "--cpus", "999", "two"]).contains("range of CPUs"));
        for (cpus, seen) in [("1", "1\n"), ("2", "2\n")] {
            home.ok(&["update", "--cpus", cpus, "two"]);
            assert_eq!(home.ok(&["exec", "two", "nproc"]), seen);
        }
        home.ok(&["rm", "-f", "two"]);
    }
    for (arguments, expected) in [
        (&["update", "web"][..], "one or more flags"),
        (&["update", "--cpus", "1", "web"], "Nano CPUs and CPU Period"),
        (&["update", "--cpu-shares", "512", "web"], "--cpu-shares: a container with a VM of its own"),
        (&["update", "--memory-reservation", "1g", "web"], "less than memory reservation"),
        (&["update", "-m", "1k", "web"], "Minimum memory limit"),
        (&["update", "--restart", "often", "web"], "invalid restart policy"),
        (&["update", "--cpus", "1", "nobody"], "No such container: nobody"),
    ] {
        let output = home.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(expected), "{arguments:?}: {errors}");
    }

    home.ok(&["create", "--name", "other", "--label", "keep=no", "-v", "data:/data", "busybox"]);
    let names = |filters: &[&str]| {
        let all: Vec<_> = ["ps", "-a", "--format", "{{.Names}}"].iter().chain(filters).copied().collect();
        home.ok(&all).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (filter, expected) in [
        ("name=^we", "web"),
        ("label=keep", "other web"),
        ("label=keep=no", "other"),
        ("status=created", "other"),
        ("status=running", "web"),
        ("ancestor=busybox", "other web"),
        ("ancestor=nothing", ""),
        ("before=other", "web"),
        ("since=web", "other"),
        ("volume=data", "other"),
        ("volume=/data", "other"),
        ("network=bridge", "other web"),
        ("health=none", "other web"),
        ("exited=0", ""),
    ] {
        assert_eq!(names(&["--filter", filter]), expected, "{filter}");
    }
    assert_eq!(names(&["--filter", "label=keep", "--filter", "label=tier"]), "web");
    assert!(home.fails(1, &["ps", "--filter", "colour=red"]).contains("invalid filter 'colour'"));
    assert!(home.fails(1, &["ps", "--format", "{{.Nope}}"]).contains("map has no entry for key \"Nope\""));
    assert_eq!(home.ok(&["ps", "-q", "-n", "1"]), home.ok(&["ps", "-q", "-l"]));
    assert_eq!(home.ok(&["volume", "ls", "--format", "{{.Name}}: {{.Driver}}"]), "data: local\n");
    assert_eq!(home.ok(&["network", "inspect", "-f", "{{.Driver}}", "bridge"]), "bridge\n");
    let table = home.ok(&["ps", "-a", "--format", "table {{.Names}}\\t{{.State}}"]);
    assert_eq!(table, "NAMES     STATE\nother     created\nweb       running\n");
    home.ok(&["rm", "-f", "web", "other"]);

    // What is printed beyond the limit pushes the oldest out.
    let script = "for i in $(seq 1 200); do echo line $i; done";
    home.ok(&[
        "run",
        "--name",
        "loud",
        "--log-opt",
        "max-size=2k",
        "--log-opt",
        "max-file=2",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    eventually("the log", || home.ok(&["logs", "loud"]).ends_with("line 200\n"));
    let lines = home.ok(&["logs", "loud"]).lines().count();
    assert!((2..200).contains(&lines), "{lines} lines");
    assert_eq!(home.ok(&["logs", "--tail", "2", "loud"]), "line 199\nline 200\n");
    home.ok(&["rm", "loud"]);
    home.nothing_is_left("containers with options");
}
