//! A tiny server with as much of the API as a measurement uses; it keeps nothing and relays at once.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use harbor_bench::server::{Site, SiteProcess};
use http::{HeaderMap, Request, Response, StatusCode};
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
    /// It relays webhooks without what their provider sent beside the body.
    DropsHeaders,
    /// It takes every tenth webhook for one that it has seen.
    SeesTwice,
    /// It lists every delivery but the first.
    ListsAllButOne,
}

/// A relay that listens; ends when dropped.
pub(crate) struct Relay {
    site: Site,
    _tasks: JoinSet<()>,
}

struct State {
    manner: Manner,
    endpoints: Mutex<Vec<Endpoint>>,
    /// The tenants that have a source, by its number.
    sources: Mutex<Vec<String>>,
    published: AtomicU64,
    /// What was made, oldest first: the tenant and the event of each delivery.
    made: Mutex<Vec<(String, String)>>,
    delivered: Mutex<BTreeMap<String, u64>>,
    dead: Mutex<BTreeMap<String, u64>>,
    outbox: mpsc::UnboundedSender<Delivery>,
}

#[derive(Clone, Deserialize)]
struct Endpoint {
    #[serde(skip)]
    tenant: String,
    url: String,
    secret: String,
    event_types: Vec<String>,
}

struct Delivery {
    endpoint: Endpoint,
    event_id: String,
    payload: Bytes,
    /// The headers that were relayed.
    relayed: HeaderMap,
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
            sources: Mutex::default(),
            published: AtomicU64::new(0),
            made: Mutex::default(),
            delivered: Mutex::default(),
            dead: Mutex::default(),
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
        ops: vec![address],
        operator_key: "hhk_operator".to_owned(),
        processes: vec![SiteProcess { name: "relay", id: std::process::id() }],
        postmaster: None,
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
    if path == "/metrics" {
        return metrics(state);
    }
    if let Some(source) = path.strip_prefix("/ingest/") {
        return receive(state, source.parse().unwrap(), &head.headers, body);
    }
    // The key of a tenant's admin names the tenant.
    let credential = credential.as_deref().and_then(|text| text.strip_prefix("Bearer hhk_")).unwrap();
    let parts: Vec<_> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["v1", "tenants"] | ["v1", "tenants", _, "api-keys"] => assert_eq!(credential, "operator", "{path}"),
        ["v1", "tenants", tenant, ..] => assert_eq!(credential, *tenant, "{path}"),
        _ => assert_ne!(credential, "operator", "{path}"),
    }

    match parts.as_slice() {
        ["v1", "tenants"] => created(json!({"id": "of its own choice"})),
        ["v1", "tenants", tenant, "api-keys"] => {
            created(json!({"id": "key_1", "key": format!("hhk_{tenant}")}))
        }
        ["v1", "tenants", tenant, "endpoints"] => {
            let mut endpoint: Endpoint = serde_json::from_slice(&body).unwrap();
            endpoint.tenant = (*tenant).to_owned();
            state.endpoints.lock().unwrap().push(endpoint);
            created(json!({"id": "ep_1"}))
        }
        ["v1", "tenants", tenant, "sources"] => {
            let source: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(source["endpoint_id"], "ep_1");
            let mut sources = state.sources.lock().unwrap();
            sources.push((*tenant).to_owned());
            let url = format!("http://anywhere.example/ingest/{}", sources.len() - 1);
            created(json!({"id": "src_1", "ingest_url": url}))
        }
        ["v1", "deliveries"] => respond(StatusCode::OK, list(state, credential, head.uri.query().unwrap())),
        ["v1", "events:publish"] => match publish(state, credential, &serde_json::from_slice(&body).unwrap())
        {
            Ok(answer) => respond(StatusCode::OK, answer.to_string()),
            Err(problem) => {
                let mut answer = respond(StatusCode::TOO_MANY_REQUESTS, problem.to_string());
                answer.headers_mut().insert("retry-after", "0".parse().unwrap());
                answer
            }
        },
        ["v1", "events:batchPublish"] => {
            let batch: Batch<'_> = serde_json::from_slice(&body).unwrap();
            let publish =
                |event| publish(state, credential, event).unwrap_or_else(|problem| json!({"error": problem}));
            let results: Vec<_> = batch.events.iter().map(publish).collect();
            respond(StatusCode::OK, json!({"results": results}).to_string())
        }
        _ => respond(StatusCode::NOT_FOUND, path.to_owned()),
    }
}

/// Lists a tenant's deliveries in pages of ten; the cursor is how many were listed.
fn list(state: &State, tenant: &str, query: &str) -> String {
    let listed: usize = query.rsplit_once("cursor=").map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let made = state.made.lock().unwrap();
    let skipped = usize::from(state.manner == Manner::ListsAllButOne);
    let own: Vec<_> = made.iter().filter(|(owner, _)| owner == tenant).skip(skipped).collect();
    let page = own.iter().skip(listed).take(10);
    let data: Vec<_> =
        page.map(|(_, event_id)| json!({"id": "dlv_1", "event_id": event_id, "status": "queued"})).collect();
    let next = (listed + data.len() < own.len()).then(|| (listed + data.len()).to_string());
    json!({"data": data, "next_cursor": next}).to_string()
}

