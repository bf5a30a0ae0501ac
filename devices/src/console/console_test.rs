use std::io::{Read, Seek, Write};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use super::*;
use crate::output::{PENDING_SIZE, TAIL_SIZE};
use crate::test_driver::{EVENT_IDX, Guest, eventually, out, room, settle, share};

const SIZE: WindowSize = WindowSize { columns: 80, rows: 24 };

struct Rig {
    console: Arc<Mutex<Console>>,
    guest: Guest,
    input: UnixStream,
    output: UnixStream,
}

impl Rig {
    fn new() -> Self {
        Self::with_features(u64::MAX)
    }

    fn with_features(mask: u64) -> Self {
        let (input, guest_input) = UnixStream::pair().unwrap();
        let (output, guest_output) = UnixStream::pair().unwrap();
        let console = Console::new(Some(guest_input.into()), guest_output.into(), Some(SIZE)).unwrap();
        let console = share(console);
        let guest = Guest::with_features(console.clone(), mask);
        Self { console, guest, input, output }
    }

    /// The guest's kernel offers room for input.
    fn offer(&mut self, size: usize) -> u64 {
        let address = self.guest.allocate(size);
        self.guest.queues[0].add(&[room(address, size)]);
        self.guest.kick(0);
        address
    }

    /// The guest writes; returns whether it is done.
    fn print(&mut self, text: &[u8]) {
        let address = self.guest.put(text);
        self.guest.queues[1].add(&[out(address, text.len())]);
        self.guest.kick(1);
        settle(&self.console);
    }
}

#[test]
fn output_reaches_its_reader() {
    for mask in [u64::MAX, !EVENT_IDX] {
        let mut rig = Rig::with_features(mask);
        rig.print(b"Linux version 6.12\n");
        assert_eq!(rig.guest.interrupt(), 1);
        assert_eq!(rig.guest.queues[1].take_used().unwrap().1, 0);
        let mut text = [0; 19];
        rig.output.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"Linux version 6.12\n");
        assert_eq!(rig.console.lock().unwrap().tail(), text);
    }
}

#[test]
fn the_last_output_is_remembered() {
    let mut rig = Rig::new();
    let text: Vec<u8> = (0..3 * TAIL_SIZE).map(|i| (i / 7) as u8).collect();
    for part in text.chunks(1000) {
        rig.print(part);
        rig.guest.queues[1].take_used().unwrap();
        rig.output.read_exact(&mut vec![0; part.len()]).unwrap();
    }
    assert_eq!(rig.console.lock().unwrap().tail(), text[text.len() - TAIL_SIZE..]);
}

#[test]
fn a_reader_that_stops_stops_the_guest_and_nothing_is_lost() {
    let mut rig = Rig::new();
    rig.output.set_nonblocking(true).unwrap();
    let text: Vec<u8> = (0..2_000_000usize).map(|i| (i / 3) as u8).collect();
    // One chain that is far more than is kept, then some more.
    let address = rig.guest.put(&text);
    rig.guest.queues[1].add(&[out(address, 1_000_000), out(address + 1_000_000, 900_000)]);
    rig.guest.queues[1].add(&[out(address + 1_900_000, 100_000)]);
    rig.guest.kick(1);
    settle(&rig.console);
    assert!(rig.guest.queues[1].take_used().is_none(), "the guest waits");
    assert!(rig.console.lock().unwrap().has_pending_output());
    assert!(rig.console.lock().unwrap().output.pending().len() <= PENDING_SIZE);

    let (mut read, mut chunk) = (Vec::<u8>::new(), vec![0; 10_000]);
    eventually("everything is read", || {
        settle(&rig.console);
        while let Ok(length) = rig.output.read(&mut chunk) {
            read.extend(&chunk[..length]);
        }
        read.len() >= text.len()
    });
    assert_eq!(read, text);
    settle(&rig.console);
    assert_eq!(std::iter::from_fn(|| rig.guest.queues[1].take_used()).count(), 2);
    assert!(!rig.console.lock().unwrap().has_pending_output());
}

