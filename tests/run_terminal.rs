//! `hull run -it` on a terminal.

mod common;

use common::pty::Terminal;
use common::{Home, eventually};
use rustix::process::{Pid, Signal, kill_process};

fn shell(home: &Home, name: &str) -> Terminal {
    let mut terminal = Terminal::start(home.hull(&["run", "-it", "--name", name, "busybox", "sh"]));
    terminal.expect("/ # ");
    terminal.type_in("PS1='> '\r");
    terminal.expect("\n> ");
    terminal
}

#[test]
fn a_shell_on_a_terminal() {
    let Some(home) = Home::with_busybox("a_shell_on_a_terminal") else { return };
    let mut terminal = shell(&home, "tty");
    assert!(!terminal.is_cooked());
    terminal.type_in("tty; stty size\r");
    terminal.expect("/dev/pts/0");
    terminal.expect("24 80");
    // A wrong letter is taken back; what was typed is echoed by the shell in the container.
    terminal.type_in("echo wrang\x7f\x7f\x7fong\r");
    terminal.expect("\r\nwrong\r\n");
    terminal.resize(100, 30);
    terminal.type_in("sleep 1; stty size\r");
    terminal.expect("30 100");
    // Ctrl-C ends the command, not the shell and not hull.
    terminal.type_in("sleep 1000\r");
    terminal.expect("sleep 1000\r\n");
    terminal.type_in("\x03");
    terminal.type_in("echo code $?\r");
    terminal.expect("\r\ncode 130\r\n");
    terminal.type_in("cat; exit 4\r");
    terminal.expect("exit 4\r\n");
    terminal.type_in("line\r");
    terminal.expect("line\r\nline\r\n");
    // Ctrl-D ends the input of `cat`.
    terminal.type_in("\x04");
    assert_eq!(terminal.child.wait().expect("hull").code(), Some(4));
    assert!(terminal.is_cooked());
    home.ok(&["rm", "tty"]);
}

#[test]
fn the_terminal_is_put_back_whatever_happens() {
    let Some(home) = Home::with_busybox("the_terminal_is_put_back_whatever_happens") else { return };
    let mut terminal = shell(&home, "left");
    // The detach keys leave the container, which goes on.
    terminal.type_in("\x10\x11");
    assert!(terminal.child.wait().expect("hull").success());
    assert!(terminal.is_cooked());
    assert!(home.ok(&["ps"]).contains("left"));

    // Another front end, which is killed: then the keeper puts the terminal back.
    let mut terminal = Terminal::start(home.hull(&["attach", "left"]));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    terminal.type_in("echo back\r");
    terminal.expect("\r\nback\r\n");
    terminal.child.kill().expect("a front end");
    terminal.child.wait().expect("hull");
    eventually("the terminal to be put back", || terminal.is_cooked());
    assert!(home.ok(&["ps"]).contains("left"));

    // A hang-up ends the front end.
    let mut terminal = Terminal::start(home.hull(&["attach", "--sig-proxy=false", "left"]));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    kill_process(Pid::from_child(&terminal.child), Signal::HUP).expect("a front end");
    assert_eq!(terminal.child.wait().expect("hull").code(), Some(129));
    assert!(terminal.is_cooked());

    // The keeper is killed: the front end says so.
    let mut terminal = Terminal::start(home.hull(&["attach", "left"]));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    let shown = home.ok(&["inspect", "left"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let keeper = shown[0]["State"]["Pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
    kill_process(keeper.expect("a keeper"), Signal::KILL).expect("a keeper");
    assert_ne!(terminal.child.wait().expect("hull").code(), Some(0));
    assert!(terminal.is_cooked());
    terminal.expect("keeper was killed");
    home.await_quiet();
    assert!(home.ok(&["ps", "-a"]).contains("Exited (137)"));
}

#[test]
fn a_terminal_needs_a_terminal() {
    let home = Home::new();
    let errors = home.fails(1, &["run", "-it", "busybox", "sh"]);
    assert!(errors.contains("the input device is not a TTY"), "{errors}");
}
