use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use crate::run::User;
use crate::server::{Answer, Server};

fn replay(status: &str, counts: [u64; 4]) -> String {
    let [matched, queued, succeeded, failed] = counts;
    format!(
        r#"{{"id":"rpl_1","status":"{status}",
        "counts":{{"matched":{matched},"queued":{queued},"succeeded":{succeeded},"failed":{failed}}},
        "delivery_ids":null,"dlq_range":null,"filter":{{"endpoint_id":"ep_1"}},"rate_per_second":null,
        "dry_run":false,"new_webhook_id":false,"reason":null,"error":null,
        "created_at":"2020-01-31T12:00:00.000Z","updated_at":"2020-01-31T12:00:00.000Z"}}"#
    )
}

fn job(kind: &str, status: &str, rest: &str) -> String {
    format!(
        r#"{{"id":"job_1","kind":"{kind}","tenant_id":"acme","status":"{status}",{rest},"error":null,
        "created_at":"2020-01-31T12:00:00.000Z","updated_at":"2020-01-31T12:00:00.000Z"}}"#
    )
}

/// Answers in turn; the last answer repeats.
fn in_turn(answers: Vec<Answer>) -> Server {
    let turn = AtomicUsize::new(0);
    Server::start(move |_| answers[turn.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)].clone())
}

const START: [&str; 5] = ["replay", "start", "--endpoint", "ep_1", "--wait"];

#[test]
fn a_replay_is_waited_for_until_everything_has_ended() {
    let server = in_turn(vec![
        (202, replay("pending", [0; 4])),
        (200, replay("running", [3, 0, 0, 0])),
        (200, replay("running", [3, 2, 1, 0])),
        (200, replay("done", [3, 3, 3, 0])),
    ]);
    let ran = User::of(&server.url).run(&[START.as_slice(), &["--output", "json"]].concat()).code(0);
    assert_eq!((ran.json()["counts"]["succeeded"].as_u64(), ran.stderr.as_str()), (Some(3), ""));
    let asked = server.lines();
    assert_eq!(asked[..2], ["POST /v1/replays", "GET /v1/replays/rpl_1"]);
    assert_eq!(asked.len(), 4);
}

#[test]
fn a_replay_that_did_not_deliver_everything_exits_with_1() {
    let check = |last: String, expected: &str| {
        let server = in_turn(vec![(202, replay("pending", [0; 4])), (200, last)]);
        let ran = User::of(&server.url).run(&START).code(1);
        assert!(ran.stdout.starts_with("replay     rpl_1\n"), "{}", ran.stdout);
        assert_eq!(ran.stderr, format!("error: {expected}\n"));
    };
    check(replay("done", [20, 18, 17, 3]), "3 of 20 could not be replayed, or failed again");
    check(replay("cancelled", [20, 18, 17, 0]), "rpl_1 was cancelled");
    let broken = replay("failed", [0; 4]).replace(r#""error":null"#, r#""error":"its endpoint is gone""#);
    check(broken, "rpl_1 failed: its endpoint is gone");
}

#[test]
fn without_waiting_it_is_said_how_to_see_more() {
    let server = in_turn(vec![(202, replay("pending", [0; 4]))]);
    let ran = User::of(&server.url).run(&START[..4]).code(0);
    assert_eq!(
        ran.stdout,
        "replay     rpl_1\n\
         status     pending\n\
         which      to ep_1\n\
         matched    0\n\
         made       0\n\
         delivered  0\n\
         failed     0\n\
         created    2020-01-31 12:00:00 UTC\n\
         updated    2020-01-31 12:00:00 UTC\n"
    );
    assert_eq!(ran.stderr, "see how far it is: harborctl replay status rpl_1 --watch\n");
}

#[test]
fn patience_ends_but_the_job_goes_on() {
    let server = in_turn(vec![(202, replay("running", [3, 2, 1, 0]))]);
    let words = [START.as_slice(), &["100ms", "--output", "json"]].concat();
    let ran = User::of(&server.url).run(&words).code(1);
    assert_eq!(ran.json()["status"], "running");
    assert_eq!(ran.stderr, "error: rpl_1 has not ended after 100ms; it goes on\n");
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let away = r#"{"type":"","title":"Away","status":503,"detail":"","code":"storage_unavailable"}"#;
    let server = in_turn(vec![
        (200, replay("running", [3, 2, 1, 0])),
        (503, away.to_owned()),
        (502, "<html>".to_owned()),
        (200, replay("done", [3, 3, 3, 0])),
    ]);
    User::of(&server.url).run(&["replay", "status", "rpl_1", "--watch"]).code(0);
    assert_eq!(server.lines(), ["GET /v1/replays/rpl_1"; 4]);
}

#[test]
fn an_interrupt_ends_the_waiting_and_shows_how_far_it_is() {
    let (looked, looks) = mpsc::channel();
    let looked = Mutex::new(looked);
    let server = Server::start(move |_| {
        // Nobody waits for the later ones.
        let _ = looked.lock().unwrap().send(());
        (200, replay("running", [3, 2, 1, 0]))
    });
    let user = User::of(&server.url);
    let mut command = user.command(&["replay", "status", "rpl_1", "--watch", "--output", "json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // By the second look it listens for interrupts.
    looks.recv().unwrap();
    looks.recv().unwrap();
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &shown["status"]), (Some(1), &"running".into()));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, "error: rpl_1 has not ended yet; it goes on\n");
}

