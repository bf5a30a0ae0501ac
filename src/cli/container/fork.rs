//! `hull fork`.

use std::process::ExitCode;

use clap::Args;

use crate::container::{ContainerName, checkpoint, state::Store};

/// Start copies of a running container from its present state
#[derive(Debug, Args)]
#[command(
    after_help = "The container goes on, after a pause in which its memory is written and its disk copied. Each copy has \
processes, memory and files as the container had them then, and from there on its own; what none of them has written since, \
they share. A copy whose host name was the container's id gets its own id for one; processes that have looked before, or \
have it in their environment, know the old one. Output goes to each copy's own log: what was written before is in the \
container's."
)]
pub struct Fork {
    /// How many copies
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(checkpoint::MOST)))]
    count: u32,
    /// Name of the copy; of further ones NAME-2, NAME-3, ...
    #[arg(long)]
    name: Option<ContainerName>,
    /// The container
    container: String,
}

impl Fork {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        checkpoint::fork(&store, &self.container, self.count, self.name.as_ref(), |id| println!("{id}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
