//! `hull exec`: further processes in a container that runs.

mod common;

use std::io::Write;
use std::process::Stdio;

use common::printed::Printed;
use common::pty::Terminal;
use common::{Home, code, eventually};

/// A container in which nothing happens.
fn idle(home: &Home) {
    home.ok(&["run", "-d", "--name", "box", "-e", "A=1", "-w", "/srv", "busybox", "sleep", "100000"]);
}

#[test]
fn a_command_runs_in_a_container() {
    let Some(home) = Home::with_busybox("a_command_runs_in_a_container") else { return };
    let errors = home.fails(1, &["exec", "box", "ls"]);
    assert!(errors.contains("No such container: box"), "{errors}");
    idle(&home);

    // What it has of the container, and what is its own.
    let script =
        "echo $A $B; pwd; id -u; ps -o pid,args | head -2 | tail -1; echo oops >&2; touch /made; exit 7";
    let told = home.run(&["exec", "-e", "B=2", "box", "sh", "-c", script]);
    assert_eq!(told.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&told.stdout), "1 2\n/srv\n0\n    1 sleep 100000\n");
    assert_eq!(String::from_utf8_lossy(&told.stderr), "oops\n");
    let told =
        home.ok(&["exec", "-u", "33:44", "-w", "/tmp", "box", "sh", "-c", "id -u; id -g; pwd; ls /made"]);
    assert_eq!(told, "33\n44\n/tmp\n/made\n");
    // Nothing of it is in the container's log.
    assert_eq!(home.ok(&["logs", "box"]), "");

    // Input, more than any pipe holds, and its end.
    let mut child = home.hull(&["exec", "-i", "box", "md5sum"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("hull");
    let printed = Printed::of(child.stdout.take().expect("its output"));
    let mut input = child.stdin.take().expect("its input");
    input.write_all(&vec![b'x'; 300_000]).expect("a reader");
    drop(input);
    printed.expect("d408ed46ebcc326f9e7c6bb9c77af1cd  -\n");
    assert_eq!(code(&mut child), Some(0));

    for (wanted, command) in [(127, "nothing"), (126, "/etc"), (126, "/etc/passwd")] {
        home.fails(wanted, &["exec", "box", command]);
    }
    let errors = home.fails(126, &["exec", "-w", "/none", "box", "ls"]);
    assert!(errors.contains("/none"), "{errors}");
    assert!(home.fails(126, &["exec", "-u", "nobody-here", "box", "ls"]).contains("nobody-here"));
    assert_eq!(home.ok(&["exec", "--privileged", "box", "grep", "CapEff", "/proc/self/status"]).len(), 25);

    // One that nobody waits for, and one whose front end is killed: both go on, and end with the container.
    home.ok(&["exec", "-d", "box", "sh", "-c", "echo $$ > /left; exec sleep 1000"]);
    let mut waiting = home.hull(&["exec", "box", "sh", "-c", "echo up; exec sleep 2000"]);
    let mut waiting = waiting.stdout(Stdio::piped()).spawn().expect("hull");
    Printed::of(waiting.stdout.take().expect("its output")).expect("up\n");
    waiting.kill().expect("a front end");
    waiting.wait().expect("a front end");
    let processes = home.ok(&["exec", "box", "ps", "-o", "args"]);
    assert!(processes.contains("sleep 1000") && processes.contains("sleep 2000"), "{processes}");
    let errors = home.fails(1, &["checkpoint", "create", "box", "one"]);
    assert!(errors.contains("hull exec"), "{errors}");

    let mut last = home.hull(&["exec", "box", "sh", "-c", "echo up; exec sleep 3000"]);
    let mut last = last.stdout(Stdio::piped()).spawn().expect("hull");
    let printed = Printed::of(last.stdout.take().expect("its output"));
    printed.expect("up\n");
    home.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(code(&mut last), Some(137));
    let errors = home.fails(1, &["exec", "box", "ls"]);
    assert!(errors.contains("is not running"), "{errors}");
    home.ok(&["rm", "box"]);
    home.nothing_is_left("commands in a container");
}

#[test]
fn a_shell_in_a_container() {
    let Some(home) = Home::with_busybox("a_shell_in_a_container") else { return };
    idle(&home);
    let errors = home.fails(1, &["exec", "-it", "box", "sh"]);
    assert!(errors.contains("the input device is not a TTY"), "{errors}");
    let mut terminal = Terminal::start(home.hull(&["exec", "-it", "box", "sh"]));
    terminal.expect("/srv # ");
    assert!(!terminal.is_cooked());
    terminal.type_in("stty size; echo $TERM\r");
    terminal.expect("24 80\r\nxterm\r\n");
    terminal.resize(100, 30);
    terminal.type_in("until [ \"$(stty size)\" = '30 100' ]; do :; done; echo re''sized\r");
    terminal.expect("resized\r\n");
    terminal.type_in("(echo a''sleep; exec sleep 1000)\r");
    terminal.expect("asleep\r\n");
    terminal.type_in("\x03");
    terminal.type_in("exit 5\r");
    assert_eq!(code(&mut terminal.child), Some(5));
    assert!(terminal.is_cooked());

    // The detach keys leave it, and it goes on.
    let mut terminal = Terminal::start(home.hull(&["exec", "-it", "box", "sh", "-c", "echo up; sleep 1000"]));
    terminal.expect("up\r\n");
    terminal.type_in("\x10\x11");
    assert_eq!(code(&mut terminal.child), Some(0));
    assert!(terminal.is_cooked());
    assert!(home.ok(&["exec", "box", "ps"]).contains("sleep 1000"));

    // One whose front end is killed gets its terminal back.
    let mut terminal = Terminal::start(home.hull(&["exec", "-it", "box", "sh"]));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    terminal.child.kill().expect("a front end");
    terminal.child.wait().expect("hull");
    eventually("the terminal to be put back", || terminal.is_cooked());
    home.ok(&["rm", "-f", "box"]);
    home.nothing_is_left("a shell in a container");
}
