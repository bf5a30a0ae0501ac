//! A 16550 serial port, for foreign kernels and early messages.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use vm_superio::serial::{NoEvents, SerialState as Registers};
use vm_superio::{Serial as Port, Trigger};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use crate::bus::BusDevice;
use crate::device::lock;
use crate::event_loop::Polled;
use crate::input::{Input, Read};
use crate::output::Output;
use crate::poll_set::PollSet;

/// Number of ports.
pub const SERIAL_SIZE: u64 = 8;

const WAKE: u64 = 0;
const INPUT: u64 = 1;
const OUTPUT: u64 = 2;
/// Bytes the port holds until the guest reads them.
const FIFO_SIZE: usize = 64;

struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// A serial port. To be put on the PIO bus and, for its input, on the event loop: both through one `Arc<Mutex<_>>`.
pub struct Serial {
    port: Port<Line, NoEvents, Output>,
    input: Option<Input>,
    /// There was no room for input; the guest has to read first.
    input_waits: bool,
    /// Written by a vCPU when the loop has to look again.
    wake: EventFd,
    poll: PollSet,
}

/// State of a serial port: its registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    /// Divisor latch, low and high byte.
    pub divisor: [u8; 2],
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// Interrupt identification register.
    pub interrupt_identification: u8,
    /// Line control register.
    pub line_control: u8,
    /// Line status register.
    pub line_status: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem status register.
    pub modem_status: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Input the guest has not read yet.
    pub input: Vec<u8>,
}

impl Serial {
    /// A serial port that reads the guest's input from `input`, writes its output to `output` and signals `interrupt`, an
    /// edge (an irqfd without a resample event). The descriptors are as for [`Console::new`](crate::console::Console::new); but a guest cannot wait
    /// for a reader of a serial line: what does not fit is lost.
    ///
    /// # Errors
    /// When a descriptor cannot be made non-blocking or watched.
    pub fn new(input: Option<OwnedFd>, output: OwnedFd, interrupt: EventFd) -> io::Result<Self> {
        let (poll, wake) = (PollSet::new()?, EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?);
        poll.add(&wake, WAKE, EventSet::IN)?;
        let mut input = input.map(Input::new).transpose()?;
        if let Some(input) = &mut input
            && !input.watch(&poll, INPUT, true)
        {
            // A file on disk cannot be watched: it is read as the guest makes room.
            wake.write(1)?;
        }
        let port = Port::new(Line(interrupt), Output::new(output)?);
        Ok(Self { port, input, input_waits: false, wake, poll })
    }

    /// The last output of the guest, at most [`TAIL_SIZE`](crate::output::TAIL_SIZE) bytes, for reports.
    pub fn tail(&self) -> Vec<u8> {
        self.port.writer().tail()
    }

    /// Whether output waits for its reader.
    pub fn has_pending_output(&self) -> bool {
        self.port.writer().has_pending()
    }

    /// The registers.
    pub fn save(&self) -> SerialState {
        let state = self.port.state();
        SerialState {
            divisor: [state.baud_divisor_low, state.baud_divisor_high],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            input: state.in_buffer,
        }
    }

    /// A new port as [`new`](Self::new) makes it, with the registers of a saved one.
    ///
    /// # Errors
    /// As `new`, and when the state has more input than the port holds.
    pub fn restore(
        state: SerialState,
        input: Option<OwnedFd>,
        output: OwnedFd,
        interrupt: EventFd,
    ) -> io::Result<Self> {
        let serial = Self::new(input, output, interrupt.try_clone()?)?;
        let registers = Registers {
            baud_divisor_low: state.divisor[0],
            baud_divisor_high: state.divisor[1],
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.input,
        };
        let output = serial.port.into_writer();
        let port = Port::from_state(&registers, Line(interrupt), NoEvents, output);
        Ok(Self { port: port.map_err(|error| io::Error::other(error.to_string()))?, ..serial })
    }

    fn read_port(&mut self, offset: u8) -> u8 {
        let value = self.port.read(offset);
        if self.input_waits && self.port.fifo_capacity() == FIFO_SIZE {
            self.input_waits = false;
            self.wake();
        }
        value
    }

    fn write_port(&mut self, offset: u8, value: u8) {
        let had_pending = self.has_pending_output();
        // Fails only when 2^64 - 1 interrupts wait for delivery.
        let _ = self.port.write(offset, value);
        if self.has_pending_output() && !had_pending {
            self.wake();
        }
    }

    fn wake(&self) {
        // Fails only when it has been woken 2^64 - 1 times.
        let _ = self.wake.write(1);
    }

    /// Moves input into the port as long as there is room.
    fn take_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        let mut buffer = [0; FIFO_SIZE];
        let mut more = true;
        while more && self.port.fifo_capacity() > 0 {
            match input.read(&mut buffer[..self.port.fifo_capacity()]) {
                // In loopback mode, while a driver probes, the line is not connected: input is lost, as it would be.
                Read::Data(length) => drop(self.port.enqueue_raw_bytes(&buffer[..length])),
                Read::Nothing => more = false,
                Read::End => {
                    input.watch(&self.poll, INPUT, false);
                    self.input = None;
                    return;
                }
            }
        }
        self.input_waits = more;
        input.watch(&self.poll, INPUT, !more);
    }
}

impl BusDevice for Mutex<Serial> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let [byte] = data {
            *byte = lock(self).read_port(offset as u8);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let [byte] = data {
            lock(self).write_port(offset as u8, *byte);
        }
    }
}

impl Polled for Serial {
    fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    fn poll(&mut self) {
        for (token, _) in self.poll.ready::<4>() {
            match token {
                WAKE => {
                    let _ = self.wake.read();
                    self.take_input();
                }
                INPUT => self.take_input(),
                OUTPUT => self.port.writer_mut().flush_pending(),
                _ => {}
            }
        }
        self.port.writer_mut().watch(&self.poll, OUTPUT);
    }
}

#[cfg(test)]
#[path = "serial_test.rs"]
mod tests;
