use super::*;

fn image() -> ImageConfiguration {
    serde_json::from_str(
        r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{
            "User":"web","WorkingDir":"/srv","Env":["PATH=/bin","A=image","B=image"],
            "Entrypoint":["/entry"],"Cmd":["serve"],"Labels":{"a":"image","b":"image"},"StopSignal":"SIGQUIT"}}"#,
    )
    .unwrap()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn args(entrypoint: Option<&[&str]>, cmd: &[&str]) -> Vec<String> {
    let cmd = (!cmd.is_empty()).then(|| strings(cmd));
    let config = Config { entrypoint: entrypoint.map(strings), cmd, ..Config::default() };
    with_image(config, &image()).unwrap().args()
}

#[test]
fn entry_point_and_command_are_merged_as_docker_does() {
    assert_eq!(args(None, &[]), ["/entry", "serve"]);
    assert_eq!(args(None, &["other", "x"]), ["/entry", "other", "x"]);
    assert_eq!(args(Some(&["sh"]), &[]), ["sh"]);
    assert_eq!(args(Some(&["sh"]), &["-c"]), ["sh", "-c"]);
    assert_eq!(args(Some(&[""]), &["top"]), ["top"]);
    assert!(args(Some(&[""]), &[]).is_empty());
}

#[test]
fn what_is_asked_for_wins_over_the_image() {
    let config = with_image(Config::default(), &image()).unwrap();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("web", "/srv"));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
    let asked = Config {
        user: "0".to_owned(),
        working_dir: "/tmp".to_owned(),
        env: strings(&["A=asked", "C=asked"]),
        labels: [("a".to_owned(), "asked".to_owned())].into(),
        stop_signal: Some("INT".to_owned()),
        ..Config::default()
    };
    let config = with_image(asked, &image()).unwrap();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("0", "/tmp"));
    assert_eq!(config.env, ["A=asked", "C=asked", "PATH=/bin", "B=image"]);
    assert_eq!(config.labels["a"], "asked");
    assert_eq!(config.labels["b"], "image");
    assert_eq!(config.stop_signal.as_deref(), Some("INT"));
}

#[test]
fn senseless_requests_are_refused() {
    let ok = Config { cmd: Some(strings(&["sh"])), ..Config::default() };
    let error = |config: &Config, host: &HostConfig| check(config, host).unwrap_err().to_string();
    assert_eq!(error(&Config::default(), &HostConfig::default()), "no command specified");
    let relative = Config { working_dir: "x".to_owned(), ..ok.clone() };
    assert!(error(&relative, &HostConfig::default()).contains("needs to be an absolute path"));
    let tmpfs = HostConfig { tmpfs: [("x".to_owned(), String::new())].into(), ..HostConfig::default() };
    assert!(error(&ok, &tmpfs).contains("mount path must be absolute"));
    check(&ok, &HostConfig::default()).unwrap();
}
