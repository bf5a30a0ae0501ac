//! Times on the command line.

/// A time, seconds since 1970, or a duration until now.
///
/// # Errors
/// When it is none of these.
pub fn parse_time(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return jiff::Timestamp::from_second(seconds).map_err(|error| error.to_string());
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "write a time such as 2026-11-22T07:32:01Z, or a duration such as 10m".to_owned())?;
    let ago = jiff::SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}
