//! A guest that does anything: its actions are read from bytes, so that property tests and fuzzers share it.
//!
//! It knows enough of rings and requests to get past the first checks, and lies from there on.

use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};
use virtio_bindings::virtio_mmio::*;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use crate::backing::Backing as GivenBack;
use crate::balloon::Balloon;
use crate::block::request::parse;
use crate::block::{Backend, FileDisk, Layers, Serial, execute};
use crate::bus::BusDevice;
use crate::console::Console;
use crate::device::{
    ActivateError, Activation, Device, DeviceKind, DeviceState, Interrupt, Memory, RestoreError,
    SharedDevice, lock,
};
use crate::entropy::{Entropy, EntropyState};
use crate::event_loop::Polled;
use crate::fs;
use crate::mem::{self, Mem};
use crate::net::{Checksums, Net};
use crate::queue::{Buffers, Chain, QueueState, Segment, Served, VirtQueue};
use crate::transport::mmio::MmioTransport;
use crate::vsock::{HostSide, Refused, Vsock};

/// Guest memory: two regions with a hole between.
const REGION: u64 = 0x8000;
const SECOND: u64 = 0xc000;
const QUEUE_SIZE: u16 = 16;
/// The region of a memory device.
const MEM_ADDRESS: u64 = 1 << 32;
const MEM_SIZE: u64 = 64 * mem::BLOCK_SIZE;

/// Reads numbers from bytes; zeroes after their end.
struct Bytecode<'a>(&'a [u8]);

impl Bytecode<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let length = N.min(self.0.len());
        bytes[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        bytes
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Mostly small.
    fn length(&mut self) -> u32 {
        match self.u8() {
            small @ 0..128 => small.into(),
            128..250 => self.u16().into(),
            _ => self.u32(),
        }
    }

    /// Mostly in guest memory.
    fn address(&mut self) -> u64 {
        match self.u8() {
            0..250 => u64::from(self.u16()) % (SECOND + REGION),
            _ => self.u64(),
        }
    }
}

struct Hostile<'a> {
    transport: MmioTransport,
    memory: Arc<Memory>,
    poll: &'a mut dyn FnMut(),
    queues: u64,
}

/// Has a guest do to a device what `program` says; `poll` runs the device's part of the event loop, once.
pub fn drive(device: SharedDevice, poll: &mut dyn FnMut(), program: &[u8]) {
    let ranges = [(GuestAddress(0), REGION as usize), (GuestAddress(SECOND), REGION as usize)];
    let memory = Arc::new(Memory::from_ranges(&ranges).expect("guest memory"));
    let queues = lock(&device).queue_sizes().len() as u64;
    let transport = MmioTransport::new(device, memory.clone()).expect("a transport");
    let mut guest = Hostile { transport, memory, poll, queues };
    let mut program = Bytecode(program);
    guest.restart(program.u8());
    while !program.0.is_empty() {
        guest.step(&mut program);
    }
    guest.kick();
    guest.write(VIRTIO_MMIO_STATUS, 0);
    (guest.poll)();
}

