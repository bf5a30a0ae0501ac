//! `hull inspect`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{
    cli::{format, image::describe, network, volume},
    container::{self, Error, Result, state::Store},
    folders, image,
};

/// Print everything about containers, images, networks or volumes, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Print what this template says of each instead
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Look only for one of this kind
    #[arg(long = "type", value_name = "KIND")]
    kind: Option<Kind>,
    /// Say how much room a container takes on the disk, too
    #[arg(short, long)]
    size: bool,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// What can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Inspect {
    /// Runs the verb. Like Docker it prints what there is, and then says what there is not.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &self.names {
            match self.one(&store, name) {
                Ok(document) => found.push(document),
                Err(error) => missing.push(error),
            }
        }
        let code = format::inspect(self.format.as_deref(), &found)?;
        for error in &missing {
            eprintln!("hull: {error}");
        }
        Ok(if missing.is_empty() { code } else { ExitCode::FAILURE })
    }

    /// A container, or else an image, a network or a volume.
    fn one(&self, store: &Store, name: &str) -> Result<Value> {
        let wanted = |kind| self.kind.is_none_or(|wanted| wanted == kind);
        if wanted(Kind::Container) {
            match store.find(name) {
                Err(Error::NotFound(_)) if self.kind.is_none() => {}
                found => return self.container(&found?, name),
            }
        }
        if wanted(Kind::Image)
            && let Some(image) = image::Store::open()?.find(name).unwrap_or_default()
        {
            return Ok(describe(&image));
        }
        if wanted(Kind::Network)
            && let Ok(document) = network::document(name)
        {
            return Ok(document);
        }
        if wanted(Kind::Volume)
            && let Some(document) = volume::document(name)?
        {
            return Ok(document);
        }
        let kind = self.kind.and_then(|kind| kind.to_possible_value());
        let kind = kind.as_ref().map_or("object", |kind| kind.get_name());
        Err(Error::Invalid(format!("No such {kind}: {name}")))
    }

    fn container(&self, folder: &container::state::Folder, name: &str) -> Result<Value> {
        let description = folder.description()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
        let mut document = container::inspect(folder, &description, &folder.state()?);
        if self.size {
            let image = image::Store::open()?.find(&description.image.to_string())?;
            let written = folders::allocated(folder.path());
            document["SizeRw"] = written.into();
            document["SizeRootFs"] = (written + image.map_or(0, |image| image.size())).into();
        }
        Ok(document)
    }
}
