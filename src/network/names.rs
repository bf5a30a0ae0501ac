//! Names (RFC 1035): questions about members of the network are answered here, all others by whom the host asks.

use std::{
    fs,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::Path,
    time::Duration,
};

/// The port of name servers.
pub const PORT: u16 = 53;
/// Seconds that an answer holds: a container of the same name may be another soon.
const HOLDS: u32 = 5;
const HEADER: usize = 12;
/// Bytes of a name, and of a label (RFC 1035, 2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: u8 = 63;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// A question about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name, in small letters, without a dot at its end.
    pub name: String,
    kind: u16,
    /// Where the question ends in the message.
    end: usize,
}

impl Question {
    /// The one question of a message, if it has one about the Internet.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let header = message.get(..HEADER)?;
        // A query of the usual kind with one question and no answers.
        if header[2] & 0xf8 != 0 || header[4..8] != [0, 1, 0, 0] {
            return None;
        }
        let mut name = String::new();
        let mut at = HEADER;
        loop {
            let length = *message.get(at)?;
            at += 1;
            if length == 0 {
                break;
            }
            if length > MAX_LABEL || name.len() + usize::from(length) > MAX_NAME {
                return None;
            }
            let label = message.get(at..at + usize::from(length))?;
            at += usize::from(length);
            if !name.is_empty() {
                name.push('.');
            }
            for byte in label {
                if !byte.is_ascii_graphic() || *byte == b'.' {
                    return None;
                }
                name.push(byte.to_ascii_lowercase().into());
            }
        }
        let rest = message.get(at..at + 4)?;
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        (rest[2..] == CLASS_IN.to_be_bytes()).then_some(Self { name, kind, end: at + 4 })
    }

    /// The question alone, without what its message says besides.
    pub fn alone(&self, message: &[u8]) -> Vec<u8> {
        let mut question = message[..self.end].to_vec();
        // So many answers, authorities and additional records.
        question[6..HEADER].fill(0);
        question
    }

    /// The message that answers it: with these addresses, as far as they are asked for.
    pub fn answer(&self, message: &[u8], addresses: &[IpAddr]) -> Vec<u8> {
        let wanted = addresses.iter().filter(|address| match address {
            IpAddr::V4(_) => self.kind == TYPE_A,
            IpAddr::V6(_) => self.kind == TYPE_AAAA,
        });
        let mut answer = self.reply(message, 0, wanted.clone().count() as u16);
        for address in wanted {
            // The name is that of the question.
            answer.extend([0xc0, HEADER as u8]);
            answer.extend(self.kind.to_be_bytes());
            answer.extend(CLASS_IN.to_be_bytes());
            answer.extend(HOLDS.to_be_bytes());
            match address {
                IpAddr::V4(address) => answer.extend([&4u16.to_be_bytes()[..], &address.octets()].concat()),
                IpAddr::V6(address) => answer.extend([&16u16.to_be_bytes()[..], &address.octets()].concat()),
            }
        }
        answer
    }

    /// The message that says that nobody can be asked.
    pub fn failure(&self, message: &[u8]) -> Vec<u8> {
        const SERVFAIL: u8 = 2;
        self.reply(message, SERVFAIL, 0)
    }

    /// The message that says that it may not be asked.
    pub fn refusal(&self, message: &[u8]) -> Vec<u8> {
        const REFUSED: u8 = 5;
        self.reply(message, REFUSED, 0)
    }

    fn reply(&self, message: &[u8], code: u8, answers: u16) -> Vec<u8> {
        let mut reply = message[..self.end].to_vec();
        // A response, authoritative; recursion is desired if it was, and available.
        reply[2] = 0x84 | (message[2] & 1);
        reply[3] = 0x80 | code;
        reply[6..8].copy_from_slice(&answers.to_be_bytes());
        reply[8..12].fill(0);
        reply
    }

    /// Whether it asks for addresses.
    pub fn is_about_addresses(&self) -> bool {
        matches!(self.kind, TYPE_A | TYPE_AAAA)
    }
}

/// The addresses in an answer to a question about a name that is `wanted`, and how long each holds. Whatever they are called there: the
/// names in between are the name server's affair.
pub fn addresses(message: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<(IpAddr, Duration)> {
    let mut all = Vec::new();
    // As if it had been a question, to read the one that it repeats.
    let mut asked = message.get(..message.len().min(512)).unwrap_or_default().to_vec();
    let Some(header) = asked.first_chunk_mut::<HEADER>() else { return all };
    if header[2] & 0x80 == 0 {
        return all;
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    header[2] = 0;
    header[6..].fill(0);
    let Some(question) = Question::parse(&asked).filter(|question| wanted(&question.name)) else {
        return all;
    };
    let mut at = question.end;
    for _ in 0..count {
        let Some(end) = name_end(message, at) else { break };
        let Some(record) = message.get(end..end + 10) else { break };
        let length = usize::from(u16::from_be_bytes([record[8], record[9]]));
        let Some(data) = message.get(end + 10..end + 10 + length) else { break };
        at = end + 10 + length;
        if record[2..4] != CLASS_IN.to_be_bytes() {
            continue;
        }
        let address = match u16::from_be_bytes([record[0], record[1]]) {
            TYPE_A => <[u8; 4]>::try_from(data).map(IpAddr::from).ok(),
            TYPE_AAAA => <[u8; 16]>::try_from(data).map(IpAddr::from).ok(),
            _ => None,
        };
        if let Some(address) = address {
            let seconds = u32::from_be_bytes([record[4], record[5], record[6], record[7]]);
            all.push((address, Duration::from_secs(seconds.into())));
        }
    }
    all
}

/// Where a name ends that begins here; it may end with where its rest is (RFC 1035, 4.1.4).
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length <= MAX_LABEL => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

/// Whom the host asks, as its configuration is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostResolver {
    /// Name servers, the first is asked first.
    pub servers: Vec<SocketAddr>,
    /// Where names without dots are looked for.
    pub search: Vec<String>,
}

impl HostResolver {
    /// Reads `/etc/resolv.conf`.
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    resolver.servers.extend(words.next().and_then(server));
                }
                Some("search" | "domain") => {
                    resolver.search = words.filter(|word| *word != ".").map(str::to_owned).collect();
                }
                _ => {}
            }
        }
        resolver
    }
}

/// A name server; its address may say on which link it is (RFC 4007, 11).
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let scope = link.parse().ok().or_else(|| {
        let path = Path::new("/sys/class/net").join(link).join("ifindex");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

#[cfg(test)]
#[path = "names_test.rs"]
mod tests;
