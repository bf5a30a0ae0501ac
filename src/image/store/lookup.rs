//! Finding images, and opening what they are made of.

use std::fs::{self, File};
use std::io::{self, Read};

use super::metadata::Metadata;
use super::{Expected, Image, Layer, Store};
use crate::image::manifest::{Blueprint, Document, LayerPlan, MAX_JSON};
use crate::image::{Digest, Error, Reference, Result};

impl Store {
    /// The image with this name, or `None`.
    pub fn resolve(&self, reference: &Reference) -> Result<Option<Image>> {
        self.view(|metadata| named(metadata, reference).map(|id| self.image(metadata, id)).transpose())
    }

    /// The image that a person means by `name`: a name with or without tag or digest, or an ID or the beginning of one.
    /// As with Docker, a name goes before an ID that begins so.
    pub fn find(&self, name: &str) -> Result<Option<Image>> {
        self.view(|metadata| find(metadata, name)?.map(|id| self.image(metadata, id)).transpose())
    }

    /// Every image, in the order of their IDs.
    pub fn images(&self) -> Result<Vec<Image>> {
        self.view(|metadata| metadata.images.keys().map(|&id| self.image(metadata, id)).collect())
    }

    /// Reads the image `id` of the list.
    pub(super) fn image(&self, metadata: &Metadata, id: Digest) -> Result<Image> {
        let record = metadata.images.get(&id).ok_or_else(|| Error::NotFound(id.to_string()))?;
        let blueprint = self.blueprint(record.manifest)?;
        let layer = |plan: &LayerPlan| {
            let path = self.layer_path(plan.diff_id);
            let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            Layer { diff_id: plan.diff_id, blob: plan.blob, path, size }
        };
        let (tags, digests) = metadata.names_of(id).cloned().partition(|name| name.tag().is_some());
        Ok(Image {
            id,
            manifest: record.manifest,
            tags,
            digests,
            layers: blueprint.layers.iter().map(layer).collect(),
            config: blueprint.config,
            config_json: blueprint.config_json,
            store: self.clone(),
        })
    }

    /// What the manifest in the store with this digest describes.
    pub(super) fn blueprint(&self, manifest: Digest) -> Result<Blueprint> {
        let what = format!("manifest {manifest}");
        match Document::parse(&self.read_blob(manifest)?, &what)? {
            Document::Manifest(parsed) => {
                let config = crate::image::manifest::digest(parsed.config())?;
                Blueprint::new(&parsed, self.read_blob(config)?)
            }
            Document::Index(_) => Err(Error::malformed(what, "it is an index")),
        }
    }

    /// A small blob.
    pub(crate) fn read_blob(&self, digest: Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(Error::file("cannot open", &path))?;
        file.take(MAX_JSON).read_to_end(&mut bytes).map_err(Error::file("cannot read", &path))?;
        match Digest::of(&bytes) {
            actual if actual == digest => Ok(bytes),
            actual => Err(Error::WrongDigest { what: path.display().to_string(), expected: digest, actual }),
        }
    }
}

/// The ID of what is called `reference`.
pub(super) fn named(metadata: &Metadata, reference: &Reference) -> Option<Digest> {
    let id = metadata.names.get(&super::Name(reference.clone())).copied();
    // An image can be asked for by its manifest's digest also where it came from an archive under a tag.
    let by_manifest = |digest| {
        let same_name = |&&id: &&Digest| metadata.names_of(id).any(|name| name.name() == reference.name());
        metadata
            .images
            .iter()
            .filter(|(_, record)| record.manifest == digest)
            .map(|(id, _)| id)
            .find(same_name)
            .copied()
    };
    id.or_else(|| reference.digest().and_then(by_manifest))
}

/// The ID of what a person calls `name`.
pub(super) fn find(metadata: &Metadata, name: &str) -> Result<Option<Digest>> {
    let bare = name.strip_prefix("sha256:").unwrap_or(name);
    let reference = match Digest::from_hex(bare) {
        Some(id) => return Ok(metadata.images.contains_key(&id).then_some(id)),
        None => name.parse::<Reference>(),
    };
    if let Some(id) = reference.as_ref().ok().and_then(|reference| named(metadata, reference)) {
        return Ok(Some(id));
    }
    let is_prefix =
        !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let matching: Vec<Digest> = match is_prefix {
        true => metadata.images.keys().filter(|id| id.hex().starts_with(bare)).copied().collect(),
        false => Vec::new(),
    };
    match matching.as_slice() {
        [] if is_prefix || name.starts_with("sha256:") => Ok(None),
        [] => reference.map(|_| None).map_err(Error::from),
        &[id] => Ok(Some(id)),
        several => Err(Error::Ambiguous(name.to_owned(), several.len())),
    }
}

impl Image {
    /// Size of its layers' file systems together, in bytes.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    /// Its layers' blobs, lowest first.
    ///
    /// # Errors
    /// When its manifest cannot be read.
    pub fn plan(&self) -> Result<Vec<LayerPlan>> {
        Ok(self.store.blueprint(self.manifest)?.layers)
    }

    /// Its manifest, as it came.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn manifest_json(&self) -> Result<Vec<u8>> {
        self.store.read_blob(self.manifest)
    }

    /// Opens a blob of it: its configuration or a layer, as it came.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open_blob(&self, digest: Digest) -> Result<File> {
        let path = self.store.blob_path(digest);
        File::open(&path).map_err(Error::file("cannot open", &path))
    }

    /// Opens every layer's EROFS image, lowest first. An open file stays whole whatever is removed from the store. A layer
    /// that is missing is made again from its blob.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the image was removed after it was looked up.
    pub fn open_layers(&self) -> Result<Vec<File>> {
        if let Some(files) = self.open_present()? {
            return Ok(files);
        }
        let ingest = self.store.ingest()?;
        for layer in &self.layers {
            if !layer.path.exists() {
                let path = self.store.blob_path(layer.blob);
                let blob = File::open(&path).map_err(|_| Error::NotFound(self.id.to_string()))?;
                let what = format!("layer {}", layer.diff_id);
                ingest.layer(
                    blob,
                    &Expected { what, blob: Some(layer.blob), size: None, diff_id: Some(layer.diff_id) },
                )?;
            }
        }
        self.open_present()?.ok_or_else(|| Error::NotFound(self.id.to_string()))
    }

    /// The layers' files, or `None` if one is missing.
    fn open_present(&self) -> Result<Option<Vec<File>>> {
        let mut files = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            match File::open(&layer.path) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::file("cannot open layer", &layer.path)(error)),
            }
        }
        Ok(Some(files))
    }
}
