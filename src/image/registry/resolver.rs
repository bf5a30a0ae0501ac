//! Names of hosts.
//!
//! hull is one static program, and a static program cannot load the modules that the host's name service switch
//! may be configured with. So the host's own `getent` is asked: it answers as every other program on the host would be
//! answered, VPN, mDNS and `/etc/hosts` included.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long a name may take. The system's own resolver gives up on a dead server after 10 s.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Most addresses that are tried.
const MAX_ADDRESSES: usize = 16;

/// Resolves addresses and `localhost` itself, and asks the host for other names.
#[derive(Debug)]
pub(super) struct HostResolver;

impl Resolver for HostResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or_else(|| ureq::Error::BadUri(uri.to_string()))?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let addresses = match literal(host) {
            Some(addresses) => addresses,
            None => ask_host(host)?,
        };
        let mut result = self.empty();
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            result.push(SocketAddr::new(address, port));
        }
        if result.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(result) }
    }
}

/// What needs no asking.
fn literal(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|address| vec![address])
}

/// The addresses that `getent ahosts` gives, in the host's order of preference.
fn ask_host(name: &str) -> Result<Vec<IpAddr>, ureq::Error> {
    let failed =
        |error: std::io::Error| std::io::Error::other(format!("cannot look up {name} with getent: {error}"));
    let mut child = Command::new("getent")
        .args(["ahosts", "--", name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // Its output is a few lines, which a pipe holds.
    let end = Instant::now() + TIMEOUT;
    while child.try_wait().map_err(failed)?.is_none() {
        if Instant::now() > end {
            child.kill().and_then(|()| child.wait()).map_err(failed)?;
            return Err(ureq::Error::Timeout(ureq::Timeout::Resolve));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut output = String::new();
    let pipe = child.stdout.take().expect("its output is a pipe");
    pipe.take(64 << 10).read_to_string(&mut output).map_err(failed)?;
    Ok(parse(&output))
}

/// Lines of an address, a socket type and sometimes a name: an address comes once for each type.
fn parse(output: &str) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for line in output.lines() {
        if let Some(address) = line.split_whitespace().next().and_then(|word| word.parse().ok())
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_not_asked_for() {
        assert_eq!(literal("127.0.0.1"), Some(vec![Ipv4Addr::LOCALHOST.into()]));
        assert_eq!(literal("[::1]"), Some(vec![Ipv6Addr::LOCALHOST.into()]));
        assert_eq!(literal("LocalHost").unwrap().len(), 2);
        assert_eq!(literal("registry.example"), None);
    }

    #[test]
    fn getents_lines_give_each_address_once() {
        let output =
            "192.0.2.1      STREAM registry.example\n192.0.2.1      DGRAM\n2001:db8::1     STREAM\nrubbish\n";
        assert_eq!(parse(output), ["192.0.2.1".parse::<IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]);
    }
}
