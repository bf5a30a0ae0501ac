//! `hull images`.

use std::process::ExitCode;
use std::slice;

use clap::Args;
use serde_json::{Value, json};

use super::filter::{self, Filter};
use super::{size, tree};
use crate::cli::format::{self, Listing};
use crate::cli::output::print;
use crate::container::duration;
use crate::image::{Digest, Image, Reference, Store};

/// What stands where there is no name.
const NONE: &str = "<none>";

/// List images
#[derive(Debug, Args)]
pub struct Images {
    /// Only images of this name: NAME[:TAG|@DIGEST]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Accepted for Docker's sake: there are no hidden images
    #[arg(short, long)]
    all: bool,
    /// Show IDs only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten IDs
    #[arg(long)]
    no_trunc: bool,
    /// Show the digests that registries know images by
    #[arg(long)]
    digests: bool,
    /// Only those that are meant: dangling=true|false, label=NAME[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    format: Option<String>,
    /// Show which layers images share
    #[arg(long, conflicts_with_all = ["quiet", "digests", "json", "format"])]
    tree: bool,
    /// Print an array of JSON
    #[arg(long)]
    json: bool,
}

/// What stands above each field.
const HEADINGS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// A line of the table: an image under one of its names.
struct Row {
    repository: String,
    tag: String,
    digest: String,
    id: String,
    created: String,
    size: u64,
}

impl Images {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let mut images = store.images()?;
        for text in &self.filter {
            let filter = Filter::parse(text, &store)?;
            images.retain(|image| filter.means(image));
        }
        // Youngest first, as Docker has them. Times of one format sort as texts.
        images.sort_by_key(|image| std::cmp::Reverse(image.config.created().clone().unwrap_or_default()));
        if self.tree {
            return print(&tree::render(&images));
        }
        let mut rows = Vec::new();
        for image in &images {
            rows.extend(self.rows(image)?);
        }
        if self.quiet {
            rows.dedup_by(|a, b| a.id == b.id);
        }
        if self.json {
            return print(&format!("{:#}\n", Value::Array(rows.iter().map(Row::json).collect())));
        }
        let columns: &[&str] = match self.digests {
            true => &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"],
            false => &["Repository", "Tag", "ID", "CreatedSince", "Size"],
        };
        let rows: Vec<_> = rows.iter().map(Row::line).collect();
        let format = if self.quiet { Some("{{.ID}}") } else { self.format.as_deref() };
        Listing { headings: HEADINGS, columns }.print(format, &rows)
    }

    /// The image under each of its names that is asked for.
    fn rows(&self, image: &Image) -> anyhow::Result<Vec<Row>> {
        let wanted = self.name.as_ref().map(|name| name.parse::<Reference>()).transpose()?;
        let whole_repository = self
            .name
            .as_ref()
            .is_some_and(|name| !name.rsplit('/').next().is_some_and(|last| last.contains([':', '@'])));
        let patterns: Vec<&str> =
            self.filter.iter().filter_map(|text| text.strip_prefix("reference=")).collect();
        let is_wanted = |name: &Reference| match &wanted {
            _ if !patterns.is_empty() && !patterns.iter().any(|pattern| filter::matches(pattern, name)) => {
                false
            }
            None => true,
            Some(wanted) if whole_repository => name.name() == wanted.name(),
            Some(wanted) => name == wanted,
        };
        let row = |name: Option<&Reference>| {
            let repository = name.map_or_else(|| NONE.to_owned(), Reference::familiar_name);
            let same = |digest: &&Reference| name.is_some_and(|name| name.name() == digest.name());
            let known = || image.digests.iter().find(same).and_then(Reference::digest);
            let digest = name.and_then(Reference::digest).or_else(known);
            Row {
                repository,
                tag: name.and_then(Reference::tag).unwrap_or(NONE).to_owned(),
                digest: digest.map_or_else(|| NONE.to_owned(), |digest| digest.to_string()),
                id: if self.no_trunc { image.id.to_string() } else { image.id.short() },
                created: image.config.created().clone().unwrap_or_default(),
                size: image.size(),
            }
        };
        let names = match wanted.as_ref().filter(|name| name.digest().is_some()) {
            Some(name) if is_known_by(name, image.manifest, &image.tags, &image.digests) => {
                slice::from_ref(name)
            }
            Some(_) => &[],
            // An image without a tag is shown by its digest.
            None if image.tags.is_empty() => &image.digests,
            None => &image.tags,
        };
        let mut rows: Vec<Row> =
            names.iter().filter(|name| is_wanted(name)).map(|name| row(Some(name))).collect();
        // One without any name is shown by its ID.
        if image.tags.is_empty() && image.digests.is_empty() && wanted.is_none() {
            rows.push(row(None));
        }
        Ok(rows)
    }
}

/// Whether this name with a digest is an image's: a registry's, or that of its manifest where it came from an archive.
fn is_known_by(name: &Reference, manifest: Digest, tags: &[Reference], digests: &[Reference]) -> bool {
    let same_name = |known: &Reference| known.name() == name.name();
    digests.contains(name) || (name.digest() == Some(manifest) && tags.iter().chain(digests).any(same_name))
}

impl Row {
    fn ago(&self) -> String {
        match self.created.parse::<jiff::Timestamp>() {
            Ok(_) => format!("{} ago", duration::human(duration::seconds_since(&self.created))),
            Err(_) => "N/A".to_owned(),
        }
    }

    fn line(&self) -> format::Row {
        format::Row::new([
            ("ID", self.id.clone().into()),
            ("Repository", self.repository.clone().into()),
            ("Tag", self.tag.clone().into()),
            ("Digest", self.digest.clone().into()),
            ("CreatedSince", self.ago().into()),
            ("CreatedAt", format::created_at(&self.created).into()),
            ("Size", size::human(self.size).into()),
            ("Containers", "N/A".into()),
            ("VirtualSize", size::human(self.size).into()),
            ("SharedSize", "N/A".into()),
            ("UniqueSize", "N/A".into()),
        ])
    }

    fn json(&self) -> Value {
        json!({
            "Repository": self.repository, "Tag": self.tag, "Digest": self.digest, "ID": self.id,
            "CreatedAt": self.created, "CreatedSince": self.ago(), "Size": size::human(self.size), "Bytes": self.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_a_registry_s_digest_and_by_its_manifest_s() {
        let reference = |text: &str| text.parse::<Reference>().unwrap();
        let (manifest, index, other) = (Digest::of(b"manifest"), Digest::of(b"index"), Digest::of(b"other"));
        let tag = reference("busybox:1");
        let (tags, digests) = (slice::from_ref(&tag), [tag.with_digest(index)]);
        assert!(is_known_by(&tag.with_digest(index), manifest, tags, &digests));
        assert!(is_known_by(&tag.with_digest(index), manifest, &[], &digests));
        assert!(is_known_by(&tag.with_digest(manifest), manifest, tags, &[]));
        assert!(!is_known_by(&tag.with_digest(other), manifest, tags, &digests));
        assert!(!is_known_by(&reference("debian").with_digest(manifest), manifest, tags, &digests));
    }
}
