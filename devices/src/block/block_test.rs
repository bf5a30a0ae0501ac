use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::*;
use crate::device::Memory;
use crate::queue::Buffers;
use crate::test_driver::{EVENT_IDX, Guest, Piece, eventually, out, room, share};

const SIZE: u64 = 8 << 20;
const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

struct Rig {
    block: Arc<Mutex<Block>>,
    guest: Guest,
    file: File,
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 512 * 7 + i) as u8).collect()
}

fn disk_file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern(SIZE as usize)).unwrap();
    file
}

impl Rig {
    fn new(read_only: bool) -> Self {
        let file = disk_file();
        let disk = FileDisk::new(file.try_clone().unwrap(), read_only).unwrap();
        Self::over(Arc::new(disk), file, u64::MAX)
    }

    fn over(backend: Arc<dyn Backend>, file: File, mask: u64) -> Self {
        let block = share(Block::new(backend, "disk-serial".try_into().unwrap(), || ()).unwrap());
        let guest = Guest::with_features(block.clone(), mask);
        Self { block, guest, file }
    }

    fn header(&mut self, kind: u32, sector: u64) -> Piece {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        out(self.guest.put(&header), 16)
    }

    /// Has a chain handled; returns how much was written.
    fn submit(&mut self, pieces: &[Piece]) -> u32 {
        self.guest.queues[0].add(pieces);
        self.guest.kick(0);
        let mut written = 0;
        let queue = &mut self.guest.queues[0];
        eventually("the request is done", || queue.take_used().map(|(_, length)| written = length).is_some());
        written
    }

    /// Has a request handled; returns its status.
    fn request(&mut self, kind: u32, sector: u64, data: &[Piece]) -> u8 {
        let status = self.guest.put(&[0xee]);
        let mut pieces = vec![self.header(kind, sector)];
        pieces.extend(data);
        pieces.push(room(status, 1));
        let writable: u32 = pieces.iter().filter(|piece| piece.write).map(|piece| piece.length).sum();
        assert_eq!(self.submit(&pieces), writable);
        self.guest.get(status, 1)[0]
    }

    fn ranges(&mut self, kind: u32, ranges: &[(u64, u32, u32)]) -> u8 {
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|(sector, sectors, flags)| {
                [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
            })
            .collect();
        let data = out(self.guest.put(&bytes), bytes.len());
        self.request(kind, 0, &[data])
    }

    fn stored(&mut self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }
}

#[test]
fn reads_into_scattered_memory() {
    let mut rig = Rig::new(false);
    let address = rig.guest.allocate(8192);
    // A last buffer that ends in the middle of the disk's sector, header and status cut up.
    let data = [room(address, 1), room(address + 1, 511), room(address + 512, 4096 + 512)];
    assert_eq!(rig.request(IN, 3, &data), OK);
    assert_eq!(rig.guest.get(address, 5120), pattern(SIZE as usize)[1536..1536 + 5120]);
    eventually("the guest is interrupted", || rig.guest.interrupt() == 1);
}

#[test]
fn reads_across_memory_regions() {
    let mut rig = Rig::new(false);
    let middle = crate::test_driver::MEMORY_SIZE / 2;
    assert_eq!(rig.request(IN, 0, &[room(middle - 1000, 4096)]), OK);
    assert_eq!(rig.guest.get(middle - 1000, 4096), pattern(4096));
}

#[test]
fn header_and_status_may_be_anywhere() {
    let mut rig = Rig::new(false);
    let Piece { address, .. } = rig.header(IN, 1);
    let target = rig.guest.allocate(513);
    let pieces = [out(address, 5), out(address + 5, 11), room(target, 513)];
    assert_eq!(rig.submit(&pieces), 513);
    assert_eq!(rig.guest.get(target, 512), pattern(1024)[512..]);
    assert_eq!(rig.guest.get(target + 512, 1), [OK]);
}

#[test]
fn writes_and_flushes() {
    let mut rig = Rig::new(false);
    let data = rig.guest.put(&[0x5a; 4096]);
    assert_eq!(rig.request(OUT, 8, &[out(data, 1000), out(data + 1000, 3096)]), OK);
    assert_eq!(rig.stored(4096, 4096), [0x5a; 4096]);
    assert_eq!(rig.stored(8192, 512), pattern(SIZE as usize)[8192..8704]);
    assert_eq!(rig.request(FLUSH, 0, &[]), OK);
}

