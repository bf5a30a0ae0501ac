//! Pulling images from registries.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::manifest::{self, Blueprint, Document, LayerPlan};
use super::registry::Repository;
use super::store::{Expected, Ingest};
use super::{Digest, Error, Image, Platform, Reference, Result, Store};

/// Layers that are fetched at the same time, as with Docker.
const PARALLEL: usize = 3;
/// Indexes within indexes are followed this far.
const MAX_DEPTH: usize = 4;

/// When to ask the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Policy {
    /// Each time: the tag may have moved.
    Always,
    /// If the image is not here.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// What a pull did.
#[derive(Debug)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// The digest that the registry knows it by.
    pub digest: Digest,
    /// Whether the name stood for something else before, or for nothing.
    pub newer: bool,
}

/// Somebody who watches a pull. Calls come from several threads.
pub trait Progress: Sync {
    /// The layers are known and the pull begins.
    fn begin(&self, _reference: &Reference, _layers: &[LayerPlan]) {}
    /// This layer is in the store already.
    fn known(&self, _layer: &LayerPlan) {}
    /// The layer is being fetched.
    fn starting(&self, _layer: &LayerPlan) {}
    /// So many bytes of the layer are here.
    fn received(&self, _layer: &LayerPlan, _bytes: u64) {}
    /// The layer is in the store.
    fn done(&self, _layer: &LayerPlan) {}
}

/// Nobody.
impl Progress for () {}

/// Pulls the image called `reference`.
pub fn pull(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let repository = Repository::new(reference);
    let before = store.resolve(reference)?;
    if let Some(pulled) = up_to_date(store, &repository, reference, platform, before.as_ref())? {
        return Ok(pulled);
    }
    let version = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => tag.to_owned(),
        (None, digest) => digest.expect("a reference has a tag or a digest").to_string(),
    };
    let top = repository.manifest(&version)?;
    let (manifest, blueprint) = describe(&repository, top.json, platform)?;

    let ingest = store.ingest()?;
    progress.begin(reference, &blueprint.layers);
    fetch_layers(&repository, &ingest, &blueprint.layers, progress)?;
    ingest.blob(blueprint.config_json.as_bytes())?;
    let manifest = ingest.blob(&manifest)?;
    let image = ingest.commit(manifest, &[reference.clone(), reference.with_digest(top.digest)])?;
    drop(ingest);
    store.collect()?;
    let newer = before.is_none_or(|before| before.id != image.id);
    Ok(Pulled { image, digest: top.digest, newer })
}

/// Asks only for the tag's digest: where that image is here, nothing else is needed.
fn up_to_date(
    store: &Store,
    repository: &Repository,
    reference: &Reference,
    platform: &Platform,
    before: Option<&Image>,
) -> Result<Option<Pulled>> {
    let (Some(tag), Some(_)) = (reference.tag(), before) else { return Ok(None) };
    let digest = match repository.digest_of_tag(tag) {
        Ok(Some(digest)) => digest,
        Ok(None) => return Ok(None),
        // Not every registry answers HEAD as it answers GET.
        Err(error) if error.is_answer() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let known = store.resolve(&reference.with_digest(digest))?;
    let Some(image) = known.filter(|image| Platform::from(&image.config).satisfies(platform)) else {
        return Ok(None);
    };
    store.tag(image.id, reference)?;
    let newer = before.is_none_or(|before| before.id != image.id);
    Ok(Some(Pulled { image, digest, newer }))
}

/// The manifest for `platform` and what it describes.
fn describe(repository: &Repository, mut json: Vec<u8>, platform: &Platform) -> Result<(Vec<u8>, Blueprint)> {
    for _ in 0..MAX_DEPTH {
        match Document::parse(&json, "the registry's manifest")? {
            Document::Index(index) => {
                let digest = manifest::digest(manifest::choose(&index, platform)?)?;
                json = repository.manifest(&digest.to_string())?.json;
            }
            Document::Manifest(parsed) => {
                let config = parsed.config();
                let config = repository.config(manifest::digest(config)?, config.size())?;
                let blueprint = Blueprint::new(&parsed, config)?;
                blueprint.check_platform(platform)?;
                return Ok((json, blueprint));
            }
        }
    }
    Err(Error::malformed("the registry's manifest", "indexes are nested too deep"))
}

/// Fetches the layers that are not in the store. The first failure ends them all.
fn fetch_layers(
    repository: &Repository,
    ingest: &Ingest,
    layers: &[LayerPlan],
    progress: &dyn Progress,
) -> Result<()> {
    let mut missing = VecDeque::new();
    for layer in layers {
        match ingest.has_layer(layer.blob, layer.diff_id) {
            true => progress.known(layer),
            false if missing.contains(&layer) => {}
            false => missing.push_back(layer),
        }
    }
    let workers = missing.len().min(PARALLEL);
    let (queue, failure, cancelled) = (Mutex::new(missing), Mutex::new(None), AtomicBool::new(false));
    // A lock that is taken in the head of a loop is held for all of its body.
    let next = || queue.lock().expect("no worker panics with it").pop_front();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(layer) = next() {
                    if let Err(error) = fetch_layer(repository, ingest, layer, progress, &cancelled) {
                        // The first failure is the reason; the others follow from it.
                        if !cancelled.swap(true, Ordering::Relaxed) {
                            *failure.lock().expect("no worker panics with it") = Some(error);
                        }
                        return;
                    }
                    progress.done(layer);
                }
            });
        }
    });
    failure.into_inner().expect("no worker panicked").map_or(Ok(()), Err)
}

fn fetch_layer(
    repository: &Repository,
    ingest: &Ingest,
    layer: &LayerPlan,
    progress: &dyn Progress,
    cancelled: &AtomicBool,
) -> Result<()> {
    progress.starting(layer);
    let blob = repository.layer(layer.blob, layer.size, cancelled);
    let mut watched = Watched { source: blob, layer, progress, received: 0 };
    let (blob, size, diff_id) = (Some(layer.blob), Some(layer.size), Some(layer.diff_id));
    let expected = Expected { what: format!("layer {}", layer.blob), blob, size, diff_id };
    let result = ingest.layer(&mut watched, &expected);
    match (result, watched.source.failure()) {
        (Err(_), Some(failure)) => Err(failure.into()),
        (result, _) => result.map(drop),
    }
}

/// Reports what is read.
struct Watched<'a, R> {
    source: R,
    layer: &'a LayerPlan,
    progress: &'a dyn Progress,
    received: u64,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        self.received += n as u64;
        self.progress.received(self.layer, self.received);
        Ok(n)
    }
}
