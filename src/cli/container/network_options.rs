//! The options of `run` and `create` that are about the network.

use std::{collections::BTreeSet, net::Ipv4Addr};

use clap::Args;

use crate::{
    container::{
        Endpoint, Error, HostConfig, MoreNetwork, Port, Result,
        networking::{parse_expose, parse_publish},
    },
    network::{address::parse_mac, rate::Rate},
};

/// How the container is in a network.
#[derive(Debug, Args)]
pub struct NetworkOptions {
    /// The network: bridge, none, or one that was made, or container:NAME, which is that container's and needs --vm; of several the first leads to everybody else
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Vec<String>,
    /// Have a port reached from outside
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]")]
    publish: Vec<String>,
    /// Have every port that the image exposes reached from outside, at any port of the host
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// A port that the container listens on
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// What others in the network call the container, beside its name
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    network_alias: Vec<String>,
    /// Address in the network
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Ethernet address in the network
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Name server to ask, instead of whom the host asks
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Where to look for names without dots
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Option of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Whom it may call outside its network: nobody, or these ranges, addresses, names and *.NAMEs only
    #[arg(long, value_name = "deny|allow=LIST")]
    egress: Vec<String>,
    /// How fast it speaks and is spoken to at most, in each network, such as 10mbit or in=50mbit,out=10mbit
    #[arg(long, value_name = "RATE|in=RATE,out=RATE")]
    network_rate: Option<Rate>,
    /// A name and its address; host-gateway is this host, with what listens on its loopback
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
}

/// What the options ask for.
pub struct Wanted {
    /// Ports that it listens on.
    pub exposed: BTreeSet<Port>,
    /// How it is in its network.
    pub endpoint: Endpoint,
    /// Networks that it is in beside that.
    pub more: Vec<MoreNetwork>,
    /// Everything else of the network.
    pub host_config: HostConfig,
}

impl NetworkOptions {
    /// Reads them.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn read(&self) -> Result<Wanted> {
        let mut host_config = HostConfig {
            network_mode: self.network.first().cloned().unwrap_or_default(),
            publish_all_ports: self.publish_all,
            dns: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_option.clone(),
            extra_hosts: self.add_host.clone(),
            ..HostConfig::default()
        };
        for text in &self.publish {
            for (port, binding) in parse_publish(text).map_err(Error::Invalid)? {
                host_config.port_bindings.entry(port).or_default().push(binding);
            }
        }
        let mut exposed = BTreeSet::new();
        for text in &self.expose {
            exposed.extend(parse_expose(text).map_err(Error::Invalid)?);
        }
        let mac_address = self.mac_address.as_deref().map(parse_mac).transpose().map_err(Error::Invalid)?;
        let mut egress = None;
        for text in &self.egress {
            let more = crate::network::egress::parse(text).map_err(Error::Invalid)?;
            egress.get_or_insert_with(Vec::new).extend(more);
        }
        let endpoint = Endpoint {
            aliases: self.network_alias.clone(),
            address: self.ip,
            mac_address,
            egress,
            rate: self.network_rate,
        };
        let further =
            |network: &String| MoreNetwork { network: network.clone(), endpoint: Endpoint::default() };
        let more = self.network.iter().skip(1).map(further).collect();
        Ok(Wanted { exposed, endpoint, more, host_config })
    }
}