#[test]
fn many_pieces_are_no_trouble() {
    let mut rig = Rig::new(false);
    let address = rig.guest.allocate(512 * 300);
    let table = rig.guest.allocate(16 * 400);
    let status = rig.guest.put(&[9]);
    let mut pieces = vec![rig.header(IN, 0)];
    pieces.extend((0..300).map(|i| room(address + i * 512, 512)));
    pieces.push(room(status, 1));
    rig.guest.queues[0].add_indirect(table, &pieces);
    rig.guest.kick(0);
    let queue = &mut rig.guest.queues[0];
    eventually("the request is done", || queue.take_used().is_some());
    assert_eq!(rig.guest.get(status, 1), [OK]);
    assert_eq!(rig.guest.get(address, 512 * 300), pattern(512 * 300));
}

#[test]
fn tells_its_serial() {
    let mut rig = Rig::new(false);
    for length in [20, 40, 5, 0] {
        let address = rig.guest.put(&[0xaa; 40]);
        let data = [room(address, length)];
        assert_eq!(rig.request(GET_ID, 0, if length == 0 { &[] } else { &data }), OK);
        let expected = b"disk-serial\0\0\0\0\0\0\0\0\0";
        let told = length.min(20);
        assert_eq!(rig.guest.get(address, told), expected[..told]);
        assert_eq!(rig.guest.get(address + told as u64, 40 - told), vec![0xaa; 40 - told]);
    }
    assert!(Serial::try_from("a serial that is too long").is_err());
    assert!(Serial::try_from("exactly twenty bytes").is_ok());
}

#[test]
fn what_is_out_of_range_fails() {
    let mut rig = Rig::new(false);
    let last = SIZE / 512 - 1;
    let data = rig.guest.allocate(2048);
    assert_eq!(rig.request(IN, last, &[room(data, 512)]), OK);
    assert_eq!(rig.request(IN, last + 1, &[]), OK, "nothing at the very end");
    for (sector, length) in
        [(last, 1024), (last + 1, 512), (u64::MAX, 512), (u64::MAX / 512, 512), (1 << 55, 512)]
    {
        assert_eq!(rig.request(IN, sector, &[room(data, length)]), IOERR, "{sector}");
        assert_eq!(rig.request(OUT, sector, &[out(data, length)]), IOERR, "{sector}");
    }
    assert_eq!(rig.request(IN, 0, &[room(data, 511)]), IOERR);
    assert_eq!(rig.request(OUT, 0, &[out(data, 513)]), IOERR);
    assert_eq!(rig.stored(0, SIZE as usize), pattern(SIZE as usize));
}

#[test]
fn what_makes_no_sense_is_answered() {
    let mut rig = Rig::new(false);
    for kind in [2, 3, 5, 14, 15, 99, u32::MAX] {
        assert_eq!(rig.request(kind, 0, &[]), UNSUPP);
    }
    // A header that is too short; no room for a status; nothing to read at all.
    let status = rig.guest.put(&[0xee]);
    let header = rig.header(IN, 0).address;
    rig.submit(&[out(header, 15), room(status, 1)]);
    assert_eq!(rig.guest.get(status, 1), [IOERR]);
    assert_eq!(rig.submit(&[out(header, 16)]), 0);
    assert_eq!(rig.submit(&[room(status, 1)]), 1);
    assert_eq!(rig.guest.read(0x70), 0xf, "the device goes on");
}

#[test]
fn discards_and_zeroes() {
    let mut rig = Rig::new(false);
    assert_eq!(rig.ranges(DISCARD, &[(8, 8, 0), (32, 8, 0)]), OK);
    assert_eq!(rig.stored(4096, 4096), [0; 4096]);
    assert_eq!(rig.stored(16384, 4096), [0; 4096]);
    assert_eq!(rig.stored(0, 4096), pattern(4096));
    for (sector, unmap) in [(48, 0), (65, 1)] {
        assert_eq!(rig.ranges(WRITE_ZEROES, &[(sector, 3, unmap)]), OK);
        assert_eq!(rig.stored(sector * 512, 1536), [0; 1536]);
        assert_ne!(rig.stored(sector * 512 - 512, 512), [0; 512]);
        assert_ne!(rig.stored(sector * 512 + 1536, 512), [0; 512]);
    }
    assert_eq!(rig.file.metadata().unwrap().len(), SIZE);
    assert_eq!(rig.ranges(WRITE_ZEROES, &[(5, 0, 0)]), OK, "nothing");

    let end = SIZE / 512;
    assert_eq!(rig.ranges(DISCARD, &[(0, 8, 1)]), UNSUPP, "unmap is not for discards");
    assert_eq!(rig.ranges(WRITE_ZEROES, &[(0, 8, 2)]), UNSUPP);
    assert_eq!(rig.ranges(DISCARD, &[(0, 8, 0), (end - 4, 5, 0)]), IOERR);
    assert_eq!(rig.ranges(WRITE_ZEROES, &[(u64::MAX - 1, 8, 0)]), IOERR);
    assert_eq!(rig.ranges(WRITE_ZEROES, &[(0, u32::MAX, 0)]), IOERR);
    assert_eq!(rig.ranges(DISCARD, &[]), IOERR);
    assert_eq!(rig.ranges(DISCARD, &[(0, 1, 0); 17]), IOERR);
    let half = rig.guest.put(&[0; 8]);
    assert_eq!(rig.request(DISCARD, 0, &[out(half, 8)]), IOERR);
    assert_eq!(rig.stored(0, 4096), pattern(4096), "a request with one bad range does nothing");
}

