//! `hull system`: what hull takes of the disk, and giving it back.

use std::{collections::HashSet, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    container,
    format::{self, Listing, Row},
    image::{self, size::human},
    info::Info,
    network, terminal, volume,
};
use crate::{
    container::{
        mount::MountKind,
        state::{Status, Store},
        volume::Volumes,
    },
    folders,
    image::Store as Images,
};

/// The verbs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Verb {
    /// Show what hull takes of the disk
    Df(Df),
    /// Show what happens to containers
    Events(container::Events),
    /// Show what there is: containers, images, and the host
    Info(Info),
    /// Remove what nobody uses: containers that do not run, networks, and images without a tag
    Prune(Prune),
}

/// Show what hull takes of the disk
#[derive(Debug, Args)]
pub struct Df {
    /// Say it of each image, container and volume
    #[arg(short, long)]
    verbose: bool,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
}

/// Remove what nobody uses
#[derive(Debug, Args)]
pub struct Prune {
    /// All images that no container has, not only those without a tag
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Volumes that no container has and that have no name of their own, too
    #[arg(long)]
    volumes: bool,
    /// Only containers and images that are meant: until=TIME, label=NAME[=VALUE], label!=NAME[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Df(verb) => verb.run(),
            Self::Events(verb) => verb.run(),
            Self::Info(verb) => verb.run(),
            Self::Prune(verb) => verb.run(),
        }
    }
}

/// Things of one kind.
struct Kind {
    name: &'static str,
    total: usize,
    active: usize,
    size: u64,
    reclaimable: u64,
}

impl Kind {
    fn row(&self) -> Row {
        let share = (100 * self.reclaimable).checked_div(self.size).unwrap_or(0);
        let reclaimable = match self.size {
            0 => human(0),
            _ => format!("{} ({share}%)", human(self.reclaimable)),
        };
        Row::new([
            ("Type", self.name.into()),
            ("TotalCount", self.total.to_string().into()),
            ("Active", self.active.to_string().into()),
            ("Size", human(self.size).into()),
            ("Reclaimable", reclaimable.into()),
        ])
    }
}

const SUMMARY: Listing<'static> = Listing {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    columns: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
};