impl Hostile<'_> {
    fn write(&self, register: u32, value: u32) {
        self.transport.write(register.into(), &value.to_le_bytes());
    }

    fn put(&self, address: u64, bytes: &[u8]) {
        // Where there is no memory, nothing happens.
        let _ = self.memory.write_slice(bytes, GuestAddress(address));
    }

    fn rings(queue: u64) -> [u64; 3] {
        let base = 0x400 + queue * 0x400;
        [base, base + 0x200, base + 0x300]
    }

    /// Initializes the device; the byte leaves out features and queues.
    fn restart(&mut self, choice: u8) {
        for status in [0, 1, 3] {
            self.write(VIRTIO_MMIO_STATUS, status);
        }
        let without = if choice & 1 != 0 { 1 << 29 } else { 0 };
        for half in 0..2 {
            self.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
            let mut features = [0; 4];
            self.transport.read(VIRTIO_MMIO_DEVICE_FEATURES.into(), &mut features);
            let features = u32::from_le_bytes(features) & !if half == 0 { without } else { 0 };
            self.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.write(VIRTIO_MMIO_DRIVER_FEATURES, features);
        }
        self.write(VIRTIO_MMIO_STATUS, 0xb);
        for queue in 0..self.queues {
            self.write(VIRTIO_MMIO_QUEUE_SEL, queue as u32);
            self.write(VIRTIO_MMIO_QUEUE_NUM, if choice & 2 != 0 { 2 } else { QUEUE_SIZE.into() });
            let [table, available, used] = Self::rings(queue);
            self.put(available, &[0; 0x200]);
            for (low, address) in [
                (VIRTIO_MMIO_QUEUE_DESC_LOW, table),
                (VIRTIO_MMIO_QUEUE_AVAIL_LOW, available),
                (VIRTIO_MMIO_QUEUE_USED_LOW, used),
            ] {
                self.write(low, address as u32);
                self.write(low + 4, 0);
            }
            self.write(VIRTIO_MMIO_QUEUE_READY, u32::from(choice & 4 == 0 || queue == 0));
        }
        self.write(VIRTIO_MMIO_STATUS, 0xf);
        (self.poll)();
    }

    fn kick(&mut self) {
        for queue in 0..self.queues {
            self.write(VIRTIO_MMIO_QUEUE_NOTIFY, queue as u32);
        }
        (self.poll)();
    }

    fn step(&mut self, program: &mut Bytecode) {
        match program.u8() % 14 {
            0 => {
                let (address, bytes) = (program.address(), program.take::<16>());
                self.put(address, &bytes);
            }
            1 => {
                let address = program.address();
                let (kind, sector) = (u32::from(program.u8() % 16), program.length());
                self.put(address, &kind.to_le_bytes());
                self.put(address.wrapping_add(4), &[0; 4]);
                self.put(address.wrapping_add(8), &u64::from(sector).to_le_bytes());
            }
            2 => {
                let address = program.address();
                self.put(address, &packet(program));
            }
            11 => {
                let address = program.address();
                self.put(address, &memory_request(program));
            }
            12 => {
                let address = program.address();
                self.put(address, &frame_header(program));
            }
            3 | 4 => {
                let (table, index) = (Self::rings(u64::from(program.u8()) % self.queues)[0], program.u8());
                self.descriptor(table, u64::from(index % QUEUE_SIZE as u8), program);
            }
            5 => {
                let (table, index) = (program.address(), program.u8());
                self.descriptor(table, index.into(), program);
            }
            6 | 7 => self.publish(program),
            8 => self.kick(),
            9 => {
                let (offset, mut data) = (u64::from(program.u16() % 0x300), program.take::<8>());
                let length = usize::from(program.u8() % 9);
                self.transport.write(offset, &data[..length]);
                self.transport.read(offset, &mut data[..length]);
                (self.poll)();
            }
            10 => {
                let queue = u64::from(program.u8()) % self.queues;
                self.put(Self::rings(queue)[1] + 2, &program.take::<2>());
            }
            _ => {
                let choice = program.u8();
                // Mostly goes on: a device that was reset has little to lose.
                if choice >= 0xf0 {
                    self.restart(choice);
                }
            }
        }
    }

    fn descriptor(&self, table: u64, index: u64, program: &mut Bytecode) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&program.address().to_le_bytes());
        bytes[8..12].copy_from_slice(&program.length().to_le_bytes());
        bytes[12] = program.u8() & 7;
        bytes[14] = program.u8() % (QUEUE_SIZE as u8 + 1);
        self.put(table.wrapping_add(index * 16), &bytes);
    }

    /// Makes a head available, as a driver does.
    fn publish(&self, program: &mut Bytecode) {
        let available = Self::rings(u64::from(program.u8()) % self.queues)[1];
        let index: u16 = self.memory.read_obj(GuestAddress(available + 2)).unwrap_or(0);
        let head = u16::from(program.u8() % (QUEUE_SIZE as u8 + 2));
        self.put(available + 4 + u64::from(index % QUEUE_SIZE) * 2, &head.to_le_bytes());
        self.put(available + 2, &index.wrapping_add(1).to_le_bytes());
    }
}

