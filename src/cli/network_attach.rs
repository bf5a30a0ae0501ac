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
        attachment::connect(&Store::open()?, &self.container, &network, &self.alias, self.ip)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Disconnect {
    /// Runs the verb.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let network = Networks::open().get(&self.network)?.name;
        match attachment::disconnect(&Store::open()?, &self.container, &network) {
            Err(crate::container::Error::NotFound(_)) if self.force => {}
            other => other?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
