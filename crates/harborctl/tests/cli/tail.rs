use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::run::User;
use crate::server::{Answer, Asked, Server};

const PING: &str = r#"{"status":"ok","version":"0.1.0","time":"2026-01-31T12:00:00.000Z","tenant_id":"acme","role":"admin"}"#;

fn delivery(id: &str, created: &str, status: &str, attempt_count: usize, rest: &str) -> String {
    format!(
        r#"{{"id":"{id}","event_id":"evt_1","endpoint_id":"ep_1","event_type":"a.b","status":"{status}",
        "attempt_count":{attempt_count},"next_attempt_at":null,"created_at":"{created}","updated_at":"{created}",
        "delivered_at":null,"replay_of":null,"cause":null{rest}}}"#
    )
}

/// A delivery with an attempt at each of these times; the last decides.
fn with_attempts(id: &str, created: &str, status: &str, started: &[&str]) -> String {
    let attempt = |(index, at): (usize, &&str)| {
        let is_good = index + 1 == started.len() && status == "delivered";
        let (status, class) = if is_good { (200, "null") } else { (503, "\"http_5xx\"") };
        format!(
            r#"{{"id":"att_{id}_{index}","number":{number},"started_at":"{at}","latency_ms":20,
            "http_status":{status},"error_class":{class},"error":null,"response_body":"","response_headers":{{}},
            "remote_address":null}}"#,
            number = index + 1
        )
    };
    let attempts: Vec<_> = started.iter().enumerate().map(attempt).collect();
    let attempts = format!(r#","attempts":[{}]"#, attempts.join(","));
    delivery(id, created, status, started.len(), &attempts)
}

fn list(deliveries: &[String]) -> Answer {
    (200, format!(r#"{{"data":[{}],"next_cursor":null}}"#, deliveries.join(",")))
}

const OLD: &str = "2026-01-31T11:59:00.000Z";
const NEW: &str = "2026-01-31T12:00:01.000Z";

/// One delivery that failed before, and is tried again; one that is made now. Away for two looks.
fn lively(looks: &AtomicUsize, asked: &Asked) -> Answer {
    let line = asked.line.trim_start_matches("GET /v1/");
    match line {
        "ping" => (200, PING.to_owned()),
        "deliveries/dlv_1" => (200, with_attempts("dlv_1", OLD, "delivered", &[OLD, NEW])),
        "deliveries/dlv_2" => (200, with_attempts("dlv_2", NEW, "failed", &[NEW])),
        _ if line.contains("status=failed") => list(&[delivery("dlv_1", OLD, "failed", 1, "")]),
        _ if line.contains("status=") => list(&[]),
        _ => match looks.fetch_add(1, Ordering::SeqCst) {
            0 => list(&[]),
            1 => (503, String::new()),
            _ => list(&[delivery("dlv_2", NEW, "failed", 1, "")]),
        },
    }
}

fn spawn(user: &User, words: &[&str]) -> Child {
    user.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Interrupts it as Ctrl-C does; what is left on stderr must be this.
fn interrupt(child: Child, stderr: &str) {
    let interrupt = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), stderr));
}

#[test]
fn new_attempts_are_lines_of_json() {
    let looks = AtomicUsize::new(0);
    let server = Server::start(move |asked| lively(&looks, asked));
    let user = User::of(&server.url);
    let mut child = spawn(&user, &["tail", "--endpoint", "ep_1", "--output", "json"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
    let mut shown: Vec<serde_json::Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    shown.sort_by_key(|line| line["delivery_id"].to_string());
    let told = |line: &serde_json::Value| {
        let number = line["attempt"]["number"].as_u64();
        (line["delivery_id"].clone(), number, line["status"].clone())
    };
    assert_eq!(told(&shown[0]), ("dlv_1".into(), Some(2), "delivered".into()));
    assert_eq!(told(&shown[1]), ("dlv_2".into(), Some(1), "failed".into()));
    let answer = format!("error: unexpected answer with status 503 from {}/", server.url);
    let away = "it is no problem document: EOF while parsing a value at line 1 column 0";
    let said =
        format!("{}: {away}; trying on\nthe server answers again\n", answer.trim_start_matches("error: "));
    interrupt(child, &said);

    let asked = server.lines();
    assert_eq!(asked[0], "GET /v1/ping");
    let lists: Vec<_> = asked.iter().filter(|line| line.contains('?')).collect();
    assert!(lists.iter().all(|line| line.contains("endpoint_id=ep_1")), "{lists:?}");
    let since = "since=2026-01-31T11%3A59%3A58.000Z";
    assert!(lists[3].contains(since) && !lists[3].contains("status="), "{lists:?}");
}

#[test]
fn a_status_leaves_only_the_attempts_that_led_to_it() {
    let looks = AtomicUsize::new(2);
    let server = Server::start(move |asked| lively(&looks, asked));
    let user = User::of(&server.url);
    let mut child = spawn(&user, &["tail", "--status", "delivered", "--quiet"]);
    let line = BufReader::new(child.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(words, ["12:00:01.000Z", "dlv_1", "a.b", "ep_1", "#2", "200", "20", "ms", "delivered"]);
    interrupt(child, "");
}

#[test]
fn it_says_what_it_skips_and_asks_no_more_than_it_may() {
    let many: Vec<_> = (0..450).map(|n| delivery(&format!("dlv_{n}"), NEW, "delivered", 1, "")).collect();
    let server = Server::start(move |asked| match asked.line.trim_start_matches("GET /v1/") {
        "ping" => (200, PING.to_owned()),
        line if line.contains("status=") => list(&[]),
        line if line.contains('?') => list(&many),
        line => (200, with_attempts(line.trim_start_matches("deliveries/"), NEW, "delivered", &[NEW])),
    });
    let user = User::of(&server.url);
    let mut child = spawn(&user, &["tail"]);
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || BufReader::new(stdout).lines().count());
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(stderr.next().unwrap(), "following attempts; Ctrl-C ends it");
    assert_eq!(stderr.next().unwrap(), "skipped: attempts of 50 deliveries, at 100 a second");
    let reads = server.lines().iter().filter(|line| !line.contains('?')).count();
    interrupt(child, "");
    // The ping and one look.
    assert_eq!(reads, 101);
    assert!(reader.join().unwrap() >= 100);
}

#[test]
fn a_refusal_ends_it() {
    let problem = r#"{"type":"","title":"No","status":401,"detail":"No","code":"unauthorized"}"#;
    let server = Server::always(401, problem);
    let ran = User::of(&server.url).run(&["tail"]).code(1);
    assert!(ran.stderr.starts_with("error: No (401 unauthorized)"), "{}", ran.stderr);
}
