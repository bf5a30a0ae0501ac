//! What a copy of a guest must have of its own before anything runs in it: randomness, and the time.

use std::mem::size_of;

use hull_protocol::SEED;
use rustix::{
    fs::{self, CWD, Mode, OFlags},
    io,
    ioctl::{self, NoArg, Opcode, Setter, opcode},
    time::{ClockId, Timespec, clock_settime},
};

/// `struct rand_pool_info` with its buffer.
#[repr(C)]
struct Pool {
    /// Bits of entropy in the buffer.
    entropy: i32,
    /// Bytes in it.
    length: i32,
    buffer: [u8; SEED],
}

/// `RNDADDENTROPY`, whose number is made of the size of the structure without its buffer.
const ADD_ENTROPY: Opcode = opcode::write::<[i32; 2]>(b'R', 3);
/// `RNDRESEEDCRNG`.
const RESEED: Opcode = opcode::none(b'R', 7);

/// Mixes in the host's random bytes and draws from them, and sets the clock.
///
/// # Errors
/// What failed. A guest that is not unique must not go on.
pub fn wake(seed: &[u8; SEED], realtime_ns: u64) -> Result<(), String> {
    reseed(seed).map_err(|error| format!("cannot reseed the random generator: {error}"))?;
    let (tv_sec, tv_nsec) = ((realtime_ns / 1_000_000_000) as i64, (realtime_ns % 1_000_000_000) as i64);
    clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec })
        .map_err(|error| format!("cannot set the clock: {error}"))
}

fn reseed(seed: &[u8; SEED]) -> io::Result<()> {
    let pool = Pool { entropy: SEED as i32 * 8, length: SEED as i32, buffer: *seed };
    let random = fs::openat(CWD, "/dev/urandom", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    const { assert!(size_of::<Pool>() == 8 + SEED) };
    // SAFETY: the request takes a `rand_pool_info` and as many bytes behind it as that says.
    unsafe { ioctl::ioctl(&random, Setter::<ADD_ENTROPY, Pool>::new(pool)) }?;
    // SAFETY: the request takes nothing.
    unsafe { ioctl::ioctl(&random, NoArg::<RESEED>::new()) }
}
