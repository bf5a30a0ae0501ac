//! `hull history`.

use std::process::ExitCode;

use clap::Args;

use super::size;
use crate::cli::format::{self, Listing, Row};
use crate::container::duration;
use crate::image::{Error, Store};

/// Longest command shown, in characters.
const WIDTH: usize = 45;

/// Show how an image was made, the latest step first
#[derive(Debug, Args)]
pub struct History {
    /// Show IDs only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print sizes and dates for people
    #[arg(short = 'H', long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    human: Option<bool>,
    /// How to print: table, table TEMPLATE, json, or a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name or ID of the image
    #[arg(value_name = "IMAGE")]
    image: String,
}

const LISTING: Listing<'static> = Listing {
    headings: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    columns: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
};

impl History {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let human = self.human.unwrap_or(true);
        let image = Store::open()?.find(&self.image)?.ok_or(Error::NotFound(self.image))?;
        let mut sizes = image.layers.iter().map(|layer| layer.size);
        let none = Vec::new();
        let steps = image.config.history().as_ref().unwrap_or(&none);
        let mut rows = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            let size = if step.empty_layer().unwrap_or(false) { 0 } else { sizes.next().unwrap_or(0) };
            let created = step.created().clone().unwrap_or_default();
            let ago = match created.parse::<jiff::Timestamp>() {
                Ok(_) => format!("{} ago", duration::human(duration::seconds_since(&created))),
                Err(_) => "N/A".to_owned(),
            };
            let id = match number + 1 == steps.len() {
                true if self.no_trunc => image.id.to_string(),
                true => image.id.short(),
                false => "<missing>".to_owned(),
            };
            let by = step.created_by().clone().unwrap_or_default().replace(['\t', '\n'], " ");
            let by: String = match !self.no_trunc && by.chars().count() > WIDTH {
                true => by.chars().take(WIDTH - 1).chain(['…']).collect(),
                false => by,
            };
            // Nothing of an image's moves the cursor.
            let plain = |text: String| text.chars().filter(|c| !c.is_control()).collect::<String>();
            rows.push(Row::new([
                ("ID", id.into()),
                ("CreatedSince", if human { ago } else { created.clone() }.into()),
                ("CreatedAt", if human { format::created_at(&created) } else { created }.into()),
                ("CreatedBy", plain(by).into()),
                ("Size", if human { size::human(size) } else { size.to_string() }.into()),
                ("Comment", plain(step.comment().clone().unwrap_or_default()).into()),
            ]));
        }
        rows.reverse();
        LISTING.print(if self.quiet { Some("{{.ID}}") } else { self.format.as_deref() }, &rows)
    }
}