/// A packet of a socket: most of its fields make sense, each at times not.
fn packet(program: &mut Bytecode) -> [u8; 44] {
    let lie = program.u8();
    crate::vsock::packet::Header {
        src_cid: if lie == 1 { program.u64() } else { 3 },
        dst_cid: if lie == 2 { program.u64() } else { 2 },
        src_port: u32::from(program.u8() % 4),
        dst_port: if lie == 5 { 1 << 30 } else { u32::from(program.u8() % 4) },
        len: program.length(),
        kind: if lie == 3 { program.u16() } else { 1 },
        op: if lie == 4 { program.u16() } else { u16::from(program.u8() % 9) },
        flags: u32::from(program.u8() % 5),
        buf_alloc: program.length(),
        fwd_cnt: program.length(),
    }
    .bytes()
}

/// What a driver says of a frame: most have a checksum that may be where it says.
fn frame_header(program: &mut Bytecode) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = program.u8() % 2;
    bytes[1] = program.u8() / 240;
    bytes[6..8].copy_from_slice(&(program.length() as u16).to_le_bytes());
    bytes[8..10].copy_from_slice(&(program.length() as u16).to_le_bytes());
    bytes
}

/// A request of a memory device: most name blocks that there are.
fn memory_request(program: &mut Bytecode) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[0] = program.u8() % 5;
    let block = u64::from(program.u8() % 72);
    let address = if program.u8() == 0 { program.u64() } else { MEM_ADDRESS + block * mem::BLOCK_SIZE };
    bytes[8..16].copy_from_slice(&address.to_le_bytes());
    bytes[16..18].copy_from_slice(&(program.length() as u16).to_le_bytes());
    bytes
}

/// Drives a device of the event loop; it must always come to rest.
fn drive_polled<D: Device + Polled + 'static>(device: D, mut between: impl FnMut(&mut D), program: &[u8]) {
    let device = Arc::new(Mutex::new(device));
    let poll = &mut || {
        let mut device = lock(&device);
        (0..4).for_each(|_| device.poll());
        between(&mut device);
    };
    drive(device.clone(), poll, program);
}

/// Keeps every other connection and talks to it.
struct Fickle(Arc<Mutex<Vec<UnixStream>>>);

impl HostSide for Fickle {
    fn connection(&mut self, port: u32, stream: OwnedFd) -> Result<(), Refused> {
        if port == 0 {
            return Err(Refused);
        }
        let mut stream = UnixStream::from(stream);
        let _ = stream.set_nonblocking(true);
        let _ = stream.write(b"from the host");
        if port == 1 {
            lock(&self.0).push(stream);
        }
        Ok(())
    }
}

/// A queue in memory of nothing but `image`: its rings, descriptors and tables are whatever comes.
pub fn queue(image: &[u8]) {
    struct Deaf;
    impl Interrupt for Deaf {
        fn queue(&self, _index: u16) {}
        fn config(&self) {}
        fn needs_reset(&self) {}
    }
    let memory = Arc::new(Memory::from_ranges(&[(GuestAddress(0), REGION as usize)]).expect("guest memory"));
    let length = image.len().min(REGION as usize);
    memory.write_slice(&image[..length], GuestAddress(0)).expect("room for the image");
    let mut program = Bytecode(image);
    let state = QueueState {
        size: 1 << (program.u8() % 9),
        ready: true,
        descriptors: u64::from(program.u16()) & !0xf,
        available: u64::from(program.u16()) & !1,
        used: u64::from(program.u16()) & !3,
        next_available: program.u16(),
        next_used: program.u16(),
    };
    let event_idx = program.u8() & 1 != 0;
    let Ok(mut queue) = VirtQueue::new(0, 256, &state, event_idx, memory, Arc::new(Deaf)) else { return };
    for _ in 0..4 {
        queue.serve(300, |chain, memory| {
            let mut bytes = [0; 100];
            let length = chain.readable.read(memory, &mut bytes);
            let mut rest = chain.writable.split_off(length);
            Served::Used((chain.writable.write(memory, &bytes) + rest.write(memory, &bytes)) as u32)
        });
    }
    assert_eq!(queue.state().size, state.size);
}

