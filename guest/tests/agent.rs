//! The agent's work on a real kernel, without a VM.

mod support;

use std::io::{Read, Write};

use hull_protocol::{AgentMessage, ExitStatus, FailureKind, File, HostMessage, Mount, Process, WindowSize};
use support::{Guest, possible, shell};

const ALL: &[&str] = &["stdin", "stdout", "stderr"];

fn exited(process_id: u32, status: ExitStatus) -> AgentMessage {
    AgentMessage::Exited { process_id, status, oom_killed: false }
}

#[test]
fn a_container_is_what_docker_makes_of_it() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let mut container = guest.container("a1");
    container.files = vec![
        File { path: "/etc/hosts".to_owned(), content: "1.2.3.4 there\n".to_owned() },
        File { path: "/dangling".to_owned(), content: "found\n".to_owned() },
    ];
    container.mounts = vec![Mount {
        kind: "tmpfs".to_owned(),
        destination: "/new/tmp".to_owned(),
        options: vec!["size=1m".to_owned(), "noexec".to_owned()],
        ..Mount::default()
    }];
    let script = "
        echo pid $$ host $(hostname) $(cat /marker) up $(ls /up | grep -c bin)
        cat /etc/hosts /dangling; pwd; echo home $HOME
        grep -c . /proc/mounts; grep ' /new/tmp ' /proc/mounts; grep hull /proc/mounts
        grep Cap /proc/self/status; ls /dev; ls -l /proc/self/fd | grep -c -v pipe
        echo x > /proc/sys/kernel/hostname || echo locked; wc -c < /proc/kcore
        ip addr show lo | grep -c LOOPBACK,UP; cat /proc/self/cgroup; umask; echo out of here >&2; exit 3";
    let process = Process { cwd: "/work/dir".to_owned(), ..shell(script) };
    let mut ends = guest.run(1, container, process, ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    let (output, errors) = (ends.output(), ends.errors());
    println!("{output}\n{errors}");
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Code(3)));
    for line in [
        "pid 1 host box top up 1",
        "1.2.3.4 there",
        "found",
        "/work/dir",
        "home /root",
        "locked",
        "0::/",
        "0022",
    ] {
        assert!(output.lines().any(|have| have == line), "{line:?} in\n{output}");
    }
    assert!(output.contains("CapEff:\t00000000a80425fb") && output.contains("CapPrm:\t00000000a80425fb"));
    assert!(!output.contains(".hull"));
    assert!(errors.ends_with("out of here\n"), "{errors}");
}

#[test]
fn what_cannot_be_started_is_explained() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let mut id = 0;
    let mut refuse = |process: Process, kind: FailureKind, words: &str| {
        id += 1;
        let container = guest.container("b1");
        let failed = guest.run(id, container, process, ALL).err().expect(words);
        let AgentMessage::Failed { kind: told, message, .. } = failed else { panic!("{failed:?}") };
        assert_eq!((told, message.contains(words)), (kind, true), "{message:?} has {words:?}");
    };
    let command = |command: &str| Process { args: vec![command.to_owned()], ..shell("") };
    refuse(command("nope"), FailureKind::NotFound, "exec: \"nope\": executable file not found in $PATH");
    refuse(command("/nope"), FailureKind::NotFound, "exec: \"/nope\": stat /nope: no such file or directory");
    refuse(command("/etc/passwd"), FailureKind::NotExecutable, "permission denied");
    refuse(command("/etc"), FailureKind::NotExecutable, "is a directory");
    refuse(command("/script"), FailureKind::NotFound, "exec /script: no such file or directory");
    refuse(command("/rubbish"), FailureKind::NotExecutable, "exec format error");
    refuse(Process { user: "who".to_owned(), ..shell("") }, FailureKind::Invalid, "unable to find user who");
    refuse(Process { cwd: "/etc/passwd".to_owned(), ..shell("") }, FailureKind::Invalid, "not a directory");
    refuse(Process { args: Vec::new(), ..shell("") }, FailureKind::Invalid, "no command");
    refuse(Process { cwd: "/descriptors/3".to_owned(), ..shell("") }, FailureKind::Invalid, "/descriptors/3");

    let mut container = guest.container("b2");
    container.layers[0] = hull_protocol::Extent { offset: 0, length: 4096 };
    let failed = guest.run(90, container, shell(""), ALL).err().unwrap();
    assert!(
        matches!(&failed, AgentMessage::Failed { message, .. } if message.contains("cannot mount the layer")),
        "{failed:?}"
    );
    let mut container = guest.container("b3");
    container.layers[0].offset = 1 << 40;
    assert!(guest.run(91, container, shell(""), ALL).is_err());
    let mut container = guest.container("b4");
    container.sysctls.push(("kernel.panic".to_owned(), "1".to_owned()));
    let failed = guest.run(92, container, shell(""), ALL).err().unwrap();
    assert!(
        matches!(&failed, AgentMessage::Failed { message, .. } if message.contains("kernel.panic")),
        "{failed:?}"
    );

    // After all of that the next one runs.
    let container = guest.container("b1");
    let mut ends =
        guest.run(99, container, shell("echo fine"), ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(ends.output(), "fine\n");
    assert_eq!(guest.await_exit(99), exited(99, ExitStatus::Code(0)));
}

