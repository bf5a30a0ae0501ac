use super::*;

#[test]
fn names_are_names_of_files() {
    for good in ["a", "web", "web-1", "Web_2.old", "1", &"x".repeat(64)] {
        assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
    }
    for bad in ["", ".", "..", ".web", "-d", "a/b", "a b", "ä", "a\0", "a\n", &"x".repeat(65)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        assert!(Name::near(bad).as_str().parse::<Name>().is_ok(), "{bad:?}");
    }
    assert_eq!(Name::near("my vm").as_str(), "my-vm");
    assert_eq!(Name::near("...").as_str(), "vm");
}
