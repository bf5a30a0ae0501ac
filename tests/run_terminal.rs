//! `hull run -it` on a terminal.

mod common;

use common::pty::Terminal;
use common::{Home, code, eventually};
use rustix::process::{Pid, Signal, kill_process};

/// Another front end of the container, which has its terminal.
fn attach(home: &Home, options: &[&str]) -> Terminal {
    let terminal = Terminal::start(home.hull(&[&["attach"], options, &["tty"]].concat()));
    eventually("the terminal to be raw", || !terminal.is_cooked());
    terminal
}

/// One shell for all of it. What is typed is echoed, so what is waited for is written otherwise in the command.
#[test]
fn a_shell_on_a_terminal() {
    let Some(home) = Home::with_busybox("a_shell_on_a_terminal") else { return };
    let mut terminal = Terminal::start(home.hull(&["run", "-it", "--name", "tty", "busybox", "sh"]));
    terminal.expect("/ # ");
    terminal.type_in("PS1='> '\r");
    terminal.expect("\n> ");
    assert!(!terminal.is_cooked());
    terminal.type_in("tty; stty size\r");
    terminal.expect("/dev/pts/0");
    terminal.expect("24 80");
    // A wrong letter is taken back; what was typed is echoed by the shell in the container.
    terminal.type_in("echo wrang\x7f\x7f\x7fong\r");
    terminal.expect("\r\nwrong\r\n");
    terminal.resize(100, 30);
    terminal.type_in("until [ \"$(stty size)\" = '30 100' ]; do :; done; echo re''sized\r");
    terminal.expect("resized\r\n");
    // Ctrl-C ends the command, not the shell and not hull.
    terminal.type_in("(echo a''sleep; exec sleep 1000)\r");
    terminal.expect("asleep\r\n");
    terminal.type_in("\x03");
    terminal.type_in("echo code $?\r");
    terminal.expect("\r\ncode 130\r\n");

    // The detach keys leave the container, which goes on.
    terminal.type_in("\x10\x11");
    assert_eq!(code(&mut terminal.child), Some(0));
    assert!(terminal.is_cooked());
    assert!(home.ok(&["ps"]).contains("tty"));

    // Another front end, which is killed: then the keeper puts the terminal back.
    let mut terminal = attach(&home, &[]);
    terminal.type_in("echo b''ack\r");
    terminal.expect("\r\nback\r\n");
    terminal.child.kill().expect("a front end");
    terminal.child.wait().expect("hull");
    eventually("the terminal to be put back", || terminal.is_cooked());
    assert!(home.ok(&["ps"]).contains("tty"));

    // A hang-up ends the front end.
    let mut terminal = attach(&home, &["--sig-proxy=false"]);
    kill_process(Pid::from_child(&terminal.child), Signal::HUP).expect("a front end");
    assert_eq!(code(&mut terminal.child), Some(129));
    assert!(terminal.is_cooked());

    // Lines are edited by the container's terminal where its program does not; Ctrl-D ends the input of `cat`.
    let mut terminal = attach(&home, &[]);
    terminal.type_in("echo c''at; cat; exit 4\r");
    terminal.expect("\r\ncat\r\n");
    terminal.type_in("lime\x7f\x7fne\r");
    terminal.expect("\r\nline\r\n");
    terminal.type_in("\x04");
    assert_eq!(code(&mut terminal.child), Some(4));
    assert!(terminal.is_cooked());
    assert_eq!(home.ok(&["rm", "tty"]), "tty\n");
    home.nothing_is_left("a terminal");
}

#[test]
fn a_terminal_needs_a_terminal() {
    let home = Home::new();
    let errors = home.fails(1, &["run", "-it", "busybox", "sh"]);
    assert!(errors.contains("the input device is not a TTY"), "{errors}");
}
