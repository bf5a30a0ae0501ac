//! Snapshots with something wrong in them.

mod common;

use std::fs::{self, File};
use std::time::Duration;

use common::busy::{boot, home, listed, snapshots};
use common::damage::{State, flip};
use common::{Home, soak};
use serde_json::{Value, json};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Lets a VM go on from what may be wrong with a snapshot: it is refused in words, or goes on, or its guest breaks, but
/// hull does not. Whether it was refused.
fn try_restore(home: &Home, what: &str) -> bool {
    let output = home.run(&["vm", "restore", "-d", "--name", "tried", "hurt"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{what}: {errors}");
    if !output.status.success() {
        assert!(output.status.code() == Some(1) && errors.starts_with("hull: "), "{what}: {errors}");
        return true;
    }
    std::thread::sleep(Duration::from_millis(200));
    home.run(&["vm", "stop", "tried"]);
    let vm = listed(home, "tried").expect("the VM");
    let reason = vm["Reason"].as_str().expect("a reason");
    assert!(!reason.contains("without a word") && !reason.contains("keeper"), "{what}: {reason}");
    home.ok(&["vm", "rm", "tried"]);
    false
}

#[test]
fn whatever_is_wrong_with_a_snapshot_is_refused_or_contained() {
    let Some(home) = home("whatever_is_wrong_with_a_snapshot_is_refused_or_contained") else { return };
    boot(&home);
    home.ok(&["vm", "snapshot", "--stop", "busy", "hurt"]);
    let folder = snapshots(&home).join("hurt");
    let (vm, about) = (folder.join("vm"), folder.join("about"));
    let pristine = State::read(&vm);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);

    // A bit anywhere: in the header, the state, the memory, what is known of it, the copy of the disk.
    let count = if soak() { 1000 } else { 40 };
    for _ in 0..count {
        let header = 60;
        let length = fs::metadata(&vm).expect("the snapshot").len();
        let (path, range, checked) = match numbers.next(5) {
            0 => (vm.clone(), 0..header, true),
            1 => (vm.clone(), pristine.offset..length, true),
            2 => (about.clone(), 0..fs::metadata(&about).expect("a file").len(), true),
            3 => (folder.join("disk1.img"), 0..4096, false),
            _ => (vm.clone(), 4096..pristine.offset, false),
        };
        let (at, bit) = (range.start + numbers.next(range.end - range.start), numbers.next(8));
        let what = format!("bit {bit} of byte {at} in {}", path.display());
        flip(&path, at, bit);
        let refused = try_restore(&home, &what);
        assert!(refused || !checked, "{what} was not seen");
        let verified = home.run(&["vm", "snapshots", "verify", "hurt"]).status.success();
        assert!(!verified, "{what} was not seen by a look at all of it");
        flip(&path, at, bit);
    }
    assert!(home.run(&["vm", "snapshots", "verify", "hurt"]).status.success());
    let errors = {
        flip(&vm, 0x10_0000, 0);
        let errors = home.fails(1, &["vm", "restore", "--verify", "hurt"]);
        flip(&vm, 0x10_0000, 0);
        errors
    };
    assert!(errors.contains("the memory is damaged"), "{errors}");

    // Cut short anywhere.
    let whole = fs::read(&vm).expect("the snapshot");
    for _ in 0..10 {
        let length = numbers.next(whole.len() as u64);
        File::options().write(true).open(&vm).and_then(|file| file.set_len(length)).expect("the snapshot");
        assert!(try_restore(&home, &format!("{length} bytes of it")));
    }
    fs::write(&vm, &whole).expect("the snapshot");

    // Rubbish that is vouched for: by somebody who writes snapshots.
    for _ in 0..count {
        let mut what = String::new();
        pristine.clone().write(&vm, &about, |state| what = hurt(state, &mut numbers));
        try_restore(&home, &what);
    }
    // The addresses of rings in particular.
    for (device, queue) in [(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)] {
        for field in ["descriptors", "available", "used"] {
            for value in [1u64, 0x0400_0000 - 2, 0x0400_0000, 1 << 40, u64::MAX - 15] {
                let mut ready = false;
                pristine.clone().write(&vm, &about, |state| {
                    let queue = &mut state["devices"][device]["queues"][queue];
                    ready = queue["ready"] == true;
                    queue[field] = json!(value);
                });
                let what = format!("{field} of queue {queue} of device {device} at {value:#x}");
                assert!(try_restore(&home, &what) || !ready, "{what} was not refused");
            }
        }
    }
    home.ok(&["vm", "rm", "busy"]);
    home.await_quiet();
}

/// Changes something in a state, anywhere; says what.
fn hurt(state: &mut Value, numbers: &mut Numbers) -> String {
    let mut path = String::new();
    loop {
        let step = match state.pointer(&path).expect("a value") {
            Value::Object(fields) if !fields.is_empty() => {
                fields.keys().nth(numbers.next(fields.len() as u64) as usize).expect("a field").clone()
            }
            Value::Array(items) if !items.is_empty() && numbers.next(8) != 0 => {
                numbers.next(items.len() as u64).to_string()
            }
            _ => break,
        };
        path += &format!("/{step}");
    }
    let value = state.pointer_mut(&path).expect("a value");
    let number = value.as_u64().unwrap_or_default();
    match value {
        Value::Array(items) => items.truncate(numbers.next(items.len() as u64 + 1) as usize),
        Value::Bool(value) => *value = !*value,
        Value::String(text) => *text = "x".repeat(numbers.next(100) as usize),
        _ => {
            *value = match numbers.next(5) {
                0 => json!(0),
                1 => json!(number ^ 1 << numbers.next(32)),
                2 => json!(u32::MAX),
                3 => json!(u64::MAX - numbers.next(4096)),
                _ => json!(numbers.next(256)),
            }
        }
    }
    format!("{path} = {value}")
}
