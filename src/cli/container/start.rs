//! `hull start`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{
    detach::DetachKeys,
    for_each,
    options::Attached,
    run::prepare_template,
    session::{self, End, Wish},
};
use crate::{
    container::{
        Beginning, Description, Error, Result, action,
        checkpoint::{Checkpoint, Checkpoints},
        state::{Status, Store},
        template::Purpose,
    },
    image,
    vmm::channel::Channel,
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
    /// Go on from this checkpoint
    #[arg(long)]
    checkpoint: Option<String>,
    /// Folder of the checkpoint, instead of the container's own
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    checkpoint_dir: Option<PathBuf>,
    /// Read all of the checkpoint first, and refuse one that is damaged
    #[arg(long, requires = "checkpoint")]
    verify: bool,
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
        if self.checkpoint.is_some() {
            let [container] = self.containers.as_slice() else {
                anyhow::bail!("you cannot restore multiple containers at once");
            };
            let store = Store::open()?;
            self.begin(&store, container)?.map_or(Ok(()), |channel| await_start(&channel))?;
            // Docker says nothing here.
            return Ok(ExitCode::SUCCESS);
        }
        for_each(&self.containers, |store, container| start(store, container).map(|()| container.to_owned()))
    }

    /// Starts a container that does not run; gives its keeper's connection, or `None` when it runs already.
    fn begin(&self, store: &Store, container: &str) -> Result<Option<Channel>> {
        let Some(name) = &self.checkpoint else { return begin(store, container) };
        let folder = store.find(container)?;
        let path = Checkpoints::of(&folder, container, self.checkpoint_dir.as_deref())?.find(name)?;
        // The keeper looks again, but when it is refused there the container's record says so.
        let checkpoint = Checkpoint::open(&path)?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
        if let Some(image) = image::Store::open()?.find(&description.image.to_string())? {
            checkpoint.check(&description, &image)?;
        }
        if self.verify {
            checkpoint.verify()?;
        }
        let beginning = Beginning::Checkpoint(&path);
        let channel = action::restart(store, container, false, beginning)?;
        channel.map(Some).ok_or_else(|| {
            Error::Conflict(format!(
                "container {container} is running: stop it, to have it go on from a checkpoint"
            ))
        })
    }

    fn attached(&self, container: &str) -> Result<ExitCode> {
        let store = Store::open()?;
        let folder = store.find(container)?;
        let description = folder.description()?.ok_or_else(|| Error::NotFound(container.to_owned()))?;
        let channel = match self.begin(&store, container)? {
            Some(channel) => channel,
            None => action::connect(&store, &folder)?.ok_or_else(|| Error::NotRunning(folder.id.clone()))?,
        };
        let config = &description.config;
        let wish = Wish {
            attached: Attached { stdin: self.interactive && config.open_stdin, stdout: true, stderr: true },
            tty: config.tty,
            pass_signals: true,
            detach_keys: self.detach_keys.clone(),
            exec: false,
        };
        match session::run(&channel, &wish)? {
            End::Exited { code, .. } => Ok(ExitCode::from(code)),
            End::Detached => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Starts a container that does not run, and waits until it does.
///
/// # Errors
/// When there is no such container, or it cannot be started.
pub fn start(store: &Store, container: &str) -> Result<()> {
    loop {
        if let Some(channel) = begin(store, container)? {
            return await_start(&channel);
        }
        let folder = store.find(container)?;
        if folder.state()?.status != Status::Starting {
            return Ok(());
        }
        // Somebody else is starting it, who may have left since.
        if let Some(channel) = action::connect(store, &folder)? {
            return await_start(&channel);
        }
    }
}

/// Starts a container that does not run; gives its keeper's connection, or `None` when it runs already.
fn begin(store: &Store, container: &str) -> Result<Option<Channel>> {
    let template = prepare(store, container)?;
    let beginning = template.as_ref().map_or(Beginning::Boot, Beginning::Template);
    action::restart(store, container, false, beginning)
}

/// Waits until it runs.
fn await_start(channel: &Channel) -> Result<()> {
    action::await_start(channel)?.map_err(|(_, message)| Error::Conflict(message))
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
    let purpose = Purpose::of_container(&host_config, &config.image, &image)?;
    let purpose = if folder.file("data.img").exists() { purpose.any_image() } else { purpose };
    prepare_template(&purpose, &image);
    Ok(Some(purpose))
}
