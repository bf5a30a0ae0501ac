//! The host's part: servers that take what a guest says, say something without end, or say it back.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::guest::fill;

/// Bytes that are read or written at once.
const CHUNK: usize = 256 << 10;

/// Servers, until this is dropped.
pub struct Host {
    /// Takes what it is told.
    pub sink: SocketAddrV4,
    /// Says something without end.
    pub source: SocketAddrV4,
    /// Answers a byte by a byte.
    pub echo: SocketAddrV4,
    /// Takes datagrams; its answer to the first is as many as it can send.
    pub datagrams: SocketAddrV4,
    /// Bytes that the sink has taken.
    pub taken: Arc<AtomicU64>,
    /// Datagrams that were taken.
    pub counted: Arc<AtomicU64>,
    /// Whoever tells it a datagram is sent datagrams of the same length while this is so.
    pub floods: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Host {
    /// At this address.
    ///
    /// # Errors
    /// When there is no port.
    pub fn new(address: Ipv4Addr) -> std::io::Result<Self> {
        let (taken, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (over, floods) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let count = taken.clone();
        let sink = serve(address, 1, move |mut stream| {
            let mut bytes = vec![0; CHUNK];
            while let Ok(length @ 1..) = stream.read(&mut bytes) {
                count.fetch_add(length as u64, Ordering::Relaxed);
            }
        })?;
        let source = serve(address, 1, |mut stream| {
            let mut bytes = vec![0; 251 * 1024];
            fill(&mut bytes, 0);
            while stream.write_all(&bytes).is_ok() {}
        })?;
        let echo = serve(address, 0, |mut stream| {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {
                let _ = stream.read(&mut byte);
            }
        })?;
        let datagrams = count_datagrams(address, counted.clone(), floods.clone(), over.clone())?;
        Ok(Self { sink, source, echo, datagrams, taken, counted, floods, over })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Has each connection served, by a thread of its own or else by a few for all.
fn serve(
    address: Ipv4Addr,
    own: usize,
    work: impl Fn(TcpStream) + Send + Clone + 'static,
) -> std::io::Result<SocketAddrV4> {
    let listener = Arc::new(TcpListener::bind((address, 0))?);
    let at = SocketAddrV4::new(address, listener.local_addr()?.port());
    for _ in 0..if own > 0 { 1 } else { 4 } {
        let (listener, work) = (listener.clone(), work.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                if own > 0 {
                    let work = work.clone();
                    thread::spawn(move || work(stream));
                } else {
                    work(stream);
                }
            }
        });
    }
    Ok(at)
}

fn count_datagrams(
    address: Ipv4Addr,
    counted: Arc<AtomicU64>,
    floods: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) -> std::io::Result<SocketAddrV4> {
    let socket = UdpSocket::bind((address, 0))?;
    let at = SocketAddrV4::new(address, socket.local_addr()?.port());
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    thread::spawn(move || {
        let mut bytes = vec![0; 65536];
        let mut peer: Option<(SocketAddr, usize)> = None;
        while !over.load(Ordering::Relaxed) {
            if let Some((peer, length)) = peer.filter(|_| floods.load(Ordering::Relaxed)) {
                let _ = socket.send_to(&bytes[..length], peer);
            } else if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                counted.fetch_add(1, Ordering::Relaxed);
                peer = Some((from, length));
            }
        }
    });
    Ok(at)
}
