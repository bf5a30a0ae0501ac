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
