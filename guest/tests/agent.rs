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
    for line in ["pid 1 host box top up 1", "1.2.3.4 there", "found", "/work/dir", "home /root", "locked", "0::/", "0022"] {
        assert!(output.lines().any(|have| have == line), "{line:?} in\n{output}");
    }
    assert!(output.contains("CapEff:\t00000000a80425fb") && output.contains("CapPrm:\t00000000a80425fb"));
    assert!(!output.contains(".hull"));
    assert!(errors.ends_with("out of here\n"), "{errors}");
}
