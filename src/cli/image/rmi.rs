//! `hull rmi`.

use std::process::ExitCode;

use clap::Args;

use crate::container;
use crate::image::Store;
use crate::image::store::Removed;

/// Remove images
#[derive(Debug, Args)]
pub struct Rmi {
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image with several names, or that a stopped container uses; say nothing of one that is not there
    #[arg(short, long)]
    force: bool,
}

impl Rmi {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let containers = container::state::Store::open()?;
        // What cannot be looked at is not known to be unused, but must not keep an image for ever either.
        let user = |image| containers.user_of(image).ok().flatten();
        let mut code = ExitCode::SUCCESS;
        for name in &self.images {
            match store.remove(name, self.force, user) {
                Ok(removed) => {
                    for one in removed {
                        match one {
                            Removed::Untagged(name) => println!("Untagged: {}", name.familiar()),
                            Removed::Deleted(digest) => println!("Deleted: {digest}"),
                        }
                    }
                }
                Err(crate::image::Error::NotFound(_)) if self.force => {}
                Err(error) => {
                    eprintln!("hull: {:#}", anyhow::Error::from(error));
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}
