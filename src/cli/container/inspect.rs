//! `hull inspect`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    cli::image::describe,
    container::{self, Error, Result, state::Store},
    image,
};

/// Print everything about containers or images, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Containers or images
    #[arg(required = true, value_name = "NAME")]
    containers: Vec<String>,
}

impl Inspect {
    /// Runs the verb. Like Docker it prints what there is, and then says what there is not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let mut code = ExitCode::SUCCESS;
        let mut found = Vec::new();
        for name in &self.containers {
            match one(&store, name) {
                Ok(document) => found.push(document),
                Err(error) => {
                    eprintln!("hull: {error}");
                    code = ExitCode::FAILURE;
                }
            }
        }
        println!("{}", serde_json::to_string_pretty(&found)?);
        Ok(code)
    }
}

/// A container, or else an image.
fn one(store: &Store, name: &str) -> Result<serde_json::Value> {
    let folder = match store.find(name) {
        Err(Error::NotFound(_)) => {
            let image = image::Store::open()?.find(name).unwrap_or_default();
            let not_found = || Error::Invalid(format!("No such object: {name}"));
            return image.as_ref().map(describe).ok_or_else(not_found);
        }
        found => found?,
    };
    let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    Ok(container::inspect(&folder, &description, &folder.state()?))
}
