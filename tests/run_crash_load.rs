//! Containers are made, started, used, committed and removed while front ends, keepers and VMMs are killed at any moment: what was
//! reported done is there afterwards, what was not is there whole or not at all.

mod common;
mod images;

use std::{collections::BTreeMap, fs, process::Stdio, thread, time::Duration};

use common::{Home, code, eventually, soak};

/// What is known of a container.
#[derive(Clone, Default)]
struct Known {
    /// Whether it is there.
    there: bool,
    /// Files that were reported written, and what is in them.
    files: BTreeMap<String, u64>,
}

struct Load {
    home: Home,
    random: u64,
    containers: [Known; 2],
    /// Images that were reported made, and files that they have.
    made: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Load {
    /// A number below this one.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn runs(&self, name: &str) -> bool {
        self.home.inspect(name)["State"]["Running"] == true
    }

    /// Does one thing and kills somebody meanwhile.
    fn round(&mut self, round: u64) {
        let slot = self.random(2) as usize;
        let name = format!("box{slot}");
        let (file, image) = (format!("f{round}"), format!("made:{round}"));
        let script = format!("echo {round} > /{file} && sync");
        let choice = self.random(5);
        let words = if !self.containers[slot].there {
            vec!["run", "-d", "--name", &name, "busybox", "sleep", "100000"]
        } else if !self.runs(&name) {
            match choice {
                0 => vec!["rm", &name],
                1 => vec!["commit", &name, &image],
                _ => vec!["start", &name],
            }
        } else {
            match choice {
                0 => vec!["rm", "-f", &name],
                1 => vec!["commit", &name, &image],
                2 => vec!["stop", "-t", "0", &name],
                _ => vec!["exec", &name, "sh", "-c", &script],
            }
        };
        let victim = ["front end", "keeper", "vmm"][self.random(3) as usize];
        // Often where most is going on, at times later than all of it.
        let moment = Duration::from_micros(1 << self.random(22));
        let mut command = self.home.hull(&words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("hull");
        let errors = common::printed::Printed::of(child.stderr.take().expect("its errors"));
        thread::sleep(moment);
        if victim == "front end" {
            let _ = child.kill();
        } else {
            self.home.kill(victim);
        }
        let done = code(&mut child) == Some(0);
        let what = format!(
            "round {round}: {words:?}, {victim} killed after {moment:?}: done {done}, {}",
            errors.rest()
        );
        eprintln!("{what}");

        let known = &mut self.containers[slot];
        match (words[0], done) {
            ("run", true) => known.there = true,
            ("rm", true) => *known = Known::default(),
            ("exec", true) => drop(known.files.insert(file.clone(), round)),
            ("commit", true) => drop(self.made.insert(image.clone(), known.files.clone())),
            _ => {}
        }
        self.check(&what, if done { None } else { Some((slot, words[0])) });
    }

    /// Everything that is known is so; what was cut short is as it was before or done.
    fn check(&mut self, what: &str, cut: Option<(usize, &str)>) {
        // A front end that is gone has its keeper go on: what it does comes to its end.
        let listed = || -> Vec<String> {
            let names = self.home.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
            names.lines().map(ToOwned::to_owned).collect()
        };
        let settled =
            |line: &String| ["created", "running", "exited"].iter().any(|state| line.ends_with(state));
        eventually("states that last", || listed().iter().all(settled));
        let names: Vec<String> =
            listed().iter().map(|line| line.split(' ').next().expect("a name").to_owned()).collect();
        for slot in 0..self.containers.len() {
            let name = format!("box{slot}");
            let there = names.contains(&name);
            match cut {
                Some((number, "run")) if number == slot => self.containers[slot].there = there,
                Some((number, "rm")) if number == slot && !there => self.containers[slot] = Known::default(),
                _ => assert_eq!(there, self.containers[slot].there, "{name} after {what}: {names:?}"),
            }
            if there {
                self.home.inspect(&name);
            }
        }
        let listed = self.home.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        for image in self.made.keys() {
            assert!(listed.lines().any(|line| line == image), "{image} after {what}: {listed}");
        }
        for image in listed.lines() {
            self.home.ok(&["image", "inspect", image]);
        }
    }

    /// A script that fails if these files are not what they are known to be.
    fn look(files: &BTreeMap<String, u64>) -> String {
        let lines =
            files.iter().map(|(file, number)| format!("[ \"$(cat /{file})\" = {number} ] || exit 1; "));
        lines.collect::<String>() + "true"
    }
}

#[test]
fn whoever_is_killed_what_was_reported_done_is_there() {
    let Some(home) = Home::with_busybox("whoever_is_killed_what_was_reported_done_is_there") else { return };
    home.ok(&["template", "build", "busybox"]);
    let stored = images::stored(home.folder.path());
    let (rounds, seed) = (if soak() { 100 } else { 10 }, 0x5eed_2026);
    let mut load = Load { home, random: seed, containers: Default::default(), made: BTreeMap::new() };
    for round in 0..rounds {
        load.round(round);
    }
    let home = &load.home;
    for (slot, known) in load.containers.iter().enumerate().filter(|(_, known)| known.there) {
        let name = format!("box{slot}");
        if !load.runs(&name) {
            home.ok(&["start", &name]);
        }
        home.ok(&["exec", &name, "sh", "-c", &Load::look(&known.files)]);
        home.ok(&["rm", "-f", &name]);
    }
    for (image, files) in load.made.iter().rev().take(if soak() { usize::MAX } else { 1 }) {
        home.ok(&["run", "--rm", image, "sh", "-c", &Load::look(files)]);
    }
    // Also those that were made, but not reported.
    let images = home.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for image in images.lines().filter(|image| image.starts_with("made:")) {
        home.ok(&["rmi", image]);
    }
    home.ok(&["image", "prune", "-f"]);
    home.nothing_is_left("a load with kills");
    assert_eq!(images::stored(home.folder.path()), stored, "the store is what it was");
    let volumes = home.folder.path().join("data/hull/volumes");
    assert_eq!(fs::read_dir(volumes).map_or(0, Iterator::count), 0);
}
