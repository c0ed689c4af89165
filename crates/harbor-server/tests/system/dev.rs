//! `harborhook serve --dev`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{get, harborhook, read_json, run, serve, start};

#[test]
fn dev_refuses_addresses_that_others_can_reach() {
    let folder = tempfile::tempdir().unwrap();
    for flag in ["--listen", "--ops-listen"] {
        let mut command = harborhook(&["serve", "--dev", flag, "0.0.0.0:0", "--data-dir"]);
        command.arg(folder.path().join("data"));

        let ended = run(command);

        assert_eq!(ended.status.code(), Some(1));
        let expected = format!(
            "harborhook: --dev listens on the loopback address only, because it opens more than \
             others should reach: {flag} 0.0.0.0:0 is not allowed\n"
        );
        assert_eq!(ended.stderr, expected);
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn dev_keeps_credentials_that_work_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dev-credentials.json");
    let mut command = serve(folder.path());
    command.arg("--dev");
    let daemon = start(command);
    let first = read_json(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first["base_url"], format!("http://{}", daemon.api));
    assert_eq!(first["tenant_id"], "tn_demo");

    let bearer = |name: &str| format!("Bearer {}", first[name].as_str().unwrap());
    let ping = |key: &str| get(daemon.api, "/v1/endpoints", &[("authorization", key)]).0;
    assert_eq!(ping(&bearer("api_key")), 200);
    assert_eq!(ping("Bearer hhk_wrong"), 401);
    let tenants = get(daemon.api, "/v1/tenants", &[("authorization", &bearer("operator_key"))]);
    assert_eq!(tenants.0, 200, "{tenants:?}");
    let ended = daemon.stop();
    assert!(ended.stdout.contains(first["api_key"].as_str().unwrap()), "{ended:?}");

    let mut command = serve(folder.path());
    command.arg("--dev");
    let daemon = start(command);
    let second = read_json(&path);
    assert_eq!(second["base_url"], format!("http://{}", daemon.api));
    for name in ["tenant_id", "api_key", "operator_key"] {
        assert_eq!(first[name], second[name], "{name}");
    }
    assert_eq!(get(daemon.api, "/v1/endpoints", &[("authorization", &bearer("api_key"))]).0, 200);
    daemon.stop();

    fs::write(&path, "{}").unwrap();
    let mut command = serve(folder.path());
    command.arg("--dev");
    let daemon = start(command);
    let third = read_json(&path);
    assert_ne!(first["api_key"], third["api_key"], "a spoilt file is written anew");
    let key = format!("Bearer {}", third["api_key"].as_str().unwrap());
    assert_eq!(get(daemon.api, "/v1/endpoints", &[("authorization", &key)]).0, 200);
    daemon.stop();
}

#[test]
fn an_operator_key_that_is_given_is_the_one_of_dev() {
    let folder = tempfile::tempdir().unwrap();
    let key = format!("hhk_{}", "k".repeat(40));
    let mut command = serve(folder.path());
    command.arg("--dev").env("HARBORHOOK_OPERATOR_KEY", &key);
    let daemon = start(command);
    assert_eq!(read_json(&folder.path().join("dev-credentials.json"))["operator_key"], key);
    daemon.stop();
}
