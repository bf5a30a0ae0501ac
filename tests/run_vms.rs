//! Several containers in one VM (`hull run --vm NAME`).

mod common;

use std::collections::HashSet;
use std::fs;

use common::{Home, eventually};

/// Starts a container that does nothing, in the VM `dev`.
fn idle(home: &Home, name: &str, options: &[&str]) {
    let run = ["run", "-d", "--vm", "dev", "--name", name];
    home.ok(&[&run, options, &["busybox", "sleep", "100000"]].concat());
}

/// What a script in a container prints.
fn within(home: &Home, name: &str, script: &str) -> String {
    home.ok(&["exec", name, "sh", "-c", script])
}

/// VMs that run in this home.
fn vmms(home: &Home) -> usize {
    let is_vmm = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).nth(2) == Some(b"vmm")
    };
    home.processes().iter().filter(|pid| is_vmm(pid)).count()
}

/// Asserts that no VM is there, nor anything that one leaves.
fn no_vm_is_left(home: &Home) {
    home.nothing_is_left("containers of one VM");
    let shared = home.folder.path().join("state/hull/shared");
    let left: Vec<_> = fs::read_dir(shared).expect("the VMs").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, [".lock"]);
}

#[test]
fn containers_share_a_vm() {
    let Some(home) = Home::with_busybox("containers_share_a_vm") else { return };
    let script = "echo up; hostname; exec sleep 100000";
    for name in ["one", "two"] {
        let host = format!("host-{name}");
        let options = ["--vm", "dev", "--name", name, "-h", &host, "--cap-add", "NET_RAW"];
        home.ok(&[&["run", "-d"], &options[..], &["busybox", "sh", "-c", script]].concat());
    }
    assert_eq!(vmms(&home), 1);
    for name in ["one", "two"] {
        eventually("the output", || home.ok(&["logs", name]) == format!("up\nhost-{name}\n"));
        assert_eq!(within(&home, name, "ps -o args | grep -c '^sleep'"), "1\n");
        assert_eq!(home.inspect(name)["HostConfig"]["Vm"], "dev");
    }
    // Each has its own layer, which stays when it stops, and its own address, by which the other finds it.
    within(&home, "one", "echo kept > /file");
    assert_eq!(
        within(&home, "two", "cat /file || ping -c 1 -W 60 one | grep -c '1 packets received'"),
        "1\n"
    );
    assert_eq!(home.ok(&["diff", "one"]), "A /file\n");
    home.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(home.ok(&["ps", "-q"]).lines().count(), 1);
    assert_eq!(within(&home, "two", "hostname"), "host-two\n");
    let to = home.folder.path().join("copied");
    home.ok(&["cp", "one:/file", to.to_str().expect("a path in UTF-8")]);
    assert_eq!(fs::read_to_string(to).expect("what was copied"), "kept\n");
    home.ok(&["start", "one"]);
    assert_eq!(within(&home, "one", "cat /file; hostname"), "kept\nhost-one\n");

    // One that ends by itself, in the foreground, with input and an exit code.
    let told =
        home.run(&["run", "--rm", "--vm", "dev", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(told.status.code(), Some(7));
    assert_eq!((&told.stdout[..], &told.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    home.fails(127, &["run", "--rm", "--vm", "dev", "busybox", "nothing-like-this"]);
    assert_eq!(vmms(&home), 1);

    // The VM ends with its last container, and what they wrote stays for the next time, but not longer than they do.
    home.ok(&["stop", "-t", "0", "one", "two"]);
    home.await_quiet();
    home.ok(&["start", "one"]);
    assert_eq!(within(&home, "one", "cat /file"), "kept\n");
    home.ok(&["rm", "-f", "one", "two"]);
    no_vm_is_left(&home);
}

#[test]
fn containers_of_one_vm_do_not_reach_each_other() {
    let Some(home) = Home::with_busybox("containers_of_one_vm_do_not_reach_each_other") else { return };
    idle(&home, "one", &["-m", "64m", "--pids-limit", "50", "--cpus", "0.5", "--cpuset-cpus", "0"]);
    idle(&home, "two", &["-m", "128m", "--pids-limit", "60", "--cpus", "0.25"]);

    // Namespaces: each its own, of every kind; that of users is the guest's, whose rights the containers do not have.
    let kinds = ["mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let script = format!("for kind in {}; do readlink /proc/1/ns/$kind; done", kinds.join(" "));
    let (one, two) = (within(&home, "one", &script), within(&home, "two", &script));
    let all: HashSet<_> = one.lines().chain(two.lines()).collect();
    assert_eq!(all.len(), 2 * kinds.len(), "{one}{two}");
    let rights = within(&home, "one", "grep CapEff /proc/self/status");
    assert_eq!(rights, "CapEff:\t00000000a80405fb\n");

    // Processes: neither sees the other's, so that it has no name for one to be signalled or traced by.
    let sleepers = "ps -o args | grep -c '^sleep'; kill -0 -1; ls -d /proc/[0-9]* | wc -l";
    for name in ["one", "two"] {
        let told = within(&home, name, sleepers);
        let counts: Vec<u32> = told.lines().map(|line| line.trim().parse().expect("a number")).collect();
        assert!(counts[0] == 1 && counts[1] <= 6, "{told}");
    }
    // Files, shared memory and message queues, host names.
    within(&home, "one", "touch /dev/shm/a /tmp/a /a && ! hostname changed");
    assert_eq!(within(&home, "two", "ls /dev/shm /tmp / | grep -c '^a$'; hostname | wc -c").trim(), "0\n13");
    // Networks: what one listens on at its loopback is not the other's, nor is its card.
    home.ok(&["exec", "-d", "one", "httpd", "-f", "-p", "127.0.0.1:99", "-h", "/"]);
    eventually("a listener", || within(&home, "one", "netstat -ltn").contains(":99 "));
    assert!(!within(&home, "two", "netstat -ltn").contains(":99 "));
    let cards = ["one", "two"].map(|name| within(&home, name, "cat /sys/class/net/eth0/address"));
    assert_ne!(cards[0], cards[1]);

    // Controllers of their cgroups, each with its own limit; nobody sees another's group.
    let script = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cpuset.cpus.effective; ls -d */ 2>/dev/null | wc -l";
    let expected = |memory: u64, pids, cpu: &str| format!("{}\n{pids}\n{cpu} 100000\n", memory << 20);
    let told = within(&home, "one", script);
    assert_eq!(told, expected(64, 50, "50000") + "0\n0\n");
    let told = within(&home, "two", script);
    assert!(told.starts_with(&expected(128, 60, "25000")) && told.ends_with("\n0\n"), "{told}");

    // The VM's devices, such as the disk with the layers of all, are not theirs, though they may make nodes of any number.
    let disks = "n=0; for minor in 0 16 32 48; do for major in 252 253 254; do mknod /d$n b $major $minor; \
                 head -c 1 /d$n >/dev/null 2>&1 && echo read $major $minor; n=$((n + 1)); done; done; \
                 mknod /k c 1 1; head -c 1 /k >/dev/null 2>&1 && echo memory; head -c 1 /dev/zero | wc -c; : > /dev/null && echo done";
    assert_eq!(within(&home, "one", disks), "1\ndone\n");
    home.ok(&["rm", "-f", "one", "two"]);
    no_vm_is_left(&home);
}

#[test]
fn what_a_removed_container_wrote_goes_while_others_run() {
    let Some(home) = Home::with_busybox("what_a_removed_container_wrote_goes_while_others_run") else {
        return;
    };
    idle(&home, "one", &[]);
    // Deep, many, closed, and immutable where the image has what makes it so.
    let script = "mkdir -p /a/b/c/d/e/f /many && for i in $(seq 150); do : > /many/$i; done && echo x > /a/b/c/file && \
                  chmod 0 /a/b && { chattr +i /a/b/c/file /a/b/c 2>/dev/null || true; }";
    for _ in 0..2 {
        home.ok(&["run", "--rm", "--privileged", "--vm", "dev", "busybox", "sh", "-c", script]);
    }
    let forgotten = home.folder.path().join("state/hull/shared/dev/forgotten");
    let left = || fs::read_dir(&forgotten).map_or(0, |entries| entries.flatten().count());
    eventually("the layers of removed containers to be gone", || left() == 0);
    home.ok(&["rm", "-f", "one"]);
    no_vm_is_left(&home);
}

#[test]
fn a_container_joins_another() {
    let Some(home) = Home::with_busybox("a_container_joins_another") else { return };
    idle(&home, "front", &["-p", "127.0.0.1::80"]);
    let pod = ["run", "-d", "--name", "back", "--vm", "container:front"];
    home.ok(
        &[&pod[..], &["busybox", "sh", "-c", "echo page > /index.html; exec httpd -f -p 80 -h /"]].concat()
    );
    // It is in the same VM and the same network, and so are its ports.
    assert_eq!(vmms(&home), 1);
    let who = "readlink /proc/self/ns/net; hostname; cat /etc/hosts; cat /sys/class/net/eth0/address";
    assert_eq!(within(&home, "front", who), within(&home, "back", who));
    let pid = "readlink /proc/self/ns/pid";
    assert_ne!(within(&home, "front", pid), within(&home, "back", pid));
    assert_eq!(within(&home, "front", "wget -q -O - http://localhost/"), "page\n");
    let at = home.ok(&["port", "front", "80"]);
    let page = || std::process::Command::new("curl").args(["-s", "--max-time", "60", at.trim()]).output();
    if let Ok(page) = page() {
        assert_eq!(page.stdout, b"page\n");
    }
    // Without the one that it joined there is nothing to join.
    home.ok(&["rm", "-f", "back"]);
    home.ok(&["create", "--name", "late", "--network", "container:front", "busybox", "true"]);
    home.ok(&["stop", "-t", "0", "front"]);
    let errors = home.fails(1, &["start", "late"]);
    assert!(errors.contains("cannot join network of a non running container"), "{errors}");
    home.ok(&["rm", "front", "late"]);
    no_vm_is_left(&home);
}

#[test]
fn what_a_shared_vm_cannot_have_is_refused() {
    let Some(home) = Home::with_busybox("what_a_shared_vm_cannot_have_is_refused") else { return };
    let config = home.folder.path().join(".config/hull/vm");
    fs::create_dir_all(&config).expect("a folder");
    fs::write(config.join("dev.toml"), "[machine]\nvcpus = 1\nmemory = \"1G\"\n").expect("a file");
    fs::write(config.join("odd.toml"), "[machine]\ncolour = 1\n").expect("a file");
    home.ok(&["create", "--name", "alone", "busybox", "true"]);
    home.ok(&["create", "--name", "member", "--vm", "dev", "busybox", "true"]);
    for (options, why) in [
        (&["--vm", "dev", "-m", "2g"][..], "VM dev has 1"),
        (&["--vm", "dev", "--cpus", "2"], "VM dev has 1;"),
        (&["--vm", "dev", "-v", "/tmp:/mnt"], "volumes and folders of the host cannot be mounted"),
        (&["--vm", "odd"], "odd.toml"),
        (&["--vm", "a/b"], "--vm: invalid name"),
        (&["--vm", "container:alone"], "create it with --vm NAME"),
        (&["--network", "container:alone"], "create it with --vm NAME"),
        (&["--vm", "container:nobody"], "No such container: nobody"),
        (&["--vm", "other", "--network", "container:member"], "container member is in VM dev"),
        (
            &["--network", "container:member", "-p", "80"],
            "port publishing and the container type network mode",
        ),
        (&["--vm", "container:member", "-h", "name"], "hostname and the network mode"),
    ] {
        let mut command = home.hull(&[&["create"], options, &["busybox", "true"]].concat());
        let told = command.env_remove("XDG_CONFIG_HOME").output().expect("hull");
        let errors = String::from_utf8_lossy(&told.stderr);
        assert!(!told.status.success() && errors.contains(why), "{options:?}: {errors}");
    }
    home.ok(&["rm", "alone", "member"]);
    home.nothing_is_left("refused containers");
}
