//! `hull inspect`.

use std::process::ExitCode;

use clap::Args;

use crate::container::{self, Error, Result, state::Store};

/// Print everything about containers, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
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

fn one(store: &Store, name: &str) -> Result<serde_json::Value> {
    let folder = store.find(name)?;
    let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    Ok(container::inspect(&folder, &description, &folder.state()?))
}
