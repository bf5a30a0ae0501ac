use super::*;

#[test]
fn times_agree_with_a_calendar_library() {
    let mut formatter = Formatter::default();
    for day in 0..60_000u64 {
        let seconds = day * 86_400 + (day * 7919) % 86_400;
        let time = UNIX_EPOCH + Duration::new(seconds, (day % 1000) as u32 * 1_000_003 % 1_000_000_000);
        let text = std::str::from_utf8(formatter.format(time)).unwrap().to_owned();
        let parsed: jiff::Timestamp = text.parse().unwrap();
        assert_eq!(SystemTime::from(parsed), time, "{text}");
    }
}
