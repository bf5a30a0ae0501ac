//! `hull pull`, and the pull that comes before a container starts.

use std::process::ExitCode;

use clap::Args;

use super::progress::{self, Output};
use crate::image::pull::{self, Policy, Progress, Pulled};
use crate::image::reference::DEFAULT_TAG;
use crate::image::{Error, Image, Platform, Reference, Result, Store};

/// Download an image from a registry
#[derive(Debug, Args)]
pub struct Pull {
    /// The image: NAME[:TAG] or NAME@DIGEST
    #[arg(value_name = "NAME")]
    name: String,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Take the image for another platform than this host's, such as linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

impl Pull {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let reference: Reference = self.name.parse()?;
        let platform = self.platform.unwrap_or_else(Platform::host);
        let store = Store::open()?;
        if self.quiet {
            pull::pull(&store, &reference, &platform, &())?;
        } else {
            let pulled = shown(&store, &self.name, &reference, &platform, Output::Stdout)?;
            let status = match pulled.newer {
                true => "Downloaded newer image for",
                false => "Image is up to date for",
            };
            println!("Digest: {}\nStatus: {status} {}", pulled.digest, reference.familiar());
        }
        println!("{reference}");
        Ok(ExitCode::SUCCESS)
    }
}

/// The image that a person calls `name`, pulled if `policy` says so; with progress on standard error, unless `quiet`.
pub fn obtain(name: &str, policy: Policy, quiet: bool) -> Result<Image> {
    let store = Store::open()?;
    if policy != Policy::Always
        && let Some(image) = store.find(name)?
    {
        return Ok(image);
    }
    let reference: Reference = name.parse()?;
    match policy {
        Policy::Never => return Err(Error::NotFound(name.to_owned())),
        Policy::Missing => {
            Output::Stderr.line(&format!("Unable to find image '{}' locally", reference.familiar()))
        }
        Policy::Always => {}
    }
    if quiet {
        return Ok(pull::pull(&store, &reference, &Platform::host(), &())?.image);
    }
    let pulled = shown(&store, name, &reference, &Platform::host(), Output::Stderr)?;
    Output::Stderr.line(&format!("Digest: {}", pulled.digest));
    Ok(pulled.image)
}

fn shown(
    store: &Store,
    name: &str,
    reference: &Reference,
    platform: &Platform,
    output: Output,
) -> Result<Pulled> {
    if reference.tag() == Some(DEFAULT_TAG) && !name.ends_with(":latest") {
        output.line(&format!("Using default tag: {DEFAULT_TAG}"));
    }
    let progress: Box<dyn Progress> = progress::show(output);
    pull::pull(store, reference, platform, &*progress)
}