#[test]
fn ids_are_read_from_stdin() {
    let server = in_turn(vec![(202, replay("pending", [0; 4]))]);
    let words = ["replay", "start", "--ids", "-", "--idempotency-key", "k1"];
    User::of(&server.url).run_with(&words, "dlv_1\ndlv_2, dlv_3\n").code(0);
    assert_eq!(server.asked()[0].body, r#"{"delivery_ids":["dlv_1","dlv_2","dlv_3"]}"#);
}

#[test]
fn a_cancellation_is_waited_for() {
    let counts = |n: u64| {
        format!(
            r#""filter":{{}},"removed":null,"counts":{{"matched":{n},"queued":0,"succeeded":{n},"failed":0}}"#
        )
    };
    let server = in_turn(vec![
        (202, job("cancel", "pending", &counts(0))),
        (200, job("cancel", "running", &counts(500))),
        (200, job("cancel", "done", &counts(700))),
    ]);
    let ran = User::of(&server.url).run(&["delivery", "cancel-all", "--yes", "--wait"]).code(0);
    assert!(ran.stdout.contains("\nwhich      all\nmatched    700\ncancelled  700\n"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    assert_eq!(server.lines(), ["POST /v1/deliveries:cancel", "GET /v1/jobs/job_1", "GET /v1/jobs/job_1"]);
}

#[test]
fn a_tenant_is_removed_and_what_was_removed_is_shown() {
    let removed = |of: &str| format!(r#""filter":null,"counts":null,"removed":{{{of}}}"#);
    let begun = job("purge", "pending", &removed(""));
    let server = in_turn(vec![
        (202, begun.clone()),
        (200, job("purge", "done", &removed(r#""events":40,"deliveries":120"#))),
    ]);
    let user = User::of(&server.url);
    let ran = user.run(&["tenant", "delete", "acme", "--yes", "--wait"]).code(0);
    assert!(
        ran.stdout.ends_with("\n\nREMOVED     COUNT\ndeliveries  120\nevents      40\n"),
        "{}",
        ran.stdout
    );
    assert_eq!(server.lines(), ["DELETE /v1/tenants/acme", "GET /v1/jobs/job_1"]);

    let server = in_turn(vec![(202, begun)]);
    let ran = User::of(&server.url).run(&["tenant", "delete", "acme", "-y"]).code(0);
    assert_eq!(ran.stderr, "see how far it is: harborctl job get job_1 --watch --instance\n");
}

#[test]
fn a_tenant_is_not_removed_without_a_word_of_somebody() {
    let server = Server::always(202, "{}");
    // A yes from a pipe is nobody's.
    let ran = User::of(&server.url).run_with(&["tenant", "delete", "acme"], "yes\n").code(2);
    assert!(ran.stderr.contains("needs --yes"), "{}", ran.stderr);
    assert_eq!(server.lines(), [""; 0]);
}
