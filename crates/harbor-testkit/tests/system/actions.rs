//! The table of `docs/reference/deliveries.md`, carried out cell by cell.

use std::time::{Duration, Instant};

use harbor_model::time::Timestamp;
use harbor_receiver::{Answer, Receiver, Script};
use harbor_testkit::api::{Api, Reply};
use harbor_testkit::program::{Server, repository};
use serde_json::{Value, json};

use crate::system::set_up::{SECRET, receiver};

const PATIENCE: Duration = Duration::from_secs(20);

/// How long the slow endpoint takes.
const SLOW: Duration = Duration::from_secs(3);

/// One row: how the delivery stands, and what each action answers and does.
#[derive(Debug)]
struct Row {
    state: String,
    cells: Vec<(u16, String)>,
}

const ACTIONS: [&str; 4] = ["`:retry`", "`:cancel`", "`:replay`", "`/dlq/…:discard`"];

/// Reads the table out of the reference.
fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(repository().join("docs/reference/deliveries.md")).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.contains(ACTIONS[0]));
    let cells = |line: &str| {
        let inner = line.trim().trim_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let head = cells(lines.next().unwrap());
    assert_eq!(head[1..], ACTIONS.map(str::to_owned), "the columns are the actions");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells);
    let cell = |text: &String| {
        let (status, consequence) = text.split_once(", ").unwrap();
        (status.parse().unwrap(), consequence.to_owned())
    };
    let row = |cells: Vec<String>| Row {
        state: cells[0].replace('`', ""),
        cells: cells[1..].iter().map(cell).collect(),
    };
    rows.map(row).collect()
}

/// Where deliveries in each state come from.
struct Scene {
    api: Api,
    receiver: Receiver,
}