/// The parser of a disk's requests, its input in two pieces.
pub fn block_request(input: &[u8]) {
    let memory = Memory::from_ranges(&[(GuestAddress(0), REGION as usize)]).expect("guest memory");
    let length = input.len().min(0x1000);
    memory.write_slice(&input[..length], GuestAddress(0)).expect("room for the input");
    let segment =
        |address: u64, length: usize| Segment { address: GuestAddress(address), length: length as u32 };
    let cut = usize::from(input.last().copied().unwrap_or(0)).min(length);
    let readable = Buffers::of([segment(0, cut), segment(cut as u64, length - cut)]);
    let writable = Buffers::of([segment(0x2000, usize::from(input.first().copied().unwrap_or(0)) * 512)]);
    // Whatever it says, it says so.
    let _ = parse(readable, writable, &memory);
}

/// A socket device.
pub fn vsock(program: &[u8]) {
    let streams = Arc::new(Mutex::new(vec![]));
    let device = Vsock::new(3, Box::new(Fickle(streams.clone()))).expect("a device");
    let mut turns = 0;
    let between = |device: &mut Vsock| {
        turns += 1;
        if turns % 16 == 0 {
            lock(&streams).clear();
        }
        if turns % 8 == 0
            && let Ok((ours, theirs)) = UnixStream::pair()
        {
            let _ = device.connect(turns % 4, theirs.into());
            lock(&streams).push(ours);
        }
        device.drain();
    };
    drive_polled(device, between, program);
}

/// A console with input that never ends.
pub fn console(program: &[u8]) {
    let open = |path| File::options().read(true).write(true).open(path).expect(path);
    let device =
        Console::new(Some(open("/dev/zero").into()), open("/dev/null").into(), Some(Default::default()));
    drive_polled(device.expect("a device"), |_| (), program);
}

/// An entropy source.
pub fn entropy(program: &[u8]) {
    drive_polled(Entropy::new().expect("a device"), |_| (), program);
}

/// Memory that nothing is behind, and of which only this is ever to be given back.
struct Within(Range<u64>);

impl GivenBack for Within {
    fn give_back(&mut self, address: GuestAddress, length: u64) -> std::io::Result<()> {
        assert!(length > 0 && length.is_multiple_of(4096) && address.0.is_multiple_of(4096));
        assert!(address.0 >= self.0.start && address.0 + length <= self.0.end);
        Ok(())
    }
}

/// A memory balloon.
pub fn balloon(program: &[u8]) {
    let device = Balloon::new(Box::new(Within(0..SECOND + REGION))).expect("a device");
    drive_polled(device, |_| (), program);
}

/// A memory device whose size changes all the time.
pub fn mem(program: &[u8]) {
    let backing = Within(MEM_ADDRESS..MEM_ADDRESS + MEM_SIZE);
    let device = Mem::new(GuestAddress(MEM_ADDRESS), MEM_SIZE, Box::new(backing)).expect("a device");
    let mut turns = 0;
    let between = |device: &mut Mem| {
        turns += 1;
        let before = device.plugged();
        assert!(before <= device.usable());
        device.request(turns % 9 * 8 * mem::BLOCK_SIZE, turns * mem::BLOCK_SIZE);
        assert_eq!(device.plugged(), before);
    };
    drive_polled(device, between, program);
}

/// A network card, whose network answers each frame with all that came with it, and at times with rubbish.
pub fn net(program: &[u8]) {
    let mut streams = Vec::new();
    let mut turns = 0;
    let between = |device: &mut Net| {
        turns += 1;
        if !device.is_connected()
            && let Ok((ours, theirs)) = UnixStream::pair()
            && ours.set_nonblocking(true).is_ok()
        {
            let checksums = if turns % 2 == 0 { Checksums::Wanted } else { Checksums::Ignored };
            let _ = device.connect(0, Vec::new(), theirs.into(), checksums);
            streams = vec![ours];
        }
        for stream in &mut streams {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap_or(0);
            // Frames out of frames, and one that the guest did not send.
            let _ = stream.write(&bytes[..length]);
            let _ = stream.write(&[0, 0, 0, 60]).and_then(|_| stream.write(&[turns as u8; 60]));
        }
        if turns % 32 == 0 {
            streams.clear();
        }
    };
    drive_polled(Net::new([2; 6], 65520).expect("a device"), between, program);
}

