//! How fast a network's process is: a driver that plays the guest on a frame socket, without a guest that would set the speed. Where passt is
//! installed it is measured in turn with hull's own network, in the same run.

pub mod guest;
mod host;
mod rival;

use std::{
    net::{IpAddr, UdpSocket},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;

use self::{
    guest::{Guest, Name},
    host::Host,
    rival::Rival,
};
use super::statistics::Summary;

/// More than anybody says.
const ENDLESS: u64 = u64::MAX / 2;
/// Connections that are made at once, when they are counted.
const AT_ONCE: usize = 32;
/// How long whatever is to happen may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How often.
    pub rounds: usize,
    /// How long each measurement takes.
    pub time: Duration,
}

/// One measurement, of each network.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured, and in what.
    pub what: &'static str,
    /// Of hull's network.
    pub hull: Summary,
    /// Of passt, where it is installed.
    pub passt: Option<Summary>,
}

/// A measurement: what it is called, and what it does.
type Measurement = (&'static str, fn(&mut Guest, &Host, Duration) -> anyhow::Result<f64>);

const MEASUREMENTS: [Measurement; 7] = [
    ("1 stream to the host, MB/s", |guest, host, time| stream_up(guest, host, time, 1)),
    ("8 streams to the host, MB/s", |guest, host, time| stream_up(guest, host, time, 8)),
    ("1 stream to the guest, MB/s", |guest, host, time| stream_down(guest, host, time, 1)),
    ("8 streams to the guest, MB/s", |guest, host, time| stream_down(guest, host, time, 8)),
    ("connections, each with a byte both ways, per s", connections),
    ("datagrams of 1400 bytes to the host, per s", datagrams_up),
    ("datagrams of 1400 bytes to the guest, per s", datagrams_down),
];

/// Measures; `progress` is told of each measurement.
///
/// # Errors
/// When the host has no address that guests reach, or a network does not work.
pub fn measure(plan: &Plan, mut progress: impl FnMut(usize)) -> anyhow::Result<Vec<Row>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // Nothing is sent.
    let address = socket.connect("198.51.100.1:9").and_then(|()| socket.local_addr());
    let address = match address.map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) if !address.is_loopback() => address,
        _ => anyhow::bail!("this host has no IPv4 address that guests reach"),
    };
    let host = Host::new(address).context("cannot listen")?;
    let mut figures: Vec<(Vec<f64>, Vec<f64>)> = vec![Default::default(); MEASUREMENTS.len()];
    let mut done = 0;
    for _ in 0..plan.rounds {
        for ((name, measure), (hull, passt)) in MEASUREMENTS.iter().zip(&mut figures) {
            let mut rival = Rival::hull()?;
            hull.push(measure(&mut rival.guest, &host, plan.time).with_context(|| format!("hull: {name}"))?);
            if let Some(mut rival) = Rival::passt()? {
                match measure(&mut rival.guest, &host, plan.time) {
                    Ok(figure) => passt.push(figure),
                    // It is the yardstick, not what is tested.
                    Err(error) => eprintln!("hull: not measured: passt: {name}: {error:#}"),
                }
            }
            done += 1;
            progress(done);
        }
    }
    let rows = MEASUREMENTS.iter().zip(figures).filter_map(|((what, _), (hull, passt))| {
        Some(Row { what, hull: Summary::of(hull)?, passt: Summary::of(passt) })
    });
    Ok(rows.collect())
}

/// How many measurements a plan has.
pub fn steps(plan: &Plan) -> usize {
    plan.rounds * MEASUREMENTS.len()
}

/// Takes turns for so long; gives how long that was.
fn keep_on(guest: &mut Guest, time: Duration, mut turn: impl FnMut(&mut Guest)) -> f64 {
    let start = Instant::now();
    while start.elapsed() < time {
        turn(guest);
        guest.turn(Duration::from_millis(5));
    }
    start.elapsed().as_secs_f64()
}

