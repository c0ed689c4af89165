use std::os::unix::fs::PermissionsExt;

use crate::run::User;
use crate::server::{Answer, Asked, Server};

const CONFIG: &str = ".config/harborhook/config.toml";
const DEV_FILE: &str = "harborhook-data/dev-credentials.json";
const EMPTY: &str = r#"{"data":[],"next_cursor":null}"#;

fn dev(url: &str) -> String {
    format!(
        r#"{{"base_url":"{url}","tenant_id":"tn_demo","api_key":"hhk_dev-admin-key-0001","operator_key":"hhk_dev-operator-key-0002"}}"#
    )
}

/// Knows the two keys of the dev credentials.
fn who_is(asked: &Asked) -> Answer {
    let ping = |tenant: &str, role: &str| {
        let time = "2026-01-31T12:00:00.000Z";
        let ping = format!(
            r#"{{"status":"ok","version":"0.1.0","time":"{time}","tenant_id":{tenant},"role":{role}}}"#
        );
        (200, ping)
    };
    match asked.key.as_str() {
        "" => ping("null", "null"),
        "hhk_dev-admin-key-0001" => ping("\"tn_demo\"", "\"admin\""),
        "hhk_dev-operator-key-0002" => ping("null", "\"operator\""),
        _ => {
            let problem = r#"{"type":"","title":"No valid credential","status":401,"detail":"unknown key","code":"unauthorized"}"#;
            (401, problem.to_owned())
        }
    }
}

#[test]
fn beside_a_dev_server_nothing_needs_to_be_configured() {
    let server = Server::always(200, EMPTY);
    let user = User::new().file(DEV_FILE, &dev(&server.url));
    user.run(&["event", "list"]).code(0);
    user.run(&["tenant", "list"]).code(0);
    user.run(&["key", "list", "--instance"]).code(0);
    user.run(&["--tenant", "acme", "event", "list"]).code(0);
    let asked: Vec<_> = server.asked().into_iter().map(|asked| (asked.line, asked.key)).collect();
    let (admin, operator) = ("hhk_dev-admin-key-0001", "hhk_dev-operator-key-0002");
    let expected = [
        ("GET /v1/tenants/tn_demo/events", admin),
        ("GET /v1/tenants", operator),
        ("GET /v1/api-keys", operator),
        ("GET /v1/tenants/acme/events", operator),
    ];
    assert_eq!(asked, expected.map(|(line, key)| (line.to_owned(), key.to_owned())));
}

#[test]
fn the_dev_servers_data_directory_can_lie_elsewhere() {
    let server = Server::always(200, EMPTY);
    let user = User::new().file("elsewhere/dev-credentials.json", &dev(&server.url));
    let user = user.set("HARBORHOOK_DATA_DIR", "elsewhere");
    user.run(&["event", "list"]).code(0);
    assert_eq!(server.lines(), ["GET /v1/tenants/tn_demo/events"]);
}

#[test]
fn init_set_and_view_agree_and_never_show_a_key() {
    let server = Server::start(who_is);
    let user = User::new().file(DEV_FILE, &dev(&server.url));
    let ran = user.run(&["config", "init"]).code(0);
    assert!(!ran.stdout.contains("hhk_dev") && ran.stdout.contains("hhk_…0001"), "{}", ran.stdout);
    let mode = std::fs::metadata(user.path(CONFIG)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(user.path("harborhook-data")).unwrap();

    let ran = user.run(&["config", "init"]).code(2);
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    user.run_with(&["config", "set", "api_key", "-"], "hhk_another-key-0003\n").code(0);
    user.run(&["config", "set", "output", "json"]).code(0);
    user.run(&["config", "set", "tenant", "--unset"]).code(0);
    user.run(&["config", "set", "output", "xml"]).code(2);

    let ran = user.run(&["config", "view"]).code(0);
    let settings = &ran.json()["settings"];
    let value = |name: &str| (settings[name]["value"].as_str(), settings[name]["source"].as_str());
    assert_eq!(value("api_key"), (Some("hhk_…0003"), Some("profile default")));
    assert_eq!(value("operator_key"), (Some("hhk_…0002"), Some("profile default")));
    assert_eq!(value("base_url"), (Some(server.url.as_str()), Some("profile default")));
    assert_eq!(value("output"), (Some("json"), Some("profile default")));
    assert_eq!(value("tenant"), (None, None));
    assert!(!ran.stdout.contains("another-key"), "{}", ran.stdout);

    let text = std::fs::read_to_string(user.path(CONFIG)).unwrap();
    assert!(text.starts_with("# Settings of harborctl") && text.contains("[profiles.default]"), "{text}");
}

#[test]
fn init_makes_other_profiles_from_flags() {
    let user = User::new();
    let words =
        ["config", "init", "--profile", "live", "--base-url", "https://a.example", "--tenant", "acme"];
    let ran = user.run(&words).code(0);
    assert!(ran.stderr.contains("harborctl config set api_key -"), "{}", ran.stderr);
    user.run_with(&["config", "set", "--profile", "live", "api_key", "-"], "hhk_live").code(0);
    let words = ["config", "view", "--profile", "live", "--output", "json"];
    let settings = &user.run(&words).code(0).json()["settings"];
    assert_eq!(settings["base_url"]["source"], "profile live");
    assert_eq!(settings["tenant"]["value"], "acme");
    assert_eq!(settings["profile"]["source"], "flag --profile");
}

#[test]
fn check_asks_the_server_about_every_key() {
    let server = Server::start(who_is);
    let user = User::new().file(DEV_FILE, &dev(&server.url));
    let ran = user.run(&["config", "check", "--output", "json"]).code(0);
    let report = ran.json();
    let details: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["detail"].as_str().unwrap()).collect();
    assert_eq!(details[1..], ["admin of tenant tn_demo", "operator of the instance"]);

    let ran = user.run(&["config", "check", "--api-key", "hhk_wrong", "--output", "json"]).code(1);
    assert_eq!(ran.json()["checks"][1]["ok"], false);
    assert_eq!(ran.stderr, "error: the configuration does not work\n");
}

#[test]
fn keys_that_others_may_read_are_warned_of() {
    let server = Server::always(200, EMPTY);
    let config = format!("[profiles.default]\nbase_url = \"{}\"\napi_key = \"hhk_x\"\n", server.url);
    let user = User::new().file(CONFIG, &config);
    std::fs::set_permissions(user.path(CONFIG), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = user.run(&["event", "list", "--output", "json"]).code(0);
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("chmod 600"), "{}", ran.stderr);
    ran.json();
}

#[test]
fn a_broken_file_is_named_without_the_line_that_may_hold_a_key() {
    let user = User::new().file(CONFIG, "[profiles.default]\napi_key = \"hhk_secret\n");
    let ran = user.run(&["ping"]).code(2);
    assert!(ran.stderr.contains("config.toml") && ran.stderr.contains("line 2"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("hhk_secret"), "{}", ran.stderr);
}

#[test]
fn a_folder_of_somebody_else_does_not_get_the_users_key() {
    let user = User::new().file(DEV_FILE, &dev("https://hooks.example.com"));
    let user = user.set("HARBORCTL_API_KEY", "hhk_mine");
    let ran = user.run(&["event", "list"]).code(2);
    assert!(ran.stderr.contains("its server is not on this machine"), "{}", ran.stderr);
}
