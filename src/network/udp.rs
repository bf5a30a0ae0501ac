//! UDP: what a guest's port and another say to each other is a conversation, with a connected socket of the host's. It ends when
//! neither has said anything for a while.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socket_with},
};

use super::{
    DEFAULT, host, icmp,
    names::{self, Question},
    poll::Source,
    quota,
    server::{Ends, Network},
    slab::Key,
    wire::{Datagram, Headers, Packet},
};

/// How long nothing is said before a conversation is over, once both have said something and before.
const QUIET: Duration = Duration::from_secs(180);
const UNANSWERED: Duration = Duration::from_secs(30);
/// Conversations of one network at most.
const MOST: usize = 4096;
/// One that both have a part in and that was heard within this time is asked last to make way.
const RECENT: Duration = Duration::from_secs(10);
/// How many are asked at once.
const ASKED: usize = 16;
/// Datagrams taken from one socket before others have their turn.
const TURNS: usize = 32;
/// What a datagram may have at most.
const MAX_DATAGRAM: usize = 65535;

/// Two ports that speak to each other.
pub struct Conversation {
    pub member: Key,
    pub ends: Ends,
    voice: Voice,
    heard: Instant,
    answered: bool,
    /// The packet by which the guest spoke, for what is said if nobody is there.
    quote: Vec<u8>,
    /// It is with the host's name servers: how many of them were asked.
    asked: Option<Asked>,
}

/// How the host's side is spoken to.
enum Voice {
    /// By a socket of its own.
    Own(OwnedFd),
    /// By the socket of a published port, to whoever spoke there.
    Published(Key, SocketAddr),
}

/// Bytes of a datagram in a packet of 65,535 bytes.
const MOST_PAYLOAD: usize = 65535 - 20 - 8;
const MOST_PAYLOAD_V6: usize = 65535 - 40 - 8;

/// The questions that were asked since the server was chosen, and which one it is.
struct Asked {
    ids: Vec<[u8; 2]>,
    server: usize,
}

