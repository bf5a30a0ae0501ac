//! `hull template`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{container::parse_cpus, image::size, table};
use crate::{
    config::Size,
    container::{
        Host, HostConfig,
        template::{Purpose, Templates},
    },
    image,
};

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List templates
    Ls(Ls),
    /// Build the template for a number of CPUs or for an image, unless it is there
    Build(Build),
    /// Remove templates; what runs is not touched
    Rm(Rm),
    /// Remove all templates; what runs is not touched
    Prune,
}

/// List templates
#[derive(Debug, Args)]
pub struct Ls {
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Build the template for a number of CPUs or for an image, unless it is there
#[derive(Debug, Args)]
pub struct Build {
    /// Image of the containers it is for; without one it serves any, a little later
    image: Option<String>,
    /// CPUs of the containers it is for, as `hull run --cpus` has it: 1, 2, 4 and 8 make a difference
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,
}

/// Remove templates; what runs is not touched
#[derive(Debug, Args)]
pub struct Rm {
    /// Their ids
    #[arg(required = true, value_name = "TEMPLATE")]
    ids: Vec<String>,
}

impl Verb {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let templates = Templates::open();
        match self {
            Verb::Ls(ls) => ls.run(&templates)?,
            Verb::Build(build) => {
                let host_config = HostConfig { nano_cpus: build.cpus.unwrap_or(0), ..HostConfig::default() };
                let image = build.image.as_deref().map(find).transpose()?;
                let size = Host::this().vm_size(&host_config)?;
                let purpose = match build.image.as_deref().zip(image.as_ref()) {
                    Some((name, image)) => Purpose::of(size, &host_config, name, image),
                    None => Purpose { size, image: None },
                };
                println!("{}", templates.get(&purpose)?.id);
            }
            Verb::Rm(rm) => {
                for id in &rm.ids {
                    templates.remove(id)?;
                    println!("{id}");
                }
            }
            Verb::Prune => {
                let mut freed = 0;
                for (id, bytes) in templates.prune()? {
                    println!("{id}");
                    freed += bytes;
                }
                println!("Total reclaimed space: {}", size::human(freed));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The image with this name.
fn find(name: &str) -> anyhow::Result<image::Image> {
    let image = image::Store::open()?.find(name)?.ok_or_else(|| image::Error::NotFound(name.to_owned()))?;
    // A layer that is missing is made again.
    image.open_layers()?;
    Ok(image)
}

impl Ls {
    fn run(&self, templates: &Templates) -> anyhow::Result<()> {
        let found = templates.list()?;
        if self.json {
            for (about, bytes) in found {
                let line = json!({
                    "ID": about.id, "Image": about.image, "Vcpus": about.vcpus, "Memory": about.memory, "CreatedAt": about.created,
                    "BuildMilliseconds": about.build_ms, "Size": bytes,
                });
                println!("{line}");
            }
            return Ok(());
        }
        let row = |(about, bytes): &(_, u64)| {
            let about: &crate::container::template::About = about;
            let memory = Size(about.memory).to_string();
            let built_in = format!("{:.1} s", about.build_ms as f64 / 1e3);
            [
                about.id.clone(),
                about.image.clone().unwrap_or_else(|| "<any>".to_owned()),
                about.vcpus.to_string(),
                memory,
                about.created.clone(),
                built_in,
                size::human(*bytes),
            ]
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        print!(
            "{}",
            table::render(["TEMPLATE", "IMAGE", "VCPUS", "MEMORY", "CREATED", "BUILT IN", "SIZE"], &rows)
        );
        Ok(())
    }
}
