//! A tiny server with as much of the API as a measurement uses; it keeps nothing and relays at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use harbor_bench::server::Site;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How the relay behaves.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// It delivers everything once.
    Faithful,
    /// It answers every third publish with 429.
    RefusesEveryThird,
    /// It delivers everything twice.
    DeliversTwice,
    /// It acknowledges every tenth event without delivering it.
    LosesEveryTenth,
    /// It signs with a secret that is not the endpoint's.
    SignsWrongly,
}

/// A relay that listens; ends when dropped.
pub(crate) struct Relay {
    site: Site,
    _tasks: JoinSet<()>,
}

struct State {
    manner: Manner,
    endpoints: Mutex<Vec<Endpoint>>,
    published: AtomicU64,
    delivered: AtomicU64,
    outbox: mpsc::UnboundedSender<Delivery>,
}

#[derive(Clone, Deserialize)]
struct Endpoint {
    url: String,
    secret: String,
    event_types: Vec<String>,
}

struct Delivery {
    endpoint: Endpoint,
    event_id: String,
    payload: Bytes,
}

#[derive(Deserialize)]
struct Event<'a> {
    event_type: &'a str,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
}

impl Relay {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (outbox, deliveries) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            manner,
            endpoints: Mutex::default(),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            outbox,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(deliver(deliveries, Arc::clone(&state)));
        tasks.spawn(serve(listener, state));
        Self { site: site(address), _tasks: tasks }
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }
}

fn site(address: SocketAddr) -> Site {
    Site {
        api: address,
        ops: address,
        operator_key: "hhk_operator".to_owned(),
        process_id: std::process::id(),
        ready_seconds: None,
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { Ok::<_, Infallible>(answer(&state, request).await) }
        });
        connections.spawn(async move {
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(state: &State, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let credential = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = body.collect().await.unwrap().to_bytes();
    let path = head.uri.path();
    let expected = match path {
        "/metrics" => None,
        "/v1/tenants" | "/v1/tenants/bench/api-keys" => Some("Bearer hhk_operator"),
        _ => Some("Bearer hhk_admin"),
    };
    assert_eq!(credential.as_deref(), expected, "{path}");

    match path {
        "/metrics" => metrics(state),
        "/v1/tenants" => created(json!({"id": "bench"})),
        "/v1/tenants/bench/api-keys" => created(json!({"id": "key_1", "key": "hhk_admin"})),
        "/v1/tenants/bench/endpoints" => {
            state.endpoints.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            created(json!({"id": "ep_1"}))
        }
        "/v1/events:publish" => match publish(state, &serde_json::from_slice(&body).unwrap()) {
            Ok(answer) => respond(StatusCode::OK, answer.to_string()),
            Err(problem) => respond(StatusCode::TOO_MANY_REQUESTS, problem.to_string()),
        },
        "/v1/events:batchPublish" => {
            let batch: Batch<'_> = serde_json::from_slice(&body).unwrap();
            let publish = |event| publish(state, event).unwrap_or_else(|problem| json!({"error": problem}));
            let results: Vec<_> = batch.events.iter().map(publish).collect();
            respond(StatusCode::OK, json!({"results": results}).to_string())
        }
        _ => respond(StatusCode::NOT_FOUND, path.to_owned()),
    }
}

/// Publishes an event and returns the answer, or the problem if it is refused.
fn publish(state: &State, event: &Event<'_>) -> Result<Value, Value> {
    let number = state.published.fetch_add(1, Ordering::Relaxed);
    if state.manner == Manner::RefusesEveryThird && number % 3 == 2 {
        return Err(json!({"status": 429, "code": "quota"}));
    }
    let event_id = format!("evt_{number:026}");
    let endpoints = state.endpoints.lock().unwrap().clone();
    let subscribed = endpoints
        .into_iter()
        .filter(|endpoint| endpoint.event_types.iter().any(|name| name == event.event_type));
    let mut fan_out = 0;
    for endpoint in subscribed {
        fan_out += 1;
        let payload = Bytes::copy_from_slice(event.payload.get().as_bytes());
        let times = match state.manner {
            Manner::DeliversTwice => 2,
            Manner::LosesEveryTenth if number % 10 == 9 => 0,
            _ => 1,
        };
        for _ in 0..times {
            let delivery =
                Delivery { endpoint: endpoint.clone(), event_id: event_id.clone(), payload: payload.clone() };
            state.outbox.send(delivery).unwrap();
        }
    }
    Ok(json!({"event_id": event_id, "fanout_count": fan_out, "duplicate": false}))
}

async fn deliver(mut deliveries: mpsc::UnboundedReceiver<Delivery>, state: Arc<State>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    while let Some(delivery) = deliveries.recv().await {
        post(&client, state.manner, delivery).await;
        state.delivered.fetch_add(1, Ordering::Relaxed);
    }
}

async fn post(client: &Client<HttpConnector, Full<Bytes>>, manner: Manner, delivery: Delivery) {
    let Delivery { endpoint, event_id, payload } = delivery;
    let webhook = match manner {
        Manner::SignsWrongly => Webhook::from_bytes(b"another secret".to_vec()).unwrap(),
        _ => Webhook::new(&endpoint.secret).unwrap(),
    };
    let timestamp = i64::try_from(wall_time().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let request = Request::post(&endpoint.url)
        .header("webhook-id", &event_id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", webhook.sign(&event_id, timestamp, &payload).unwrap())
        .body(Full::new(payload))
        .unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.into_body().collect().await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a signature has the time of day")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    let delivered = state.delivered.load(Ordering::Relaxed);
    let line =
        format!("harborhook_deliveries_total{{status=\"delivered\",tenant_id=\"bench\"}} {delivered}\n");
    respond(StatusCode::OK, line)
}

fn created(body: Value) -> Response<Full<Bytes>> {
    respond(StatusCode::CREATED, body.to_string())
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
