//! `hull save`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::image::save::{self, Saved};
use crate::image::{Error, Reference, Store};

/// Save images to an archive, which hull load and docker load read
#[derive(Debug, Args)]
pub struct Save {
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Names or IDs; a name without a tag is all of its tags
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Save {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.output.is_none() && io::stdout().is_terminal() {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        }
        let store = Store::open()?;
        let mut all: Vec<Saved> = Vec::new();
        for wanted in &self.images {
            for (image, name) in find(&store, wanted)? {
                match all.iter_mut().find(|known| known.image.id == image.id) {
                    Some(known) => known.names.extend(name.filter(|name| !known.names.contains(name))),
                    None => all.push(Saved { image, names: name.into_iter().collect() }),
                }
            }
        }
        match &self.output {
            None => save::save(&all, BufWriter::with_capacity(1 << 20, io::stdout().lock()))?,
            Some(path) => write(path, &all)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The file is there when all of it is.
fn write(path: &PathBuf, all: &[Saved]) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    // What is no plain file cannot be replaced: it is written as it is.
    if path.exists() && !path.is_file() {
        return Ok(save::save(all, File::options().write(true).open(path).with_context(failed)?)?);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let file = tempfile::NamedTempFile::new_in(folder.unwrap_or(".".as_ref())).with_context(failed)?;
    save::save(all, BufWriter::with_capacity(1 << 20, file.as_file()))?;
    file.as_file().flush().with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// The image that is meant, under the name that is meant; several where a name has several tags.
fn find(store: &Store, wanted: &str) -> anyhow::Result<Vec<(crate::image::Image, Option<Reference>)>> {
    let tagged = wanted.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if let (false, Ok(name)) = (tagged, wanted.parse::<Reference>()) {
        let mut found = Vec::new();
        for image in store.images()? {
            let names: Vec<_> = image.tags.iter().filter(|tag| tag.name() == name.name()).cloned().collect();
            found.extend(names.into_iter().map(|name| (image.clone(), Some(name))));
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let image = store.find(wanted)?.ok_or_else(|| Error::NotFound(wanted.to_owned()))?;
    // An ID is no name.
    let name = wanted.parse::<Reference>().ok().filter(|name| image.tags.contains(name));
    Ok(vec![(image, name)])
}
