use proptest::prelude::*;

use super::*;

#[test]
fn the_example_in_the_documentation_is_read() {
    let example: String = include_str!("vm_file.rs")
        .lines()
        .skip_while(|line| !line.contains("```toml"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| format!("{}\n", line.trim_start_matches("//!")))
        .collect();
    let file = VmFile::parse(&example).unwrap();
    assert_eq!(file.machine, Machine { vcpus: 2, ..Machine::default() });
    assert_eq!(file.disks, [Disk { path: "root.img".into(), read_only: true }]);
    assert_eq!(file.console, Console::Virtio);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_column() {
    let message = VmFile::parse("[machine]\nvcpus = 1\nmemroy = \"1G\"\n").unwrap_err();
    assert!(message.contains("line 3, column 1") && message.contains("memroy"), "{message}");
}

#[test]
fn values_out_of_range_are_named() {
    for (text, word) in [
        ("[machine]\nvcpus = 0", "machine.vcpus"),
        ("[machine]\nvcpus = 33", "machine.vcpus"),
        ("[machine]\nmemory = \"1M\"", "machine.memory"),
        ("[machine]\nmemory = 18446744073709551615", "memory"),
        ("[console]\ntype = \"vga\"", "vga"),
    ] {
        let message = VmFile::parse(text).unwrap_err();
        assert!(message.contains(word), "{text}: {message}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]a-z=\"0-9. \n]{0,120}") {
        let _ = VmFile::parse(&text);
    }
}
