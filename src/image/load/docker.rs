//! The archive of `docker save`: `manifest.json` names a configuration and layers for every image.

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use serde_json::json;

use super::{Loaded, Loader};
use crate::image::manifest::{self, parse_json};
use crate::image::store::{Expected, Ingested};
use crate::image::{Digest, Error, Platform, Reference, Result};

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

impl Item {
    pub(super) fn parse(json: &[u8]) -> Result<Vec<Item>> {
        parse_json(json, "manifest.json")
    }

    /// The names of the image.
    pub(super) fn names(&self) -> Result<Vec<Reference>> {
        Ok(self.repo_tags.iter().flatten().map(|name| name.parse()).collect::<Result<_, _>>()?)
    }
}

impl Loader<'_> {
    /// Loads every image of an archive that has no index.
    pub(super) fn docker(&mut self, manifest: &[u8]) -> Result<Vec<Loaded>> {
        let items = Item::parse(manifest)?;
        if items.is_empty() {
            return Err(Error::malformed("manifest.json", "it names no image"));
        }
        items.iter().map(|item| self.item(item)).collect()
    }

    fn item(&mut self, item: &Item) -> Result<Loaded> {
        let what = format!("the configuration {}", item.config);
        let json = self.source.json(&item.config)?;
        let json = json
            .ok_or_else(|| Error::malformed(&item.config, "manifest.json names it, and it is not there"))?;
        let id = Digest::of(&json);
        if let Some(expected) = digest_in_name(&item.config)
            && expected != id
        {
            return Err(Error::WrongDigest { what, expected, actual: id });
        }
        let config: ImageConfiguration = parse_json(&json, &what)?;
        let platform = Platform::from(&config);
        if !platform.satisfies(self.platform) {
            return Err(Error::Platform { there: vec![platform], wanted: self.platform.clone() });
        }
        let diff_ids = manifest::diff_ids(&config)?;
        if diff_ids.len() != item.layers.len() {
            let reason =
                format!("it has {} layers, and manifest.json has {}", diff_ids.len(), item.layers.len());
            return Err(Error::malformed(what, reason));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in item.layers.iter().zip(diff_ids) {
            let what = format!("layer {name}");
            layers.push(self.layer(name, Expected { what, blob: None, size: None, diff_id: Some(diff_id) })?);
        }
        self.ingest.blob(&json)?;
        let manifest = self.ingest.blob(&write_manifest(id, json.len(), &layers))?;
        let names = item.names()?;
        self.ingest.commit(manifest, &names)?;
        Ok(Loaded { id, names })
    }
}

/// The manifest of an image that came without one.
fn write_manifest(config: Digest, config_size: usize, layers: &[Ingested]) -> Vec<u8> {
    let layer = |layer: &Ingested| json!({ "mediaType": layer.compression.layer_type(), "digest": layer.blob, "size": layer.size });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config,
            "size": config_size,
        },
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
    });
    manifest.to_string().into_bytes()
}

/// The digest that a configuration's name promises: `<hex>.json`, or `blobs/sha256/<hex>`.
pub(super) fn digest_in_name(name: &str) -> Option<Digest> {
    let stem = name.strip_suffix(".json").or_else(|| name.strip_prefix("blobs/sha256/"));
    stem.and_then(Digest::from_hex)
}