#[test]
fn bytes_go_through_unchanged_and_stop_when_nobody_reads() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let container = guest.container("c1");
    let mut ends = guest.run(1, container, shell("cat"), ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut stdin = ends.stdin.take().unwrap();
    let sent: Vec<u8> = (0u32..5_000_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent).unwrap()
    });
    // Long enough for every buffer between to be full.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!writer.is_finished());
    let mut received = Vec::new();
    ends.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Code(0)));
}

#[test]
fn a_terminal_is_one() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let container = guest.container("d1");
    let process = Process {
        terminal: Some(WindowSize { columns: 91, rows: 17 }),
        ..shell(
            "stty size; tty; ls -l /dev/console | cut -c 1; read line; stty size; echo got $line; (echo asleep; exec sleep 100); exit 5",
        )
    };
    let mut ends =
        guest.run(1, container, process, &["stdin", "stdout"]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let (mut stdin, mut stdout) = (ends.stdin.take().unwrap(), ends.stdout.take().unwrap());
    let mut output = String::new();
    let mut expect = |words: &str| {
        while !output.contains(words) {
            let mut bytes = [0; 512];
            let count = stdout.read(&mut bytes).unwrap();
            assert!(count > 0, "{output:?}");
            output.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    expect("17 91\r\n");
    expect("/dev/pts/0\r\nc\r\n");
    guest.send(&HostMessage::Resize { process_id: 1, size: WindowSize { columns: 40, rows: 10 } });
    // A second process, so that the resize is behind us.
    let mut other = guest
        .exec(2, 1, shell("echo second $$; tty"), &["stdout"])
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    assert!(other.output().starts_with("second "));
    assert_eq!(guest.await_exit(2), exited(2, ExitStatus::Code(1)));
    stdin.write_all(b"hello\n").unwrap();
    expect("10 40\r\n");
    // The first process itself ignores Ctrl-C: the one to be interrupted must be there.
    expect("got hello\r\nasleep\r\n");
    stdin.write_all(b"\x03").unwrap();
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Code(130)));
}

#[test]
fn further_processes_are_in_the_container() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let container = guest.container("e1");
    let script = "echo made > /tmpfile; mkdir /w; echo ready; exec sleep 100";
    let mut first =
        guest.run(1, container, shell(script), &["stdout"]).unwrap_or_else(|failed| panic!("{failed:?}"));
    // Started is not finished: what the others find there is there from here on.
    let mut ready = [0; 6];
    first.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let script = "cat /tmpfile; hostname; id; pwd; cat /proc/self/cgroup | tail -1; ls /proc/self/fd | wc -l; echo $HOME; echo oops > /dev/stderr";
    let process = Process { user: "web".to_owned(), cwd: "/w".to_owned(), ..shell(script) };
    let mut ends = guest.exec(2, 1, process, ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(
        ends.output(),
        "made\nbox\nuid=33(web) gid=34(www) groups=29(audio),34(www)\n/w\n0::/\n4\n/home/web\n"
    );
    assert_eq!(ends.errors(), "oops\n");
    assert_eq!(guest.await_exit(2), exited(2, ExitStatus::Code(0)));

    let failed = guest.exec(3, 1, Process { cwd: "/none".to_owned(), ..shell("") }, ALL).err().unwrap();
    assert!(matches!(failed, AgentMessage::Failed { kind: FailureKind::Invalid, .. }));
    let failed = guest.exec(4, 99, shell(""), ALL).err().unwrap();
    assert!(
        matches!(&failed, AgentMessage::Failed { message, .. } if message.contains("not running")),
        "{failed:?}"
    );

    let process = Process { terminal: Some(WindowSize { columns: 80, rows: 24 }), ..shell("tty; sleep 100") };
    let mut ends =
        guest.exec(5, 1, process, &["stdin", "stdout"]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut bytes = [0; 12];
    ends.stdout.as_mut().unwrap().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"/dev/pts/0\r\n");
    // The end of the first process is the end of all.
    guest.send(&HostMessage::Signal { process_id: 1, signal: 15 });
    guest.send(&HostMessage::Signal { process_id: 1, signal: 9 });
    assert_eq!(guest.await_exit(5), exited(5, ExitStatus::Signal(9)));
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Signal(9)));
    // The same container again, with what it wrote.
    let container = guest.container("e1");
    let mut ends =
        guest.run(6, container, shell("cat /tmpfile"), ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(ends.output(), "made\n");
}

