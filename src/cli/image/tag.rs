//! `hull tag`.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use crate::image::{Error, Reference, Store};

/// Give an image another name
#[derive(Debug, Args)]
pub struct Tag {
    /// Name or ID of the image
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The new name: NAME[:TAG]
    #[arg(value_name = "NAME")]
    name: String,
}

impl Tag {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let name: Reference = self.name.parse()?;
        if name.digest().is_some() {
            bail!("{}: a new name has a tag, not a digest: a digest says what an image is", self.name);
        }
        let store = Store::open()?;
        let image = store.find(&self.image)?.ok_or(Error::NotFound(self.image))?;
        store.tag(image.id, &name)?;
        Ok(ExitCode::SUCCESS)
    }
}
