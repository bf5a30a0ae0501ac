use clap::FromArgMatches;

use super::*;

fn read(arguments: &[&str]) -> std::result::Result<HostConfig, String> {
    let command = LimitOptions::augment_args(clap::Command::new("run").no_binary_name(true));
    let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    let options = LimitOptions::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let mut host_config = HostConfig::default();
    options.apply(&mut host_config).map_err(|error| error.to_string())?;
    Ok(host_config)
}

#[test]
fn limits_are_read() {
    assert_eq!(read(&[]).unwrap(), HostConfig::default());
    let all = read(&[
        "-c",
        "512",
        "--cpu-quota=-1",
        "--cpu-period",
        "50000",
        "--cpuset-mems=0",
        "--memory-reservation",
        "32m",
        "--memory-swap",
        "-1",
        "--memory-swappiness",
        "0",
        "--device-read-bps",
        "/dev/vdc:1mb",
        "--device-write-iops=/dev/vdc:50",
    ])
    .unwrap();
    assert_eq!((all.cpu_shares, all.cpu_quota, all.cpu_period), (512, -1, 50_000));
    assert_eq!((all.memory_reservation, all.memory_swap), (32 << 20, -1));
    assert_eq!(all.blkio_device_read_bps, [DeviceRate { path: "/dev/vdc".to_owned(), rate: 1 << 20 }]);
    assert_eq!(all.blkio_device_write_iops[0].rate, 50);
    assert_eq!(read(&["--memory-swap", "1g"]).unwrap().memory_swap, 1 << 30);
}

#[test]
fn what_cannot_be_is_refused() {
    for (arguments, expected) in [
        (&["--cpuset-mems", "1"][..], "available: 0"),
        (&["--memory-swappiness", "60"], "no swap"),
        (&["--memory-swappiness", "101"], "range is 0-100"),
        (&["--memory-swap", "-2"], "invalid size"),
        (&["--device-read-bps", "/dev/vdc"], "bad format"),
        (&["--device-read-iops", "/dev/vdc:1mb"], "invalid rate"),
        (&["--device-write-bps", "/dev/vdc:-1"], "invalid rate"),
    ] {
        let error = read(arguments).unwrap_err();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
