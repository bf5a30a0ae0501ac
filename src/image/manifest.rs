//! Manifests, indexes and configurations: JSON that says what an image is made of (OCI image specification, manifest.md,
//! image-index.md, config.md; Docker's schema 2 is the same under other media types).

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Digest, Error, Platform, Result};

/// Largest manifest, index or configuration, in bytes. Registries have the same limit.
pub const MAX_JSON: u64 = 4 << 20;

/// Docker's media type of a configuration.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What an index or a manifest turned out to be.
#[derive(Debug)]
pub enum Document {
    /// Several images, of which each is for another platform.
    Index(Box<ImageIndex>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

impl Document {
    /// Parses what `what` names in messages. The content decides, not the media type somebody gave for it.
    pub fn parse(json: &[u8], what: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Outline {
            schema_version: Option<u64>,
            manifests: Option<IgnoredAny>,
            layers: Option<IgnoredAny>,
        }
        let outline: Outline = parse_json(json, what)?;
        match outline {
            Outline { schema_version: Some(1), .. } => Err(Error::malformed(
                what,
                "it is of Docker's schema 1, which is no longer supported; push the image again",
            )),
            Outline { manifests: Some(_), .. } => {
                parse_json(json, what).map(|index| Document::Index(Box::new(index)))
            }
            Outline { layers: Some(_), .. } => {
                parse_json(json, what).map(|manifest| Document::Manifest(Box::new(manifest)))
            }
            _ => Err(Error::malformed(what, "it is neither a manifest nor an index")),
        }
    }
}

/// An image before its layers are there: what to fetch, and what it must turn out to be.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The configuration, and as the text it came as.
    pub config: ImageConfiguration,
    /// Its JSON.
    pub config_json: String,
    /// Lowest first.
    pub layers: Vec<LayerPlan>,
}

/// A layer of a [`Blueprint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    /// Digest of the blob.
    pub blob: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of what is in it once decompressed.
    pub diff_id: Digest,
}

impl Blueprint {
    /// Puts a manifest and its configuration together.
    pub fn new(manifest: &ImageManifest, config_json: Vec<u8>) -> Result<Self> {
        let what = "the image's configuration";
        match manifest.config().media_type() {
            MediaType::ImageConfig => {}
            MediaType::Other(other) if other == DOCKER_CONFIG => {}
            other => {
                return Err(Error::malformed(
                    what,
                    format!("it is an artifact of type {other}, not a container image"),
                ));
            }
        }
        let layers = manifest.layers();
        let config: ImageConfiguration = parse_json(&config_json, what)?;
        let diff_ids = diff_ids(&config)?;
        if diff_ids.len() != layers.len() {
            let reason = format!("it has {} layers, and the manifest has {}", diff_ids.len(), layers.len());
            return Err(Error::malformed(what, reason));
        }
        let plan = |(layer, diff_id): (&Descriptor, Digest)| -> Result<LayerPlan> {
            Ok(LayerPlan { blob: digest(layer)?, size: layer.size(), diff_id })
        };
        let layers = layers.iter().zip(diff_ids).map(plan).collect::<Result<_>>()?;
        let config_json =
            String::from_utf8(config_json).map_err(|_| Error::malformed(what, "it is not UTF-8"))?;
        Ok(Blueprint { config, config_json, layers })
    }

    /// Refuses an image that `wanted` cannot run.
    pub fn check_platform(&self, wanted: &Platform) -> Result<()> {
        let platform = Platform::from(&self.config);
        if platform.satisfies(wanted) {
            Ok(())
        } else {
            Err(Error::Platform { there: vec![platform], wanted: wanted.clone() })
        }
    }
}

/// The layers that a configuration names, lowest first.
pub fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>> {
    Ok(config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
}

/// The digest in a descriptor.
pub fn digest(descriptor: &Descriptor) -> Result<Digest> {
    Ok(descriptor.digest().as_ref().parse()?)
}

/// The entry of an index that runs on `wanted`: the first that says so, or an only one that says nothing.
pub fn choose<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor> {
    let platform = |entry: &Descriptor| entry.platform().as_ref().map(Platform::from);
    if let Some(entry) =
        index.manifests().iter().find(|entry| platform(entry).is_some_and(|it| it.satisfies(wanted)))
    {
        return Ok(entry);
    }
    let images =
        || index.manifests().iter().filter(|entry| !platform(entry).is_some_and(|it| it.is_unknown()));
    let mut silent = images().filter(|entry| entry.platform().is_none());
    if let (Some(only), None) = (silent.next(), silent.next()) {
        return Ok(only);
    }
    Err(Error::Platform { there: images().filter_map(platform).collect(), wanted: wanted.clone() })
}

/// Parses JSON that `what` names in messages.
pub fn parse_json<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        let html = json.trim_ascii_start().starts_with(b"<");
        let reason = if html {
            "it is a web page, not JSON".into()
        } else {
            format!("it is not what it should be: {error}")
        };
        Error::malformed(what, reason)
    })
}
