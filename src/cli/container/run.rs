//! `hull run`.

use std::{io::Write, path::Path, process::ExitCode};

use clap::Args;

use super::{
    detach::DetachKeys,
    options::{Attached, Options, Pull},
    session::{self, End, Wish},
    terminal, timings,
};
use crate::{
    container::{
        self, Created, Error, Result,
        state::{Status, Store},
    },
    image::{self, Image},
    vm::control::KeeperMessage,
    vmm::{
        channel::{Channel, Received},
        monotonic_ns,
    },
};

/// Run a command in a new container
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// Leave the container in the background and print its id
    #[arg(short, long)]
    detach: bool,
    /// Keys that leave the container in the background
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Pass signals on to the container
    #[arg(long, default_value = "true", default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    sig_proxy: bool,
    /// Print when each stage was reached, on standard error
    #[arg(long, value_name = "FORMAT", default_missing_value = "table", num_args = 0..=1, require_equals = true)]
    timings: Option<timings::Format>,
    #[command(flatten)]
    options: Options,
}

impl Run {
    /// Runs the verb. What goes wrong on hull's side is exit code 125, as with Docker.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let begun_ns = monotonic_ns();
        if !self.detach && self.options.tty && self.options.interactive && !terminal::is_input() {
            anyhow::bail!("the input device is not a TTY");
        }
        Ok(self.execute(begun_ns).unwrap_or_else(|error| {
            eprintln!("hull: {error}");
            ExitCode::from(125)
        }))
    }

    fn execute(&self, begun_ns: u64) -> Result<ExitCode> {
        if self.detach && !self.options.attach.is_empty() {
            return Err(Error::Invalid("Conflicting options: -a and -d".to_owned()));
        }
        let attached = if self.detach { Attached::default() } else { Attached::of(&self.options) };
        let request = self.options.request(&attached)?;
        let image = find_image(self.options.image(), self.options.pull)?;
        let store = Store::open()?;
        let Created { folder, description, lock } =
            container::create(&store, &image, request, Status::Starting)?;
        if let Some(path) = &self.options.cidfile {
            write_id(path, folder.id.as_str())?;
        }
        let tied = self.options.rm && !self.detach;
        let channel = container::start(&folder, lock, tied)?;
        if self.detach {
            return await_start(&channel, folder.id.as_str());
        }
        let wish = Wish {
            attached,
            tty: description.config.tty,
            pass_signals: self.sig_proxy,
            detach_keys: self.detach_keys.clone(),
        };
        match session::run(&channel, &wish) {
            Ok(End::Exited { code, timings: told }) => {
                if let (Some(format), Some(told)) = (self.timings, told) {
                    timings::print(format, begun_ns, &told);
                }
                Ok(ExitCode::from(code))
            }
            Ok(End::Detached) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                // Whoever sees a container first whose keeper was killed puts its record right.
                let _ = store.find(folder.id.as_str());
                Err(error)
            }
        }
    }
}

/// The image of this name, pulled if need be.
fn find_image(name: &str, pull: Pull) -> Result<Image> {
    let store = image::Store::open()?;
    let found = if pull == Pull::Always { None } else { store.find(name)? };
    found.ok_or_else(|| match pull {
        Pull::Never => image::Error::NotFound(name.to_owned()).into(),
        Pull::Always | Pull::Missing => Error::Missing(format!(
            "Unable to find image '{name}' locally, and pulling is not built yet; `hull load` one"
        )),
    })
}

/// Writes the container's id to a file that must not exist yet.
fn write_id(path: &Path, id: &str) -> Result<()> {
    let file = std::fs::File::options().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(id.as_bytes()))
        .map_err(Error::file("cannot write the id to", path))
}

/// Waits for the start of a container that is to run in the background.
fn await_start(channel: &Channel, id: &str) -> Result<ExitCode> {
    loop {
        let received =
            channel.receive().map_err(|error| Error::Keeper(format!("does not answer: {error}")))?;
        match received {
            Received::Message(KeeperMessage::Started, _) => {
                println!("{id}");
                return Ok(ExitCode::SUCCESS);
            }
            Received::Message(KeeperMessage::Failed { code, message }, _) => {
                eprintln!("hull: {message}");
                return Ok(ExitCode::from(code));
            }
            Received::Message(..) | Received::Nothing => {}
            Received::Closed => return Err(Error::Keeper("was killed; the container is over".to_owned())),
        }
    }
}
