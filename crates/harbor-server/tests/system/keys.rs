//! The operator key and the master key.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{get, harborhook, run, serve, start};

#[test]
fn a_new_instance_tells_its_operator_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(serve(folder.path()));
    let address = daemon.api;
    let anonymous = get(address, "/v1/tenants", &[]).0;
    let ended = daemon.stop();
    assert_eq!(anonymous, 401);
    let key = ended.stdout.split_whitespace().find(|word| word.starts_with("hhk_")).unwrap().to_owned();
    assert!(!ended.stderr.contains(&key), "a key is no matter for logs");

    let daemon = start(serve(folder.path()));
    let bearer = format!("Bearer {key}");
    assert_eq!(get(daemon.api, "/v1/tenants", &[("authorization", &bearer)]).0, 200);
    let ended = daemon.stop();
    assert_eq!(ended.stdout, "");
}

#[test]
fn an_operator_key_that_is_given_works_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("operator-key");
    let key = format!("hhk_{}", "f".repeat(40));
    fs::write(&path, format!("{key}\n")).unwrap();
    let mut command = serve(&folder.path().join("data"));
    command.arg("--operator-key-file").arg(&path);

    let daemon = start(command);

    let bearer = format!("Bearer {key}");
    assert_eq!(get(daemon.api, "/v1/tenants", &[("authorization", &bearer)]).0, 200);
    assert_eq!(daemon.stop().stdout, "");
}

#[test]
fn a_short_operator_key_is_refused_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.env("HARBORHOOK_OPERATOR_KEY", "hhk_tooshort");
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("HARBORHOOK_OPERATOR_KEY: the operator key must be `hhk_`"), "{ended:?}");
    assert!(!ended.stderr.contains("tooshort"), "{ended:?}");
}

#[test]
fn a_wrong_master_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    start(serve(folder.path())).stop();
    let key = folder.path().join("master.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let mut command = serve(folder.path());
    command.env("HARBORHOOK_MASTER_KEY", "07".repeat(32));
    let ended = run(command);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        ended.stderr.lines().last(),
        Some("harborhook: the master key is not the one that this store's secrets are sealed under")
    );

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = run(serve(folder.path()));
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("may be read by others (mode 644)"), "{ended:?}");
}

#[test]
fn a_store_that_was_migrated_first_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let migrate = || {
        let mut command = harborhook(&["migrate", "--data-dir"]);
        command.arg(folder.path());
        run(command)
    };
    let first = migrate();
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    assert!(first.stdout.starts_with("applied "), "{first:?}");
    assert_eq!(migrate().stdout, "The store has this version's form already.\n");
    assert_eq!(start(serve(folder.path())).stop().status.code(), Some(0));
}