#[test]
fn an_init_forwards_signals_and_gives_the_exit_code() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let container = guest.container("f1");
    let script = "trap 'echo told; exit 7' TERM; (sleep 0.1 & ); echo pid $$; cat /proc/1/comm; while :; do sleep 0.05; done";
    let process = Process { init: true, ..shell(script) };
    let mut ends =
        guest.run(1, container, process, &["stdout"]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut bytes = [0; 64];
    let mut stdout = ends.stdout.take().unwrap();
    let mut output = String::new();
    while !output.contains("hull-init") {
        let count = stdout.read(&mut bytes).unwrap();
        assert!(count > 0, "{output}");
        output.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(output.starts_with("pid 2\n"), "{output}");
    guest.send(&HostMessage::Signal { process_id: 1, signal: 15 });
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Code(7)));
    let container = guest.container("f2");
    let process = Process { init: true, args: vec!["nope".to_owned()], ..shell("") };
    guest.run(2, container, process, &[]).unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(guest.await_exit(2), exited(2, ExitStatus::Code(127)));
}

#[test]
fn users_read_only_roots_and_filters() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let mut container = guest.container("1a");
    container.read_only = true;
    container.mounts =
        vec![Mount { kind: "tmpfs".to_owned(), destination: "/scratch/here".to_owned(), ..Mount::default() }];
    // Allow everything but mkdir, which gets EPERM: load the number, compare with 83.
    let seccomp = [(0x20, 0, 0, 0), (0x15, 0, 1, 83), (0x06, 0, 0, 0x0005_0001), (0x06, 0, 0, 0x7fff_0000)];
    let pack = |(code, yes, no, k): (u64, u64, u64, u64)| code << 48 | yes << 40 | no << 32 | k;
    let script = "id; touch /x 2>&1; echo ok > /scratch/here/x; cat /scratch/here/x; mkdir /scratch/here/d 2>&1; grep -E 'Cap(Eff|Bnd)|NoNew|Seccomp:' /proc/self/status; echo also > /dev/stdout; ulimit -n";
    let process = Process {
        user: "1000:34".to_owned(),
        seccomp: seccomp.map(pack).to_vec(),
        rlimits: vec![hull_protocol::Rlimit { resource: 7, soft: 123, hard: 456 }],
        no_new_privileges: true,
        ..shell(script)
    };
    let mut ends = guest.run(1, container, process, ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    let output = ends.output();
    for line in [
        "uid=1000 gid=34(www) groups=34(www)",
        "touch: /x: Read-only file system",
        "ok",
        "mkdir: can't create directory '/scratch/here/d': Operation not permitted",
        "CapEff:\t0000000000000000",
        "CapBnd:\t00000000a80425fb",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "also",
        "123",
    ] {
        assert!(output.lines().any(|have| have == line), "{line:?} in\n{output}");
    }
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Code(0)));

    let mut container = guest.container("1b");
    container.privileged = true;
    container.masked_paths.clear();
    container.read_only_paths.clear();
    let process = Process {
        capabilities: u64::MAX,
        ..shell("ls /dev | grep -c loop; mount -t tmpfs t /bin/.. && grep -c sysfs.rw /proc/mounts")
    };
    let mut ends = guest.run(2, container, process, ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
    let (output, errors) = (ends.output(), ends.errors());
    assert!(output.lines().next().unwrap().parse::<u32>().unwrap() > 3, "{output} {errors}");
    guest.await_exit(2);
}

