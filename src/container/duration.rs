//! How long ago, in Docker's words.

/// A time of this many seconds: `Less than a second`, `About a minute`, `3 hours`.
pub fn human(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, (seconds + 1800) / 3600, seconds / 86_400);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{days} days"),
        _ if hours < 24 * 60 => format!("{} weeks", days / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    }
}

/// Seconds since a time as [`crate::vm::timestamp::now`] writes it; 0 for one in the future, as after a clock was set
/// back, and for what is no time.
pub fn seconds_since(time: &str) -> u64 {
    let Ok(time) = time.parse::<jiff::Timestamp>() else { return 0 };
    u64::try_from(jiff::Timestamp::now().as_second() - time.as_second()).unwrap_or(0)
}

#[cfg(test)]
#[path = "duration_test.rs"]
mod tests;
