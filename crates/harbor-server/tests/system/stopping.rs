//! What a stop does to deliveries that are under way.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Daemon, read_json, request, serve, start};

/// An endpoint that answers when the test says so.
struct Endpoint(TcpListener);

impl Endpoint {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Waits for a request.
    fn take(&self) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut head = [0; 64];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream
    }
}

fn answer(mut stream: TcpStream) {
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
}

fn dev(data_dir: &Path) -> Command {
    let mut command = serve(data_dir);
    command.arg("--dev");
    command
}

/// Asks the API with the key of `--dev`.
fn ask(daemon: &Daemon, data_dir: &Path, method: &str, path: &str, body: &Value) -> Value {
    let credentials = read_json(&data_dir.join("dev-credentials.json"));
    let bearer = format!("Bearer {}", credentials["api_key"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = request(daemon.api, method, path, &headers, &body);
    assert!((200..300).contains(&status), "{status} {answer}");
    serde_json::from_str(&answer).unwrap()
}

/// Publishes an event to the endpoint, and waits until it has the request.
fn deliver(daemon: &Daemon, data_dir: &Path, endpoint: &Endpoint) -> TcpStream {
    let url = format!("http://{}/", endpoint.0.local_addr().unwrap());
    let new = json!({"url": url, "event_types": ["*"]});
    ask(daemon, data_dir, "POST", "/v1/endpoints", &new);
    let event = json!({"event_type": "demo.greeted", "payload": {"hello": "world"}});
    ask(daemon, data_dir, "POST", "/v1/events:publish", &event);
    endpoint.take()
}

fn delivery(daemon: &Daemon, data_dir: &Path) -> Value {
    ask(daemon, data_dir, "GET", "/v1/deliveries", &Value::Null)["data"][0].clone()
}

#[test]
fn a_stop_waits_for_a_delivery_under_way() {
    let (folder, endpoint) = (tempfile::tempdir().unwrap(), Endpoint::new());
    let mut daemon = start(dev(folder.path()));
    let under_way = deliver(&daemon, folder.path(), &endpoint);

    daemon.signal("TERM");
    daemon.logs("harborhook stops");
    answer(under_way);

    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let daemon = start(dev(folder.path()));
    assert_eq!(delivery(&daemon, folder.path())["status"], "delivered");
    daemon.stop();
}

#[test]
fn a_stop_ends_within_its_grace_and_the_delivery_goes_on_after_the_restart() {
    let (folder, endpoint) = (tempfile::tempdir().unwrap(), Endpoint::new());
    let mut command = dev(folder.path());
    command.env("HARBORHOOK_SERVER_SHUTDOWN_GRACE", "1s");
    let daemon = start(command);
    let _never_answered = deliver(&daemon, folder.path(), &endpoint);

    assert_eq!(daemon.stop().status.code(), Some(0));

    let mut daemon = start(dev(folder.path()));
    answer(endpoint.take());
    daemon.logs("delivered");
    let delivery = delivery(&daemon, folder.path());
    assert_eq!(
        (&delivery["status"], &delivery["attempt_count"]),
        (&json!("delivered"), &json!(1)),
        "{delivery}"
    );
    daemon.stop();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (folder, endpoint) = (tempfile::tempdir().unwrap(), Endpoint::new());
    let mut daemon = start(dev(folder.path()));
    let _never_answered = deliver(&daemon, folder.path(), &endpoint);
    daemon.signal("TERM");
    daemon.logs("harborhook stops");

    daemon.signal("TERM");

    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("stopped at once by a second signal"), "{ended:?}");
}
