use std::process::{Command, Stdio};
use std::sync::{Mutex, mpsc};

use crate::run::User;
use crate::server::{Answer, Asked, Server};

const PUBLISHED: &str = r#"{"event_id":"evt_1","fanout_count":1,"duplicate":false}"#;

#[test]
fn good_traffic_is_counted_and_measured() {
    let server = Server::always(200, PUBLISHED);
    let words = ["traffic", "generate", "--rate", "200", "--duration", "250ms", "--payload-bytes", "100"];
    let user = User::of(&server.url).set("HARBORCTL_OUTPUT", "json");
    let ran = user.run(&words).code(0);
    let summary = ran.json();
    assert_eq!(
        (&summary["sent"], &summary["acknowledged"], &summary["unexpected"]),
        (&50.into(), &50.into(), &0.into())
    );
    assert!(summary["latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert_eq!(ran.stderr, "");

    let asked = server.asked();
    assert_eq!(asked.len(), 50);
    let payload = asked[0].body.split_once("\"payload\":").unwrap().1.trim_end_matches('}');
    assert_eq!(payload.len() + 1, 100, "{payload}");
}

#[test]
fn errors_are_shown_by_status_and_exit_with_1() {
    let problem = r#"{"type":"","title":"Slow down","status":429,"detail":"","code":"tenant_crowded"}"#;
    let server = Server::always(429, problem);
    let words = ["traffic", "generate", "--rate", "100", "--duration", "50ms", "--pattern", "burst"];
    let ran = User::of(&server.url).run(&words).code(1);
    // A busy machine sends fewer than the five that were due.
    let sent = server.asked().len();
    let table = format!("STATUS  COUNT  WHY\n429     {sent}      tenant_crowded\n");
    assert!(sent > 0 && ran.stdout.contains(&table), "{}", ran.stdout);
    assert_eq!(ran.stderr, format!("error: {sent} of {sent} answers were unexpected\n"));
}

/// Refuses as a server with the usual limits does, except for what is too large.
fn strict_but_for_size(asked: &Asked) -> Answer {
    let refuse = |status: u16| {
        (status, format!(r#"{{"type":"","title":"No","status":{status},"detail":"","code":"refused"}}"#))
    };
    if asked.key != "hhk_test" {
        return refuse(401);
    }
    match serde_json::from_str::<serde_json::Value>(&asked.body) {
        Err(_) => refuse(400),
        Ok(_) if asked.body.len() > 1024 * 1024 => (200, PUBLISHED.to_owned()),
        Ok(_) => refuse(422),
    }
}

#[test]
fn bad_traffic_must_be_refused_in_its_way() {
    let server = Server::start(strict_but_for_size);
    let words = [
        "traffic",
        "generate",
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--pattern",
        "bad",
        "--output",
        "json",
    ];
    let ran = User::of(&server.url).run(&words).code(1);
    let summary = ran.json();
    assert_eq!((&summary["refused_as_expected"], &summary["unexpected"]), (&18.into(), &2.into()));
    assert_eq!(summary["errors"][0]["code"], "accepted for too_large, not 413");
}

#[test]
fn an_interrupt_ends_it_early_with_the_summary() {
    let (first, began) = mpsc::channel();
    let first = Mutex::new(first);
    let server = Server::start(move |_| {
        // Nobody waits for the second one.
        let _ = first.lock().unwrap().send(());
        (200, PUBLISHED.to_owned())
    });
    let user = User::of(&server.url);
    let child = user
        .command(&["traffic", "generate", "--duration", "1h", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    began.recv().unwrap();
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &summary["unsent"]), (Some(0), &0.into()));
    assert_eq!(summary["acknowledged"], server.asked().len());
}