#[test]
fn a_reader_that_is_gone_does_not_stop_the_guest() {
    let mut rig = Rig::new();
    drop(std::mem::replace(&mut rig.output, UnixStream::pair().unwrap().0));
    for _ in 0..100 {
        rig.print(&[b'x'; 4000]);
        assert!(rig.guest.queues[1].take_used().is_some());
    }
    assert!(!rig.console.lock().unwrap().has_pending_output());
}

#[test]
fn input_waits_for_the_guest() {
    let mut rig = Rig::new();
    rig.input.write_all(b"typed ahead").unwrap();
    settle(&rig.console);
    let first = rig.offer(5);
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 5);
    assert_eq!(rig.guest.get(first, 5), b"typed");
    let second = rig.offer(100);
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 6);
    assert_eq!(rig.guest.get(second, 6), b" ahead");
    // Now room waits for input.
    let third = rig.offer(100);
    settle(&rig.console);
    assert!(rig.guest.queues[0].take_used().is_none());
    rig.input.write_all(b"more").unwrap();
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 4);
    assert_eq!(rig.guest.get(third, 4), b"more");
}

#[test]
fn the_end_of_input_is_not_the_end() {
    let mut rig = Rig::new();
    rig.input.write_all(b"bye").unwrap();
    drop(std::mem::replace(&mut rig.input, UnixStream::pair().unwrap().0));
    rig.offer(10);
    rig.offer(10);
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 3);
    assert!(rig.guest.queues[0].take_used().is_none());
    rig.print(b"still here");
    let mut text = [0; 10];
    rig.output.read_exact(&mut text).unwrap();
}

#[test]
fn room_of_no_size_is_not_the_end_of_input() {
    let mut rig = Rig::new();
    let address = rig.guest.allocate(8);
    rig.guest.queues[0].add(&[out(address, 8)]);
    rig.offer(8);
    rig.input.write_all(b"x").unwrap();
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 0);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 1);
}

#[test]
fn files_and_null_serve_as_well() {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(b"from a file").unwrap();
    input.rewind().unwrap();
    let mut output = tempfile::tempfile().unwrap();
    let console = Console::new(Some(input.into()), output.try_clone().unwrap().into(), None).unwrap();
    let console = share(console);
    let guest = Guest::new(console.clone());
    let mut rig = Rig { console, guest, ..Rig::new() };
    for _ in 0..2 {
        rig.offer(6);
    }
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 6);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 5);
    rig.print(b"to a file");
    let mut text = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "to a file");

    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let console = Console::new(Some(null.try_clone().unwrap().into()), null.into(), None).unwrap();
    let console = share(console);
    let guest = Guest::new(console.clone());
    let mut rig = Rig { console, guest, ..Rig::new() };
    rig.offer(6);
    rig.print(b"to nowhere");
    assert!(rig.guest.queues[1].take_used().is_some());
}

#[test]
fn a_terminal_that_hangs_up_is_the_end_of_input() {
    let user =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::unlockpt(&user).unwrap();
    let name = rustix::pty::ptsname(&user, vec![]).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let open = || rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
    let console = share(Console::new(Some(open()), open(), None).unwrap());
    let guest = Guest::new(console.clone());
    let mut rig = Rig { console, guest, ..Rig::new() };
    rustix::io::write(&user, b"ls\n").unwrap();
    let address = rig.offer(10);
    settle(&rig.console);
    assert_eq!(rig.guest.queues[0].take_used().unwrap().1, 3);
    assert_eq!(rig.guest.get(address, 3), b"ls\n");
    rig.print(b"bin\n");
    let mut text = [0; 64];
    assert!(rustix::io::read(&user, &mut text).unwrap() > 0);
    rig.offer(10);
    settle(&rig.console);
    drop(user);
    settle(&rig.console);
    rig.print(b"to nobody");
    assert!(rig.guest.queues[1].take_used().is_some());
}

