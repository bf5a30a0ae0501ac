//! Input and output of containers: exact, in both directions, with back pressure.

mod common;

use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;

use common::printed::Printed;
use common::{Home, code, eventually, soak};
use sha2::{Digest, Sha256};

/// Bytes that look random and are the same each time.
struct Noise {
    state: u64,
    left: usize,
}

impl Noise {
    fn new(length: usize) -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, left: length }
    }
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.left);
        for chunk in buffer[..count].chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            chunk.copy_from_slice(&self.state.to_ne_bytes()[..chunk.len()]);
        }
        self.left -= count;
        Ok(count)
    }
}

fn digest(mut source: impl Read) -> (usize, String) {
    let (mut hasher, mut length, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        match source.read(&mut buffer).expect("output") {
            0 => return (length, hex::encode(hasher.finalize())),
            count => {
                hasher.update(&buffer[..count]);
                length += count;
            }
        }
    }
}

#[test]
fn bytes_pass_unchanged_in_both_directions_and_errors_apart() {
    let Some(home) = Home::with_busybox("bytes_pass_unchanged_in_both_directions_and_errors_apart") else {
        return;
    };
    let length = if soak() { 100 << 20 } else { 4 << 20 };
    let mut child = home
        .hull(&["run", "--rm", "-i", "busybox", "sh", "-c", "echo apart >&2; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hull");
    let mut stdin = child.stdin.take().expect("its input");
    // Dropped at the end: the container sees the end of its input and ends itself.
    let writer = thread::spawn(move || std::io::copy(&mut Noise::new(length), &mut stdin));
    let errors = Printed::of(child.stderr.take().expect("its errors"));
    let received = digest(child.stdout.take().expect("its output"));
    assert_eq!(received, digest(Noise::new(length)));
    assert_eq!(writer.join().unwrap().unwrap(), length as u64);
    assert_eq!(errors.rest(), "apart\n");
    assert_eq!(code(&mut child), Some(0));
    home.nothing_is_left("a stream");
}

#[test]
fn a_reader_that_stops_blocks_the_writer_and_not_hull() {
    let Some(home) = Home::with_busybox("a_reader_that_stops_blocks_the_writer_and_not_hull") else { return };
    // Without -i there is no input, whatever hull itself is given.
    let mut child = home
        .hull(&[
            "run",
            "--name",
            "stuck",
            "busybox",
            "sh",
            "-c",
            "cat; exec yes 012345678901234567890123456789",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("hull");
    let _ = child.stdin.take().expect("its input").write_all(b"not for the container");
    let mut stdout = child.stdout.take().expect("its output");
    let mut first = [0; 10];
    stdout.read_exact(&mut first).expect("some output");
    assert_eq!(&first, b"0123456789");
    // Nobody reads from here on: the log stops growing when every buffer is full.
    let log_length = || home.ok(&["logs", "stuck"]).len();
    let mut before = log_length();
    eventually("the writer to be blocked", || {
        thread::sleep(std::time::Duration::from_secs(2));
        let now = log_length();
        std::mem::replace(&mut before, now) == now
    });
    assert!(before < 2 << 20, "{before} bytes were taken from a writer that nobody reads");
    assert!(home.ok(&["ps"]).contains("stuck"));
    // It can be stopped all the same, although its first process ignores the signal and its reader does not read.
    assert_eq!(home.ok(&["stop", "-t", "1", "stuck"]), "stuck\n");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("the rest");
    assert_eq!(code(&mut child), Some(137));
    assert_eq!(home.inspect("stuck")["State"]["ExitCode"], 137);
    home.ok(&["rm", "stuck"]);
    home.nothing_is_left("a reader that stopped");
}

#[test]
fn a_reader_that_leaves_ends_a_container_that_is_not_kept() {
    let Some(home) = Home::with_busybox("a_reader_that_leaves_ends_a_container_that_is_not_kept") else {
        return;
    };
    let mut child =
        home.hull(&["run", "--rm", "busybox", "yes"]).stdout(Stdio::piped()).spawn().expect("hull");
    let mut first = [0; 4];
    let mut stdout = child.stdout.take().expect("its output");
    stdout.read_exact(&mut first).expect("some output");
    assert_eq!(&first, b"y\ny\n");
    drop(stdout);
    assert_eq!(code(&mut child), Some(141));
    home.nothing_is_left("a reader that left");
}
