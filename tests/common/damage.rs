//! What is wrong with a file: of a snapshot, with all sums right, or any.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Changes the JSON of an `about`, and seals it again.
pub fn reseal(path: &Path, change: impl FnOnce(&mut Value)) {
    let sealed = fs::read_to_string(path).expect("what is known of the snapshot");
    let mut about = serde_json::from_str(sealed.lines().next().expect("a line")).expect("JSON");
    change(&mut about);
    let text = about.to_string();
    fs::write(path, format!("{text}\n{}\n", hex::encode(Sha256::digest(&text)))).expect("a file");
}

/// The state in a snapshot's file.
#[derive(Clone)]
pub struct State {
    /// Where it is.
    pub offset: u64,
    value: Value,
}

impl State {
    /// Reads it.
    pub fn read(path: &Path) -> Self {
        let file = File::open(path).expect("the snapshot");
        let number = |at| {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at).expect("the header");
            u64::from_le_bytes(bytes)
        };
        let (offset, length) = (number(12), number(20));
        let mut text = vec![0; length as usize];
        file.read_exact_at(&mut text, offset).expect("the state");
        Self { offset, value: serde_json::from_slice(&text).expect("JSON") }
    }

    /// Puts it back, with something changed and all sums right.
    pub fn write(mut self, path: &Path, about: &Path, change: impl FnOnce(&mut Value)) {
        change(&mut self.value);
        let text = self.value.to_string();
        let file = File::options().write(true).open(path).expect("the snapshot");
        file.set_len(self.offset + text.len() as u64).expect("the file");
        file.write_all_at(text.as_bytes(), self.offset).expect("the state");
        file.write_all_at(&(text.len() as u64).to_le_bytes(), 20).expect("the header");
        file.write_all_at(&Sha256::digest(&text), 28).expect("the header");
        reseal(about, |about| about["state"] = json!(hex::encode(Sha256::digest(&text))));
    }
}

/// Turns a bit.
pub fn flip(path: &Path, at: u64, bit: u64) {
    let file = File::options().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[byte[0] ^ 1 << bit], at).expect("a byte");
}
