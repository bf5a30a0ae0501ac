//! `hull commit`.

use std::process::ExitCode;

use clap::{ArgAction, Args};

use crate::{
    container::{
        files::{
            Access,
            commit::{self, Wanted},
        },
        state::Store,
    },
    image::Reference,
};

/// Make an image of a container's changes
#[derive(Debug, Args)]
pub struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,
    /// Apply an instruction of a Dockerfile to its configuration
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What has changed
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Have the container's processes stand still meanwhile
    #[arg(short, long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pause: bool,
    /// The container
    container: String,
    /// What the image is called
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<Reference>,
}

impl Commit {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self { author, change, message, pause, container, name } = self;
        let access = Access::open(&Store::open()?, &container)?;
        let wanted = Wanted { name, author, message, changes: change, pause };
        println!("{}", commit::commit(&access, &wanted)?);
        Ok(ExitCode::SUCCESS)
    }
}
