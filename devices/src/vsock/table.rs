//! All connections of a guest: found by their ports, by the token of their socket, and in turn.

use std::collections::{BTreeMap, VecDeque};

use super::connection::{Connection, Ports};

/// The most connections a guest may have, those included that only have data left to deliver.
pub const MAX_CONNECTIONS: usize = 1024;

/// The name of a connection in the poll set; never one of a queue, and never the same for two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

impl Token {
    fn new(slot: usize, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | slot as u64)
    }

    pub(super) fn from_number(number: u64) -> Self {
        Self(number)
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }

    fn slot(self) -> usize {
        self.0 as u32 as usize
    }
}

#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Option<(Token, Connection)>>,
    free: Vec<usize>,
    by_ports: BTreeMap<Ports, Token>,
    turns: VecDeque<Token>,
    generation: u32,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= MAX_CONNECTIONS
    }

    /// Adds a connection whose ports are free.
    pub(super) fn insert(&mut self, connection: Connection) -> Token {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.generation = self.generation.wrapping_add(1).max(1);
        let token = Token::new(slot, self.generation);
        self.by_ports.insert(connection.ports, token);
        self.slots[slot] = Some((token, connection));
        token
    }

    pub(super) fn get(&mut self, token: Token) -> Option<&mut Connection> {
        let (owner, connection) = self.slots.get_mut(token.slot())?.as_mut()?;
        (*owner == token).then_some(connection)
    }

    pub(super) fn find(&self, ports: Ports) -> Option<Token> {
        self.by_ports.get(&ports).copied()
    }

    /// The guest has forgotten a connection: its ports are free. It goes as soon as its data is delivered.
    pub(super) fn leave(&mut self, token: Token) {
        let Some(connection) = self.get(token) else { return };
        let (ports, stays) = (connection.ports, connection.leave());
        if self.by_ports.get(&ports) == Some(&token) {
            self.by_ports.remove(&ports);
        }
        if !stays {
            self.drop_slot(token);
        }
    }

    /// Drops a leaving connection that has delivered everything.
    pub(super) fn drop_if_done(&mut self, token: Token) {
        if self.get(token).is_some_and(|connection| connection.is_leaving() && connection.pending() == 0) {
            self.drop_slot(token);
        }
    }

    /// Closes the socket, which thereby leaves the poll set.
    fn drop_slot(&mut self, token: Token) {
        self.slots[token.slot()] = None;
        self.free.push(token.slot());
        if self.len() == 0 {
            // After a thousand connections, no memory.
            (self.slots, self.free, self.turns) = Default::default();
        }
    }

    /// Gives a connection its turn to send to the guest, if it has something.
    pub(super) fn enqueue(&mut self, token: Token) {
        if let Some(connection) = self.get(token)
            && !connection.queued
            && connection.wants_turn()
        {
            connection.queued = true;
            self.turns.push_back(token);
        }
    }

    /// Whose turn it is. To be enqueued again afterwards.
    pub(super) fn next_turn(&mut self) -> Option<Token> {
        while let Some(token) = self.turns.pop_front() {
            if let Some(connection) = self.get(token) {
                connection.queued = false;
                return Some(token);
            }
        }
        None
    }

    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Forgets all connections that the guest has heard of.
    pub(super) fn forget_all(&mut self) {
        let known: Vec<Token> =
            self.all().filter(|(_, connection)| !connection.is_unasked()).map(|(token, _)| token).collect();
        known.into_iter().for_each(|token| self.leave(token));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Token, &Connection)> {
        self.slots.iter().flatten().map(|(token, connection)| (*token, connection))
    }
}
