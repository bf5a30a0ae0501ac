//! Moving bytes between a console's queues and its files (VIRTIO 1.3, 5.3.6).

use super::Console;
use crate::input::Read;
use crate::queue::{Progress, Served, VirtQueue};

/// Tokens of the poll set; the queues' own numbers come first.
const RECEIVE: u64 = 0;
const TRANSMIT: u64 = 1;
const INPUT: u64 = 2;
const OUTPUT: u64 = 3;

/// Chains handled before other devices have their turn.
const BUDGET: u16 = 64;
/// Bytes moved at once.
const CHUNK: usize = 4096;

/// A running console's queues.
pub(super) struct Queues {
    /// Room for the guest's input.
    pub(super) receive: VirtQueue,
    /// The guest's output.
    pub(super) transmit: VirtQueue,
}

impl Console {
    pub(super) fn service(&mut self) {
        for (token, _) in self.poll.ready::<4>() {
            match token {
                RECEIVE => {
                    self.notifiers.clear(0);
                    self.receive();
                }
                INPUT => self.receive(),
                TRANSMIT => {
                    self.notifiers.clear(1);
                    self.transmit();
                }
                OUTPUT => {
                    self.output.flush_pending();
                    self.transmit();
                }
                _ => {}
            }
        }
    }

    /// Output: from the guest to the file.
    fn transmit(&mut self) {
        if let Some((queues, _)) = &mut self.running {
            let progress = queues.transmit.serve(BUDGET, |chain, memory| {
                // The guest may have put in another chain since; at worst it loses bytes of its own.
                chain.readable.advance(self.taken);
                let mut chunk = [0; CHUNK];
                while !chain.readable.is_empty() {
                    let room = CHUNK.min(self.output.room());
                    let length = chain.readable.read(memory, &mut chunk[..room]);
                    if length == 0 {
                        return Served::Later;
                    }
                    self.output.put(&chunk[..length]);
                    self.taken += length;
                }
                self.taken = 0;
                Served::Used(0)
            });
            if progress == Progress::More {
                self.notifiers.kick(1);
            }
        }
        self.output.watch(&self.poll, OUTPUT);
    }

    /// Input: from the file to the guest.
    fn receive(&mut self) {
        let Some(input) = &mut self.input else { return };
        let Some((Queues { receive: queue, .. }, _)) = &mut self.running else {
            // Not before there is a driver that takes it.
            input.watch(&self.poll, INPUT, false);
            return;
        };
        let mut chunk = [0; CHUNK];
        let mut ended = false;
        let progress = queue.serve(BUDGET, |chain, memory| {
            let room = CHUNK.min(chain.writable.len());
            if room == 0 {
                return Served::Used(0);
            }
            match input.read(&mut chunk[..room]) {
                Read::Data(length) => Served::Used(chain.writable.write(memory, &chunk[..length]) as u32),
                Read::Nothing => Served::Later,
                Read::End => {
                    ended = true;
                    Served::Later
                }
            }
        });
        // Without room there is no point in being told of input; the driver notifies when there is some.
        input.watch(&self.poll, INPUT, progress == Progress::Blocked && !ended);
        if ended {
            self.input = None;
        } else if progress == Progress::More {
            self.notifiers.kick(0);
        }
    }
}
