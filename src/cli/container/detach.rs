//! The keys that leave a container without ending it.

use std::str::FromStr;

/// A sequence of keys, such as `ctrl-p,ctrl-q`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl FromStr for DetachKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = |name: &str| match (name.as_bytes(), name.strip_prefix("ctrl-").map(str::as_bytes)) {
            ([byte], _) => Some(*byte),
            (_, Some([byte])) => match byte.to_ascii_lowercase() {
                letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
                b'@' => Some(0),
                other @ b'['..=b'_' => Some(other - b'[' + 27),
                _ => None,
            },
            _ => None,
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| {
            format!("invalid detach keys ({text}): write keys such as a or ctrl-p, separated by commas")
        })
    }
}

impl DetachKeys {
    /// Looks for the keys in what is typed.
    pub fn matcher(&self) -> Matcher {
        Matcher { keys: self.0.clone(), matched: 0 }
    }
}

/// Looks for keys in what is typed.
#[derive(Debug)]
pub struct Matcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Matcher {
    /// Takes what was typed and appends to `passed` what is not a part of the keys. True when they are complete.
    pub fn push(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
                continue;
            }
            // It was not them: what was held back is passed on.
            passed.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if byte == self.keys[0] && self.keys.len() > 1 {
                self.matched = 1;
            } else {
                passed.push(byte);
            }
        }
        false
    }
}

#[cfg(test)]
#[path = "detach_test.rs"]
mod tests;