/// A file share, whose requests come right out of the program: in each, a number of bytes and those.
///
/// The thread that calls this has `/proc/self/fd` as its working directory afterwards.
pub fn share(program: &[u8]) {
    const POLICY: fs::Policy = fs::Policy {
        read_only: false,
        freshness: fs::Freshness::Second,
        owners: fs::Owners::Mapped { uid: 0, gid: 0 },
    };
    let folder = std::env::temp_dir().join(format!("hull-hostile-{}", std::process::id()));
    let inside = folder.join("inside");
    std::fs::create_dir_all(&inside).expect("a folder");
    std::fs::write(folder.join("outside"), "as it was").expect("a file");
    let open = OFlags::PATH | OFlags::CLOEXEC;
    let place = rustix::fs::openat(rustix::fs::CWD, &inside, open, Mode::empty()).expect("a folder");
    rustix::process::chdir("/proc/self/fd").expect("/proc");
    let limits = fs::Limits { places: 4, handles: 4 };
    let share = fs::Share::new(vec![fs::Root { place, policy: POLICY }], limits).expect("a share");
    let memory = Memory::from_ranges(&[(GuestAddress(0), REGION as usize)]).expect("guest memory");
    let mut program = Bytecode(program);
    while !program.0.is_empty() {
        let length = usize::from(program.u8());
        let room = program.length() % REGION as u32;
        let (request, rest) = program.0.split_at(length.min(program.0.len()));
        program.0 = rest;
        let _ = memory.write_slice(request, GuestAddress(0));
        let segment = |address, length| Segment { address: GuestAddress(address), length };
        let mut chain = Chain::of(
            Buffers::of([segment(0, request.len() as u32)]),
            Buffers::of([segment(REGION / 2, room.min(REGION as u32 / 2))]),
        );
        fs::execute(&share, &mut chain, &memory);
        let (_, open, handles) = share.usage();
        assert!(open <= limits.places && handles <= limits.handles);
    }
    drop(share);
    assert_eq!(std::fs::read(folder.join("outside")).expect("a file"), b"as it was");
    assert_eq!(std::fs::read_dir(&folder).expect("a folder").count(), 2);
    if std::fs::remove_dir_all(&folder).is_err() {
        // There are folders by now that may not be entered.
        let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&folder).status();
        let _ = std::fs::remove_dir_all(&folder);
    }
}

/// A disk that can be written.
pub fn disk(program: &[u8]) {
    let file = File::from(rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).expect("a file"));
    file.set_len(64 << 10).expect("space");
    inline_disk(Arc::new(FileDisk::new(file, false).expect("a disk")), program);
}

/// A disk of layers.
pub fn layers(program: &[u8]) {
    let layer = |length| {
        let file =
            File::from(rustix::fs::memfd_create("layer", rustix::fs::MemfdFlags::CLOEXEC).expect("a file"));
        file.set_len(length).expect("space");
        file
    };
    inline_disk(Arc::new(Layers::new([100, 0, 5000, 4096].map(layer).into()).expect("a disk")), program);
}

fn inline_disk(backend: Arc<dyn Backend>, program: &[u8]) {
    let notifier = Arc::new(EventFd::new(libc::EFD_NONBLOCK).expect("an eventfd"));
    let device = Arc::new(Mutex::new(InlineDisk { backend, notifiers: [notifier], queue: None }));
    drive(device.clone(), &mut || lock(&device).serve(), program);
}

/// A disk without a worker, so that what goes wrong goes wrong here.
struct InlineDisk {
    backend: Arc<dyn Backend>,
    notifiers: [Arc<EventFd>; 1],
    queue: Option<VirtQueue>,
}

impl InlineDisk {
    fn serve(&mut self) {
        let Some(queue) = &mut self.queue else { return };
        queue.serve(64, |chain, memory| {
            Served::Used(execute(self.backend.as_ref(), Serial::default(), chain, memory))
        });
    }
}

impl Device for InlineDisk {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }
    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }
    fn notifiers(&self) -> &[Arc<EventFd>] {
        &self.notifiers
    }
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}
    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.queue = Some(activation.queue(0)?);
        Ok(())
    }
    fn pause(&mut self) -> Vec<VirtQueue> {
        self.queue.take().into_iter().collect()
    }
    fn reset(&mut self) {
        self.queue = None;
    }
    fn save(&self) -> DeviceState {
        DeviceState::Entropy(EntropyState {})
    }
    fn restore(&mut self, _state: DeviceState) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "hostile_test.rs"]
mod tests;
