use proptest::prelude::*;

use super::*;
use crate::vm::unfinished::seal;

fn about(name: &Name) -> About {
    About {
        version: VERSION,
        name: name.clone(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        paused_ms: 7,
        vm: toml::from_str(
            "name = \"web\"\n[[disk]]\npath = \"/a\"\n[[disk]]\npath = \"/b\"\nread_only = true",
        )
        .unwrap(),
        disks: vec![
            Disk::Copy { size: 1, sum: "2".to_owned() },
            Disk::Elsewhere { stamp: Stamp { size: 3, modified: Some((4, 5)) } },
        ],
        below: None,
        state: "00".repeat(32),
        sum: "11".repeat(32),
    }
}

fn taken(snapshots: &Snapshots, name: &str) -> About {
    let name = name.parse().unwrap();
    let about = about(&name);
    finish(snapshots, &about).unwrap();
    about
}

fn finish(snapshots: &Snapshots, about: &About) -> anyhow::Result<()> {
    snapshots.finish(snapshots.begin(&about.name)?, about)
}

#[test]
fn a_difference_needs_what_it_differs_from() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::at(folder.path().join("snapshots"));
    let name = |name: &str| -> Name { name.parse().unwrap() };
    let one = taken(&snapshots, "one");
    let differs = |from: &About, name: &str, state: &str| About {
        name: name.parse().unwrap(),
        below: Some(snapshots.with_state(&from.state).unwrap()),
        state: state.to_owned(),
        ..from.clone()
    };
    let two = differs(&one, "two", "22");
    finish(&snapshots, &two).unwrap();
    let three = differs(&two, "three", "33");
    finish(&snapshots, &three).unwrap();
    let find = |of: &str| snapshots.find(&name(of)).unwrap();
    let below = |of: &str| snapshots.below(&find(of));
    let names = |of: &str| -> Vec<_> { below(of).unwrap().into_iter().map(|one| one.about.name).collect() };
    assert_eq!(names("one"), []);
    assert_eq!(names("three"), [name("two"), name("one")]);

    let refused = |of: &str| snapshots.remove(&name(of), false).unwrap_err().to_string();
    assert!(refused("one").contains("two has only"), "{}", refused("one"));
    assert!(refused("two").contains("three has only"), "{}", refused("two"));
    snapshots.remove(&name("one"), true).unwrap();
    let said = |of: &str| format!("{:#}", below(of).unwrap_err());
    assert!(said("three").contains("differs from snapshot one") && said("three").contains("no snapshot one"));
    // One of the same name is not the same.
    finish(&snapshots, &About { state: "44".repeat(32), ..one.clone() }).unwrap();
    assert!(said("two").contains("another by now"), "{}", said("two"));
    snapshots.remove(&name("one"), false).unwrap();
    snapshots.remove(&name("three"), false).unwrap();
    snapshots.remove(&name("two"), false).unwrap();

    // Nor is one finished whose base was removed meanwhile, and none goes in circles.
    let refusal = format!("{:#}", finish(&snapshots, &two).unwrap_err());
    assert!(refusal.contains("was removed"), "{refusal}");
    let itself = Below { name: name("one"), state: one.state.clone(), sum: one.sum.clone() };
    let unfinished = snapshots.begin(&name("one")).unwrap();
    unfinished.write(&About { below: Some(itself), ..one }).unwrap();
    unfinished.publish().unwrap();
    assert!(said("one").contains("damaged"), "{}", said("one"));
}