impl Df {
    fn run(self) -> anyhow::Result<ExitCode> {
        let containers = Store::open()?.list()?;
        let images = Images::open()?;
        let volumes = Volumes::open()?.list()?;
        let used: HashSet<_> = containers.iter().map(|(_, description, _)| description.image).collect();
        let mounts = containers.iter().flat_map(|(_, description, _)| &description.mounts);
        let named: HashSet<_> = mounts
            .filter(|mount| mount.kind == MountKind::Volume)
            .filter_map(|mount| mount.name.clone())
            .collect();

        // Layers are there once, whichever images have them.
        let (mut seen, mut kept, mut layers, mut in_use) = (HashSet::new(), HashSet::new(), 0, 0);
        let all = images.images()?;
        for image in &all {
            for layer in &image.layers {
                layers += if seen.insert(layer.diff_id) { layer.size } else { 0 };
                let active = used.contains(&image.id) && kept.insert(layer.diff_id);
                in_use += if active { layer.size } else { 0 };
            }
        }
        let size = |path: &std::path::Path| folders::allocated(path);
        let is_up = |status: Status| status.needs_keeper();
        let sizes: Vec<_> =
            containers.iter().map(|(folder, _, state)| (size(folder.path()), is_up(state.status))).collect();
        let volume_sizes: Vec<_> =
            volumes.iter().map(|volume| (size(&volume.mountpoint), named.contains(&volume.name))).collect();
        let sum = |sizes: &[(u64, bool)], of: fn(&(u64, bool)) -> bool| -> u64 {
            sizes.iter().filter(|one| of(one)).map(|(size, _)| size).sum()
        };
        let active = |sizes: &[(u64, bool)]| sizes.iter().filter(|(_, active)| *active).count();
        let kinds = [
            Kind {
                name: "Images",
                total: all.len(),
                active: all.iter().filter(|image| used.contains(&image.id)).count(),
                size: layers,
                reclaimable: layers - in_use,
            },
            Kind {
                name: "Containers",
                total: sizes.len(),
                active: active(&sizes),
                size: sum(&sizes, |_| true),
                reclaimable: sum(&sizes, |(_, active)| !active),
            },
            Kind {
                name: "Local Volumes",
                total: volume_sizes.len(),
                active: active(&volume_sizes),
                size: sum(&volume_sizes, |_| true),
                reclaimable: sum(&volume_sizes, |(_, active)| !active),
            },
        ];
        if !self.verbose {
            let rows: Vec<_> = kinds.iter().map(Kind::row).collect();
            return SUMMARY.print(self.format.as_deref(), &rows);
        }
        let text = |value: String| Value::from(value);
        println!("Images space usage:\n");
        let row = |image: &crate::image::Image| {
            let name = image.tags.first();
            let count = containers.iter().filter(|(_, description, _)| description.image == image.id).count();
            Row::new([
                ("Repository", text(name.map_or("<none>".to_owned(), |name| name.familiar_name()))),
                ("Tag", text(name.and_then(|name| name.tag()).unwrap_or("<none>").to_owned())),
                ("ID", text(image.id.short())),
                ("Size", text(human(image.size()))),
                ("Containers", text(count.to_string())),
            ])
        };
        let headings: &[(&str, &str)] = &[
            ("Repository", "REPOSITORY"),
            ("Tag", "TAG"),
            ("ID", "IMAGE ID"),
            ("Size", "SIZE"),
            ("Containers", "CONTAINERS"),
        ];
        let columns: &[&str] = &["Repository", "Tag", "ID", "Size", "Containers"];
        Listing { headings, columns }.print(None, &all.iter().map(row).collect::<Vec<_>>())?;
        println!("\nContainers space usage:\n");
        let rows = containers.iter().zip(&sizes).map(|((folder, description, state), (size, _))| {
            Row::new([
                ("ID", text(folder.id.short().to_owned())),
                ("Image", text(description.config.image.clone())),
                ("Size", text(human(*size))),
                ("Created", text(format::created_at(&description.created))),
                ("Status", text(state.status.name().to_owned())),
                ("Names", text(description.name.to_string())),
            ])
        });
        let headings: &[(&str, &str)] = &[
            ("ID", "CONTAINER ID"),
            ("Image", "IMAGE"),
            ("Size", "SIZE"),
            ("Created", "CREATED"),
            ("Status", "STATUS"),
            ("Names", "NAMES"),
        ];
        let columns: &[&str] = &["ID", "Image", "Size", "Created", "Status", "Names"];
        Listing { headings, columns }.print(None, &rows.collect::<Vec<_>>())?;
        println!("\nLocal Volumes space usage:\n");
        let rows = volumes.iter().zip(&volume_sizes).map(|(volume, (size, _))| {
            let has = |mount: &crate::container::mount::MountPoint| mount.name.as_ref() == Some(&volume.name);
            let links = containers.iter().filter(|(_, it, _)| it.mounts.iter().any(has)).count();
            Row::new([
                ("Name", text(volume.name.clone())),
                ("Links", text(links.to_string())),
                ("Size", text(human(*size))),
            ])
        });
        let headings: &[(&str, &str)] = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
        Listing { headings, columns: &["Name", "Links", "Size"] }.print(None, &rows.collect::<Vec<_>>())
    }
}

impl Prune {
    fn run(self) -> anyhow::Result<ExitCode> {
        let volumes =
            if self.volumes { "\n  - all anonymous volumes not used by at least one container" } else { "" };
        let what = format!(
            ":\n  - all stopped containers\n  - all networks not used by at least one container{volumes}\n  - all {}",
            image::meant(self.all)
        );
        if !self.force && !terminal::confirm(&what)? {
            return Ok(ExitCode::SUCCESS);
        }
        let filters =
            self.filter.iter().map(|text| container::parse_filter(text)).collect::<Result<Vec<_>, _>>();
        let (code, mut bytes) = container::prune(&filters.map_err(anyhow::Error::msg)?)?;
        network::prune()?;
        if self.volumes {
            bytes += volume::prune_all(false)?;
        }
        bytes += image::prune(self.all, &self.filter)?;
        println!("Total reclaimed space: {}", human(bytes));
        Ok(code)
    }
}