#[test]
fn a_read_only_disk_refuses_writes() {
    let mut rig = Rig::new(true);
    let data = rig.guest.put(&[1; 512]);
    assert_eq!(rig.request(IN, 0, &[room(data, 512)]), OK);
    assert_eq!(rig.request(OUT, 0, &[out(data, 512)]), IOERR);
    assert_eq!(rig.ranges(DISCARD, &[(0, 8, 0)]), IOERR);
    assert_eq!(rig.ranges(WRITE_ZEROES, &[(0, 8, 0)]), IOERR);
    assert_eq!(rig.request(FLUSH, 0, &[]), OK);
    assert_eq!(rig.stored(0, SIZE as usize), pattern(SIZE as usize));
    assert_eq!(rig.guest.offered() & 0xffffff, 1 << 5 | 1 << 2);
}

#[test]
fn shows_its_shape() {
    let rig = Rig::new(false);
    assert_eq!(u64::from_le_bytes(rig.guest.config(0)), SIZE / 512);
    assert_eq!(u32::from_le_bytes(rig.guest.config(12)), 126);
    assert_eq!(u32::from_le_bytes(rig.guest.config(20)), 512);
    assert_eq!(rig.guest.config::<4>(24), [3, 0, 8, 0]);
    assert_eq!(u32::from_le_bytes(rig.guest.config(44)), 8);
    assert_eq!(rig.guest.config::<4>(56), [1, 0, 0, 0]);
    assert_eq!(rig.guest.config::<8>(60), [0; 8]);
}

#[test]
fn a_truncated_file_is_an_error_not_an_end() {
    let mut rig = Rig::new(false);
    rig.file.set_len(SIZE / 2).unwrap();
    let data = rig.guest.allocate(1024);
    assert_eq!(rig.request(IN, SIZE / 1024 - 1, &[room(data, 1024)]), IOERR);
    assert_eq!(rig.request(IN, SIZE / 1024 - 1, &[room(data, 512)]), OK);
}

#[test]
fn a_tail_of_less_than_a_sector_is_not_seen() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1025).unwrap();
    assert_eq!(FileDisk::new(file, false).unwrap().capacity(), 1024);
}

#[test]
fn a_batch_keeps_its_interrupts_few() {
    for mask in [u64::MAX, !EVENT_IDX] {
        let file = disk_file();
        let disk = FileDisk::new(file.try_clone().unwrap(), true).unwrap();
        let mut rig = Rig::over(Arc::new(disk), file, mask);
        let data = rig.guest.allocate(512);
        let header = rig.header(IN, 0);
        for _ in 0..32 {
            rig.guest.queues[0].add(&[header, room(data, 512), room(data, 1)]);
        }
        rig.guest.kick(0);
        let mut done = 0;
        let mut edges = 0;
        eventually("all are done", || {
            edges += rig.guest.transport.interrupt_event().read().unwrap_or(0);
            done += std::iter::from_fn(|| rig.guest.queues[0].take_used()).count();
            done == 32
        });
        assert!(edges <= 32);
    }
}

