use std::os::unix::fs::MetadataExt;

use std::os::unix::fs::FileExt;

use super::*;

#[test]
fn a_copy_is_the_same_and_as_small() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template");
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&template).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(&[1; 5000], 0).unwrap();
    file.write_all_at(&[2; 200_000], 100 << 20).unwrap();
    let copy = folder.path().join("copy");
    make(&file, &copy).unwrap();
    let copied = File::open(&copy).unwrap();
    assert_eq!(copied.metadata().unwrap().len(), 1 << 30);
    assert!(copied.metadata().unwrap().blocks() * 512 < 1 << 20);
    for offset in [0, 4096, 100 << 20, (100 << 20) + 199_000, 500 << 20] {
        let (mut a, mut b) = ([0; 4096], [0; 4096]);
        file.read_exact_at(&mut a, offset).unwrap();
        copied.read_exact_at(&mut b, offset).unwrap();
        assert_eq!(a, b, "at {offset}");
    }
    // What an earlier attempt left half made is made anew, and nothing is left beside the copy.
    std::fs::write(copy.with_extension("new"), "half").unwrap();
    make(&file, &copy).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let nowhere = folder.path().join("nowhere/copy");
    assert!(make(&file, &nowhere).unwrap_err().to_string().contains("copy"));
}
