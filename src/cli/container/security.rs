//! `--security-opt`, whose profile is a file here and its content everywhere else, as with Docker.

use std::{fs::File, io::Read, path::Path};

use crate::container::{
    Error, Result,
    seccomp::{BUILT_IN, LONGEST_PROFILE, UNCONFINED},
};

/// The options, with the file's content in place of its name.
pub fn options(options: &[String]) -> Result<Vec<String>> {
    options
        .iter()
        .map(|option| match option.strip_prefix("seccomp=").or_else(|| option.strip_prefix("seccomp:")) {
            None | Some(UNCONFINED | BUILT_IN) => Ok(option.clone()),
            Some(path) => Ok(format!("seccomp={}", profile(Path::new(path))?)),
        })
        .collect()
}

/// A profile without the room between its words.
fn profile(path: &Path) -> Result<String> {
    let fail = |error| Error::file("opening seccomp profile failed: cannot read", path)(error);
    let mut text = String::new();
    let mut file = File::open(path).map_err(fail)?.take(LONGEST_PROFILE as u64 + 1);
    file.read_to_string(&mut text).map_err(fail)?;
    if text.len() > LONGEST_PROFILE {
        return Err(Error::Invalid(format!(
            "seccomp profile {path:?} is longer than {LONGEST_PROFILE} bytes; is it one?"
        )));
    }
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
        .map_err(|error| Error::Invalid(format!("seccomp profile {path:?} is not valid: {error}")))?;
    Ok(serde_json::Value::Object(document).to_string())
}

#[cfg(test)]
#[path = "security_test.rs"]
mod tests;
