use super::*;

#[test]
fn rates_are_read() {
    let rate = |out, into| Ok(Rate { out, into });
    assert_eq!("10mbit".parse(), rate(Some(1_250_000), Some(1_250_000)));
    assert_eq!("in=1Gbit,out=500kbit".parse(), rate(Some(62_500), Some(125_000_000)));
    assert_eq!("out=16kbit".parse(), rate(Some(2000), None));
    for wrong in [
        "",
        "10",
        "10mb",
        "-1mbit",
        "1.5mbit",
        "up=1mbit",
        "in=",
        "15kbit",
        "99999999999999999gbit",
        "1mbit,",
        "1mbit,out=1mbit",
        "in=1mbit,in=2mbit",
    ] {
        assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
    }
}

#[test]
fn rates_are_shown_as_they_were_asked_for() {
    for text in ["10mbit", "in=1gbit,out=500kbit", "out=16kbit", "in=1500mbit", "17kbit"] {
        assert_eq!(text.parse::<Rate>().map(|rate| rate.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn so_much_passes_and_no_more() {
    let start = Instant::now() + Duration::from_secs(10);
    let mut bucket = Bucket::new(1000, start - Duration::from_secs(5));
    let (mut now, mut passed) = (start, 0);
    while now < start + Duration::from_secs(10) {
        match bucket.waits(now) {
            None => {
                bucket.take(100, now);
                passed += 100;
            }
            Some(until) => now = until,
        }
    }
    // A burst, and the last which began before the end.
    assert!((10_000..=10_200).contains(&passed), "{passed}");
}

#[test]
fn what_was_not_used_is_not_kept_for_long() {
    let start = Instant::now() + Duration::from_secs(10);
    let mut bucket = Bucket::new(1_000_000, start);
    let later = start + Duration::from_secs(3600);
    bucket.take(60_000, later);
    assert_eq!(bucket.waits(later), Some(later + Duration::from_millis(10)));
}
