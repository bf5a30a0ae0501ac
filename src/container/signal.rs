//! Signals by name, as Linux on x86_64 numbers them.

use hull_protocol::Signal;

use super::error::{Error, Result};

/// From number 1 on.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// First and last real-time signal, as the C library counts them.
const REAL_TIME: (u8, u8) = (34, 64);

/// SIGTERM.
pub const TERM: Signal = 15;
/// SIGKILL.
pub const KILL: Signal = 9;

/// A signal by name (with or without `SIG`, in any case) or number.
///
/// # Errors
/// When there is no such signal.
pub fn parse(text: &str) -> Result<Signal> {
    known(text).ok_or_else(|| Error::Invalid(format!("invalid signal: {text}")))
}

fn known(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Some(index as u8 + 1);
    }
    let offset = |rest: &str, sign: char| match rest.strip_prefix(sign).unwrap_or(rest) {
        "" => Some(0),
        digits => digits.parse::<u8>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        REAL_TIME.0.checked_add(offset(rest, '+')?)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        REAL_TIME.1.checked_sub(offset(rest, '-')?)?
    } else {
        return match name {
            "IOT" => Some(6),
            "CLD" => Some(17),
            "POLL" => Some(29),
            _ => None,
        };
    };
    (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
}

/// The name of a signal, as `SIGTERM`.
pub fn name(signal: Signal) -> String {
    match usize::from(signal).checked_sub(1).and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => signal.to_string(),
    }
}

#[cfg(test)]
#[path = "signal_test.rs"]
mod tests;
