//! The options that set environment variables.

use std::path::PathBuf;

use clap::Args;

use crate::container::{Error, Result};

/// Environment variables of a process.
#[derive(Debug, Args)]
pub struct Environment {
    /// Set an environment variable, or pass on one that is set here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

impl Environment {
    /// Variables of the files, then of the command line; a later one wins.
    ///
    /// # Errors
    /// When a file cannot be read, or something is no variable.
    pub fn variables(&self) -> Result<Vec<String>> {
        let mut environment: Vec<String> = Vec::new();
        let mut add = |variable: String| {
            let name = variable.split('=').next();
            environment.retain(|known| known.split('=').next() != name);
            environment.push(variable);
        };
        for path in &self.env_file {
            let text = std::fs::read(path).map_err(Error::file("cannot read", path))?;
            let text = String::from_utf8(text).map_err(|_| {
                Error::Invalid(format!("invalid env file ({}): it is not UTF-8", path.display()))
            })?;
            for line in text.trim_start_matches('\u{feff}').lines() {
                let line = line.trim_start();
                if !line.is_empty() && !line.starts_with('#') {
                    let name = line.split('=').next().unwrap_or_default();
                    if name.is_empty() || name.contains(char::is_whitespace) {
                        return Err(Error::Invalid(format!(
                            "invalid env file ({}): variable '{name}' contains whitespaces or has no name",
                            path.display()
                        )));
                    }
                    from_here(line).into_iter().for_each(&mut add);
                }
            }
        }
        for variable in &self.env {
            if variable.is_empty() || variable.starts_with('=') {
                return Err(Error::Invalid(format!("invalid environment variable: {variable}")));
            }
            from_here(variable).into_iter().for_each(&mut add);
        }
        Ok(environment)
    }
}

/// A variable as it is, or one without a value as it is set here, if it is.
fn from_here(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    std::env::var(variable).ok().map(|value| format!("{variable}={value}"))
}
