use std::{io::Read, os::unix::net::UnixStream, thread, time::Duration};

use super::*;

const RATE: u64 = 1 << 20;
/// Of a datagram, without its length.
const FRAME: usize = 1000;

/// A link to a VM that may be spoken to at [`RATE`], and the VM's end.
fn rated() -> (Link, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let mut link = Link::new(near.into());
    link.rate = Some(Bucket::new(RATE, Instant::now()));
    (link, far)
}

/// What has arrived.
fn heard(far: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = far.read_to_end(&mut bytes);
    bytes
}

/// The first bytes of all frames in this.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut firsts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() {
        let (frame, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        firsts.push(frame[0]);
        bytes = rest;
    }
    firsts
}

/// Waits until the link may go on.
fn wait(link: &mut Link) {
    if let Some(resumes) = link.resumes.take() {
        thread::sleep(resumes.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn datagrams_that_are_kept_go_at_the_rate_and_not_all_at_last() {
    let (mut link, mut far) = rated();
    let begin = Instant::now();
    let count = 200u8;
    for number in 0..count {
        link.send_or_keep(&[number; FRAME / 2], &[number; FRAME / 2]);
    }
    let mut all = heard(&mut far);
    assert!(all.len() < 150 * FRAME && !link.unsent.is_empty());
    let burst = link.rate.as_ref().unwrap().burst();
    while !link.unsent.is_empty() {
        // However long the queue is, it is a burst and a frame that are waited for.
        let most = Duration::from_secs_f64((burst + FRAME) as f64 / RATE as f64);
        assert!(link.resumes.is_none_or(|resumes| resumes <= Instant::now() + most));
        wait(&mut link);
        link.notice_room();
        all.extend(heard(&mut far));
    }
    // Some was there at once, and the last burst has just gone.
    let least = (usize::from(count) * FRAME - 2 * (burst + FRAME)) as f64 / RATE as f64;
    assert!(begin.elapsed().as_secs_f64() >= least, "{:?}", begin.elapsed());
    assert_eq!(frames(&all), (0..count).collect::<Vec<_>>());
}

#[test]
fn datagrams_do_not_stop_connections_nor_those_datagrams() {
    let (mut link, mut far) = rated();
    let (mut data, mut datagrams) = (0, 0);
    for _ in 0..40 {
        // More than may go, each time.
        for _ in 0..200 {
            link.send_or_keep(&[1; FRAME], &[]);
        }
        while link.send(&[2; FRAME], &[3; 20 * FRAME], &[]) {}
        link.waiting.push(Key::of(1));
        wait(&mut link);
        link.notice_room();
        if link.has_room() && link.may_send() {
            link.waiting.clear();
            link.send(&[2; FRAME], &[3; 20 * FRAME], &[]);
        }
        let firsts = frames(&heard(&mut far));
        data += firsts.iter().filter(|first| **first == 2).count();
        datagrams += firsts.iter().filter(|first| **first == 1).count();
    }
    assert!(data >= 5 && datagrams >= 5 * 20, "{data} and {datagrams}");
}

#[test]
fn what_is_kept_is_whole_where_the_vm_reads_in_between() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let mut link = Link::new(near.into());
    while link.send(&[1; 60_001], &[2; 5], &[]) {}
    let mut kept = 0;
    while link.unsent.len() < MAX_UNSENT {
        link.send_or_keep(&[3; 6001], &[]);
        kept += 1;
    }
    let mut all = Vec::new();
    while !link.unsent.is_empty() {
        all.extend(heard(&mut far));
        link.notice_room();
    }
    all.extend(heard(&mut far));
    let firsts = frames(&all);
    assert_eq!(firsts.iter().filter(|first| **first == 3).count(), kept);
    assert!(firsts.contains(&1));
}
