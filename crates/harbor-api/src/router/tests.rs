mod desk;
mod jobs;
mod operators;
mod policies;
mod store;
mod trouble;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::body::Body;
use harbor_model::chance::SeededRng;
use harbor_model::port::Fault;
use harbor_model::time::Timestamp;
use harbor_wire::problem::{PROBLEM_MEDIA_TYPE, Problem};
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::*;

struct StillClock;

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_700_000_000_000)
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep_until(&self, _: Timestamp) {
        unreachable!("the API does not wait")
    }
}

/// A store that can be taken away.
#[derive(Default)]
struct Store {
    is_away: AtomicBool,
}

#[async_trait]
impl Readiness for Store {
    async fn check(&self) -> Result<(), Fault> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(Fault::bare("the disk is full")),
            false => Ok(()),
        }
    }
}

const OPERATOR_KEY: &str = "hhk_the_operators_key_of_this_test";

/// Asks the API with a key.
async fn call(
    api: &Router,
    method: &str,
    path: &str,
    key: &str,
    body: &Value,
) -> (StatusCode, HeaderMap, Value) {
    call_with(api, method, path, key, &[], body).await
}

/// As [`call`], with headers besides.
async fn call_with(
    api: &Router,
    method: &str,
    path: &str,
    key: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (StatusCode, HeaderMap, Value) {
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = api.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 1_000_000).await.unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    (head.status, head.headers, body)
}

async fn ask(store: &Arc<Store>, method: Method, path: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
    let readiness: Arc<dyn Readiness> = store.clone();
    let rng = Arc::new(SeededRng::new(1));
    let router = ops_router(readiness, Arc::new(StillClock), rng, &Settings::default());
    let request = http::Request::builder().method(method).uri(path).header("x-request-id", "mine-1");
    let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 65_536).await.unwrap();
    (head.status, head.headers, body.to_vec())
}

fn problem(headers: &HeaderMap, body: &[u8]) -> Problem {
    assert_eq!(headers["content-type"], PROBLEM_MEDIA_TYPE);
    serde_json::from_slice(body).unwrap()
}

#[tokio::test]
async fn what_leads_nowhere_is_a_problem_too() {
    let store = Arc::new(Store::default());
    let (status, headers, body) = ask(&store, Method::GET, "/nowhere").await;
    let problem_found = problem(&headers, &body);
    assert_eq!((status, problem_found.code.as_str()), (StatusCode::NOT_FOUND, "route_not_found"));
    assert_eq!(problem_found.request_id.as_deref(), Some("mine-1"));
    assert_eq!(headers["x-request-id"], "mine-1");

    let (status, headers, body) = ask(&store, Method::POST, "/healthz").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(problem(&headers, &body).code, "method_not_allowed");
    assert_eq!(headers["allow"], "GET,HEAD");
}

#[tokio::test]
async fn readiness_follows_the_store_and_health_does_not() {
    let store = Arc::new(Store::default());
    assert_eq!(ask(&store, Method::GET, "/readyz").await.0, StatusCode::OK);

    store.is_away.store(true, Ordering::Relaxed);
    let (status, headers, body) = ask(&store, Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers["retry-after"], "1");
    let problem = problem(&headers, &body);
    assert_eq!(problem.code, "not_ready");
    assert!(!problem.detail.contains("disk"), "{}", problem.detail);
    assert_eq!(ask(&store, Method::GET, "/healthz").await.0, StatusCode::OK);
}