/// A disk that takes its time, and says when it is asked.
struct Slow {
    asked: Mutex<std::sync::mpsc::Sender<()>>,
    go_on: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Backend for Slow {
    fn capacity(&self) -> u64 {
        SIZE
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&self, _offset: u64, _memory: &Memory, _buffers: &mut Buffers) -> io::Result<()> {
        self.asked.lock().unwrap().send(()).unwrap();
        self.go_on.lock().unwrap().recv().map_err(|_| io::ErrorKind::Other.into())
    }
    fn write(&self, _offset: u64, _memory: &Memory, _buffers: &mut Buffers) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, _offset: u64, _length: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn write_zeroes(&self, _offset: u64, _length: u64, _unmap: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn a_reset_waits_for_the_request_under_way_and_for_no_other() {
    let ((asked, was_asked), (go, go_on)) = (channel(), channel());
    let backend = Arc::new(Slow { asked: Mutex::new(asked), go_on: Mutex::new(go_on) });
    let mut rig = Rig::over(backend, tempfile::tempfile().unwrap(), u64::MAX);
    let data = rig.guest.allocate(512);
    let header = rig.header(IN, 0);
    for _ in 0..3 {
        rig.guest.queues[0].add(&[header, room(data, 512), room(data, 1)]);
    }
    rig.guest.kick(0);
    was_asked.recv().unwrap();
    let releaser = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        go.send(()).unwrap();
        go
    });
    let state = rig.guest.transport.pause();
    assert_eq!((state.queues[0].next_available, state.queues[0].next_used), (1, 1));
    assert!(was_asked.try_recv().is_err(), "nothing is begun any more");
    rig.guest.transport.resume().unwrap();
    let go = releaser.join().unwrap();
    for _ in 0..2 {
        was_asked.recv().unwrap();
        go.send(()).unwrap();
    }
    let mut done = 0;
    eventually("all are done", || {
        done += std::iter::from_fn(|| rig.guest.queues[0].take_used()).count();
        done == 3
    });
    rig.guest.write(0x70, 0);
    rig.guest.start(u64::MAX);
    drop(rig.block);
}

#[test]
fn the_worker_is_confined_before_it_works() {
    let (sender, receiver) = channel();
    let file = disk_file();
    let disk = Arc::new(FileDisk::new(file, false).unwrap());
    let name = move || sender.send(std::thread::current().name().map(str::to_owned)).unwrap();
    let _block = Block::new(disk, Serial::default(), name).unwrap();
    assert_eq!(receiver.recv().unwrap().as_deref(), Some("disk"));
}

#[test]
fn a_layer_is_appended_while_the_guest_runs() {
    let layer = |text: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    };
    let layers = Arc::new(Layers::new(vec![layer(&[1; 5000])]).unwrap());
    let mut rig = Rig::over(layers.clone(), tempfile::tempfile().unwrap(), u64::MAX);
    assert_eq!(u64::from_le_bytes(rig.guest.config(0)), 16);
    let generation = rig.guest.read(0xfc);

    let extent = layers.append(layer(&[2; 100])).unwrap();
    assert_eq!(extent, Extent { offset: 8192, length: 4096 });
    assert_eq!(u64::from_le_bytes(rig.guest.config(0)), 16, "not before it is announced");
    rig.block.lock().unwrap().capacity_changed();
    assert_eq!(rig.guest.interrupt(), 2);
    assert_ne!(rig.guest.read(0xfc), generation);
    assert_eq!(u64::from_le_bytes(rig.guest.config(0)), 24);
    rig.block.lock().unwrap().capacity_changed();
    assert_eq!(rig.guest.interrupt(), 0, "nothing new");

    let data = rig.guest.allocate(12288);
    assert_eq!(rig.request(IN, 0, &[room(data, 12288)]), OK);
    let expected: Vec<u8> = [vec![1; 5000], vec![0; 3192], vec![2; 100], vec![0; 3996]].concat();
    assert_eq!(rig.guest.get(data, 12288), expected);
}

#[test]
fn a_saved_disk_goes_on_over_the_same_file() {
    let rig = Rig::new(false);
    let state = rig.guest.transport.pause();
    let other = |read_only: bool, file: File| {
        let disk = Arc::new(FileDisk::new(file, read_only).unwrap());
        let block = share(Block::new(disk, Serial::default(), || ()).unwrap());
        crate::transport::mmio::MmioTransport::new(block, rig.guest.memory.clone()).unwrap()
    };
    let transport = other(false, rig.file.try_clone().unwrap());
    transport.restore(state.clone()).unwrap();
    transport.resume().unwrap();
    let error = other(true, rig.file.try_clone().unwrap()).restore(state.clone()).unwrap_err();
    assert_eq!(error.to_string(), "the saved Block device has read_only = false, this one does not");
    assert!(other(false, tempfile::tempfile().unwrap()).restore(state).is_err(), "it has shrunk");
}

#[test]
fn the_file_can_be_a_block_device_or_anything_with_an_end() {
    let mut file = disk_file();
    file.seek(SeekFrom::Start(100)).unwrap();
    let disk = FileDisk::new(file.try_clone().unwrap(), false).unwrap();
    assert_eq!(disk.capacity(), SIZE);
    let mut rest = vec![];
    file.rewind().unwrap();
    file.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len() as u64, SIZE);
}
