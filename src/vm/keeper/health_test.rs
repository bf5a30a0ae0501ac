use super::*;

fn result(exit_code: i16) -> CheckResult {
    CheckResult { start: String::new(), end: String::new(), exit_code, output: String::new() }
}

#[test]
fn health_is_what_the_last_checks_say() {
    let mut health = Health::default();
    let mut take = |code, early| {
        health.take(result(code), 2, early);
        (health.status, health.failing_streak)
    };
    use HealthStatus::{Healthy, Starting, Unhealthy};
    assert_eq!(take(1, true), (Starting, 0));
    assert_eq!(take(1, false), (Starting, 1));
    assert_eq!(take(0, false), (Healthy, 0));
    // Once it was healthy failures count, also in the start period.
    assert_eq!(take(1, true), (Healthy, 1));
    assert_eq!(take(-1, false), (Unhealthy, 2));
    assert_eq!(take(137, false), (Unhealthy, 3));
    assert_eq!(take(0, false), (Healthy, 0));
    assert_eq!(health.log.len(), MOST_RESULTS);
    let json = serde_json::to_string(&health).unwrap();
    assert!(json.starts_with(r#"{"Status":"healthy","FailingStreak":0,"Log":[{"Start":"#), "{json}");
}

#[test]
fn the_first_check_is_an_interval_after_the_start() {
    assert_eq!(Watch::new(None).deadline(), None);
    let second = Duration::from_secs(1);
    let check = Check {
        process: Process::default(),
        interval: 100 * second,
        timeout: second,
        start_period: 1000 * second,
        start_interval: 5 * second,
        retries: 3,
    };
    let mut watch = Watch::new(Some(check));
    assert_eq!(watch.deadline(), None);
    watch.begun = Some(Instant::now());
    watch.rest();
    let wait = |watch: &Watch| watch.deadline().unwrap() - Instant::now();
    assert!(wait(&watch) <= 5 * second);
    watch.health.status = HealthStatus::Healthy;
    watch.rest();
    assert!(wait(&watch) > 90 * second);
}
