//! What idle containers cost, as `hull bench density` measures it.

mod common;

use common::{Home, soak};

#[test]
fn idle_containers_share_most_of_their_memory() {
    let Some(home) = Home::with_busybox("idle_containers_share_most_of_their_memory") else { return };
    // Of two, each has for itself what the other does not happen to have read, too.
    let (count, most) = if soak() { (200, 3.0) } else { (2, 4.0) };
    let told = home.ok(&["bench", "density", "-n", &count.to_string(), "--cpus", "1", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let last = told["steps"].as_array().and_then(|steps| steps.last()).expect("a step");
    assert_eq!(last["containers"], count);
    let each = |name: &str| last[name].as_f64().expect("a size") / f64::from(1 << 20);
    let (unshared, resident) = (each("unshared_each"), each("resident_each"));
    assert!(unshared <= most && unshared * 3.0 < resident, "{unshared} MiB each of {resident}");
    // A keeper alone would be less: the guest's memory is in it.
    assert!(resident > 8.0, "{resident} MiB each");
    home.nothing_is_left("after a measurement");
}
