use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::{Server, repository, skip};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::system::set_up::{endpoint, receiver};

const PATIENCE: Duration = Duration::from_secs(120);

/// Publishes each payload and answers what the receiver got, by the id of the event.
async fn deliver(payloads: &[Bytes]) -> (Vec<String>, HashMap<String, Bytes>) {
    let server = Server::start().await;
    let (api, receiver) = (server.api(), receiver(Script::always(200)).await);
    endpoint(&api, &receiver, json!({})).await;
    let mut ids = Vec::with_capacity(payloads.len());
    for payload in payloads {
        ids.push(publish(&api, payload).await);
    }
    let requests = receiver.wait_for(payloads.len() as u64, PATIENCE).await.unwrap();
    let received =
        requests.iter().map(|request| (request.webhook_id().unwrap().to_owned(), request.body.clone()));
    (ids, received.collect())
}

async fn publish(api: &Api, payload: &[u8]) -> String {
    let published = api.publish("payload.any", payload).await.expect(200);
    published["event_id"].as_str().unwrap().to_owned()
}

async fn assert_byte_for_byte(payloads: Vec<Bytes>) {
    let (ids, received) = deliver(&payloads).await;
    for (id, payload) in ids.iter().zip(&payloads) {
        assert_eq!(received.get(id), Some(payload), "{}", String::from_utf8_lossy(payload));
    }
}

#[derive(Deserialize)]
struct Webhook {
    examples: Vec<Box<RawValue>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_webhook_example_of_github_arrives_byte_for_byte() {
    let folder = repository().join("target/fixtures/octokit-webhooks-examples");
    let Ok(versions) = std::fs::read_dir(&folder) else { return skip("npm") };
    let mut payloads = Vec::new();
    for version in versions {
        let Ok(index) = std::fs::read(version.unwrap().path().join("index.json")) else { continue };
        let webhooks: Vec<Webhook> = serde_json::from_slice(&index).unwrap();
        let examples = webhooks.into_iter().flat_map(|webhook| webhook.examples);
        payloads.extend(examples.map(|example| Bytes::from(example.get().to_owned())));
    }
    assert!(payloads.len() > 300, "the package has {} examples", payloads.len());
    assert_byte_for_byte(payloads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_json_libraries_like_to_change_arrives_byte_for_byte() {
    let payloads = [
        r#"{"escapes": "\u00e9\u0000\ud83d\ude00\/\b"}"#,
        "12345678901234567890",
        "-0.0",
        "1.10",
        "1E+2",
        r#"{"same": 1, "same": 2}"#,
        r#"{"z": 1, "a": 2}"#,
        "null",
        "true",
        r#""a bare string""#,
        "{ \"white\" :\t[ 1,\n  2 ]\r\n}",
        "[]",
        "\"漢字 🎉\"",
    ];
    let mut payloads: Vec<_> = payloads.map(|payload| Bytes::from_static(payload.as_bytes())).into();
    payloads.push(Bytes::from(format!("[{}]", "[".repeat(5000) + &"]".repeat(5000))));
    payloads.push(Bytes::from(format!("\"{}\"", "x".repeat(1024 * 1024 - 100))));
    assert_byte_for_byte(payloads).await;
}
