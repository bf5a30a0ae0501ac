use super::*;

#[test]
fn durations_in_docker_s_words() {
    let (minute, hour, day) = (60, 3600, 86_400);
    for (seconds, text) in [
        (0, "Less than a second"),
        (1, "1 second"),
        (45, "45 seconds"),
        (minute, "About a minute"),
        (3 * minute, "3 minutes"),
        (hour, "About an hour"),
        (90 * minute, "2 hours"),
        (20 * hour, "20 hours"),
        (47 * hour, "47 hours"),
        (2 * day, "2 days"),
        (13 * day, "13 days"),
        (15 * day, "2 weeks"),
        (70 * day, "2 months"),
        (800 * day, "2 years"),
    ] {
        assert_eq!(human(seconds), text);
    }
}

#[test]
fn a_clock_that_was_set_back_shows_no_nonsense() {
    assert_eq!(seconds_since("2999-01-01T00:00:00.000000000Z"), 0);
    assert_eq!(seconds_since("rubbish"), 0);
    assert!(seconds_since("2020-01-01T00:00:00Z") > 0);
}
