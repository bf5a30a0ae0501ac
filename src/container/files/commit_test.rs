use super::*;

fn changed(changes: &[&str]) -> std::result::Result<Value, String> {
    let mut config = Map::new();
    config.insert("Env".into(), json!(["A=1", "B=2"]));
    config.insert("WorkingDir".into(), "/srv".into());
    changes.iter().try_for_each(|change| apply(&mut config, change)).map(|()| Value::Object(config))
}

#[test]
fn instructions_change_what_they_are_about() {
    let config = changed(&[
        "CMD [\"a\", \"b c\"]",
        "entrypoint run it",
        "ENV A=3 C=\"x y\"",
        "ENV D 4 5",
        "LABEL one=two",
        "EXPOSE 80 53/udp",
        "VOLUME /v",
        "USER 7:8",
        "WORKDIR sub",
    ]);
    let config = config.unwrap();
    assert_eq!(config["Cmd"], json!(["a", "b c"]));
    assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c", "run it"]));
    assert_eq!(config["Env"], json!(["B=2", "A=3", "C=x y", "D=4 5"]));
    assert_eq!(config["Labels"], json!({ "one": "two" }));
    assert_eq!(config["ExposedPorts"], json!({ "80/tcp": {}, "53/udp": {} }));
    assert_eq!(config["Volumes"], json!({ "/v": {} }));
    assert_eq!((&config["User"], &config["WorkingDir"]), (&json!("7:8"), &json!("/srv/sub")));
}

#[test]
fn others_are_refused() {
    assert_eq!(changed(&["RUN true"]).unwrap_err(), "run is not a valid change command");
    assert_eq!(changed(&["CMD"]).unwrap_err(), "CMD requires at least one argument");
    assert!(changed(&["EXPOSE x"]).unwrap_err().contains("invalid containerPort"));
    assert!(changed(&["ENV A=\"x"]).is_err());
    assert!(changed(&["LABEL =x"]).is_err());
}

#[test]
fn what_is_the_image_s_alone_stays() {
    let image = json!({ "config": {
        "Volumes": { "/v": {} }, "OnBuild": ["RUN x"], "Shell": ["/bin/ash"], "User": "7", "Cmd": ["old"], "Labels": { "a": "b" },
    } });
    let container = Config { cmd: Some(vec!["new".into()]), user: "8".into(), ..Config::default() };
    let config = Value::Object(configuration(&image.to_string(), &container).unwrap());
    let expected = json!({
        "Volumes": { "/v": {} }, "OnBuild": ["RUN x"], "Shell": ["/bin/ash"], "User": "8", "Cmd": ["new"],
    });
    assert_eq!(config, expected, "and what the container has emptied does not");
    assert!(configuration("{}", &container).is_ok() && configuration("no JSON", &container).is_err());
}
