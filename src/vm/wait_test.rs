use std::{
    io::{Write, pipe},
    time::Duration,
};

use super::*;

#[test]
fn who_has_something_to_say_is_told_apart_and_time_ends() {
    let (silent, _writer) = pipe().unwrap();
    let (heard, mut writer) = pipe().unwrap();
    writer.write_all(b"x").unwrap();
    let entry = |name, pipe| (name, PollFd::new(pipe, PollFlags::IN));
    let told = wait(vec![entry("silent", &silent), entry("heard", &heard)], None);
    assert_eq!(told, [("heard", PollFlags::IN)]);
    let end = Instant::now() + Duration::from_millis(20);
    assert!(wait(vec![entry("silent", &silent)], Some(end)).is_empty());
    assert!(Instant::now() >= end);
    // One that has passed is not waited for.
    assert!(wait(vec![entry("silent", &silent)], Some(end)).is_empty());
}
