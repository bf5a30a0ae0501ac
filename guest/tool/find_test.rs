use super::*;

#[test]
fn what_a_path_means_is_in_how_it_ends() {
    for (text, whole, base, is_directory) in [
        ("/a/b", "/a/b", "b", false),
        ("a/b", "/a/b", "b", false),
        ("/a/b/", "/a/b", "b", true),
        ("/a/b/.", "/a/b", ".", true),
        ("/a/./../b/../c", "/c", "c", false),
        ("../../x", "/x", "x", false),
        ("/", "/", "", true),
        (".", "/", ".", true),
        ("/.", "/", ".", true),
        ("", "/", "", true),
    ] {
        let path = Path::parse(text);
        let found = (path.text(), path.base().to_owned(), path.is_directory);
        assert_eq!(found, (whole.to_owned(), base.to_owned(), is_directory), "{text}");
    }
    assert_eq!(Path::parse("/a/b/c").parent().text(), "/a/b");
    assert_eq!(Path::parse("/").parent().text(), "/");
}

#[test]
fn links_of_links_are_followed_to_their_end() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("d")).unwrap();
    for (target, name) in
        [("d", "one"), ("one", "two"), ("three", "three"), ("absent", "nowhere"), ("nowhere", "last")]
    {
        std::os::unix::fs::symlink(target, root.join(name)).unwrap();
    }
    let resolve = |name: &str| {
        let (path, found) = Path::parse(root.join(name).to_str().unwrap()).resolve();
        let name = path.parts.last().unwrap().clone();
        (name, found.map(|found| found.kind))
    };
    assert_eq!(resolve("two"), ("d".to_owned(), Ok(FileType::Directory)));
    assert_eq!(resolve("last"), ("absent".to_owned(), Err(Errno::NOENT)));
    assert_eq!(resolve("three").1, Err(Errno::LOOP));
}