#[test]
fn a_snapshot_is_there_as_a_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::at(folder.path().join("snapshots"));
    assert!(snapshots.list().unwrap().is_empty());
    let name: Name = "one".parse().unwrap();

    let unfinished = snapshots.begin(&name).unwrap();
    unfinished.create(VM).unwrap();
    assert!(snapshots.list().unwrap().is_empty());
    let refusal = snapshots.begin(&name).err().unwrap().to_string();
    assert!(refusal.contains("at this moment"), "{refusal}");
    drop(unfinished);
    assert!(!unfinished::place(&snapshots.root, name.as_str()).exists());

    // What was left by one that was killed goes with the next.
    fs::create_dir(unfinished::place(&snapshots.root, name.as_str())).unwrap();
    fs::write(unfinished::place(&snapshots.root, name.as_str()).join(VM), "half").unwrap();
    let about = taken(&snapshots, "one");
    assert_eq!(snapshots.find(&name).unwrap().about, about);
    assert!(snapshots.begin(&name).err().unwrap().to_string().contains("one already"));
    assert_eq!(snapshots.free_name(&"one".parse().unwrap()).as_str(), "one-1");
    taken(&snapshots, "one-1");
    assert_eq!(snapshots.free_name(&"one".parse().unwrap()).as_str(), "one-2");
    assert_eq!(snapshots.free_name(&"x".repeat(64).parse().unwrap()).as_str().len(), 64);

    // Under another name it is not what it says.
    fs::rename(folder.path().join("snapshots/one"), folder.path().join("snapshots/two")).unwrap();
    let moved = snapshots.find(&"two".parse().unwrap()).unwrap_err().to_string();
    assert!(moved.contains("taken as one"), "{moved}");
    snapshots.remove(&"two".parse().unwrap(), false).unwrap();
    assert_eq!(snapshots.list().unwrap().len(), 1);
}

#[test]
fn a_sum_is_of_what_is_read() {
    use std::os::unix::fs::FileExt;
    let (dense, sparse) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    dense.write_all_at(&vec![0; 5 << 20], 0).unwrap();
    sparse.set_len(5 << 20).unwrap();
    for file in [&dense, &sparse] {
        file.write_all_at(b"here", (3 << 20) + 77).unwrap();
    }
    let sum = sums::of(&dense).unwrap();
    assert_eq!(sums::of(&sparse).unwrap(), sum);
    sparse.write_all_at(b"here", (2 << 20) + 77).unwrap();
    assert_ne!(sums::of(&sparse).unwrap(), sum);
    // The same a MiB later, and longer by a zero.
    sparse.write_all_at(&[0; 4], (3 << 20) + 77).unwrap();
    assert_ne!(sums::of(&sparse).unwrap(), sum);
    dense.set_len((5 << 20) + 1).unwrap();
    assert_ne!(sums::of(&dense).unwrap(), sum);
    assert_eq!(sums::of(&tempfile::tempfile().unwrap()).unwrap().len(), 64);
}

#[test]
fn what_another_hull_wrote_is_refused_by_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |text: &str| {
        fs::write(folder.path().join("about"), seal(text)).unwrap();
        format!("{:#}", read_about(folder.path()).unwrap_err())
    };
    assert!(refusal("{\"version\":3,\"whatever\":[]}").contains("format 3"));
    assert!(refusal("{\"version\":2}").contains("damaged"));
    assert!(refusal("").contains("damaged"));
    // What no VM can be.
    let mut about = about(&"one".parse().unwrap());
    about.vm.machine.vcpus = 0;
    assert!(refusal(&serde_json::to_string(&about).unwrap()).contains("damaged"));
    about.vm.machine.vcpus = 1;
    about.disks.pop();
    assert!(refusal(&serde_json::to_string(&about).unwrap()).contains("damaged"));
}

proptest! {
    #[test]
    fn no_flipped_bit_and_no_missing_end_goes_unseen(at in any::<prop::sample::Index>(), bit in 0..8) {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&about(&"one".parse().unwrap())).unwrap();
        let whole = seal(&text).into_bytes();
        let path = folder.path().join("about");
        let mut flipped = whole.clone();
        let at = at.index(whole.len());
        flipped[at] ^= 1u8 << bit;
        fs::write(&path, flipped).unwrap();
        prop_assert!(read_about(folder.path()).is_err());
        fs::write(&path, &whole[..at]).unwrap();
        prop_assert!(read_about(folder.path()).is_err());
        fs::write(&path, &whole).unwrap();
        prop_assert!(read_about(folder.path()).is_ok());
    }
}