impl Network {
    /// A member sends a datagram to the world.
    pub(super) fn hear_datagram(&mut self, member: Key, packet: &Packet<'_>) {
        let Some(datagram) = Datagram::parse(packet.payload) else { return };
        let ends = Ends {
            guest: SocketAddr::new(packet.from, datagram.from),
            other: SocketAddr::new(packet.to, datagram.to),
        };
        let is_about_names = self.is_gateway(packet.to) && datagram.to == names::PORT;
        if is_about_names
            && (self.answer_name(member, ends, datagram.payload)
                || self.refuse_name(member, ends, datagram.payload))
        {
            return;
        }
        let key = match self.conversations_by_ends.get(&ends) {
            Some(key) => *key,
            None => match self.begin(member, ends, packet, is_about_names) {
                Ok(key) => key,
                Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM) => {
                    return self.say_unreachable(member, packet, icmp::HOST);
                }
                Err(_) => return self.say_unreachable(member, packet, icmp::PORT),
            },
        };
        // Of whom not everybody may be asked nothing but the question is passed on.
        let limited = is_about_names && self.members.get(member).is_some_and(|it| it.egress.is_limited());
        let question = if limited { Question::parse(datagram.payload) } else { None };
        let alone = question.map(|question| question.alone(datagram.payload));
        let payload = alone.as_deref().unwrap_or(datagram.payload);
        let now = self.now;
        let Some(conversation) = self.conversations.get_mut(key) else { return };
        conversation.heard = now;
        let mut again = false;
        if let (Some(asked), Some(id)) = (&mut conversation.asked, payload.first_chunk::<2>()) {
            // Two are asked at a time, for each kind of address, and repeated in turn.
            again = asked.ids.contains(id);
            if again || asked.ids.len() >= 16 {
                asked.ids.clear();
            }
            asked.ids.push(*id);
        }
        if again {
            // Whoever was asked has not answered.
            self.ask_next(key);
        }
        self.say(key, payload);
    }

    fn say(&mut self, key: Key, payload: &[u8]) {
        let Some(conversation) = self.conversations.get(key) else { return };
        let sent = match &conversation.voice {
            Voice::Own(socket) => {
                rustix::net::send(socket, payload, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
            }
            Voice::Published(listener, peer) => match self.listeners.get(*listener) {
                Some(listener) => listener.say(payload, *peer),
                None => Err(Errno::PIPE),
            },
        };
        if sent == Err(Errno::CONNREFUSED) {
            self.nobody_there(key);
        }
    }

    fn begin(
        &mut self,
        member: Key,
        ends: Ends,
        packet: &Packet<'_>,
        is_about_names: bool,
    ) -> Result<Key, Errno> {
        let to = if is_about_names {
            self.resolver().servers.first().copied().ok_or(Errno::CONNREFUSED)?
        } else {
            self.meant(member, ends.other)?
        };
        let socket = open(to)?;
        // Not yet this one: it is about to be asked.
        let asked = is_about_names.then_some(Asked { ids: Vec::new(), server: 0 });
        let quote = packet.whole[..packet.whole.len().min(60)].to_vec();
        self.admit(member, ends, Voice::Own(socket), quote, asked).ok_or(Errno::MFILE)
    }

    fn admit(
        &mut self,
        member: Key,
        ends: Ends,
        voice: Voice,
        quote: Vec<u8>,
        asked: Option<Asked>,
    ) -> Option<Key> {
        if !self.make_way(member) {
            return None;
        }
        let heard = self.now;
        let key = self.conversations.insert(|_| Conversation {
            member,
            ends,
            voice,
            heard,
            answered: false,
            quote,
            asked,
        });
        self.conversations_by_ends.insert(ends, key);
        if let Some(Voice::Published(listener, peer)) = self.conversations.get(key).map(|one| &one.voice) {
            self.conversations_by_peer.insert((*listener, *peer), key);
        }
        if let Some(member) = self.members.get_mut(member) {
            member.conversations.push_back(key);
        }
        self.watch(key).then_some(key)
    }

    /// Whether a member may begin a conversation: one of its own makes way if it has its share.
    fn make_way(&mut self, member: Key) -> bool {
        let left = MOST.saturating_sub(self.conversations.len()).min(self.descriptors_left());
        let (now, all) = (self.now, &self.conversations);
        let Some(member) = self.members.get_mut(member) else { return false };
        if member.conversations.len() >= left {
            member.conversations.retain(|key| all.get(*key).is_some());
        }
        if quota::may_have_more(member.conversations.len(), left) {
            return true;
        }
        // One after the other is asked, so that it costs little however many there are.
        for _ in 0..ASKED {
            let Some(key) = member.conversations.pop_front() else { return false };
            let is_used =
                |one: &Conversation| one.answered && now.saturating_duration_since(one.heard) < RECENT;
            if all.get(key).is_some_and(is_used) {
                member.conversations.push_back(key);
            } else {
                self.end(key);
                return true;
            }
        }
        match member.conversations.pop_front() {
            Some(key) => self.end(key),
            None => return false,
        }
        true
    }

    fn watch(&mut self, key: Key) -> bool {
        if let Some(Conversation { voice: Voice::Own(socket), .. }) = self.conversations.get(key)
            && self.poll.add(Source::Conversation(key), socket).is_err()
        {
            self.end(key);
            return false;
        }
        true
    }

    fn end(&mut self, key: Key) {
        if let Some(conversation) = self.conversations.remove(key) {
            self.conversations_by_ends.remove(&conversation.ends);
            if let Voice::Published(listener, peer) = conversation.voice {
                self.conversations_by_peer.remove(&(listener, peer));
            }
        }
    }

    /// Asks the next of the host's name servers, if there is one.
    fn ask_next(&mut self, key: Key) {
        let servers = self.resolver().servers.clone();
        let Some(conversation) = self.conversations.get_mut(key) else { return };
        let Some(asked) = conversation.asked.as_mut().filter(|_| servers.len() > 1) else { return };
        asked.server = (asked.server + 1) % servers.len();
        if let Ok(socket) = open(servers[asked.server]) {
            conversation.voice = Voice::Own(socket);
            self.watch(key);
        }
    }

    /// Answers a question about a member; `false` when it is about anything else.
    fn answer_name(&mut self, member: Key, ends: Ends, message: &[u8]) -> bool {
        let Some(question) = Question::parse(message).filter(Question::is_about_addresses) else {
            return false;
        };
        let called = |one: &super::member::Member| one.is_called(&question.name, &self.name);
        let both = |address| {
            let v6 = self.address6(address).map(IpAddr::V6);
            std::iter::once(IpAddr::V4(address)).chain(v6)
        };
        let mut addresses: Vec<_> = self
            .members
            .iter()
            .filter(|(_, one)| called(one))
            .flat_map(|(_, one)| both(one.address))
            .filter(|address| address.is_ipv4() || self.name != DEFAULT)
            .collect();
        if host::is_called(&question.name) {
            // Who means Docker's means what that has: most listen by IPv4 only, and some ask for no more than one.
            let is_own = host::is_own_name(&question.name);
            addresses = both(self.gateway).filter(|address| address.is_ipv4() || is_own).collect();
        }
        if addresses.is_empty() {
            addresses = self.find_elsewhere(member, &question.name);
        }
        let answer = if !addresses.is_empty() {
            question.answer(message, &addresses)
        } else if self.resolver().servers.is_empty() {
            question.failure(message)
        } else {
            return false;
        };
        self.tell(member, ends, &answer);
        true
    }

    /// Answers a question that the member may not ask; `false` when it may.
    fn refuse_name(&mut self, member: Key, ends: Ends, message: &[u8]) -> bool {
        let Some(asks) = self.members.get(member).filter(|member| member.egress.is_limited()) else {
            return false;
        };
        // What is not understood is not asked.
        let Some(question) = Question::parse(message) else { return true };
        if asks.egress.allows_name(&question.name) {
            return false;
        }
        self.tell(member, ends, &question.refusal(message));
        true
    }

    /// Takes note of whom a member may call by an answer that it gets.
    fn learn(&mut self, member: Key, message: &[u8]) {
        let now = self.now;
        let Some(member) = self.members.get_mut(member).filter(|member| member.egress.is_limited()) else {
            return;
        };
        for (address, holds) in names::addresses(message, |name| member.egress.allows_name(name)) {
            member.egress.learn(address, holds, now);
        }
    }

    /// Somebody in the world has said something to a port of a guest's that is published.
    pub(super) fn hear_outside(
        &mut self,
        listener: Key,
        member: Key,
        inside: u16,
        peer: SocketAddr,
        payload: &[u8],
    ) {
        let known = self.conversations_by_peer.get(&(listener, peer)).copied();
        let key = known.or_else(|| {
            let is_free = |ends: &Ends| !self.conversations_by_ends.contains_key(ends);
            let ends = self.ends(member, inside, peer, is_free)?;
            self.admit(member, ends, Voice::Published(listener, peer), Vec::new(), None)
        });
        let now = self.now;
        if let Some(conversation) = key.and_then(|key| self.conversations.get_mut(key)) {
            conversation.heard = now;
            // There is no socket of its own that could tell.
            conversation.answered = true;
            let ends = conversation.ends;
            self.tell(member, ends, payload);
        }
    }

    /// What a conversation's socket has.
    pub(super) fn read_conversation(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(MAX_DATAGRAM, 0);
        for _ in 0..TURNS {
            let now = self.now;
            let Some(conversation) = self.conversations.get_mut(key) else { break };
            let Voice::Own(socket) = &conversation.voice else { break };
            match rustix::net::recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    (conversation.heard, conversation.answered) = (now, true);
                    let (member, ends) = (conversation.member, conversation.ends);
                    if conversation.asked.is_some() {
                        self.learn(member, &buffer[..length]);
                    }
                    self.tell(member, ends, &buffer[..length]);
                }
                Err(Errno::CONNREFUSED) => {
                    self.nobody_there(key);
                    break;
                }
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    /// Nobody listens at the other end.
    fn nobody_there(&mut self, key: Key) {
        let Some(conversation) = self.conversations.get_mut(key) else { return };
        if conversation.asked.is_some() {
            return self.ask_next(key);
        }
        let (member, quote) = (conversation.member, std::mem::take(&mut conversation.quote));
        if let Some(packet) = Packet::quoted(&quote) {
            self.say_unreachable(member, &packet, icmp::PORT);
        }
        self.end(key);
    }

    /// Sends a datagram to a guest.
    fn tell(&mut self, member: Key, ends: Ends, payload: &[u8]) {
        // More than a packet holds, which the host was told in one that is larger.
        let most = if ends.guest.is_ipv4() { MOST_PAYLOAD } else { MOST_PAYLOAD_V6 };
        if payload.len() > most {
            return;
        }
        let Some(member) = self.members.get_mut(member) else { return };
        let headers = Headers::udp((self.mac, member.mac), ends.other, ends.guest, payload);
        member.link.send_or_keep(headers.bytes(), payload);
    }

    /// Ends what was quiet for long; gives when to look again.
    pub(super) fn expire_conversations(&mut self) {
        let now = self.now;
        let quiet = |one: &Conversation| {
            now.saturating_duration_since(one.heard) > if one.answered { QUIET } else { UNANSWERED }
        };
        let over: Vec<Key> =
            self.conversations.iter().filter(|(_, one)| quiet(one)).map(|(key, _)| key).collect();
        over.into_iter().for_each(|key| self.end(key));
        let all = &self.conversations;
        self.members.iter_mut().for_each(|(_, member)| {
            member.conversations.retain(|key| all.get(*key).is_some());
        });
    }

    /// A member is gone.
    pub(super) fn forget_conversations(&mut self, member: Key) {
        let its: Vec<Key> =
            self.conversations.iter().filter(|(_, one)| one.member == member).map(|(key, _)| key).collect();
        its.into_iter().for_each(|key| self.end(key));
    }
}

/// A socket that speaks to this address.
fn open(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}
