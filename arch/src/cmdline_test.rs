use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::*;

#[test]
fn arguments_are_separated_by_one_space() {
    let mut line = CommandLine::new();
    line.push("quiet").unwrap();
    line.push("").unwrap();
    line.push("  root=/dev/vda ro ").unwrap();
    line.extend(["panic=1", "reboot=k"]).unwrap();
    assert_eq!(line.as_str(), "quiet root=/dev/vda ro panic=1 reboot=k");
    assert_eq!(line.to_c_string().as_bytes_with_nul().len(), line.as_str().len() + 1);
}

#[test]
fn devices_are_written_as_the_kernel_parses_them() {
    let mut line = CommandLine::new();
    line.push_devices(&[
        MmioDevice { base: GuestAddress(0xd000_0000), size: 4096, gsi: 5 },
        MmioDevice { base: GuestAddress(0xd000_1000), size: 512, gsi: 6 },
    ])
    .unwrap();
    assert_eq!(line.as_str(), "virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=512@0xd0001000:6");
}

#[test]
fn the_argument_that_does_not_fit_is_named() {
    let mut line = CommandLine::new();
    line.push(&"a".repeat(2000)).unwrap();
    let before = line.clone();
    let error = line.push("systemd.unit=rescue.target systemd.log_level=debug").unwrap_err();
    assert!(error.to_string().contains("systemd.unit=rescue.target"), "{error}");
    assert!(error.to_string().contains("2047"), "{error}");
    assert_eq!(line, before);
    line.push(&"b".repeat(46)).unwrap();
    assert_eq!(line.to_c_string().as_bytes_with_nul().len(), MAX_SIZE);
    assert!(line.push("c").is_err());
}

#[test]
fn what_would_cut_the_line_is_refused() {
    for bad in ["a\0b", "a\nb", "a\rb"] {
        let error = CommandLine::new().push(bad).unwrap_err();
        assert!(matches!(error, CommandLineError::Character { .. }));
    }
}

proptest! {
    #[test]
    fn no_line_is_longer_than_the_kernel_takes(arguments in prop::collection::vec(".{0,400}", 0..20)) {
        let mut line = CommandLine::new();
        for argument in &arguments {
            let _ = line.push(argument);
        }
        prop_assert!(line.to_c_string().as_bytes_with_nul().len() <= MAX_SIZE);
    }
}
