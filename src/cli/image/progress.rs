//! How a pull is shown: bars on a terminal, Docker's lines elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::image::manifest::LayerPlan;
use crate::image::pull::Progress;
use crate::image::{Digest, Reference};

/// Where a pull is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `hull pull`.
    Stdout,
    /// A pull beside the main thing: standard output belongs to the container.
    Stderr,
}

impl Output {
    fn is_terminal(self) -> bool {
        match self {
            Output::Stdout => std::io::stdout().is_terminal(),
            Output::Stderr => std::io::stderr().is_terminal(),
        }
    }

    /// Prints a line. Nobody is left to be told when it fails.
    pub fn line(self, text: &str) {
        let _ = match self {
            Output::Stdout => writeln!(std::io::stdout(), "{text}"),
            Output::Stderr => writeln!(std::io::stderr(), "{text}"),
        };
    }
}

/// Shows a pull.
pub fn show(output: Output) -> Box<dyn Progress> {
    if output.is_terminal() {
        Box::new(Bars {
            output,
            all: MultiProgress::with_draw_target(target(output)),
            bars: Mutex::default(),
        })
    } else {
        Box::new(Lines(output))
    }
}

fn target(output: Output) -> ProgressDrawTarget {
    match output {
        Output::Stdout => ProgressDrawTarget::stdout(),
        Output::Stderr => ProgressDrawTarget::stderr(),
    }
}

fn heading(reference: &Reference) -> String {
    let version = reference.tag().map_or_else(|| reference.to_string(), str::to_owned);
    format!("{version}: Pulling from {}", reference.repository())
}

/// A line for each thing that happens.
struct Lines(Output);

impl Lines {
    fn layer(&self, layer: &LayerPlan, what: &str) {
        self.0.line(&format!("{}: {what}", layer.blob.short()));
    }
}

impl Progress for Lines {
    fn begin(&self, reference: &Reference, _: &[LayerPlan]) {
        self.0.line(&heading(reference));
    }

    fn known(&self, layer: &LayerPlan) {
        self.layer(layer, "Already exists");
    }

    fn starting(&self, layer: &LayerPlan) {
        self.layer(layer, "Pulling fs layer");
    }

    fn done(&self, layer: &LayerPlan) {
        self.layer(layer, "Pull complete");
    }
}

/// A bar for each layer.
struct Bars {
    output: Output,
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn with(&self, layer: &LayerPlan, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = self.bars.lock().expect("no thread panics with it").get(&layer.blob) {
            act(bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, reference: &Reference, layers: &[LayerPlan]) {
        self.output.line(&heading(reference));
        let style = ProgressStyle::with_template("{prefix}: {msg:11} [{bar:40}] {bytes}/{total_bytes}");
        let style = style.expect("a template that is right").progress_chars("=> ");
        for layer in layers {
            let bar = self.all.add(ProgressBar::new(layer.size).with_style(style.clone()));
            bar.set_prefix(layer.blob.short());
            bar.set_message("Waiting");
            self.bars.lock().expect("no thread panics with it").insert(layer.blob, bar);
        }
    }

    fn known(&self, layer: &LayerPlan) {
        self.finish(layer, "Already exists");
    }

    fn starting(&self, layer: &LayerPlan) {
        self.with(layer, |bar| bar.set_message("Pulling"));
    }

    fn received(&self, layer: &LayerPlan, bytes: u64) {
        self.with(layer, |bar| bar.set_position(bytes));
    }

    fn done(&self, layer: &LayerPlan) {
        self.finish(layer, "Pull complete");
    }
}

impl Bars {
    fn finish(&self, layer: &LayerPlan, message: &'static str) {
        let style = ProgressStyle::with_template("{prefix}: {msg}").expect("a template that is right");
        self.with(layer, |bar| {
            bar.set_style(style);
            bar.finish_with_message(message);
        });
    }
}
