use std::process::Output;

use harbor_receiver::{Receiver, Script};
use harbor_testkit::program::{Server, program};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::system::set_up::receiver;

/// `harborctl` as someone uses it who has nothing configured, beside the server's data directory.
async fn run(server: &Server, arguments: &[&str]) -> Output {
    Command::new(program("harborctl"))
        .args(arguments)
        .env_clear()
        .env("HARBORHOOK_DATA_DIR", server.data_dir())
        .output()
        .await
        .unwrap()
}

/// What the command prints as JSON, which must be that alone.
async fn json_of(server: &Server, arguments: &[&str]) -> Value {
    let output = run(server, &[arguments, &["--output", "json"]].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn endpoint_at(server: &Server, receiver: &Receiver) -> Value {
    json_of(server, &["quick", "setup", "--url", &receiver.url()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_quick_commands_show_a_first_event_arrive() {
    let (server, receiver) = (Server::start().await, receiver(Script::always(200)).await);
    endpoint_at(&server, &receiver).await;
    let tested = run(&server, &["quick", "test"]).await;
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    assert_eq!(receiver.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_goes_through_as_it_was_typed() {
    let (server, receiver) = (Server::start().await, receiver(Script::always(200)).await);
    endpoint_at(&server, &receiver).await;
    let payload = r#"{"b": 1.10,  "a": 12345678901234567890, "b": "\u00e9"}"#;

    let published = json_of(&server, &["event", "publish", "order.made", "--data", payload]).await;
    let requests = receiver.wait_for(1, std::time::Duration::from_secs(20)).await.unwrap();

    assert_eq!(requests[0].body, payload.as_bytes());
    let shown = json_of(&server, &["event", "list", "--event-type", "order.made"]).await;
    assert_eq!(shown["data"][0]["id"], published["event_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_found_and_replayed() {
    let (server, receiver) = (Server::start().await, receiver(Script::always(404)).await);
    endpoint_at(&server, &receiver).await;
    assert_eq!(run(&server, &["quick", "test"]).await.status.code(), Some(1), "what is dead has not arrived");

    receiver.set_script(Script::always(200));
    let letters = json_of(&server, &["dlq", "list"]).await;
    let id = letters["data"][0]["id"].as_str().unwrap();
    let replayed = run(&server, &["dlq", "replay", id, "--wait", "20s"]).await;

    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    assert_eq!(json_of(&server, &["dlq", "list"]).await["data"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_mistakes_have_their_exit_codes() {
    let server = Server::start().await;
    let refused = run(&server, &["endpoint", "create", "--url", "http://10.0.0.1/"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("url"), "{refused:?}");
    assert_eq!(run(&server, &["endpoint", "create"]).await.status.code(), Some(2));
    assert_eq!(
        run(&server, &["tenant", "list"]).await.status.code(),
        Some(0),
        "the operator key is found too"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_traffic_is_taken_or_refused_as_it_should_be() {
    let (server, receiver) = (Server::start().await, receiver(Script::always(200)).await);
    endpoint_at(&server, &receiver).await;
    for pattern in ["good", "bad"] {
        let arguments = ["traffic", "generate", "--pattern", pattern, "--rate", "100", "--duration", "1s"];
        let output = run(&server, &arguments).await;
        assert!(output.status.success(), "{pattern}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(receiver.wait_for(90, std::time::Duration::from_secs(20)).await.is_ok());
}
