//! `hull network connect` and `hull network disconnect`.

use std::{net::Ipv4Addr, process::ExitCode};

use clap::Args;

use crate::{
    container::{attachment, state::Store},
    network::store::Store as Networks,
};

/// Put a container into a network, also one that runs
#[derive(Debug, Args)]
pub struct Connect {
    /// What others in the network call the container, beside its name
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Address in the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// The network
    network: String,
    /// The container
    container: String,
}

/// Take a container out of a network, also one that runs
#[derive(Debug, Args)]
pub struct Disconnect {
    /// A container that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// The network
    network: String,
    /// The container
    container: String,
}

impl Connect {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let network = Networks::open().get(&self.network)?.name;
        let warning = attachment::connect(&Store::open()?, &self.container, &network, &self.alias, self.ip)?;
        warn(&self.container, warning);
        Ok(ExitCode::SUCCESS)
    }
}

impl Disconnect {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        // One that was removed meanwhile is in nobody's way.
        let network = Networks::open().get(&self.network).map_or(self.network, |network| network.name);
        match attachment::disconnect(&Store::open()?, &self.container, &network) {
            Err(crate::container::Error::NotFound(_)) if self.force => {}
            other => warn(&self.container, other?),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says what there is to know of a change that was made.
pub fn warn(container: &str, warning: Option<String>) {
    if let Some(warning) = warning {
        eprintln!("WARNING: container {container}: {warning}");
    }
}
