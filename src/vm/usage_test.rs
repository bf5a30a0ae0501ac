use super::*;

#[test]
fn memory_is_what_the_kernel_says() {
    let rollup = "55d-7ff ---p 0 00:00 0 [rollup]\nRss: 300 kB\nPss: 120 kB\nPss_Dirty: 7 kB\nShared_Clean: 200 kB\n\
                  Private_Clean: 40 kB\nPrivate_Dirty: 60 kB\n";
    let expected = Memory { unshared: 100 << 10, proportional: 120 << 10, resident: 300 << 10 };
    assert_eq!(memory(rollup), expected);
}

#[test]
fn a_name_with_spaces_and_brackets_moves_no_field() {
    let stat = "12 (a) b) S 1 12 12 0 -1 4194304 100 0 0 0 37 5 0 0 20 0 1 0";
    assert_eq!(ticks(stat), Some(42));
    assert_eq!(ticks("12 (a) S 1"), None);
    assert_eq!(ticks(""), None);
}

#[test]
fn this_process_takes_something() {
    let usage = Usage::of_keeper(std::process::id()).unwrap();
    assert!(usage.memory.unshared > 0 && usage.memory.unshared <= usage.memory.resident);
    assert!(available_memory().unwrap() > 0);
}
