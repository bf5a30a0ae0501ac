use hull_protocol::FailureKind;

use super::*;

#[test]
fn partitions_are_named_as_the_kernel_does() {
    assert_eq!(partition_name("/dev/vdb", 1), "/dev/vdb1");
    assert_eq!(partition_name("/dev/loop0", 12), "/dev/loop0p12");
}

#[test]
fn a_range_that_is_none_is_refused_before_any_device_is_touched() {
    let mut layers = Layers::new("/nonexistent".to_owned());
    for (offset, length) in
        [(0, 0), (1, 4096), (4096, 4095), (u64::MAX - 4095, 4096), ((1 << 63) - 4096, 4096), (0, 1 << 63)]
    {
        let failure = layers.acquire(Extent { offset, length }).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid, "{offset} {length}: {failure:?}");
    }
}