impl Scene {
    async fn endpoint(&self, path: &str, extra: Value) -> String {
        let mut body = json!({
            "url": format!("{}{path}", self.receiver.url()), "secret": SECRET, "event_types": ["*"],
            "circuit_breaker": {"enabled": false},
        });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        self.api.post("/v1/endpoints", body.to_string()).await.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Makes an endpoint of its own, publishes to it and answers the delivery.
    async fn deliver(&self, path: &str, extra: Value, key: Option<&str>) -> (String, String) {
        let endpoint = self.endpoint(path, extra).await;
        (self.publish(&endpoint, key).await, endpoint)
    }

    async fn publish(&self, endpoint: &str, key: Option<&str>) -> String {
        let event = json!({"event_type": "act", "payload": {}, "ordering_key": key}).to_string();
        let event = self.api.post("/v1/events:publish", event).await.expect(200);
        let event = event["event_id"].as_str().unwrap();
        let path = format!("/v1/events/{event}/deliveries?endpoint_id={endpoint}");
        let delivery = self.api.get(&path).await.expect(200);
        delivery["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// The endpoint gets no more events.
    async fn close(&self, endpoint: &str) {
        let found = self.api.get(&format!("/v1/subscriptions?endpoint_id={endpoint}")).await.expect(200);
        for subscription in found["data"].as_array().unwrap() {
            let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
            self.api.send(http::Method::DELETE, &path, "").await.expect(204);
        }
    }

    /// A delivery in this state.
    async fn delivery(&self, state: &str) -> String {
        let once = json!({"retry": {"max_attempts": 1, "schedule": []}});
        let later = json!({"retry": {"max_attempts": 3, "schedule": ["1h"]}});
        let (id, endpoint) = match state {
            "queued" => self.paused(json!({}), None).await,
            "queued behind the head of its lane" => {
                let (_, endpoint) = self.paused(json!({"ordering": "key"}), Some("k")).await;
                (self.publish(&endpoint, Some("k")).await, endpoint)
            }
            "inflight" => self.deliver("/slow", later, None).await,
            "failed" => self.deliver("/bad", later, None).await,
            "delivered" => self.deliver("/good", json!({}), None).await,
            "dead" | "dead, replayed" | "dead, discarded" => self.deliver("/bad", once, None).await,
            "cancelled" => self.paused(json!({}), None).await,
            other => panic!("the reference has a state `{other}`, which this test does not know"),
        };
        self.close(&endpoint).await;
        let status = state.split([' ', ',']).next().unwrap();
        match state {
            "dead, replayed" => {
                self.stands(&id, "dead").await;
                let replay = self.act(&id, ":replay").await.expect(201)["id"].as_str().unwrap().to_owned();
                self.stands(&replay, "dead").await;
            }
            "dead, discarded" => {
                self.stands(&id, "dead").await;
                self.act(&id, "`/dlq/…:discard`").await.expect(200);
            }
            "cancelled" => drop(self.act(&id, ":cancel").await.expect(200)),
            _ => {}
        }
        self.stands(&id, status).await;
        id
    }

    async fn paused(&self, extra: Value, key: Option<&str>) -> (String, String) {
        let endpoint = self.endpoint("/good", extra).await;
        self.api.post(&format!("/v1/endpoints/{endpoint}:pause"), "").await.expect(200);
        (self.publish(&endpoint, key).await, endpoint)
    }

    async fn find(&self, id: &str) -> Value {
        self.api.get(&format!("/v1/deliveries/{id}")).await.expect(200)
    }

    async fn until(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let delivery = self.find(id).await;
            if is_so(&delivery) {
                return delivery;
            }
            assert!(Instant::now() < deadline, "{id} is never {what}: {delivery}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stands(&self, id: &str, status: &str) {
        self.until(id, status, |delivery| delivery["status"] == status).await;
    }

    async fn act(&self, id: &str, action: &str) -> Reply {
        let action = action.trim_matches('`');
        match action.strip_prefix("/dlq/…") {
            Some(verb) => self.api.post(&format!("/v1/dlq/{id}{verb}"), "").await,
            None => self.api.post(&format!("/v1/deliveries/{id}{action}"), "").await,
        }
    }

    async fn check(&self, state: &str, action: &str, expected: &(u16, String)) {
        let id = self.delivery(state).await;
        let context = format!("{action} on a delivery that is {state}");
        let before = self.find(&id).await;
        let reply = self.act(&id, action).await;
        assert_eq!(reply.status, expected.0, "{context}: {}", String::from_utf8_lossy(&reply.body));
        if expected.0 >= 400 {
            reply.problem_code();
        }
        let after = self.find(&id).await;
        match expected.1.as_str() {
            "unchanged" => assert_eq!(after["status"], before["status"], "{context}"),
            "due now" if state == "failed" => {
                // It fails again, long before it would have been tried.
                self.until(&id, "tried again", |delivery| delivery["attempt_count"] == 2).await;
            }
            "due now" => {
                let due: Timestamp = after["next_attempt_at"].as_str().unwrap().parse().unwrap();
                let updated: Timestamp = after["updated_at"].as_str().unwrap().parse().unwrap();
                assert!(due <= updated, "{context}: {after}");
            }
            "cancelled" => {
                assert_eq!(after["status"], "cancelled", "{context}");
                if state == "inflight" {
                    let late = |delivery: &Value| !delivery["attempts"].as_array().unwrap().is_empty();
                    let told = self.until(&id, "told of the late result", late).await;
                    assert_eq!(told["attempts"][0]["number"], Value::Null, "{context}: {told}");
                    assert_eq!((&told["status"], &told["attempt_count"]), (&json!("cancelled"), &json!(0)));
                }
            }
            "replayed" => {
                let replay = reply.json();
                assert_eq!(replay["replay_of"], id, "{context}");
                assert_eq!(after["status"], before["status"], "{context}");
            }
            "discarded" => {
                let path = "/v1/dlq?state=discarded&limit=500";
                let discarded = self.api.get(path).await.expect(200);
                let is_there = discarded["data"].as_array().unwrap().iter().any(|one| one["id"] == id);
                assert!(is_there, "{context}");
            }
            other => panic!("the reference has a consequence `{other}`, which this test does not know"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_on_every_status_answers_and_does_what_the_reference_says() {
    let server = Server::start().await;
    let receiver = receiver(Script::by(|request| match request.path.as_str() {
        "/slow" => Answer::from(200).delay(SLOW),
        "/bad" => Answer::from(500),
        _ => Answer::from(200),
    }))
    .await;
    let scene = Scene { api: server.api(), receiver };
    let rows = table();
    assert!(rows.len() >= 9, "the reference has a row for every status: {rows:?}");
    for row in &rows {
        for (action, expected) in ACTIONS.iter().zip(&row.cells) {
            scene.check(&row.state, action, expected).await;
        }
    }
}
