use super::*;

#[test]
fn ids_are_64_hex_digits() {
    let id = ContainerId::random();
    assert_eq!(ContainerId::try_from(id.as_str().to_owned()).unwrap(), id);
    assert_ne!(ContainerId::random(), id);
    for wrong in ["", "abc", &id.as_str().to_uppercase(), &format!("{id}0"), &"../".repeat(22)] {
        assert!(ContainerId::try_from(wrong.to_owned()).is_err(), "{wrong}");
    }
}

#[test]
fn names_are_docker_s() {
    for name in ["ab", "web-1", "A.b_c", "0x"] {
        assert_eq!(name.parse::<ContainerName>().unwrap().as_str(), name);
    }
    assert_eq!("/web".parse::<ContainerName>().unwrap().as_str(), "web");
    for name in ["", "a", "-a", ".a", "_a", "a b", "a/b", "ä1", "..", &"a".repeat(256)] {
        let error = name.parse::<ContainerName>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("Invalid container name ({name})")), "{error}");
    }
}

#[test]
fn made_up_names_are_names() {
    for words in [ADJECTIVES, SURNAMES] {
        assert!(words.is_sorted() && words.iter().all(|word| word.bytes().all(|b| b.is_ascii_lowercase())));
    }
    for attempt in 0..3 {
        let name = ContainerName::random(attempt);
        assert!(name.as_str().parse::<ContainerName>().is_ok());
        assert_eq!(name.as_str().ends_with(|c: char| c.is_ascii_digit()), attempt > 0);
    }
}
