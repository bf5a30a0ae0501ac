//! TCP (RFC 9293) between the network and a guest, for one connection whose other side is a socket of the host.
//!
//! No sockets and no clock in here: segments come in by [`Flow::hear`] and go out by [`Flow::speak`]. Between the two lies a Unix
//! socket that loses nothing and keeps the order, so there is no reassembly, no selective acknowledgement and no
//! congestion control; a segment that is out of order is dropped, and comes again. What a guest may lose of its own, for want of memory,
//! is sent again after a time.

use std::time::{Duration, Instant};

use super::super::{
    ring::Ring,
    wire::{Flags, Segment},
};

/// Bytes of the guest's that wait for the host at most, which is what the guest is told that it may send.
const WINDOW: usize = 512 << 10;
/// Windows are told shifted by this.
const SCALE: u8 = 7;
/// Bytes of the host's that wait for the guest's acknowledgement at most.
const BUFFER: usize = 1 << 20;
/// What a segment may carry if the guest does not say (RFC 9293, 3.7.1).
const DEFAULT_MOST: u16 = 536;
/// How long nothing is heard before something is sent again, the first time and at most.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(30);
/// How often that is done in vain.
const TRIES: u32 = 8;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest has called; the host is asked.
    Asking,
    /// The guest is answered.
    Answering,
    /// The guest is called.
    Calling,
    /// It stands.
    Open,
}

/// What a segment came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that ends the connection.
    Well,
    /// The guest has reset it, or refused it.
    Reset,
}

/// A segment to send; the sender knows addresses and ports.
#[derive(Debug, Clone, Copy)]
pub struct Out<'a> {
    /// Number of its first byte.
    pub sequence: u32,
    /// Number that is expected next.
    pub acknowledged: u32,
    /// What it is.
    pub flags: Flags,
    /// The window, shifted where it must be.
    pub window: u16,
    /// The shift that it offers.
    pub scale: Option<u8>,
    /// What it carries, in two parts.
    pub payload: (&'a [u8], &'a [u8]),
}

/// A connection.
#[derive(Debug)]
pub struct Flow {
    phase: Phase,
    first: u32,
    /// First number that is not acknowledged, next to send, and the highest sent so far.
    unacknowledged: u32,
    next: u32,
    highest: u32,
    /// The guest has room for what is before this.
    edge: u32,
    /// By how much the guest's windows are shifted, and whether ours are.
    guest_scale: u8,
    scaled: bool,
    most: usize,
    /// Sent again: no more than this is on its way until something is acknowledged.
    careful: Option<usize>,
    repeats: u8,
    /// What is not acknowledged, or not sent.
    output: Ring,
    /// Nothing follows the output.
    finished: bool,
    finish_acknowledged: bool,
    expected: u32,
    /// What the guest was told that it may send up to.
    told: u32,
    input: Ring,
    guest_finished: bool,
    /// Bytes that may wait each way, if that is less than there is room for otherwise.
    allowance: usize,
    acknowledge: bool,
    deadline: Option<Instant>,
    tries: u32,
}

impl Flow {
    /// One that the guest calls; `first` is our own first number. It is [answered](Self::answer) when the host has.
    pub fn called(first: u32, call: &Segment<'_>) -> Self {
        let mut flow = Self::new(Phase::Asking, first);
        flow.learn(call);
        flow
    }

    /// One by which the guest is called.
    pub fn calling(first: u32) -> Self {
        Self::new(Phase::Calling, first)
    }

    fn new(phase: Phase, first: u32) -> Self {
        Self {
            phase,
            first,
            unacknowledged: first,
            next: first,
            highest: first,
            edge: first.wrapping_add(1),
            guest_scale: 0,
            scaled: false,
            most: DEFAULT_MOST.into(),
            careful: None,
            repeats: 0,
            output: Ring::default(),
            finished: false,
            finish_acknowledged: false,
            expected: 0,
            told: 0,
            input: Ring::default(),
            guest_finished: false,
            allowance: BUFFER,
            acknowledge: false,
            deadline: None,
            tries: 0,
        }
    }

