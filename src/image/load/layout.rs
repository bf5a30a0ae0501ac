//! OCI image layouts: `index.json` names manifests, and everything is a blob called by its digest.

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::docker::{self, Item};
use super::{Loaded, Loader};
use crate::image::manifest::{self, Blueprint, Document};
use crate::image::store::Expected;
use crate::image::{Digest, Error, Platform, Reference, Result};

/// Where containerd and Docker write an image's whole name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Where the specification has a name, of which many write the tag only.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes within indexes are followed this far.
const MAX_DEPTH: usize = 4;

impl Loader<'_> {
    /// Loads every image for the wanted platform. `docker` is the `manifest.json` beside the index, if any: it may know more
    /// names.
    pub(super) fn layout(&mut self, index: &[u8], docker: Option<&[u8]>) -> Result<Vec<Loaded>> {
        let Document::Index(index) = Document::parse(index, "index.json")? else {
            return Err(Error::malformed("index.json", "it is a manifest, not an index"));
        };
        let items = docker.map(Item::parse).transpose()?.unwrap_or_default();
        let mut foreign = Vec::new();
        let mut loaded: Vec<Loaded> = Vec::new();
        for entry in index.manifests() {
            match self.entry(entry, &items) {
                Ok(Some(image)) => match loaded.iter_mut().find(|known| known.id == image.id) {
                    Some(known) => known.names.extend(image.names),
                    None => loaded.push(image),
                },
                Ok(None) => {}
                Err(Error::Platform { there, .. }) => foreign.extend(there),
                Err(error) => return Err(error),
            }
        }
        match loaded.is_empty() {
            false => {
                for image in &mut loaded {
                    image.names.sort();
                    image.names.dedup();
                }
                Ok(loaded)
            }
            true if foreign.is_empty() => Err(Error::malformed("index.json", "it names no image")),
            true => Err(Error::Platform { there: foreign, wanted: self.platform.clone() }),
        }
    }

    /// Loads an entry of the outermost index, unless it is no image.
    fn entry(&mut self, entry: &Descriptor, items: &[Item]) -> Result<Option<Loaded>> {
        if let Some(platform) = entry.platform().as_ref().map(Platform::from) {
            if platform.is_unknown() {
                return Ok(None);
            }
            if !platform.satisfies(self.platform) {
                return Err(Error::Platform { there: vec![platform], wanted: self.platform.clone() });
            }
        }
        let mut digest = manifest::digest(entry)?;
        for _ in 0..MAX_DEPTH {
            let json = self.blob(digest)?;
            match Document::parse(&json, &format!("manifest {digest}"))? {
                Document::Index(index) => digest = self.choose(&index)?,
                Document::Manifest(parsed) => {
                    let mut names: Vec<Reference> = name_of(entry).into_iter().collect();
                    let config = manifest::digest(parsed.config())?;
                    for item in
                        items.iter().filter(|item| docker::digest_in_name(&item.config) == Some(config))
                    {
                        names.extend(item.names()?);
                    }
                    return self.image(&json, &parsed, names).map(Some);
                }
            }
        }
        Err(Error::malformed("index.json", "indexes are nested too deep"))
    }

    fn choose(&self, index: &ImageIndex) -> Result<Digest> {
        manifest::digest(manifest::choose(index, self.platform)?)
    }

    fn image(&mut self, json: &[u8], parsed: &ImageManifest, names: Vec<Reference>) -> Result<Loaded> {
        let id = manifest::digest(parsed.config())?;
        let blueprint = Blueprint::new(parsed, self.blob(id)?)?;
        blueprint.check_platform(self.platform)?;
        for layer in &blueprint.layers {
            let what = format!("layer {}", layer.blob);
            let (blob, size, diff_id) = (Some(layer.blob), Some(layer.size), Some(layer.diff_id));
            self.layer(&path(layer.blob), Expected { what, blob, size, diff_id })?;
        }
        self.ingest.blob(blueprint.config_json.as_bytes())?;
        let manifest = self.ingest.blob(json)?;
        self.ingest.commit(manifest, &names)?;
        Ok(Loaded { id, names })
    }

    /// A manifest, index or configuration.
    fn blob(&mut self, digest: Digest) -> Result<Vec<u8>> {
        let name = path(digest);
        let bytes = self.source.json(&name)?;
        let bytes = bytes
            .ok_or_else(|| Error::malformed(&name, "a manifest or index names it, and it is not there"))?;
        match Digest::of(&bytes) {
            actual if actual == digest => Ok(bytes),
            actual => Err(Error::WrongDigest { what: name, expected: digest, actual }),
        }
    }
}

fn path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The name of an entry. A bare word is a tag without a repository, which names nothing.
fn name_of(entry: &Descriptor) -> Option<Reference> {
    let annotation = |key| entry.annotations().as_ref().and_then(|all| all.get(key));
    let name =
        annotation(CONTAINERD_NAME).or_else(|| annotation(REF_NAME).filter(|name| name.contains([':', '/'])));
    name.and_then(|name| name.parse().ok())
}
