//! `hull start`.

use std::process::ExitCode;

use clap::Args;

use super::{
    detach::DetachKeys,
    for_each,
    options::Attached,
    run::{await_start, prepare_template},
    session::{self, End, Wish},
};
use crate::{
    container::{Description, Error, Host, Result, action, state::Store, template::Purpose},
    image,
};

/// Start containers that do not run
#[derive(Debug, Args)]
pub struct Start {
    /// Attach the output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach the input
    #[arg(short, long)]
    interactive: bool,
    /// Keys that leave the container
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    /// Runs the verb. Attached, its exit code is the container's.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.attach || self.interactive {
            let [container] = self.containers.as_slice() else {
                anyhow::bail!("you cannot start and attach multiple containers at once");
            };
            return Ok(self.attached(container)?);
        }
        for_each(&self.containers, |store, container| {
            let template = prepare(store, container)?;
            if let Some(channel) = action::restart(store, container, false, template.as_ref())? {
                await_start(&channel)?.map_err(|(_, message)| Error::Conflict(message))?;
            }
            Ok(container.to_owned())
        })
    }

    fn attached(&self, container: &str) -> Result<ExitCode> {
        let store = Store::open()?;
        let folder = store.find(container)?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
        let template = prepare(&store, container)?;
        let channel = match action::restart(&store, container, false, template.as_ref())? {
            Some(channel) => channel,
            None => action::connect(&store, &folder)?.ok_or_else(|| Error::NotRunning(folder.id.clone()))?,
        };
        let config = &description.config;
        let wish = Wish {
            attached: Attached { stdin: self.interactive && config.open_stdin, stdout: true, stderr: true },
            tty: config.tty,
            pass_signals: true,
            detach_keys: self.detach_keys.clone(),
        };
        match session::run(&channel, &wish)? {
            End::Exited { code, .. } => Ok(ExitCode::from(code)),
            End::Detached => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Builds the template for a container, and gives what it is for. One that was started before has a disk of its own, and needs a
/// template that knows of none.
fn prepare(store: &Store, container: &str) -> Result<Option<Purpose>> {
    let folder = store.find(container)?;
    let Some(Description { image, host_config, config, .. }) = folder.description()? else { return Ok(None) };
    let Some(image) = image::Store::open()?.find(&image.to_string())? else {
        // The keeper says so.
        return Ok(None);
    };
    let purpose = Purpose::of(Host::this().vm_size(&host_config)?, &host_config, &config.image, &image);
    let purpose = if folder.file("data.img").exists() { purpose.any_image() } else { purpose };
    prepare_template(&purpose, &image);
    Ok(Some(purpose))
}
