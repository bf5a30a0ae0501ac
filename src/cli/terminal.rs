//! The front end's own terminal: made raw, and put back whatever happens.

use std::{
    io,
    os::fd::BorrowedFd,
    sync::{Mutex, Once},
};

use hull_protocol::WindowSize;
use rustix::{
    stdio::stdin,
    termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr},
};

/// How the terminal was; also for a panic, which ends the process before anything is dropped.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

static PANIC_HOOK: Once = Once::new();

/// A raw terminal; put back when dropped.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Makes standard input raw.
    ///
    /// # Errors
    /// When it is no terminal.
    pub fn enter() -> io::Result<Self> {
        let saved = tcgetattr(stdin())?;
        let mut raw = saved.clone();
        raw.make_raw();
        PANIC_HOOK.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                previous(panic);
            }));
        });
        if let Ok(mut slot) = SAVED.lock() {
            *slot = Some(saved);
        }
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
    }
}

/// The terminal does not show what is typed, until this is dropped.
pub struct Silence(rustix::termios::Termios);

impl Silence {
    /// Has it show nothing.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn begin() -> io::Result<Self> {
        let saved = tcgetattr(stdin())?;
        let mut silent = saved.clone();
        silent.local_modes.remove(rustix::termios::LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Now, &silent)?;
        Ok(Self(saved))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
        eprintln!();
    }
}

/// Puts the terminal back, if it is raw: for a process that ends without dropping anything.
pub fn restore() {
    // A panic that holds the lock has not changed the terminal.
    if let Ok(mut saved) = SAVED.try_lock()
        && let Some(saved) = saved.take()
    {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &saved);
    }
}

/// Size of the terminal, wherever one is.
pub fn size() -> Option<WindowSize> {
    let of = |descriptor: BorrowedFd<'_>| tcgetwinsize(descriptor).ok();
    of(rustix::stdio::stdout())
        .or_else(|| of(stdin()))
        .filter(|size| size.ws_col > 0 && size.ws_row > 0)
        .map(|size| WindowSize { columns: size.ws_col, rows: size.ws_row })
}

/// Whether standard input is a terminal.
pub fn is_input() -> bool {
    isatty(stdin())
}

/// Warns of what is to be removed and asks whether to go on; what is no clear yes is a no.
///
/// # Errors
/// When the input cannot be read.
pub fn confirm(what: &str) -> io::Result<bool> {
    eprintln!("WARNING! This will remove{what}");
    eprint!("Are you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