/// Publishes an event and returns the answer, or the problem if it is refused.
fn publish(state: &State, tenant: &str, event: &Event<'_>) -> Result<Value, Value> {
    let number = state.published.fetch_add(1, Ordering::Relaxed);
    if state.manner == Manner::RefusesEveryThird && number % 3 == 2 {
        return Err(json!({"status": 429, "code": "quota"}));
    }
    let event_id = format!("evt_{number:026}");
    let endpoints = state.endpoints.lock().unwrap().clone();
    let subscribed = endpoints
        .into_iter()
        .filter(|endpoint| endpoint.tenant == tenant)
        .filter(|endpoint| endpoint.event_types.iter().any(|name| name == event.event_type));
    let mut fan_out = 0;
    for endpoint in subscribed {
        fan_out += 1;
        state.made.lock().unwrap().push((tenant.to_owned(), event_id.clone()));
        let payload = Bytes::copy_from_slice(event.payload.get().as_bytes());
        let times = match state.manner {
            Manner::DeliversTwice => 2,
            Manner::LosesEveryTenth if number % 10 == 9 => 0,
            _ => 1,
        };
        for _ in 0..times {
            state.send(&endpoint, &event_id, payload.clone(), HeaderMap::new());
        }
    }
    Ok(json!({"event_id": event_id, "fanout_count": fan_out, "duplicate": false}))
}

/// Takes a webhook in and relays it to the one endpoint of its tenant.
fn receive(state: &State, source: usize, headers: &HeaderMap, body: Bytes) -> Response<Full<Bytes>> {
    assert!(headers.contains_key("x-hub-signature-256") || headers.contains_key("stripe-signature"));
    let tenant = state.sources.lock().unwrap()[source].clone();
    let number = state.published.fetch_add(1, Ordering::Relaxed);
    let event_id = format!("evt_{number:026}");
    let mut answer = json!({"event_id": event_id, "delivery_id": "dlv_1", "duplicate": false});
    if state.manner == Manner::SeesTwice && number % 10 == 9 {
        answer["duplicate"] = true.into();
        return respond(StatusCode::OK, answer.to_string());
    }
    let relayed = match state.manner {
        Manner::DropsHeaders => HeaderMap::new(),
        _ => {
            let kept = |name: &str| name.starts_with("x-") || name.starts_with("stripe-");
            let pairs = headers.iter().filter(|(name, _)| kept(name.as_str()));
            pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
        }
    };
    let endpoint = state.endpoints.lock().unwrap().iter().find(|endpoint| endpoint.tenant == tenant).cloned();
    state.send(&endpoint.unwrap(), &event_id, body, relayed);
    respond(StatusCode::OK, answer.to_string())
}

impl State {
    fn send(&self, endpoint: &Endpoint, event_id: &str, payload: Bytes, relayed: HeaderMap) {
        let (endpoint, event_id) = (endpoint.clone(), event_id.to_owned());
        self.outbox.send(Delivery { endpoint, event_id, payload, relayed }).unwrap();
    }
}

async fn deliver(mut deliveries: mpsc::UnboundedReceiver<Delivery>, state: Arc<State>) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut open = JoinSet::new();
    while let Some(delivery) = deliveries.recv().await {
        let (client, state) = (client.clone(), Arc::clone(&state));
        open.spawn(async move {
            let tenant = delivery.endpoint.tenant.clone();
            let finals =
                if post(&client, state.manner, delivery).await { &state.delivered } else { &state.dead };
            *finals.lock().unwrap().entry(tenant).or_default() += 1;
        });
        while open.try_join_next().is_some() {}
    }
}

/// Makes up to three attempts at once and returns whether one was accepted.
async fn post(client: &Client<HttpConnector, Full<Bytes>>, manner: Manner, delivery: Delivery) -> bool {
    let Delivery { endpoint, event_id, payload, relayed } = delivery;
    let webhook = match manner {
        Manner::SignsWrongly => Webhook::from_bytes(b"another secret".to_vec()).unwrap(),
        _ => Webhook::new(&endpoint.secret).unwrap(),
    };
    let timestamp = i64::try_from(wall_time().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for attempt in 1..=3 {
        let mut request = Request::post(&endpoint.url)
            .header("webhook-id", &event_id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", webhook.sign(&event_id, timestamp, &payload).unwrap())
            .header("x-harborhook-attempt", attempt.to_string())
            .body(Full::new(payload.clone()))
            .unwrap();
        request.headers_mut().extend(relayed.clone());
        // An endpoint may refuse connections.
        let Ok(answer) = client.request(request).await else { continue };
        let is_accepted = answer.status() == StatusCode::OK;
        if answer.into_body().collect().await.is_ok() && is_accepted {
            return true;
        }
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "a signature has the time of day")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    let mut text = String::new();
    for (status, finals) in [("delivered", &state.delivered), ("dead", &state.dead)] {
        for (tenant, count) in finals.lock().unwrap().iter() {
            text += &format!(
                "harborhook_deliveries_total{{status=\"{status}\",tenant_id=\"{tenant}\"}} {count}\n"
            );
        }
    }
    respond(StatusCode::OK, text)
}

fn created(body: Value) -> Response<Full<Bytes>> {
    respond(StatusCode::CREATED, body.to_string())
}

fn respond(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
