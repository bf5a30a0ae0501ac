//! The time of day as Docker writes it: RFC 3339 in UTC, with nanoseconds.
//!
//! Written by hand for the log: a time-zone library costs more than everything else that is done to a line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time Docker shows for something that has not happened.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now, as `2026-11-22T07:32:01.123456789Z`.
pub fn now() -> String {
    let mut formatter = Formatter::default();
    String::from_utf8_lossy(formatter.format(SystemTime::now())).into_owned()
}

/// Formats times of which most share their second.
#[derive(Debug, Default)]
pub struct Formatter {
    second: Option<u64>,
    text: [u8; 30],
}

impl Formatter {
    /// 30 bytes: `2026-11-22T07:32:01.123456789Z`. A time before 1970 is shown as 1970.
    pub fn format(&mut self, time: SystemTime) -> &[u8] {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.text = *b"0000-00-00T00:00:00.000000000Z";
            let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
            let (year, month, day) = civil(days);
            self.put(0, 4, year);
            self.put(5, 2, month);
            self.put(8, 2, day);
            self.put(11, 2, seconds / 3600);
            self.put(14, 2, seconds / 60 % 60);
            self.put(17, 2, seconds % 60);
        }
        self.put(20, 9, u64::from(since.subsec_nanos()));
        &self.text
    }

    fn put(&mut self, at: usize, digits: usize, mut value: u64) {
        for place in self.text[at..at + digits].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian calendar).
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted in eras of 400 years that begin on a 1 March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[path = "timestamp_test.rs"]
mod tests;
