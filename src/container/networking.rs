//! How a container is in its network: what it asks for, and what it is told of what it got.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use hull_protocol::{Container, File, Network};
use serde::{Deserialize, Serialize};

use super::{
    Description, Endpoint, HostConfig, Port, PortBinding,
    config::MoreNetwork,
    error::{Error, Result},
    state::Store,
};
use crate::network::{
    self,
    client::Membership,
    control::{Join, Lease, Protocol, Publication},
    wire::Mac,
};

/// A container's network, and what it has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// What it has there.
    pub lease: Lease,
}

/// The name of a container's network, if it is in one.
pub fn network(host_config: &HostConfig) -> Option<&str> {
    match host_config.network_mode.as_str() {
        "none" => None,
        name if other(name).is_some() => None,
        "" | "default" => Some(network::DEFAULT),
        name => Some(name),
    }
}

/// The names of all networks of a container, that which leads to everybody else first.
pub fn networks(description: &Description) -> impl Iterator<Item = &str> {
    let more = description.more_networks.iter().map(|more| more.network.as_str());
    network(&description.host_config).into_iter().chain(more)
}

/// The container whose network it has, by id, if that is what its mode says.
pub fn other(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

/// Brings a container's VM into its first network, if it is to be in one. Does not wait for the network. `before` is what it had before, and
/// is to have again if that is free.
///
/// # Errors
/// When there is no such network, or it cannot be started.
pub fn join(description: &Description, before: &[Joined]) -> Result<Option<Membership>> {
    let Some(network) = network(&description.host_config) else { return Ok(None) };
    let ports = publications(description)?;
    let join = Join {
        mac: description.networking.mac_address,
        ports,
        ..wanted(description, network, &description.networking, before)
    };
    ask(network, join).map(Some)
}

/// Brings it into a further network, at the same card.
///
/// # Errors
/// When there is no such network, or it cannot be started.
pub fn join_more(
    description: &Description,
    MoreNetwork { network, endpoint }: &MoreNetwork,
    mac: Mac,
    before: &[Joined],
) -> Result<Membership> {
    let wanted = wanted(description, network, endpoint, before);
    ask(network, Join { mac: Some(mac), shares_card: true, ..wanted })
}

fn ask(network: &str, join: Join) -> Result<Membership> {
    Membership::ask(network, join).map_err(|error| Error::Network(format!("{error:#}")))
}

fn wanted(description: &Description, network: &str, endpoint: &Endpoint, before: &[Joined]) -> Join {
    let before = before.iter().find(|joined| joined.network == network).map(|joined| joined.lease.address);
    let mut names = vec![description.name.to_string(), description.id.short().to_owned()];
    names.push(description.config.hostname.clone());
    names.extend(endpoint.aliases.iter().cloned());
    Join {
        container: description.id.to_string(),
        names,
        address: endpoint.address.or(before),
        any_address: endpoint.address.is_none(),
        // Whom it may call holds wherever it is.
        egress: description.networking.egress.clone(),
        rate: description.networking.rate,
        http: http(description),
        host: description.host_config.extra_hosts.iter().any(|extra| is_of_the_host(extra)),
        ..Join::default()
    }
}

/// The port that is meant where a container is called by name only: the usual one, or else the first that it says it listens on.
fn http(description: &Description) -> Option<u16> {
    let ports = description.config.exposed_ports.iter().filter(|port| port.protocol == Protocol::Tcp);
    let numbers = ports.map(|port| port.number);
    numbers.clone().find(|number| *number == network::localhost::HTTP).or_else(|| numbers.min())
}

/// Refuses what cannot be, before a container is made.
///
/// # Errors
/// What is wrong.
pub fn check(host_config: &HostConfig, endpoint: &Endpoint) -> Result<()> {
    let invalid = |message: String| Err(Error::Invalid(message));
    if other(&host_config.network_mode).is_some() {
        let with = "and the container type network mode";
        if !host_config.port_bindings.is_empty() || host_config.publish_all_ports {
            return invalid(format!(
                "conflicting options: port publishing {with}: publish them of the container whose network it is"
            ));
        }
        if !host_config.dns.is_empty()
            || !host_config.dns_search.is_empty()
            || !host_config.dns_options.is_empty()
        {
            return invalid(format!("conflicting options: dns {with}"));
        }
        if !host_config.extra_hosts.is_empty() {
            return invalid(format!("conflicting options: custom host-to-IP mapping {with}"));
        }
        if *endpoint != Endpoint::default() {
            return invalid(format!(
                "conflicting options: address, alias, MAC address, egress rule or rate {with}"
            ));
        }
        return Ok(());
    }
    let Some(network) = network(host_config) else {
        if endpoint.address.is_some()
            || endpoint.mac_address.is_some()
            || !endpoint.aliases.is_empty()
            || endpoint.egress.is_some()
            || endpoint.rate.is_some()
        {
            return invalid(
                "conflicting options: a container without a network has no address, alias, MAC address, egress rule or rate"
                    .to_owned(),
            );
        }
        return Ok(());
    };
    if network == "host" {
        return invalid(
            "--network host: a container's network is that of a VM; publish its ports with -p, or leave the option out: it reaches \
             the host's addresses anyway"
                .to_owned(),
        );
    }
    let config =
        network::store::Store::open().get(network).map_err(|error| Error::Network(format!("{error:#}")))?;
    if let Some(address) = endpoint.address
        && !config.subnet.may_have(address)
    {
        return invalid(format!(
            "{address} is no address for a container in network {network} ({})",
            config.subnet
        ));
    }
    for server in &host_config.dns {
        if server.parse::<IpAddr>().is_err() {
            return invalid(format!("IP address is not correctly formatted: {server}"));
        }
    }
    for extra in &host_config.extra_hosts {
        if extra_host(extra, None).is_none() && !is_of_the_host(extra) {
            return invalid(format!(
                "bad format for add-host: \"{extra}\"; write NAME:ADDRESS or NAME:{HOST}"
            ));
        }
    }
    for bindings in
        host_config.port_bindings.iter().flat_map(|(port, bindings)| bindings.iter().map(|one| (*port, one)))
    {
        publication(bindings.0, bindings.1).map_err(Error::Invalid)?;
    }
    Ok(())
}

/// Refuses a further network that cannot be.
///
/// # Errors
/// What is wrong.
pub fn check_more(network: &str, endpoint: &Endpoint) -> Result<()> {
    let host_config = HostConfig { network_mode: network.to_owned(), ..HostConfig::default() };
    if self::network(&host_config).is_none() {
        return Err(none_of_several());
    }
    check(&host_config, endpoint)
}

/// Puts the names of networks where their ids, or names that stand for others, were given. `name` looks a network up.
///
/// # Errors
/// When one is given twice, or there are others beside none.
pub fn name_all(
    host_config: &mut HostConfig,
    more: &mut [MoreNetwork],
    name: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    let Some(first) = network(host_config) else {
        return if more.is_empty() { Ok(()) } else { Err(none_of_several()) };
    };
    let mut known = vec![name(first)?];
    // What stands for the default network is shown as it was asked for, as Docker does.
    if !matches!(host_config.network_mode.as_str(), "" | "default") {
        host_config.network_mode.clone_from(&known[0]);
    }
    for MoreNetwork { network, .. } in more {
        let of_one = HostConfig { network_mode: network.clone(), ..HostConfig::default() };
        let Some(given) = self::network(&of_one) else { return Err(none_of_several()) };
        *network = name(given)?;
        if known.contains(network) {
            return Err(Error::Invalid(format!("network \"{network}\" is specified multiple times")));
        }
        known.push(network.clone());
    }
    Ok(())
}

fn none_of_several() -> Error {
    let why =
        "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    Error::Invalid(why.to_owned())
}

/// The name of the network that has this name, or whose id begins so.
///
/// # Errors
/// When there is none.
pub fn find(network: &str) -> Result<String> {
    let found = network::store::Store::open().get(network);
    found.map(|config| config.name).map_err(|error| Error::Network(format!("{error:#}")))
}

/// Tells a container what it has in its networks.
pub fn settle(container: &mut Container, description: &Description, leases: &[Lease]) {
    container.networks = leases.iter().map(Network::from).collect();
    // What the user mounts there is there.
    let mounted = |file: &File| container.mounts.iter().any(|mount| mount.destination == file.path);
    container.files = files(description, leases).into_iter().filter(|file| !mounted(file)).collect();
}

/// Tells a container what the one has in its network whose network it has, too.
///
/// # Errors
/// When that does not run.
pub fn adopt(container: &mut Container, store: &Store, other: &str) -> Result<()> {
    let folder = store.find(other)?;
    let state = folder.state()?;
    let description = folder.description()?.filter(|_| state.status.needs_keeper());
    let description = description
        .ok_or_else(|| Error::Conflict(format!("cannot join network of a non running container: {other}")))?;
    let leases: Vec<Lease> = state.networks().map(|joined| joined.lease.clone()).collect();
    let mounted = |file: &File| container.mounts.iter().any(|mount| mount.destination == file.path);
    container.files = files(&description, &leases).into_iter().filter(|file| !mounted(file)).collect();
    Ok(())
}

/// The files that Docker puts over those of the image.
pub fn files(description: &Description, leases: &[Lease]) -> Vec<File> {
    let lease = leases.first();
    let file = |path: &str, content: String| File { path: path.to_owned(), content };
    let hostname = &description.config.hostname;
    let mut hosts = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                     ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        .to_owned();
    for extra in &description.host_config.extra_hosts {
        if let Some((name, address)) = extra_host(extra, lease.map(|lease| lease.gateway)) {
            hosts += &format!("{address}\t{name}\n");
        }
    }
    let own = |address: IpAddr| format!("{address}\t{hostname}\n");
    match leases {
        [] => hosts += &own(Ipv4Addr::new(127, 0, 1, 1).into()),
        // By IPv4 only: who listens at its own name listens where published ports lead.
        all => all.iter().for_each(|lease| hosts += &own(lease.address.into())),
    }
    vec![
        file("/etc/hostname", format!("{hostname}\n")),
        file("/etc/hosts", hosts),
        file(
            "/etc/resolv.conf",
            lease.map(|lease| resolver(&description.host_config, lease)).unwrap_or_default(),
        ),
    ]
}

fn resolver(host_config: &HostConfig, lease: &Lease) -> String {
    let mut text = String::new();
    if host_config.dns.is_empty() {
        text += &format!("nameserver {}\n", lease.gateway);
    }
    host_config.dns.iter().for_each(|server| text += &format!("nameserver {server}\n"));
    let search = if host_config.dns_search.is_empty() { &lease.search } else { &host_config.dns_search };
    let search: Vec<&str> = search.iter().map(String::as_str).filter(|domain| *domain != ".").collect();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    if !host_config.dns_options.is_empty() {
        text += &format!("options {}\n", host_config.dns_options.join(" "));
    }
    text
}

/// Stands in `--add-host` for the address at which the container reaches this host.
const HOST: &str = "host-gateway";

/// Whether `--add-host` opens the host.
fn is_of_the_host(text: &str) -> bool {
    extra_host(text, Some(Ipv4Addr::UNSPECIFIED)).is_some()
        && text.split_once(['=', ':']).is_some_and(|(_, address)| address == HOST)
}

/// Reads `--add-host`: a name and its address, with `:` or `=` between; `host` is the host's.
pub fn extra_host(text: &str, host: Option<Ipv4Addr>) -> Option<(&str, IpAddr)> {
    let (name, address) = text.split_once(['=', ':'])?;
    let address = match host {
        Some(host) if address == HOST => host.into(),
        _ => address.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
    };
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    plain.then_some((name, address))
}

/// The ports that are to be reached from outside.
///
/// # Errors
/// When an address or a port is none.
pub fn publications(description: &Description) -> Result<Vec<Publication>> {
    let mut all = Vec::new();
    let host_config = &description.host_config;
    for (port, bindings) in &host_config.port_bindings {
        for binding in bindings {
            all.push(publication(*port, binding).map_err(Error::Invalid)?);
        }
    }
    if host_config.publish_all_ports {
        for port in &description.config.exposed_ports {
            if !host_config.port_bindings.contains_key(port) {
                all.push(publication(*port, &PortBinding::default()).map_err(Error::Invalid)?);
            }
        }
    }
    Ok(all)
}

/// A port that is to be reached there.
///
/// # Errors
/// When an address or a port is none.
pub fn publication(port: Port, binding: &PortBinding) -> Result<Publication, String> {
    let address = match binding.host_ip.as_str() {
        "" => None,
        text => {
            let address =
                text.parse().map_err(|_| format!("invalid IP address to publish a port at: {text}"))?;
            Some(address)
        }
    };
    let ports = if binding.host_port.is_empty() { (0, 0) } else { range(&binding.host_port)? };
    Ok(Publication { inside: port.number, protocol: port.protocol, address, ports })
}

/// Reads a port, or a range of them.
fn range(text: &str) -> Result<(u16, u16), String> {
    let port =
        |text: &str| text.parse::<u16>().map_err(|_| format!("invalid port {text:?}; ports are 1 to 65535"));
    match text.split_once('-') {
        None => port(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            if first > last {
                Err(format!("invalid port range {text}: it ends before it begins"))
            } else {
                Ok((first, last))
            }
        }
    }
}

/// Reads `--publish`: `[[ADDRESS:]PORT:]PORT[/PROTOCOL]`, where ports may be ranges.
///
/// # Errors
/// What is wrong with it.
pub fn parse_publish(text: &str) -> Result<Vec<(Port, PortBinding)>, String> {
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, parse_protocol(protocol)?),
        None => (text, Protocol::Tcp),
    };
    // An IPv6 address is in brackets.
    let (address, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((address, rest)) => (address, rest),
        None if rest.matches(':').count() > 1 => rest.split_once(':').unwrap_or_default(),
        None => ("", rest),
    };
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in {text:?}: {address:?}"));
    }
    let (outside, inside) = rest.rsplit_once(':').unwrap_or(("", rest));
    if inside.is_empty() {
        return Err(format!("no port of the container in {text:?}; write [[ADDRESS:]PORT:]PORT[/PROTOCOL]"));
    }
    let (first, last) = range(inside)?;
    if first == 0 {
        return Err(format!("invalid port in {text:?}: a container's port is 1 to 65535"));
    }
    let outside_range = if outside.is_empty() { None } else { Some(range(outside)?) };
    let same = outside_range.is_some_and(|(begin, end)| end - begin == last - first && first != last);
    if first != last && outside_range.is_some() && !same {
        return Err(format!("invalid ranges in {text:?}: they are not of the same length"));
    }
    let binding = |number: u16| {
        let host_port = match outside_range {
            Some((begin, _)) if same => (begin + (number - first)).to_string(),
            _ if outside == "0" => String::new(),
            _ => outside.to_owned(),
        };
        (Port { number, protocol }, PortBinding { host_ip: address.to_owned(), host_port })
    };
    Ok((first..=last).map(binding).collect())
}

/// Reads `--expose`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_expose(text: &str) -> Result<Vec<Port>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let ((first, last), protocol) = (range(ports)?, parse_protocol(protocol)?);
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

fn parse_protocol(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(format!("invalid protocol {text:?}: ports are of tcp or udp")),
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ports = parse_expose(text)?;
        match (ports.pop(), ports.is_empty()) {
            (Some(port), true) => Ok(port),
            _ => Err(format!("invalid port {text:?}")),
        }
    }
}

impl TryFrom<String> for Port {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

#[cfg(test)]
#[path = "networking_test.rs"]
mod tests;