    /// Takes what the guest's first segment says.
    fn learn(&mut self, call: &Segment<'_>) {
        self.expected = call.sequence.wrapping_add(1);
        // As good as: a segment of the guest's is answered with the window as it is.
        self.told = self.expected.wrapping_add(WINDOW as u32);
        self.most =
            usize::from(call.most.unwrap_or(DEFAULT_MOST)).clamp(64, usize::from(crate::network::MTU) - 60);
        self.scaled = call.scale.is_some();
        self.guest_scale = call.scale.unwrap_or(0);
        // The window of a call is never shifted.
        self.edge = self.unacknowledged.wrapping_add(1).wrapping_add(call.window.into());
    }

    /// The host has answered.
    pub fn answer(&mut self) {
        if self.phase == Phase::Asking {
            self.phase = Phase::Answering;
        }
    }

    /// Whether data may come from the host: the guest has agreed to the connection.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Has no more than so many bytes wait each way. What waits already stays.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
    }

    /// Memory that what waits takes, in bytes.
    pub fn memory(&self) -> usize {
        self.output.capacity() + self.input.capacity()
    }

    /// Whether more of what comes from the host may wait, and how much there may be then.
    pub fn wants_output(&self) -> bool {
        self.output.len() < self.most_output()
    }

    /// See [`wants_output`](Self::wants_output).
    pub fn most_output(&self) -> usize {
        self.allowance.min(BUFFER)
    }

    /// Bytes of the guest's that may wait.
    fn most_input(&self) -> usize {
        self.allowance.min(WINDOW)
    }

    /// Where what comes from the host goes, as long as it is [wanted](Self::wants_output).
    pub fn output(&mut self) -> &mut Ring {
        &mut self.output
    }

    /// What waits for the host.
    pub fn input(&mut self) -> &mut Ring {
        &mut self.input
    }

    /// Nothing more comes from the host.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether nothing more comes from the guest than what waits.
    pub fn is_finished(&self) -> bool {
        self.guest_finished
    }

    /// Whether both sides have said all, and know it.
    pub fn is_over(&self) -> bool {
        self.guest_finished && self.input.is_empty() && self.finish_acknowledged && !self.acknowledge
    }

    /// When [`expire`](Self::expire) is to be called, unless something is heard before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The number that a reset by the network has, and that it acknowledges.
    pub fn reset_numbers(&self) -> (u32, u32) {
        (self.next, self.expected)
    }

    /// Takes a segment; `take` gives bytes to the host, as many as it takes.
    pub fn hear(
        &mut self,
        segment: &Segment<'_>,
        now: Instant,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Heard {
        if segment.flags.has(Flags::RST) {
            return self.hear_reset(segment);
        }
        if segment.flags.has(Flags::SYN) {
            self.hear_call(segment, now);
            return Heard::Well;
        }
        if !segment.flags.has(Flags::ACK) || matches!(self.phase, Phase::Asking | Phase::Calling) {
            return Heard::Well;
        }
        if self.hear_acknowledgement(segment, now) {
            self.hear_data(segment, take);
        }
        Heard::Well
    }

    fn hear_reset(&self, segment: &Segment<'_>) -> Heard {
        if self.guest_finished && self.finish_acknowledged {
            // Both have said all. The guest has forgotten the connection and answers what was sent again; the host may still be
            // reading what the guest has said.
            return Heard::Well;
        }
        let valid = match self.phase {
            Phase::Calling => {
                segment.flags.has(Flags::ACK) && segment.acknowledged == self.first.wrapping_add(1)
            }
            // Within what the guest may send: anything else is old, or a guess (RFC 5961).
            _ => segment.sequence.wrapping_sub(self.expected) <= WINDOW as u32,
        };
        if valid { Heard::Reset } else { Heard::Well }
    }

    fn hear_call(&mut self, segment: &Segment<'_>, now: Instant) {
        match self.phase {
            Phase::Calling => {
                if segment.flags.has(Flags::ACK)
                    && segment.acknowledged == self.highest
                    && self.highest != self.first
                {
                    self.unacknowledged = segment.acknowledged;
                    self.learn(segment);
                    self.edge = self.unacknowledged.wrapping_add(segment.window.into());
                    self.next = self.unacknowledged;
                    self.phase = Phase::Open;
                    self.acknowledge = true;
                    self.progress(now);
                }
            }
            // It has not heard the answer.
            Phase::Answering if segment.sequence.wrapping_add(1) == self.expected => self.next = self.first,
            Phase::Asking => {}
            // If it means another connection it will reset this one (RFC 5961, 4.2).
            _ => self.acknowledge = true,
        }
    }

    /// Whether the segment makes sense.
    fn hear_acknowledgement(&mut self, segment: &Segment<'_>, now: Instant) -> bool {
        let ahead = segment.acknowledged.wrapping_sub(self.unacknowledged);
        if ahead > self.highest.wrapping_sub(self.unacknowledged) {
            // Old, which its data need not be; or of what was never sent.
            if ahead < 1 << 31 {
                self.acknowledge = true;
            }
            return ahead >= 1 << 31 && self.phase == Phase::Open;
        }
        let edge = segment.acknowledged.wrapping_add(u32::from(segment.window) << self.guest_scale);
        if ahead > 0 {
            let mut bytes = ahead as usize;
            if self.phase == Phase::Answering {
                self.phase = Phase::Open;
                bytes -= 1;
            }
            if bytes > self.output.len() {
                self.finish_acknowledged = true;
            }
            self.output.consume(bytes);
            self.unacknowledged = segment.acknowledged;
            if self.next.wrapping_sub(self.unacknowledged) >= 1 << 31 {
                self.next = self.unacknowledged;
            }
            self.careful = self.careful.map(|careful| careful * 2).filter(|careful| *careful < BUFFER);
            self.progress(now);
        } else if edge == self.edge && segment.length() == 0 && self.next != self.unacknowledged {
            self.repeats = self.repeats.saturating_add(1);
            if self.repeats == 3 {
                self.again();
            }
        }
        if edge == segment.acknowledged {
            // It is there, and has no room: that may take for ever.
            self.tries = self.tries.min(1);
        }
        if edge != self.edge {
            if self.edge == self.unacknowledged {
                // What was sent to find out has found no room.
                self.next = self.unacknowledged;
            }
            self.edge = edge;
            self.progress(now);
        }
        true
    }

    fn hear_data(&mut self, segment: &Segment<'_>, take: &mut dyn FnMut(&[u8]) -> usize) {
        let known = self.expected.wrapping_sub(segment.sequence) as usize;
        if segment.length() == 0 {
            // A question whether anybody is there has an old number.
            self.acknowledge |= known != 0;
            return;
        }
        self.acknowledge = true;
        if known > segment.payload.len() || self.guest_finished {
            return;
        }
        let new = &segment.payload[known..];
        let taken = if self.input.is_empty() && !new.is_empty() { take(new).min(new.len()) } else { 0 };
        let rest = &new[taken..];
        let room = self.most_input().saturating_sub(self.input.len());
        let kept = &rest[..rest.len().min(room)];
        self.input.extend(kept);
        self.expected = self.expected.wrapping_add((taken + kept.len()) as u32);
        if kept.len() == rest.len() && segment.flags.has(Flags::FIN) {
            self.expected = self.expected.wrapping_add(1);
            self.guest_finished = true;
        }
    }

    /// Something was heard that shows that the guest is there.
    fn progress(&mut self, now: Instant) {
        (self.tries, self.repeats) = (0, 0);
        self.deadline = (self.next != self.unacknowledged).then(|| now + PATIENCE);
    }

    /// Sends from the first that is not acknowledged, a segment at first.
    fn again(&mut self) {
        self.next = self.unacknowledged;
        self.careful = Some(self.most);
    }

    /// Nothing was heard for too long. `false` when that has been so too often.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return true;
        }
        self.deadline = None;
        self.tries += 1;
        self.again();
        self.tries <= TRIES
    }

    /// Nothing could be sent, so that nothing can have been lost.
    pub fn postpone(&mut self, now: Instant) {
        if self.deadline.take().is_some() {
            self.wait(now);
        }
    }

    fn wait(&mut self, now: Instant) {
        if self.deadline.is_none() {
            self.deadline = Some(now + (PATIENCE * (1 << self.tries.min(8))).min(MOST_PATIENCE));
        }
    }

    /// Sends what is due; `send` says whether a segment could be sent. `false` when one could not.
    pub fn speak(&mut self, now: Instant, send: &mut dyn FnMut(Out<'_>) -> bool) -> bool {
        match self.phase {
            Phase::Asking => true,
            Phase::Answering | Phase::Calling => {
                if self.next != self.first {
                    return true;
                }
                let call = Out {
                    sequence: self.first,
                    acknowledged: self.expected,
                    flags: if self.phase == Phase::Calling { Flags::SYN } else { Flags::SYN.and(Flags::ACK) },
                    window: u16::try_from(self.most_input()).unwrap_or(u16::MAX),
                    scale: (self.scaled || self.phase == Phase::Calling).then_some(SCALE),
                    payload: (&[], &[]),
                };
                if !send(call) {
                    return false;
                }
                self.next = self.first.wrapping_add(1);
                self.sent(now);
                true
            }
            Phase::Open => self.speak_data(now, send) && self.speak_acknowledgement(send),
        }
    }

    fn speak_data(&mut self, now: Instant, send: &mut dyn FnMut(Out<'_>) -> bool) -> bool {
        loop {
            let sent = self.next.wrapping_sub(self.unacknowledged) as usize;
            if self.finish_acknowledged || sent > self.output.len() {
                return true;
            }
            let left = self.output.len() - sent;
            let room = self.edge.wrapping_sub(self.next);
            let mut room = if room >= 1 << 31 { 0 } else { room as usize };
            if self.careful.is_some() && self.tries > 0 && room == 0 {
                // To find out whether there is room by now.
                room = usize::from(sent == 0);
            }
            let room = room.min(self.careful.map_or(usize::MAX, |careful| careful.saturating_sub(sent)));
            let length = left.min(room).min(self.most);
            let last = self.finished && length == left;
            if length == 0 && !last {
                if left > 0 && sent == 0 {
                    self.wait(now);
                }
                return true;
            }
            if length < left.min(self.most) && sent > 0 {
                // The rest of a window is not worth a segment of its own.
                return true;
            }
            let flags = if last { Flags::ACK.and(Flags::FIN) } else { Flags::ACK };
            let payload = self.output.part(sent, length);
            let out = Out {
                sequence: self.next,
                acknowledged: self.expected,
                // A reader is to have what there is.
                flags: if length == left { flags.and(Flags(8)) } else { flags },
                window: self.window(),
                scale: None,
                payload,
            };
            if !send(out) {
                return false;
            }
            self.next = self.next.wrapping_add(length as u32 + u32::from(last));
            self.told = self.expected.wrapping_add(self.room());
            self.acknowledge = false;
            self.sent(now);
        }
    }

    fn sent(&mut self, now: Instant) {
        if self.next.wrapping_sub(self.highest) < 1 << 31 {
            self.highest = self.next;
        }
        self.wait(now);
    }

    fn speak_acknowledgement(&mut self, send: &mut dyn FnMut(Out<'_>) -> bool) -> bool {
        let grown = self.expected.wrapping_add(self.room()).wrapping_sub(self.told);
        // More room is worth telling when it is much.
        let worth = !self.guest_finished && grown < 1 << 31 && grown as usize >= self.most_input() / 2;
        if !self.acknowledge && !worth {
            return true;
        }
        let out = Out {
            sequence: self.next,
            acknowledged: self.expected,
            flags: Flags::ACK,
            window: self.window(),
            scale: None,
            payload: (&[], &[]),
        };
        if !send(out) {
            return false;
        }
        self.told = self.expected.wrapping_add(self.room());
        self.acknowledge = false;
        true
    }

    /// Bytes that the guest may send.
    fn room(&self) -> u32 {
        let room = self.most_input().saturating_sub(self.input.len()) as u32;
        if self.scaled { (room >> SCALE) << SCALE } else { room.min(u16::MAX.into()) }
    }

    fn window(&self) -> u16 {
        let room = if self.scaled { self.room() >> SCALE } else { self.room() };
        u16::try_from(room).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
#[path = "flow_test.rs"]
mod tests;
