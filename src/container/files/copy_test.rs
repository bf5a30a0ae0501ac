use super::*;

#[test]
fn what_is_no_file_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for path in ["/dev/null", link.to_str().unwrap()] {
        let error = place(&Local::parse(path).unwrap(), false).unwrap_err().to_string();
        assert!(error.contains("must be a directory or a regular file"), "{error}");
    }
    let file = folder.path().join("file");
    for _ in 0..2 {
        let placed = place(&Local::parse(file.to_str().unwrap()).unwrap(), false).unwrap();
        assert_eq!(placed, (folder.path().to_owned(), Some("file".into())));
        fs::write(&file, "").unwrap();
    }
}
