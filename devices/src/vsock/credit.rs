//! Flow control of a connection: who may send how much (VIRTIO 1.3, 5.10.6.3). Arithmetic only.
//!
//! All counts run from the connection's beginning, modulo 2^32.

/// Both directions of a connection, as the host's side keeps account of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// How much of the guest's data the host keeps at most while nobody reads it.
    buf_alloc: u32,
    /// Bytes the guest has sent.
    received: u32,
    /// Of those, bytes that are the host's socket's now.
    forwarded: u32,
    /// `forwarded` as the guest knows it.
    announced: u32,
    /// Bytes sent to the guest.
    sent: u32,
    /// The guest's own `buf_alloc` and `forwarded`.
    peer_buf_alloc: u32,
    peer_forwarded: u32,
}

impl Credit {
    /// For a connection of whose guest data `buf_alloc` bytes are kept.
    pub fn new(buf_alloc: u32) -> Self {
        Self {
            buf_alloc,
            received: 0,
            forwarded: 0,
            announced: 0,
            sent: 0,
            peer_buf_alloc: 0,
            peer_forwarded: 0,
        }
    }

    /// The guest's credit, from the header of any of its packets.
    pub fn learn(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.peer_buf_alloc = buf_alloc;
        self.peer_forwarded = fwd_cnt;
    }

    /// How many bytes may be sent to the guest. A guest that claims to have taken more than it was sent gets nothing.
    pub fn may_send(&self) -> u32 {
        self.peer_buf_alloc.saturating_sub(self.sent.wrapping_sub(self.peer_forwarded))
    }

    /// Bytes have been sent to the guest.
    pub fn send(&mut self, bytes: u32) {
        self.sent = self.sent.wrapping_add(bytes);
    }

    /// The guest has sent bytes; returns whether it was allowed to.
    #[must_use]
    pub fn receive(&mut self, bytes: u32) -> bool {
        let kept = self.received.wrapping_sub(self.forwarded);
        let allowed = kept.checked_add(bytes).is_some_and(|kept| kept <= self.buf_alloc);
        if allowed {
            self.received = self.received.wrapping_add(bytes);
        }
        allowed
    }

    /// Bytes of the guest's have found their reader.
    pub fn forward(&mut self, bytes: u32) {
        self.forwarded = self.forwarded.wrapping_add(bytes);
    }

    /// `buf_alloc` and `fwd_cnt` for the header of a packet to the guest, which then knows them.
    pub fn announce(&mut self) -> (u32, u32) {
        self.announced = self.forwarded;
        (self.buf_alloc, self.forwarded)
    }

    /// Whether a packet should go out just to tell the guest of its credit. A packet costs the guest more than anything,
    /// so not before half of the buffer is free again and it does not know; then it has the other half to go on with.
    pub fn should_announce(&self) -> bool {
        self.forwarded.wrapping_sub(self.announced) >= self.buf_alloc / 2
    }
}

#[cfg(test)]
#[path = "credit_test.rs"]
mod tests;
