//! `hull port`.

use std::process::ExitCode;

use clap::Args;

use crate::{
    container::{
        Error, Port as Inside,
        state::{Status, Store},
    },
    network::control::Bound,
};

/// List where a container's ports are reached from outside
#[derive(Debug, Args)]
pub struct Port {
    /// The container
    container: String,
    /// Only this port
    #[arg(value_name = "PORT[/PROTOCOL]")]
    port: Option<Inside>,
}

impl Port {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let store = Store::open()?;
        let folder = store.find(&self.container)?;
        let state = folder.state()?;
        if state.status != Status::Running {
            return Err(Error::NotRunning(folder.id.clone()).into());
        }
        let ports: Vec<Bound> = state.ports().copied().collect();
        let inside = |bound: &Bound| Inside { number: bound.inside, protocol: bound.protocol };
        let Some(wanted) = self.port else {
            ports.iter().for_each(|bound| println!("{} -> {}", inside(bound), bound.at));
            return Ok(ExitCode::SUCCESS);
        };
        let found: Vec<_> = ports.iter().filter(|bound| inside(bound) == wanted).collect();
        anyhow::ensure!(!found.is_empty(), "no public port '{wanted}' published for {}", self.container);
        found.iter().for_each(|bound| println!("{}", bound.at));
        Ok(ExitCode::SUCCESS)
    }
}
