use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
#[command(disable_help_flag = true)]
struct Test {
    #[command(flatten)]
    options: Options,
}

fn parse(arguments: &[&str]) -> Result<Options, clap::Error> {
    Test::try_parse_from(["run"].iter().chain(arguments)).map(|test| test.options)
}

fn request(arguments: &[&str]) -> Result<Request> {
    let options = parse(arguments).unwrap();
    options.request(&Attached::of(&options))
}

#[test]
fn options_after_the_image_belong_to_the_command() {
    let options = parse(&["--rm", "busybox", "--rm", "-it", "--", "--name=x"]).unwrap();
    assert_eq!(options.image(), "busybox");
    assert!(options.rm && !options.tty);
    let command = request(&["busybox", "ls", "-l", "-v", "/"]).unwrap().config.cmd;
    assert_eq!(command.unwrap(), ["ls", "-l", "-v", "/"]);
    assert_eq!(request(&["busybox"]).unwrap().config.cmd, None);
    assert!(parse(&["--nonsense", "busybox"]).is_err());
    assert!(parse(&["--rm"]).is_err());
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (arguments, expected) in [
        (&["--ip6", "fd00::2", "busybox"][..], "--ip6: "),
        (&["--device", "/dev/fuse", "busybox"], "--device: "),
        (&["--blkio-weight", "100", "busybox"], "--blkio-weight: "),
        (&["--pid=host", "busybox"], "--pid: "),
        (&["--platform", "linux/arm64", "busybox"], "--platform: "),
    ] {
        let error = request(arguments).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    for granted in ["--network=none", "--restart=no", "--platform=linux/amd64", "--userns=host"] {
        request(&[granted, "busybox"]).unwrap();
    }
}

#[test]
fn every_option_of_docker_run_is_known() {
    // As `docker run --help` of 28.2 lists them.
    let docker = "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent \
        cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus \
        cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops \
        device-write-bps device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint \
        env env-file expose gpus group-add health-cmd health-interval health-retries health-start-interval \
        health-start-period health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc \
        isolation kernel-memory label label-file link link-local-ip log-driver log-opt mac-address memory \
        memory-reservation memory-swap memory-swappiness mount name network network-alias no-healthcheck \
        oom-kill-disable oom-score-adj pid pids-limit platform privileged publish publish-all pull quiet read-only \
        restart rm runtime security-opt shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty \
        ulimit use-api-socket user userns uts volume volume-driver volumes-from workdir";
    let command = <super::super::run::Run as Args>::augment_args(clap::Command::new("run"));
    let known: Vec<_> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    for option in docker.split_whitespace() {
        assert!(known.contains(&option), "--{option}");
    }
}

#[test]
fn variables_come_from_files_the_command_line_and_here() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# comment\n\n  A=file\nB=file\nPATH\nHULL_NOT_SET\nC= spaced \n").unwrap();
    let path = file.path().to_str().unwrap();
    let environment = |more: &[&str]| {
        let arguments: Vec<&str> = more.iter().copied().chain(["--env-file", path, "busybox"]).collect();
        request(&arguments).unwrap().config.env
    };
    let here = format!("PATH={}", std::env::var("PATH").unwrap());
    assert_eq!(environment(&[]), ["A=file", "B=file", &here, "C= spaced "]);
    assert_eq!(environment(&["-e", "A=here", "-e", "HULL_NOT_SET"])[3], "A=here");
    for wrong in ["a b=c", "=x", " =x"] {
        std::fs::write(file.path(), wrong).unwrap();
        assert!(request(&["--env-file", path, "busybox"]).is_err(), "{wrong}");
    }
    assert!(request(&["-e", "=x", "busybox"]).is_err());
    let error = request(&["--env-file", "/nonexistent", "busybox"]).unwrap_err().to_string();
    assert!(error.contains("/nonexistent"), "{error}");
}

#[test]
fn limits_are_read() {
    let host = |arguments: &[&str]| {
        request(&arguments.iter().copied().chain(["busybox"]).collect::<Vec<_>>()).map(|it| it.host_config)
    };
    let limited =
        host(&["-m", "64m", "--cpus", "1.5", "--pids-limit=9", "--shm-size", "1g", "--ulimit", "nofile=5"])
            .unwrap();
    assert_eq!((limited.memory, limited.nano_cpus), (64 << 20, 1_500_000_000));
    assert_eq!((limited.pids_limit, limited.shm_size, limited.ulimits[0].hard), (Some(9), 1 << 30, 5));
    assert_eq!(host(&["--pids-limit", "-1"]).unwrap().pids_limit, None);
    assert_eq!(host(&["--tmpfs", "/a", "--tmpfs", "/b:size=1m"]).unwrap().tmpfs["/b"], "size=1m");
    assert!(host(&["--pids-limit", "-2"]).is_err());
    for wrong in [&["--cpus", "x", "busybox"][..], &["--cpus=-1", "busybox"], &["-m", "lots", "busybox"]] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn streams_are_attached_as_docker_attaches_them() {
    let attached = |arguments: &[&str]| {
        let options = parse(&arguments.iter().copied().chain(["busybox"]).collect::<Vec<_>>()).unwrap();
        let Attached { stdin, stdout, stderr } = Attached::of(&options);
        (stdin, stdout, stderr)
    };
    assert_eq!(attached(&[]), (false, true, true));
    assert_eq!(attached(&["-i"]), (true, true, true));
    assert_eq!(attached(&["-a", "stdout"]), (false, true, false));
    assert_eq!(attached(&["-i", "-a", "stdin", "-a", "STDERR"]), (true, false, true));
}