#[test]
fn a_shutdown_ends_everything_and_rubbish_is_fatal() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let container = guest.container("2a");
    let mut ends = guest
        .run(1, container, shell("trap '' TERM; echo up; sleep 100 & wait"), ALL)
        .unwrap_or_else(|failed| panic!("{failed:?}"));
    let mut byte = [0];
    ends.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    guest.send(&HostMessage::Shutdown);
    assert_eq!(guest.await_exit(1), exited(1, ExitStatus::Signal(9)));
    let stopped = guest.receive();
    assert_eq!(stopped, AgentMessage::Stopped { reason: "shutdown".to_owned() });
    drop(guest);

    let mut guest = Guest::boot();
    guest.send_bytes(&u32::MAX.to_le_bytes());
    let fatal = guest.receive();
    assert!(
        matches!(&fatal, AgentMessage::Fatal { message } if message.contains("4294967295 bytes")),
        "{fatal:?}"
    );
    assert!(guest.has_ended());
    let mut guest = Guest::boot();
    guest.send_bytes(b"\x02\0\0\0{}");
    assert!(matches!(guest.receive(), AgentMessage::Fatal { .. }));
    assert!(guest.has_ended());
}

#[test]
fn a_user_namespace_shifts_ids_and_shows_files_as_ever() {
    if !possible() {
        return;
    }
    let mut guest = Guest::boot();
    let script = "cat /proc/self/uid_map; stat -c '%u %g %a' /bin/busybox /etc/passwd; id; touch /mine; stat -c %u /mine
        echo also > /dev/stdout; grep CapEff /proc/self/status; ls -l /dev/null | cut -c 1-10; echo > /dev/null
        mount -t tmpfs t /mnt || echo no; hostname; cat /etc/hosts; ulimit -n; mknod /x b 1 1 || echo no devices";
    let process = Process {
        capabilities: 0xa804_25fb | 1 << 21,
        rlimits: vec![hull_protocol::Rlimit { resource: 7, soft: 12_345, hard: 12_345 }],
        ..shell(script)
    };
    for round in 0..2 {
        let mut container = guest.container("ab");
        container.user_namespace = true;
        container.sysctls.remove(0);
        container.files = vec![File { path: "/etc/hosts".to_owned(), content: "there\n".to_owned() }];
        let mut ends =
            guest.run(round, container, process.clone(), ALL).unwrap_or_else(|failed| panic!("{failed:?}"));
        let (output, errors) = (ends.output(), ends.errors());
        let mut lines = output.lines();
        let map: Vec<u32> = lines.next().unwrap().split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(map[0] == 0 && map[1] >= 65536 && map[2] == 65536, "{map:?}");
        let rest: Vec<_> = lines.collect();
        assert_eq!(
            rest,
            [
                "0 0 755",
                "0 0 644",
                "uid=0(root) gid=0(root) groups=0(root)",
                "0",
                "also",
                "CapEff:\t00000000a82425fb",
                "crw-rw-rw-",
                "no",
                "box",
                "there",
                "12345",
                "no devices"
            ],
            "{errors}"
        );
        assert_eq!(guest.await_exit(round), exited(round, ExitStatus::Code(0)));
    }
    let mut container = guest.container("cd");
    container.user_namespace = true;
    container.read_only = true;
    container.sysctls.remove(0);
    guest.run(10, container, shell("exec sleep 100"), &[]).unwrap_or_else(|failed| panic!("{failed:?}"));
    let process = Process {
        user: "web".to_owned(),
        terminal: Some(WindowSize { columns: 80, rows: 24 }),
        ..shell("id; tty; echo > /dev/tty; echo fine > /dev/stdout; touch /x 2>&1 | grep -c Read-only")
    };
    let mut ends =
        guest.exec(11, 10, process, &["stdin", "stdout"]).unwrap_or_else(|failed| panic!("{failed:?}"));
    assert_eq!(
        ends.output(),
        "uid=33(web) gid=34(www) groups=29(audio),34(www)\r\n/dev/pts/0\r\n\r\nfine\r\n1\r\n"
    );
    assert_eq!(guest.await_exit(11), exited(11, ExitStatus::Code(0)));
}
