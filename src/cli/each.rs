//! Verbs that take several things.

use std::{fmt::Display, process::ExitCode};

/// Does something to each of several things; prints what it gives, or why it failed, which keeps it from none of the others.
pub fn each<T, E: Display>(all: &[T], mut act: impl FnMut(&T) -> Result<String, E>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for one in all {
        match act(one) {
            Ok(answer) => println!("{answer}"),
            Err(error) => {
                eprintln!("hull: {error:#}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
