//! `hull image inspect`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::format;
use crate::image::{Error, Image, Platform, Reference, Store};

/// Show everything about images, as JSON
#[derive(Debug, Args)]
pub struct Inspect {
    /// Print what this template says of each instead
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Inspect {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let (mut found, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for name in self.images {
            match store.find(&name).and_then(|image| image.ok_or(Error::NotFound(name))) {
                Ok(image) => found.push(describe(&image)),
                Err(error) => {
                    eprintln!("hull: {:#}", anyhow::Error::from(error));
                    code = ExitCode::FAILURE;
                }
            }
        }
        format::inspect(self.format.as_deref(), &found)?;
        Ok(code)
    }
}

/// An image in the fields of Docker's `image inspect`.
pub fn describe(image: &Image) -> Value {
    // What hull has no use for is shown as it came, too.
    let whole: Value = serde_json::from_str(&image.config_json).unwrap_or_default();
    let text = |key: &str| whole.get(key).cloned().unwrap_or_else(|| json!(""));
    let names = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
    let platform = Platform::from(&image.config);
    let mut described = json!({
        "Id": image.id,
        "RepoTags": names(&image.tags),
        "RepoDigests": names(&image.digests),
        "Comment": text("comment"),
        "Created": text("created"),
        "Author": text("author"),
        "Config": whole.get("config").cloned().unwrap_or_else(|| json!({})),
        "Architecture": platform.architecture,
        "Os": platform.os,
        "Size": image.size(),
        "RootFS": {
            "Type": "layers",
            "Layers": image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
        },
        "Descriptor": { "digest": image.manifest },
    });
    if let Some(variant) = platform.variant {
        described["Variant"] = json!(variant);
    }
    described
}
