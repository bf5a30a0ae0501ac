//! What tells about the host and about hull itself.

mod common;

use common::Home;

#[test]
fn the_doctor_has_a_line_for_each_thing_and_a_remedy_for_each_trouble() {
    let home = Home::new();
    let told = home.run(&["doctor"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for thing in
        ["virtualization", "/dev/kvm", "guest kernel", "guest rootfs", "free memory", "shared folders"]
    {
        assert!(told.lines().any(|line| line.contains(thing)), "{thing}: {told}");
    }
    let lines: Vec<_> = told.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        assert!(
            line.starts_with("ok ")
                || lines.get(at + 1).is_some_and(|next| next.contains('→'))
                || line.contains('→'),
            "{told}"
        );
    }
}

#[test]
fn a_boot_is_measured_by_stage() {
    let Some(home) = Home::with_busybox("a_boot_is_measured_by_stage") else { return };
    let told = home.ok(&["bench", "boot", "-n", "1", "--cpus", "1", "--profile", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let stages = told["stages"].as_array().expect("stages");
    let median = |name: &str| {
        let stage =
            stages.iter().find(|stage| stage["stage"].as_str().is_some_and(|stage| stage.contains(name)));
        stage.and_then(|stage| stage["median"].as_f64()).unwrap_or_else(|| panic!("{name}: {told}"))
    };
    assert!(0.0 < median("first KVM_RUN") && median("end to end") > median("process start → agent ready"));
    // Where the kernel spent its time has names.
    let boot = told["profile"].as_array().and_then(|profile| profile.first()).expect("a profile");
    assert!(boot["functions"].as_array().is_some_and(|functions| functions.len() > 10), "{boot}");
}
