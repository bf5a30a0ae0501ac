//! `hull run`.

use std::{
    fs::File,
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::{
    detach::DetachKeys,
    options::{Attached, Options},
    session::{self, End, Wish},
    timings,
};
use crate::{
    cli::{image, terminal},
    container::{
        self, Beginning, ContainerId, Created, Error, Result, action,
        state::{Status, Store},
        template::{Purpose, Templates},
    },
    image::Image,
    vmm::monotonic_ns,
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
    /// Boot a kernel instead of going on from a template
    #[arg(long)]
    no_template: bool,
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
        let image = image::obtain(self.options.image(), self.options.pull.into(), self.options.quiet)?;
        let id_file = self.options.cidfile.as_deref().map(IdFile::create).transpose()?;
        let store = Store::open()?;
        let purpose = Purpose::of_container(&request.host_config, &request.config.image, &image)?;
        let template = (!self.no_template).then_some(purpose);
        if let Some(purpose) = &template {
            prepare_template(purpose, &image);
        }
        let Created { folder, description, lock } =
            container::create(&store, &image, request, Status::Starting)?;
        if let Some(file) = id_file {
            file.write(&folder.id)?;
        }
        let tied = self.options.rm && !self.detach;
        let beginning = template.as_ref().map_or(Beginning::Boot, Beginning::Template);
        let channel = container::start(&folder, &description, lock, tied, beginning)?;
        if self.detach {
            return Ok(match action::await_start(&channel)? {
                Ok(()) => {
                    println!("{}", folder.id);
                    ExitCode::SUCCESS
                }
                Err((code, message)) => {
                    eprintln!("hull: {message}");
                    ExitCode::from(code)
                }
            });
        }
        let wish = Wish {
            attached,
            tty: description.config.tty,
            pass_signals: self.sig_proxy,
            detach_keys: self.detach_keys.clone(),
            exec: false,
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

/// Builds the template for this purpose if there is none; without one the container boots.
pub fn prepare_template(purpose: &Purpose, image: &Image) {
    let templates = Templates::open();
    if !templates.lacks(purpose) {
        return;
    }
    if std::io::stderr().is_terminal() {
        eprintln!("hull: building template (once)");
    }
    let layers = image.open_layers().map(drop).map_err(Error::from);
    match layers.and_then(|()| templates.get(purpose)) {
        // What is missing the keeper misses, too.
        Ok(_) | Err(Error::Missing(_)) => {}
        Err(error) => eprintln!("hull: booting, since there is no template: {error}"),
    }
}

/// The file of `--cidfile`. It must not have been there; dropped before it is written, it is gone again.
pub struct IdFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl IdFile {
    /// Makes the file.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::options().write(true).create_new(true).open(path);
        let file = file.map_err(Error::file("cannot make the container ID file", path))?;
        Ok(Self { path: path.to_owned(), file, written: false })
    }

    /// Writes the id of the container that was made.
    pub fn write(mut self, id: &ContainerId) -> Result<()> {
        self.file
            .write_all(id.as_str().as_bytes())
            .map_err(Error::file("cannot write the container ID file", &self.path))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
