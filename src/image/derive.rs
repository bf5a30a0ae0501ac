//! An image made of another one and a layer more (`hull commit`), or of a layer alone (`hull import`).

use std::io::Read;

use oci_spec::image::MediaType;
use serde_json::{Value, json};

use super::store::{Expected, Ingest, Ingested};
use super::{Digest, Error, Image, Platform, Reference, Result};

/// What is different in the new image's configuration, beside its layer.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// When it was made (RFC 3339).
    pub created: String,
    /// By whom.
    pub author: String,
    /// Why.
    pub comment: String,
    /// By which command.
    pub created_by: String,
    /// What its containers are to be: the configuration's `config`.
    pub config: Value,
}

/// Adds a layer to the store, from its archive; `what` it is called in errors.
///
/// # Errors
/// When the archive makes no sense, or the disk is full; then nothing is left of it.
pub fn layer(ingest: &Ingest, what: &str, archive: impl Read) -> Result<Ingested> {
    ingest.layer(archive, &Expected { what: what.to_owned(), blob: None, size: None, diff_id: None })
}

/// Adds the image of `base`, if there is one, the layer, and what else has changed, under this name if it is to have one. Gives its id.
///
/// # Errors
/// When it cannot be written.
pub fn image(
    ingest: &Ingest,
    base: Option<&Image>,
    layer: &Ingested,
    changes: &Changes,
    name: Option<&Reference>,
) -> Result<Digest> {
    let json = |bytes: &[u8], what: &str| -> Result<Value> {
        serde_json::from_slice(bytes).map_err(|error| Error::malformed(what, error.to_string()))
    };
    let mut config = match base {
        Some(base) => json(base.config_json.as_bytes(), "the image's configuration")?,
        None => {
            let Platform { os, architecture, .. } = Platform::host();
            json!({ "os": os, "architecture": architecture, "rootfs": { "type": "layers" } })
        }
    };
    config["created"] = changes.created.as_str().into();
    config["config"] = changes.config.clone();
    // What Docker's builder left there is about the container that it used.
    for old in ["comment", "container", "container_config"] {
        config.as_object_mut().and_then(|config| config.remove(old));
    }
    for (key, value) in [("author", &changes.author), ("comment", &changes.comment)] {
        if !value.is_empty() {
            config[key] = value.as_str().into();
        }
    }
    let mut history = json!({ "created": changes.created });
    for (key, value) in
        [("created_by", &changes.created_by), ("author", &changes.author), ("comment", &changes.comment)]
    {
        if !value.is_empty() {
            history[key] = value.as_str().into();
        }
    }
    push(&mut config["history"], history);
    push(&mut config["rootfs"]["diff_ids"], layer.diff_id.to_string().into());
    let config = config.to_string().into_bytes();
    let id = ingest.blob(&config)?;

    let mut manifest = match base {
        Some(base) => json(&ingest.store().read_blob(base.manifest)?, "the image's manifest")?,
        None => json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageManifest.to_string(),
            "config": { "mediaType": MediaType::ImageConfig.to_string() },
        }),
    };
    manifest["config"]["digest"] = id.to_string().into();
    manifest["config"]["size"] = config.len().into();
    let docker = manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json";
    let kind = if docker {
        "application/vnd.docker.image.rootfs.diff.tar".to_owned()
    } else {
        layer.compression.layer_type().to_string()
    };
    let added = json!({ "mediaType": kind, "digest": layer.blob.to_string(), "size": layer.size });
    push(&mut manifest["layers"], added);
    // They say what the base is.
    manifest.as_object_mut().and_then(|manifest| manifest.remove("annotations"));
    let manifest = ingest.blob(manifest.to_string().as_bytes())?;
    let names: Vec<Reference> = name.cloned().into_iter().collect();
    Ok(ingest.commit(manifest, &names)?.id)
}

/// Appends to a list, which is made if it is none.
fn push(list: &mut Value, value: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(value),
        None => *list = Value::Array(vec![value]),
    }
}
