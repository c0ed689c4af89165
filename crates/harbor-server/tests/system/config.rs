//! `harborhook config`.

use std::fs;

use serde_json::Value;

use crate::daemon::{harborhook, run};

#[test]
fn a_check_shows_every_mistake_at_once_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("h.toml");
    fs::write(&file, "[server]\nlisen = \"127.0.0.1:1\"\n[log]\nlevel = 5\n").unwrap();
    let mut command = harborhook(&["config", "check", "--ops-listen", "here"]);
    command.arg("--config").arg(&file).env("HARBORHOOK_API_SECRETS_MAX", "many");

    let ended = run(command);

    assert_eq!(ended.status.code(), Some(1));
    let file = file.display();
    assert_eq!(
        ended.stderr.lines().collect::<Vec<_>>(),
        [
            format!("harborhook: {file}:2: server.lisen is no setting; did you mean server.listen?"),
            format!("harborhook: {file}:4: log.level must be a level, not an integer"),
            "harborhook: HARBORHOOK_API_SECRETS_MAX: must be a whole number".to_owned(),
            "harborhook: --ops-listen: must be an address with a port, like 127.0.0.1:8080 or [::1]:8080"
                .to_owned(),
        ]
    );
}

#[test]
fn a_check_of_good_settings_succeeds() {
    let ended = run(harborhook(&["config", "check", "--dev"]));
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "The settings are valid.\n"));

    let ended = run(harborhook(&["config", "check", "--output", "json"]));
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(answer["ok"], true);
}

#[test]
fn print_shows_values_and_where_they_came_from_but_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("h.toml");
    fs::write(&file, "[publish]\nfan_out_max = 7\n").unwrap();
    let mut command =
        harborhook(&["config", "print", "--dev", "--listen", "127.0.0.1:1234", "--output", "json"]);
    command.env("HARBORHOOK_CONFIG", &file).env("HARBORHOOK_OPERATOR_KEY", format!("hhk_{}", "q".repeat(40)));

    let ended = run(command);

    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
    let show = |key: &str| {
        let settings = answer["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap();
        let text = |name: &str| setting[name].as_str().unwrap().to_owned();
        (text("value"), text("origin"))
    };
    let expect = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(show("server.listen"), expect("127.0.0.1:1234", "--listen"));
    assert_eq!(show("publish.fan_out_max"), expect("7", &format!("{}:2", file.display())));
    assert_eq!(show("security.operator_key"), expect("********", "env HARBORHOOK_OPERATOR_KEY"));
    assert_eq!(show("security.allow_http"), expect("true", "--dev"));
    assert_eq!(show("log.level"), expect("info", "default"));
}

#[test]
fn a_mistake_stops_serve_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let mut command = harborhook(&["serve", "--log-format", "xml", "--data-dir"]);
    command.arg(&data_dir);

    let ended = run(command);

    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.stderr, "harborhook: --log-format: must be json or text\n");
    assert!(!data_dir.exists());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let ended = run(harborhook(&["config", "check", "--config", "/nowhere.toml"]));
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.starts_with("harborhook: --config: cannot read /nowhere.toml: "), "{ended:?}");
}