#[test]
fn the_guest_follows_the_terminals_size() {
    let rig = Rig::new();
    assert_eq!(rig.guest.config::<4>(0), [80, 0, 24, 0]);
    let generation = rig.guest.read(0xfc);
    rig.console.lock().unwrap().resize(SIZE);
    assert_eq!(rig.guest.interrupt(), 0);
    rig.console.lock().unwrap().resize(WindowSize { columns: 300, rows: 50 });
    assert_eq!(rig.guest.interrupt(), 2);
    assert_ne!(rig.guest.read(0xfc), generation);
    assert_eq!(rig.guest.config::<4>(0), [44, 1, 50, 0]);
    assert_eq!(rig.guest.offered() & 1, 1);
}

#[test]
fn a_size_that_changes_while_the_driver_starts_is_told() {
    let console = Console::new(None, std::fs::File::open("/dev/null").unwrap().into(), Some(SIZE)).unwrap();
    let console = share(console);
    let mut guest = Guest::unprepared(console.clone());
    console.lock().unwrap().resize(WindowSize { columns: 1, rows: 2 });
    guest.start(u64::MAX);
    assert_eq!(guest.interrupt(), 2);
}

#[test]
fn without_a_size_there_is_no_feature() {
    let null = || std::fs::File::options().write(true).open("/dev/null").unwrap().into();
    let guest = Guest::unprepared(share(Console::new(None, null(), None).unwrap()));
    assert_eq!(guest.offered() & 1, 0);
}

#[test]
fn a_saved_console_goes_on_in_the_middle_of_a_chain() {
    let mut rig = Rig::new();
    let text: Vec<u8> = (0..1_000_000usize).map(|i| (i / 5) as u8).collect();
    let address = rig.guest.put(&text);
    rig.guest.queues[1].add(&[out(address, text.len())]);
    rig.guest.kick(1);
    settle(&rig.console);
    let state = rig.guest.transport.pause();
    let (output, guest_output) = UnixStream::pair().unwrap();
    let console = share(Console::new(None, guest_output.into(), Some(SIZE)).unwrap());
    let transport =
        crate::transport::mmio::MmioTransport::new(console.clone(), rig.guest.memory.clone()).unwrap();
    transport.restore(state).unwrap();
    transport.resume().unwrap();
    // What the first had not written yet and what the second writes are the text.
    drop(std::mem::replace(&mut rig.console, console));
    rig.guest.transport = transport;
    let (mut read, mut chunk) = (Vec::<u8>::new(), vec![0; 10_000]);
    for (mut stream, goal) in [(rig.output.try_clone().unwrap(), None), (output, Some(text.len()))] {
        stream.set_nonblocking(true).unwrap();
        eventually("it is read", || {
            settle(&rig.console);
            while let Ok(length) = stream.read(&mut chunk) {
                if length == 0 {
                    break;
                }
                read.extend(&chunk[..length]);
            }
            goal.is_none_or(|goal| read.len() >= goal)
        });
    }
    assert_eq!(read, text);
}

#[test]
fn a_reset_in_the_middle_of_a_chain() {
    let mut rig = Rig::new();
    let address = rig.guest.put(&vec![b'x'; 1_000_000]);
    rig.guest.queues[1].add(&[out(address, 1_000_000)]);
    rig.guest.kick(1);
    settle(&rig.console);
    rig.guest.start(u64::MAX);
    settle(&rig.console);
    rig.output.set_nonblocking(true).unwrap();
    let mut chunk = vec![0; 1 << 20];
    eventually("the rest is written", || {
        settle(&rig.console);
        while rig.output.read(&mut chunk).is_ok() {}
        !rig.console.lock().unwrap().has_pending_output()
    });
    rig.print(b"anew");
    let length = rig.output.read(&mut chunk).unwrap();
    assert_eq!(&chunk[..length], b"anew");
}
