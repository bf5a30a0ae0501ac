//! `hull push`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use crate::image::manifest::LayerPlan;
use crate::image::push::{self, Progress};
use crate::image::reference::DEFAULT_TAG;
use crate::image::registry::Uploaded;
use crate::image::{Digest, Reference, Store};

/// Upload an image to a registry
#[derive(Debug, Args)]
pub struct Push {
    /// Upload all tags of this name
    #[arg(short, long)]
    all_tags: bool,
    /// Print only the image's name
    #[arg(short, long)]
    quiet: bool,
    /// The image: NAME[:TAG]
    #[arg(value_name = "NAME")]
    name: String,
}

impl Push {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let reference: Reference = self.name.parse()?;
        let tagged = self.name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if self.all_tags && tagged {
            bail!("tag can't be used with --all-tags/-a");
        }
        let store = Store::open()?;
        let wanted: Vec<Reference> = if self.all_tags {
            let tags = store.images()?.into_iter().flat_map(|image| image.tags);
            tags.filter(|name| name.name() == reference.name()).collect()
        } else {
            vec![reference.clone()]
        };
        if !self.quiet {
            println!("The push refers to repository [{}]", reference.name());
            if !self.all_tags && !tagged {
                println!("Using default tag: {DEFAULT_TAG}");
            }
        }
        if wanted.is_empty() {
            bail!("An image does not exist locally with the tag: {}", reference.familiar_name());
        }
        for name in wanted {
            let image = store.resolve(&name)?;
            let missing =
                || format!("An image does not exist locally with the tag: {}", name.familiar_name());
            let image = image.with_context(missing)?;
            if self.quiet {
                push::push(&store, &image, &name, &())?;
                println!("{name}");
                continue;
            }
            let pushed = if std::io::stdout().is_terminal() {
                push::push(&store, &image, &name, &Bars::default())?
            } else {
                push::push(&store, &image, &name, &Lines)?
            };
            let version = name.tag().map_or_else(|| pushed.digest.to_string(), str::to_owned);
            println!("{version}: digest: {} size: {}", pushed.digest, pushed.size);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn outcome(how: Uploaded, from: Option<&str>) -> String {
    match (how, from) {
        (Uploaded::Known, _) => "Layer already exists".to_owned(),
        (Uploaded::Mounted, Some(from)) => format!("Mounted from {from}"),
        _ => "Pushed".to_owned(),
    }
}

/// A line for each thing that happens.
struct Lines;

impl Progress for Lines {
    fn begin(&self, layers: &[LayerPlan]) {
        layers.iter().for_each(|layer| println!("{}: Preparing", layer.blob.short()));
    }

    fn done(&self, layer: &LayerPlan, how: Uploaded, from: Option<&str>) {
        println!("{}: {}", layer.blob.short(), outcome(how, from));
    }
}

/// A bar for each layer.
#[derive(Default)]
struct Bars(Mutex<HashMap<Digest, ProgressBar>>);

impl Bars {
    fn with(&self, layer: &LayerPlan, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.0.lock().expect("no thread panics with it").get(&layer.blob) {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, layers: &[LayerPlan]) {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{prefix}: {msg:9} [{bar:40}] {bytes}/{total_bytes}");
        let style = style.expect("a template that is right").progress_chars("=> ");
        for layer in layers {
            let bar = all.add(ProgressBar::new(layer.size).with_style(style.clone()));
            bar.set_prefix(layer.blob.short());
            bar.set_message("Preparing");
            self.0.lock().expect("no thread panics with it").insert(layer.blob, bar);
        }
    }

    fn sent(&self, layer: &LayerPlan, bytes: u64) {
        self.with(layer, |bar| {
            bar.set_message("Pushing");
            bar.set_position(bytes);
        });
    }

    fn done(&self, layer: &LayerPlan, how: Uploaded, from: Option<&str>) {
        let style = ProgressStyle::with_template("{prefix}: {msg}").expect("a template that is right");
        self.with(layer, |bar| {
            bar.set_style(style);
            bar.finish_with_message(outcome(how, from));
        });
    }
}
