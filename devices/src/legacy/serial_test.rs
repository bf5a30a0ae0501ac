use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::*;
use crate::bus::Bus;
use crate::output::PENDING_SIZE;
use crate::test_driver::settle;

struct Rig {
    serial: Arc<Mutex<Serial>>,
    bus: Bus,
    interrupt: EventFd,
    input: UnixStream,
    output: UnixStream,
}

impl Rig {
    fn new() -> Self {
        let (input, guest_input) = UnixStream::pair().unwrap();
        let (output, guest_output) = UnixStream::pair().unwrap();
        let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let serial =
            Serial::new(Some(guest_input.into()), guest_output.into(), interrupt.try_clone().unwrap())
                .unwrap();
        let serial = Arc::new(Mutex::new(serial));
        let mut bus = Bus::new();
        bus.insert(0x3f8, SERIAL_SIZE, serial.clone()).unwrap();
        Self { serial, bus, interrupt, input, output }
    }

    fn inb(&self, port: u64) -> u8 {
        let mut data = [0];
        assert!(self.bus.read(0x3f8 + port, &mut data));
        data[0]
    }

    fn outb(&self, port: u64, value: u8) {
        assert!(self.bus.write(0x3f8 + port, &[value]));
    }
}

#[test]
fn output_is_written_and_remembered() {
    let mut rig = Rig::new();
    for byte in b"Linux version 6.12" {
        assert_eq!(rig.inb(5) & 0x60, 0x60, "ready for a byte");
        rig.outb(0, *byte);
    }
    let mut text = [0; 18];
    rig.output.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"Linux version 6.12");
    assert_eq!(rig.serial.lock().unwrap().tail(), b"Linux version 6.12");
}

#[test]
fn a_reader_that_stops_does_not_stop_the_guest() {
    let mut rig = Rig::new();
    rig.output.set_nonblocking(true).unwrap();
    let total = 1 << 20;
    for number in 0..total {
        rig.outb(0, number as u8);
    }
    settle(&rig.serial);
    assert!(rig.serial.lock().unwrap().has_pending_output());
    let (mut read, mut chunk) = (0, vec![0; 1 << 16]);
    loop {
        match rig.output.read(&mut chunk) {
            Ok(length) => {
                assert!(chunk[..length].iter().enumerate().all(|(i, byte)| *byte == (read + i) as u8));
                read += length;
            }
            Err(_) if !rig.serial.lock().unwrap().has_pending_output() => break,
            Err(_) => settle(&rig.serial),
        }
    }
    assert!(read >= PENDING_SIZE && read < total, "{read} bytes were kept");
}

#[test]
fn input_waits_for_the_guest() {
    let mut rig = Rig::new();
    rig.outb(1, 1);
    let text: Vec<u8> = (0..500u32).map(|i| i as u8).collect();
    rig.input.write_all(&text).unwrap();
    settle(&rig.serial);
    assert_eq!(rig.interrupt.read().unwrap(), 1);
    let mut read = vec![];
    while read.len() < text.len() {
        assert_eq!(rig.inb(5) & 1, 1, "after {} bytes", read.len());
        read.push(rig.inb(0));
        settle(&rig.serial);
    }
    assert_eq!(read, text);
    assert_eq!(rig.inb(5) & 1, 0);
    drop(rig.input);
    settle(&rig.serial);
}

#[test]
fn input_from_a_file_is_read_to_its_end() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[7; 300]).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = tempfile::tempfile().unwrap();
    let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let serial = Mutex::new(Serial::new(Some(file.into()), output.into(), interrupt).unwrap());
    let mut read = 0;
    settle(&serial);
    while serial.lock().unwrap().read_port(5) & 1 != 0 {
        assert_eq!(serial.lock().unwrap().read_port(0), 7);
        read += 1;
        settle(&serial);
    }
    assert_eq!(read, 300);
}

#[test]
fn a_saved_port_goes_on() {
    let mut rig = Rig::new();
    rig.outb(1, 1);
    rig.outb(7, 0x5a);
    rig.input.write_all(b"typed").unwrap();
    settle(&rig.serial);
    let state = rig.serial.lock().unwrap().save();
    let state: SerialState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    let output = tempfile::tempfile().unwrap();
    let interrupt = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let mut other = Serial::restore(state.clone(), None, output.into(), interrupt).unwrap();
    assert_eq!(other.save(), state);
    assert_eq!(other.read_port(7), 0x5a);
    assert_eq!(other.read_port(0), b't');
}

#[test]
fn wide_accesses_do_nothing() {
    let rig = Rig::new();
    let mut data = [1; 4];
    rig.bus.read(0x3f8, &mut data);
    assert_eq!(data, [0; 4]);
    rig.bus.write(0x3f8, b"xy");
    assert!(rig.serial.lock().unwrap().tail().is_empty());
}
