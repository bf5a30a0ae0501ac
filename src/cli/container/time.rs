//! Times on the command line.

/// A time, seconds since 1970, or a duration until now.
///
/// # Errors
/// When it is none of these.
pub fn parse_time(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time);
    }
    if let Some(time) = since_1970(text) {
        return Ok(time);
    }
    // Without a zone it is the user's.
    let local = text.parse::<jiff::civil::DateTime>().ok();
    if let Some(time) = local.and_then(|time| time.to_zoned(jiff::tz::TimeZone::system()).ok()) {
        return Ok(time.timestamp());
    }
    let ago = humantime::parse_duration(text)
        .map_err(|_| "write a time such as 2026-11-22T07:32:01Z, or a duration such as 10m".to_owned())?;
    let ago = jiff::SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

/// Seconds since 1970, with up to nine digits behind the point.
fn since_1970(text: &str) -> Option<jiff::Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanoseconds = match fraction.len() {
        0 => 0,
        1..=9 if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{fraction:0<9}").parse().ok()?
        }
        _ => return None,
    };
    jiff::Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn times_are_those_of_docker() {
        let time = |text: &str| parse_time(text).map(|time| time.to_string());
        assert_eq!(time("2026-11-22T07:32:01Z").unwrap(), "2026-11-22T07:32:01Z");
        assert_eq!(time("1136073600").unwrap(), "2006-01-01T00:00:00Z");
        assert_eq!(time("1136073600.5").unwrap(), "2006-01-01T00:00:00.5Z");
        for text in ["10m", "1h30m", "2026-11-22", "2026-11-22T07:32:01"] {
            assert!(time(text).is_ok(), "{text}");
        }
        for text in ["", "x", "1.2.3", "1.0000000001", "10 parsecs"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
