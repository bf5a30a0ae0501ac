//! Real images: a Debian system, many layers, many bytes. And what a running container costs the host.

mod common;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::printed::Printed;
use common::{Home, code, need_image, soak};
use rustix::process::Pid;

#[test]
fn programs_of_a_debian_system_run() {
    let Some(home) = Home::with_image("programs_of_a_debian_system_run", "debian") else { return };
    let script = r#"dpkg -l | grep -c ^ii; apt-get --version | sed -n 1p; perl -e 'printf "perl %d\n", 6 * 7'
        python3 -c 'import json, sys; print(json.dumps({"python": sys.version_info[0], "pid": sys.argv[1:]}))' $$"#;
    let output = home.ok(&["run", "--rm", "debian", "bash", "-euo", "pipefail", "-c", script]);
    let lines: Vec<_> = output.lines().collect();
    assert!(lines[0].parse::<u32>().is_ok_and(|packages| packages > 50), "{output}");
    assert!(lines[1].starts_with("apt ") && lines[1].ends_with("(amd64)"), "{output}");
    assert_eq!(lines[2..], ["perl 42", r#"{"python": 3, "pid": ["1"]}"#], "{output}");
}

/// A container that runs and does nothing.
struct Idle {
    front_end: Child,
    vmm: Pid,
    /// What it printed before.
    output: Printed,
    /// From the command to its first output.
    start: Duration,
    /// What of that the VMM had of a CPU: the part that other work on the host does not lengthen.
    cpu: Duration,
}

impl Idle {
    /// Starts it: in a VM that boots, or else from the image's template.
    fn start(home: &Home, name: &str, image: &str, script: &str, boots: bool) -> Self {
        let script = format!("echo ready; {script}; echo done; exec sleep 1000");
        let options: &[_] = if boots { &["--no-template"] } else { &[] };
        let begun = Instant::now();
        let mut command =
            home.hull(&[&["run", "--name", name], options, &[image, "sh", "-c", &script]].concat());
        let mut front_end = command.stdout(Stdio::piped()).spawn().expect("hull");
        let output = Printed::of(front_end.stdout.take().expect("its output"));
        output.expect("ready\n");
        let vmm = home.find("vmm").expect("a VMM");
        Self { front_end, vmm, output, start: begun.elapsed(), cpu: cpu_time(vmm) }
    }

    /// Ends and removes it.
    fn end(mut self, home: &Home, name: &str) {
        home.ok(&["rm", "-f", name]);
        assert_eq!(code(&mut self.front_end), Some(137));
        home.nothing_is_left(name);
    }
}

/// The time that all threads of a process had of a CPU.
fn cpu_time(process: Pid) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("a process").flatten();
    let times = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    Duration::from_nanos(times.filter_map(|time| time.split(' ').next()?.parse::<u64>().ok()).sum())
}

/// A mapping of a process: where it is, what it is of, what it costs nobody but this process, in KiB.
#[derive(Default)]
struct Mapping {
    start: u64,
    end: u64,
    protection: String,
    path: String,
    private: u64,
}

fn mappings(process: Pid) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{process}/smaps")).expect("a process").lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some((start, end)) = words[0].split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).expect("an address");
            all.push(Mapping {
                start: number(start),
                end: number(end),
                protection: words[1].to_owned(),
                path: words.get(5).copied().unwrap_or_default().to_owned(),
                private: 0,
            });
        } else if words[0].starts_with("Private_") {
            all.last_mut().expect("a mapping").private += words[1].parse::<u64>().expect("a size");
        }
    }
    all
}

/// What of this process's memory nobody else has, in KiB, without its guest's memory: that begins where the kernel's
/// segments are mapped over it, and ends where the next mapping does not touch it or cannot be written.
fn private_memory(process: Pid) -> u64 {
    let all = mappings(process);
    let is_guest = |mapping: &Mapping| {
        mapping.protection.starts_with("rw") && (mapping.path.is_empty() || mapping.path.ends_with("vmlinux"))
    };
    let range = all.iter().position(|mapping| mapping.path.ends_with("vmlinux")).map(|kernel| {
        let (mut first, mut last) = (kernel, kernel);
        while first > 0 && is_guest(&all[first - 1]) && all[first - 1].end == all[first].start {
            first -= 1;
        }
        while last + 1 < all.len() && is_guest(&all[last + 1]) && all[last].end == all[last + 1].start {
            last += 1;
        }
        first..=last
    });
    let is_outside = |at: usize| range.as_ref().is_none_or(|range| !range.contains(&at));
    all.iter().enumerate().filter(|(at, _)| is_outside(*at)).map(|(_, mapping)| mapping.private).sum()
}

#[test]
fn an_idle_container_costs_little_and_layers_and_bytes_cost_no_start() {
    let test = "an_idle_container_costs_little_and_layers_and_bytes_cost_no_start";
    let Some(home) = Home::with_busybox(test) else { return };
    let idle = Idle::start(&home, "idle", "busybox", "true", true);
    idle.output.expect("done\n");
    let (vmm, keeper) = (private_memory(idle.vmm), private_memory(home.find("keeper").expect("a keeper")));
    println!("private memory: VMM {vmm} KiB outside of its guest's, keeper {keeper} KiB");
    assert!(vmm <= 5 << 10, "the VMM has {vmm} KiB of its own");
    assert!(keeper <= 2 << 10, "the keeper has {keeper} KiB of its own");
    let booted = idle.cpu;
    idle.end(&home, "idle");
    home.ok(&["template", "build", "busybox"]);
    let idle = Idle::start(&home, "idle", "busybox", "true", false);
    let (start, restored) = (idle.start, idle.cpu);
    println!("busybox: started in {start:.1?}; {restored:.1?} of a CPU, {booted:.1?} where it boots");
    idle.end(&home, "idle");

    let (size, bytes) = if soak() { ("1G", 1 << 30) } else { ("100M", 100 << 20) };
    for (name, tag, script, expected) in [
        ("busybox-10", "10-layers", "cat /layers/top; ls /layers | wc -l", "9\n10\n".to_owned()),
        ("busybox-40", "40-layers", "cat /layers/top; ls /layers | wc -l", "39\n40\n".to_owned()),
        (
            "busybox-big",
            &size.to_lowercase(),
            "cat /random/* | head -c 3 | wc -c; ls -l /random | awk '{ s += $5 } END { printf \"%d\\n\", s }'",
            { format!("3\n{bytes}\n") },
        ),
    ] {
        let Some(path) = need_image(test, name) else { return };
        home.ok(&["load", "-q", "-i", path.to_str().expect("a path in UTF-8")]);
        let image = format!("busybox:{tag}");
        home.ok(&["template", "build", &image]);
        // A guest that boots mounts each layer, which is a twentieth of a boot for three of them.
        for (boots, base, most) in [(false, restored, 1.5), (true, booted, 2.0)] {
            let idle = Idle::start(&home, name, &image, script, boots);
            idle.output.expect(&format!("{expected}done\n"));
            println!("{name}: started in {:.1?}, {:.1?} of a CPU", idle.start, idle.cpu);
            assert!(idle.cpu <= base.mul_f64(most), "{:?} against {base:?}", idle.cpu);
            idle.end(&home, name);
        }
    }
}
