//! virtio-console with one port (VIRTIO 1.3, section 5.3).
//!
//! [`Console`] is the device; `service.rs` moves bytes between its queues and [`Input`] and [`Output`].

mod service;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Interrupt, RestoreError, read_config_bytes,
};
use crate::input::Input;
use crate::notifiers::Notifiers;
use crate::output::Output;
use crate::poll_set::PollSet;
use crate::queue::VirtQueue;
use service::Queues;

/// The configuration space has the terminal's size (5.3.3).
const F_SIZE: u32 = 0;
/// Guest input, guest output. A driver fills the first with pages of its memory, so it is short.
const QUEUE_SIZES: [u16; 2] = [4, 32];

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A console: lines of text out, key strokes in.
pub struct Console {
    size: Option<WindowSize>,
    generation: u32,
    /// The size changed and no driver was there to be told.
    unannounced: bool,
    input: Option<Input>,
    output: Output,
    /// How much of the next chain of output has been taken already.
    taken: usize,
    notifiers: Notifiers,
    poll: PollSet,
    running: Option<(Queues, Arc<dyn Interrupt>)>,
}

/// State of a console.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// The terminal's size, if the guest was promised one.
    pub size: Option<WindowSize>,
    /// Output taken from the guest and not yet written.
    pub pending: Vec<u8>,
    /// How many bytes of the next chain of output are in there already.
    pub taken: usize,
}

impl Console {
    /// A console that reads the guest's input from `input` and writes its output to `output`: files, pipes, sockets,
    /// terminals. `size` is shown to the guest, which then follows [`resize`](Self::resize); without one it is not told of sizes.
    ///
    /// Both file descriptions become non-blocking, so they must not be shared with a program that would mind: a terminal
    /// has to be opened anew for the console. When the reader of `output` stops reading, some
    /// output is kept here and then the guest waits. When `input` ends, the console goes on without.
    ///
    /// # Errors
    /// When a descriptor cannot be made non-blocking or watched.
    pub fn new(input: Option<OwnedFd>, output: OwnedFd, size: Option<WindowSize>) -> io::Result<Self> {
        let (notifiers, poll) = (Notifiers::new(QUEUE_SIZES.len())?, PollSet::new()?);
        notifiers.watch(&poll)?;
        Ok(Self {
            size,
            generation: 0,
            unannounced: false,
            input: input.map(Input::new).transpose()?,
            output: Output::new(output)?,
            taken: 0,
            notifiers,
            poll,
            running: None,
        })
    }

    /// The terminal changed its size. Ignored when the console was made without one.
    pub fn resize(&mut self, size: WindowSize) {
        if self.size.is_none_or(|before| before == size) {
            return;
        }
        self.size = Some(size);
        self.generation = self.generation.wrapping_add(1);
        match &self.running {
            Some((_, interrupt)) => interrupt.config(),
            None => self.unannounced = true,
        }
    }

    /// The last output of the guest, at most [`TAIL_SIZE`](crate::output::TAIL_SIZE) bytes, for reports.
    pub fn tail(&self) -> Vec<u8> {
        self.output.tail()
    }

    /// Whether output waits for its reader. A VMM about to end polls on until it is written or nobody wants it.
    pub fn has_pending_output(&self) -> bool {
        self.output.has_pending()
    }
}

impl Device for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn notifiers(&self) -> &[Arc<EventFd>] {
        self.notifiers.all()
    }

    fn features(&self) -> u64 {
        if self.size.is_some() { 1 << F_SIZE } else { 0 }
    }

    /// `struct virtio_console_config`, its number of ports and emergency write being absent (5.3.4).
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let WindowSize { columns, rows } = self.size.unwrap_or_default();
        let ([c0, c1], [r0, r1]) = (columns.to_le_bytes(), rows.to_le_bytes());
        read_config_bytes(&[c0, c1, r0, r1], offset, data);
    }

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let queues = Queues { receive: activation.queue(0)?, transmit: activation.queue(1)? };
        if std::mem::take(&mut self.unannounced) {
            activation.interrupt.config();
        }
        self.running = Some((queues, activation.interrupt));
        // The event loop has to look, whatever was notified before.
        self.notifiers.kick_all();
        Ok(())
    }

    fn pause(&mut self) -> Vec<VirtQueue> {
        let running = self.running.take();
        running.map(|(queues, _)| vec![queues.receive, queues.transmit]).unwrap_or_default()
    }

    fn reset(&mut self) {
        self.running = None;
        self.taken = 0;
    }

    fn save(&self) -> DeviceState {
        DeviceState::Console(ConsoleState {
            size: self.size,
            pending: self.output.pending(),
            taken: self.taken,
        })
    }

    fn restore(&mut self, state: DeviceState) -> Result<(), RestoreError> {
        let DeviceState::Console(state) = state else {
            return Err(RestoreError::Kind { expected: self.kind(), found: state.kind() });
        };
        if state.size.is_some() != self.size.is_some() {
            let what = if state.size.is_some() { "a window size" } else { "no window size" };
            return Err(RestoreError::Mismatch { kind: self.kind(), what: what.to_owned() });
        }
        self.output.restore_pending(state.pending);
        self.taken = state.taken;
        // This terminal's size is the one that counts; the guest is told when it goes on.
        self.unannounced = state.size != self.size;
        Ok(())
    }
}

impl crate::event_loop::Polled for Console {
    fn poll_fd(&self) -> RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.poll)
    }

    fn poll(&mut self) {
        self.service();
    }
}

#[cfg(test)]
#[path = "console_test.rs"]
mod tests;
