use super::*;

/// A volume in a folder of its own, mounted at `/x`.
fn volume(folder: &Path) -> MountPoint {
    let source = folder.join("_data");
    fs::create_dir(&source).unwrap();
    MountPoint { source, ..super::super::volume("vol:/x").unwrap() }
}

#[test]
fn a_new_volume_is_filled_until_it_was_filled_once() {
    let folder = tempfile::tempdir().unwrap();
    let volume = volume(folder.path());
    let mounts = [volume.clone()];
    let begin = || Filling::begin(&mounts).unwrap();
    let first = begin();
    assert!(first.contains("/x"));
    fs::write(volume.source.join("half"), "").unwrap();
    // Its keeper was killed.
    drop(first);
    let second = begin();
    assert!(second.contains("/x") && !volume.source.join("half").exists());
    fs::write(volume.source.join("whole"), "").unwrap();
    second.done();
    assert!(!begin().contains("/x") && volume.source.join("whole").exists());
}

#[test]
fn no_file_of_a_container_empties_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    let volume = volume(folder.path());
    for name in [MARK, LOCK, ".hull-filling"] {
        fs::write(volume.source.join(name), "").unwrap();
    }
    assert!(!Filling::begin(std::slice::from_ref(&volume)).unwrap().contains("/x"));
    assert_eq!(fs::read_dir(&volume.source).unwrap().count(), 3);
}
