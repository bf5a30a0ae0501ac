//! Loading images from archives and folders: what `docker save` writes, and OCI image layouts (image-layout.md).

mod docker;
mod layout;
mod source;

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use super::digest::Digest;
use super::store::{Expected, Ingest, Ingested};
use super::{Error, Platform, Reference, Result, Store};
use source::Source;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// The names the archive gave it.
    pub names: Vec<Reference>,
}

/// Loads every image for `platform` of the archive or folder at `path`.
pub fn load(store: &Store, path: &Path, platform: &Platform) -> Result<Vec<Loaded>> {
    let error = || Error::file("cannot open", path);
    if path.is_dir() {
        return run(store, platform, |_| Ok(Source::folder(path)));
    }
    load_file(store, File::open(path).map_err(error())?, &path.display().to_string(), platform)
}

/// Loads every image for `platform` of an archive, which `what` names in messages. A regular file is read where it is
/// needed; of anything else what is needed later is kept in the store's temporary folder.
pub fn load_file(store: &Store, archive: File, what: &str, platform: &Platform) -> Result<Vec<Loaded>> {
    run(store, platform, |ingest| Source::archive(archive, what, ingest))
}

fn run(
    store: &Store,
    platform: &Platform,
    open: impl FnOnce(&Ingest) -> Result<Source>,
) -> Result<Vec<Loaded>> {
    let ingest = store.ingest()?;
    let result = open(&ingest).and_then(|source| {
        let mut loader = Loader { source, ingest: &ingest, platform, done: HashMap::new() };
        loader.load()
    });
    drop(ingest);
    // What of a bad archive was good is of no use, nor is a blob that only compresses a known layer otherwise.
    let collected = store.collect();
    result.and_then(|loaded| collected.map(|_| loaded))
}

/// A load in progress.
struct Loader<'a> {
    source: Source,
    ingest: &'a Ingest,
    platform: &'a Platform,
    /// Layers by their name in the archive: images share them.
    done: HashMap<String, Ingested>,
}

impl Loader<'_> {
    fn load(&mut self) -> Result<Vec<Loaded>> {
        let index = self.source.json("index.json")?;
        let manifest = self.source.json("manifest.json")?;
        match (index, manifest) {
            // Recent `docker save` writes both; only the index knows the digests that registries use.
            (Some(index), manifest) => self.layout(&index, manifest.as_deref()),
            (None, Some(manifest)) => self.docker(&manifest),
            (None, None) => {
                let reason = "it holds neither manifest.json (docker save) nor index.json (OCI layout): it is no image";
                Err(Error::malformed(self.source.name(), reason))
            }
        }
    }

    /// Adds the layer that is called `name` in the archive.
    fn layer(&mut self, name: &str, expected: Expected) -> Result<Ingested> {
        if let Some(&done) = self.done.get(name) {
            // The checks of the first time were against another image's promises.
            expected.check(&done)?;
            return Ok(done);
        }
        let layer = self.source.layer(name, self.ingest, &expected)?;
        self.done.insert(name.to_owned(), layer);
        Ok(layer)
    }
}
