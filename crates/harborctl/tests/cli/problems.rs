use std::io::Read;
use std::process::Stdio;

use crate::run::User;
use crate::server::Server;

const INVALID: &str = r#"{"type":"/docs#problem-validation_failed","title":"A field is wrong","status":422,
    "detail":"1 field is wrong: url","code":"validation_failed","request_id":"req_7",
    "errors":[{"field":"url","message":"must begin with https://"}]}"#;

#[test]
fn a_refusal_is_shown_readably_and_exits_with_1() {
    let server = Server::always(422, INVALID);
    for format in ["table", "json", "yaml"] {
        let words = ["endpoint", "create", "--url", "ftp://x", "--output", format];
        let ran = User::of(&server.url).run(&words).code(1);
        assert_eq!(ran.stdout, "");
        assert_eq!(
            ran.stderr,
            "error: A field is wrong (422 validation_failed)\n  1 field is wrong: url\n  \
             - url: must begin with https://\n  request req_7\n"
        );
    }
}

#[test]
fn an_answer_that_is_not_the_apis_exits_with_1() {
    let server = Server::always(502, "<html>bad gateway</html>");
    let ran = User::of(&server.url).run(&["ping"]).code(1);
    assert!(ran.stderr.starts_with("error: unexpected answer with status 502"), "{}", ran.stderr);
}

#[test]
fn a_server_that_is_not_there_exits_with_1_and_says_what_to_do() {
    let url = Server::always(200, "").url.clone();
    let ran = User::of(&url).run(&["ping"]).code(1);
    assert!(ran.stderr.contains("no answer from") && ran.stderr.contains("harborhook serve --dev"));
}

#[test]
fn wrong_use_exits_with_2() {
    let check = |user: &User, words: &[&str], expected: &str| {
        let ran = user.run(words).code(2);
        assert!(ran.stderr.contains(expected), "{words:?}: {}", ran.stderr);
    };
    let server = Server::always(200, "{}");
    let user = User::of(&server.url);
    check(&user, &["endpiont", "list"], "unrecognized subcommand");
    check(&user, &["delivery", "list", "--status", "lost"], "possible values: queued, inflight");
    check(&user, &["delivery", "list", "--limit", "0"], "1..=500");
    check(&user, &["delivery", "list", "--limit", "3", "--all"], "cannot be used with");
    check(&user, &["endpoint", "update", "ep_1"], "nothing to change");
    check(
        &user,
        &["endpoint", "update", "ep_1", "--name", "x", "--clear", "name"],
        "set and cleared at once",
    );
    check(&user, &["subscription", "update", "sub_1"], "required");
    check(&user, &["endpoint", "create", "--url", "https://x", "--rate-limit", "9"], "looks like 100/s");
    check(&user, &["tenant", "delete", "acme"], "needs --yes");
    check(&user, &["delivery", "cancel-all"], "needs --yes");
    check(&user, &["delivery", "cancel-all", "--status", "dead"], "possible values: queued");
    check(&user, &["replay", "start"], "say what to replay");
    check(&user, &["replay", "start", "--status", "failed"], "possible values: delivered");
    check(&user, &["replay", "start", "--ids", "dlv_1", "--from", "2h"], "cannot be used with");
    check(&user, &["replay", "start", "--from", "2h", "--status", "dead"], "cannot be used with");
    check(&user, &["replay", "start", "--ids", " , "], "names no delivery");
    check(&user, &["replay", "start", "--to", "2h"], "--from");
    check(&user, &["dlq", "replay"], "required");
    check(&user, &["dlq", "replay", "dlv_1", "--from", "2h"], "cannot be used with");
    check(&user, &["endpoint", "resume", "ep_1", "--drain-per-second", "0"], "0 is not in 1..");
    check(
        &user,
        &["tenant", "update", "acme", "--quota-burst", "9", "--clear", "quota"],
        "set and cleared at once",
    );
    check(&user, &["tail", "--status", "queued"], "possible values: delivered, failed, dead");
    check(&user, &["traffic", "generate", "--rate", "100000", "--duration", "1d"], "the limit is");
    check(&User::new(), &["event", "list"], "no API key");
    check(&User::new(), &["ping", "--base-url", "not a url"], "is not a URL");
    check(&User::new(), &["ping", "--profile", "nobody"], "there is no profile `nobody`");
    check(&User::new(), &["ping", "--config", "missing.toml"], "missing.toml");
    assert_eq!(server.lines(), [""; 0]);
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let user = User::new();
    // The script is longer than a pipe holds, so the program is still writing when its reader goes.
    let mut child =
        user.command(&["completion", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"#compdef h");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
fn completion_works_where_the_configuration_does_not() {
    let user = User::new().file(".config/harborhook/config.toml", "this is not toml");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = user.run(&["completion", shell]).code(0);
        for word in ["rotate-secret", "replay-dlq", "cancel-all", "drain-per-second", "tail"] {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
    user.run(&["ping"]).code(2);
}

#[test]
fn health_says_what_is_missing() {
    let server = Server::start(|asked| match asked.line.as_str() {
        "GET /healthz" => (200, r#"{"status":"ok"}"#.to_owned()),
        _ => (
            503,
            r#"{"type":"","title":"Not ready","status":503,"detail":"the store is away","code":"not_ready"}"#
                .to_owned(),
        ),
    });
    let user = User::of(&server.url);
    let ran = user.run(&["health", "--output", "json"]).code(1);
    let expected = serde_json::json!({"alive": true, "ready": false, "detail": "the store is away"});
    assert_eq!(ran.json(), expected);
    assert_eq!(ran.stderr, "error: the server is not ready\n");
    assert!(server.asked().iter().all(|asked| asked.key.is_empty()), "health needs no key");
}

#[test]
fn a_version_needs_no_server() {
    let ran = User::new().run(&["version", "--client", "--output", "json"]).code(0);
    assert_eq!(ran.json()["server"], serde_json::Value::Null);
    let unreachable = Server::always(200, "").url.clone();
    User::of(&unreachable).run(&["version"]).code(0);
}
