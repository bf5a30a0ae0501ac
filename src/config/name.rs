//! Names of VMs and of snapshots.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name: 1 to 64 letters, digits, `_`, `.` and `-` of ASCII, the first of them a letter or digit. So it is a file's name
/// wherever it is used as one, and no option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Most bytes.
    const MAX: usize = 64;

    /// The name that comes closest to this text.
    pub fn near(text: &str) -> Self {
        let fit = text.chars().map(|c| if is_inner(c) { c } else { '-' });
        let name: String = fit.skip_while(|c| !c.is_ascii_alphanumeric()).take(Self::MAX).collect();
        Self(if name.is_empty() { "vm".to_owned() } else { name })
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_inner(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= Self::MAX
            && text.chars().all(is_inner);
        let wrong = || {
            format!(
                "invalid name: '{text}'; a name is 1 to {} letters, digits, '_', '.' and '-', and begins with a letter or \
                 digit",
                Self::MAX
            )
        };
        if valid { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[path = "name_test.rs"]
mod tests;
