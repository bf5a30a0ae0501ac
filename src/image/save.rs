//! Archives of images: an OCI image layout in which `docker load` finds its `manifest.json`, too.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::{Digest, Error, Image, Reference, Result};

/// An image to save, and the names under which it is found again.
#[derive(Debug)]
pub struct Saved {
    /// The image.
    pub image: Image,
    /// Its names, with tags.
    pub names: Vec<Reference>,
}

/// Writes images to an archive: each blob once, as it came.
///
/// # Errors
/// When a blob is missing, or the archive cannot be written.
pub fn save(images: &[Saved], to: impl Write) -> Result<()> {
    let failed = |source| Error::Read { what: "the archive that is written".to_owned(), source };
    let mut archive = Builder::new(to);
    let mut written = BTreeSet::new();
    let (mut index, mut docker) = (Vec::new(), Vec::new());
    add(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed)?;
    // Whoever unpacks it with what made Docker's archives makes folders that are not in it root's, or fails.
    for folder in ["blobs/", "blobs/sha256/"] {
        archive.append_data(&mut folder_header(), folder, io::empty()).map_err(failed)?;
    }
    for Saved { image, names } in images {
        let manifest = image.manifest_json()?;
        for blob in image.plan()?.iter().map(|layer| layer.blob).chain([image.id, image.manifest]) {
            if written.insert(blob) {
                let mut file = image.open_blob(blob)?;
                let size = file.metadata().map_err(failed)?.len();
                let mut header = header(size);
                archive.append_data(&mut header, path(blob), &mut file).map_err(failed)?;
            }
        }
        let kind = serde_json::from_slice::<Value>(&manifest).ok();
        let kind = kind.and_then(|manifest| manifest["mediaType"].as_str().map(str::to_owned));
        let kind = kind.unwrap_or_else(|| "application/vnd.oci.image.manifest.v1+json".to_owned());
        let entry = json!({ "mediaType": kind, "digest": image.manifest, "size": manifest.len() });
        for name in names {
            let mut entry = entry.clone();
            entry["annotations"] = json!({
                "io.containerd.image.name": name.to_string(),
                "org.opencontainers.image.ref.name": name.tag(),
            });
            index.push(entry);
        }
        if names.is_empty() {
            index.push(entry);
        }
        docker.push(json!({
            "Config": path(image.id),
            "RepoTags": names.iter().map(Reference::familiar).collect::<Vec<_>>(),
            "Layers": image.layers.iter().map(|layer| path(layer.blob)).collect::<Vec<_>>(),
        }));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": index,
    });
    add(&mut archive, "index.json", index.to_string().as_bytes()).map_err(failed)?;
    add(&mut archive, "manifest.json", Value::Array(docker).to_string().as_bytes()).map_err(failed)?;
    archive.into_inner().and_then(|mut to| to.flush()).map_err(failed)
}

fn path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A plain file's; nothing in it depends on who saves, and when.
fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header
}

fn folder_header() -> Header {
    let mut header = header(0);
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header
}

fn add<W: Write>(archive: &mut Builder<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(bytes.len() as u64), name, bytes)
}
