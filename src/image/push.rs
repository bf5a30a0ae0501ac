//! Pushing images to registries: the blobs as they came, so that all digests stay what they are.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Mutex;

use serde::Deserialize;

use super::manifest::{LayerPlan, parse_json};
use super::registry::{Outgoing, Repository, Uploaded};
use super::{Digest, Image, Reference, Result, Store};

/// Layers that are sent at the same time.
const PARALLEL: usize = 3;
/// The media type of a manifest that does not say its own.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The digest that the registry knows the image by.
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: usize,
}

/// Somebody who watches a push. Calls come from several threads.
pub trait Progress: Sync {
    /// The layers are known and the push begins.
    fn begin(&self, _layers: &[LayerPlan]) {}
    /// So many bytes of the layer are sent.
    fn sent(&self, _layer: &LayerPlan, _bytes: u64) {}
    /// The layer is in the registry; `from` is the repository that had it.
    fn done(&self, _layer: &LayerPlan, _how: Uploaded, _from: Option<&str>) {}
}

/// Nobody.
impl Progress for () {}

/// Pushes an image under the name `reference`.
///
/// # Errors
/// When a blob is missing here, or the registry does not take it.
pub fn push(store: &Store, image: &Image, reference: &Reference, progress: &dyn Progress) -> Result<Pushed> {
    let repository = Repository::for_push(reference);
    let layers = image.plan()?;
    let neighbours = neighbours(store, reference)?;
    progress.begin(&layers);
    send_layers(&repository, image, &layers, &neighbours, progress)?;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        media_type: Option<String>,
        config: Config,
    }
    #[derive(Deserialize)]
    struct Config {
        size: u64,
    }
    let manifest = image.manifest_json()?;
    let outline: Outline = parse_json(&manifest, "the image's manifest")?;
    let open = || image.open_blob(image.id);
    let config =
        Outgoing { digest: image.id, size: outline.config.size, open: &open, elsewhere: None, sent: &|_| {} };
    repository.upload(&config)?;
    let version = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, digest) => digest.expect("a reference has a tag or a digest").to_string(),
    };
    repository.put_manifest(&version, outline.media_type.as_deref().unwrap_or(MANIFEST), &manifest)?;
    store.tag(image.id, &reference.with_digest(image.manifest))?;
    Ok(Pushed { digest: image.manifest, size: manifest.len() })
}

/// Blobs that other repositories of the same registry have, as far as the names of images here tell.
fn neighbours(store: &Store, reference: &Reference) -> Result<Vec<(Digest, String)>> {
    let mut known = Vec::new();
    for image in store.images()? {
        // Only what was pulled from there or pushed to there has a digest there.
        let elsewhere = image.digests.iter().find(|name| {
            name.registry() == reference.registry() && name.repository() != reference.repository()
        });
        if let Some(name) = elsewhere {
            known.extend(image.layers.iter().map(|layer| (layer.blob, name.repository().to_owned())));
        }
    }
    Ok(known)
}

/// Sends the layers that are not there. The first failure ends them all.
fn send_layers(
    repository: &Repository,
    image: &Image,
    layers: &[LayerPlan],
    neighbours: &[(Digest, String)],
    progress: &dyn Progress,
) -> Result<()> {
    let mut waiting: VecDeque<&LayerPlan> = VecDeque::new();
    for layer in layers {
        if !waiting.iter().any(|known| known.blob == layer.blob) {
            waiting.push_back(layer);
        }
    }
    let workers = waiting.len().min(PARALLEL);
    let (queue, failure) = (Mutex::new(waiting), Mutex::new(None));
    // A lock that is taken in the head of a loop is held for all of its body.
    let next = || queue.lock().expect("no worker panics with it").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(layer) = next() {
                    let elsewhere = neighbours.iter().find(|(blob, _)| *blob == layer.blob);
                    let elsewhere = elsewhere.map(|(_, name)| name.as_str());
                    let open = || -> Result<File> { image.open_blob(layer.blob) };
                    let sent = |bytes| progress.sent(layer, bytes);
                    let blob = Outgoing {
                        digest: layer.blob,
                        size: layer.size,
                        open: &open,
                        elsewhere,
                        sent: &sent,
                    };
                    match repository.upload(&blob) {
                        Ok(how) => progress.done(layer, how, elsewhere),
                        Err(error) => {
                            queue.lock().expect("no worker panics with it").clear();
                            failure.lock().expect("no worker panics with it").get_or_insert(error);
                        }
                    }
                }
            });
        }
    });
    failure.into_inner().expect("no worker panicked").map_or(Ok(()), Err)
}
