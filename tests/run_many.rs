//! Many containers, at once and one after another: each its own output, and nothing left of any.

mod common;

use std::process::{Child, Stdio};

use common::printed::Printed;
use common::{Home, code, soak};

fn begin(home: &Home, number: usize) -> (Child, Printed) {
    let script = format!("hostname; echo {number} > /file; cat /file; exit {}", number % 100);
    let host = format!("box{number}");
    let mut command = home.hull(&["run", "--rm", "--hostname", &host, "busybox", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("hull");
    let printed = Printed::of(child.stdout.take().expect("its output"));
    (child, printed)
}

fn end(number: usize, (mut child, printed): (Child, Printed)) {
    assert_eq!(printed.rest(), format!("box{number}\n{number}\n"));
    assert_eq!(code(&mut child), Some((number % 100) as i32));
}

#[test]
fn containers_at_once_and_one_after_another() {
    let Some(home) = Home::with_busybox("containers_at_once_and_one_after_another") else { return };
    let (at_once, in_turn) = if soak() { (20, 1000) } else { (3, 2) };
    let all: Vec<_> = (0..at_once).map(|number| begin(&home, number)).collect();
    for (number, one) in all.into_iter().enumerate() {
        end(number, one);
    }
    home.nothing_is_left("containers at once");
    for number in 0..in_turn {
        end(number, begin(&home, number));
        home.nothing_is_left("one container of many");
    }
}
