use super::*;
use crate::cmdline::CommandLine;
use crate::quirks::Quirks;
use crate::tables::MmioDevice;

#[test]
fn acpi_and_pci_are_off_only_where_nothing_tells_of_them() {
    for kernel in [KernelKind::Hull, KernelKind::Foreign] {
        assert!(kernel_arguments(kernel, TablesKind::Mp).contains(&"acpi=off"));
        assert!(
            kernel_arguments(kernel, TablesKind::Acpi).iter().all(|argument| !argument.ends_with("=off"))
        );
    }
    assert!(!kernel_arguments(KernelKind::Foreign, TablesKind::Acpi).contains(&"quiet=5"));
}

#[test]
fn the_longest_set_leaves_room_for_the_user() {
    let mut line = CommandLine::new();
    line.extend(kernel_arguments(KernelKind::Hull, TablesKind::Mp)).unwrap();
    line.extend(Quirks { pvm: true }.kernel_arguments(KernelKind::Foreign).iter().copied()).unwrap();
    let devices: Vec<MmioDevice> = (0..).map_while(crate::layout::virtio_mmio_device).collect();
    line.push_devices(&devices).unwrap();
    assert!(line.as_str().len() < 1300, "{}", line.as_str().len());
}
