//! A terminal for a test: hull on one side, the test's keyboard and screen on the other.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::printed::Printed;

/// A program in a terminal.
pub struct Terminal {
    /// The program.
    pub child: Child,
    keyboard: File,
    /// The program's side: kept open, so that what was shown can be read after its end.
    far: OwnedFd,
    screen: Printed,
}

impl Terminal {
    /// Starts a program in a session of its own, with a terminal of 80 by 24.
    pub fn start(mut command: Command) -> Self {
        let near =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&near).expect("grantpt");
        unlockpt(&near).expect("unlockpt");
        let name = ptsname(&near, Vec::new()).expect("ptsname");
        let far = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
            .expect("its end");
        let clone = || far.try_clone().expect("another of it");
        command.stdin(clone()).stdout(clone()).stderr(clone());
        // SAFETY: two system calls between fork and exec, and no allocation.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let keyboard = File::from(near);
        let screen = Printed::of(keyboard.try_clone().expect("another of it"));
        let terminal = Self { child: command.spawn().expect("hull"), keyboard, far, screen };
        terminal.resize(80, 24);
        terminal
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a terminal to type in");
    }

    /// Waits until this is shown, and forgets everything up to it.
    pub fn expect(&self, text: &str) {
        self.screen.expect(text);
    }

    /// Waits until this is shown, gives what was shown before it, and forgets both.
    pub fn until(&self, text: &str) -> String {
        self.screen.until(text)
    }

    /// Changes the terminal's size.
    pub fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.far.as_fd(), size).expect("a new size");
    }

    /// How the terminal is set now.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.far).expect("the terminal's modes")
    }

    /// Whether it is as a new terminal is: lines are edited, keys make signals.
    pub fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        self.modes().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}
