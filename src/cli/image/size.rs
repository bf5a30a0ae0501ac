//! Sizes as Docker writes them: decimal units, three digits.

/// `bytes` in the largest unit that leaves a whole number: `512B`, `4.26MB`, `175MB`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What three digits would show as 1000 belongs to the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    let mut text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

#[cfg(test)]
mod tests {
    #[test]
    fn three_digits_are_shown() {
        let cases = [
            (0, "0B"),
            (512, "512B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (99_960, "100kB"),
            (4_260_000, "4.26MB"),
            (175_300_000, "175MB"),
            (999_900_000, "1GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(super::human(bytes), text);
        }
    }
}