fn open(guest: &mut Guest, names: &[Name]) -> anyhow::Result<()> {
    let all = guest.until(PATIENCE, |guest| names.iter().all(|name| guest.connections[name].open));
    anyhow::ensure!(all, "the host is not reached");
    Ok(())
}

fn close(guest: &mut Guest) {
    // The rest of what was to be said is not.
    guest.connections.clear();
}

fn stream_up(guest: &mut Guest, host: &Host, time: Duration, streams: usize) -> anyhow::Result<f64> {
    let names: Vec<_> = (0..streams).map(|_| guest.call(host.sink, 0, false)).collect();
    open(guest, &names)?;
    names.iter().for_each(|name| guest.say(*name, ENDLESS, false));
    keep_on(guest, time / 4, |_| {});
    let before = host.taken.load(Ordering::Relaxed);
    let seconds = keep_on(guest, time, |_| {});
    let bytes = host.taken.load(Ordering::Relaxed) - before;
    anyhow::ensure!(guest.connections.values().all(|it| !it.reset), "a connection was reset");
    close(guest);
    Ok(bytes as f64 / seconds / 1e6)
}

fn stream_down(guest: &mut Guest, host: &Host, time: Duration, streams: usize) -> anyhow::Result<f64> {
    let names: Vec<_> = (0..streams).map(|_| guest.call(host.source, 0, false)).collect();
    open(guest, &names)?;
    keep_on(guest, time / 4, |_| {});
    let heard = |guest: &Guest| guest.connections.values().map(|it| it.heard).sum::<u64>();
    let before = heard(guest);
    let seconds = keep_on(guest, time, |_| {});
    let bytes = heard(guest) - before;
    anyhow::ensure!(guest.connections.values().all(|it| !it.reset), "a connection was reset");
    anyhow::ensure!(guest.connections.values().all(|it| !it.wrong), "a stream is not what was said");
    close(guest);
    Ok(bytes as f64 / seconds / 1e6)
}

fn connections(guest: &mut Guest, host: &Host, time: Duration) -> anyhow::Result<f64> {
    let (mut made, mut failed) = (0, 0);
    let seconds = keep_on(guest, time, |guest| {
        let before = guest.connections.len();
        failed += guest.connections.values().filter(|it| it.reset || it.wrong).count();
        guest.connections.retain(|_, it| !it.is_over());
        made += before - guest.connections.len();
        // It ends when it was answered.
        let answered: Vec<_> = guest
            .connections
            .iter()
            .filter(|(_, it)| it.heard == 1 && !it.ends)
            .map(|(name, _)| *name)
            .collect();
        answered.into_iter().for_each(|name| guest.say(name, 0, true));
        while guest.connections.len() < AT_ONCE {
            guest.call(host.echo, 1, false);
        }
    });
    anyhow::ensure!(failed == 0, "{failed} of {made} connections failed");
    close(guest);
    Ok(made as f64 / seconds)
}

fn datagrams_up(guest: &mut Guest, host: &Host, time: Duration) -> anyhow::Result<f64> {
    let before = host.counted.load(Ordering::Relaxed);
    let payload = [7; 1400];
    let seconds = keep_on(guest, time, |guest| {
        for _ in 0..64 {
            if guest.has_room() {
                guest.tell(5000, host.datagrams, &payload);
            }
        }
    });
    Ok((host.counted.load(Ordering::Relaxed) - before) as f64 / seconds)
}

fn datagrams_down(guest: &mut Guest, host: &Host, time: Duration) -> anyhow::Result<f64> {
    guest.counts = true;
    guest.tell(5001, host.datagrams, &[7; 1400]);
    keep_on(guest, Duration::from_millis(200), |_| {});
    host.floods.store(true, Ordering::Relaxed);
    keep_on(guest, time / 4, |_| {});
    let before = guest.counted.0;
    let seconds = keep_on(guest, time, |_| {});
    host.floods.store(false, Ordering::Relaxed);
    let heard = guest.counted.0 - before;
    Ok(heard as f64 / seconds)
}
