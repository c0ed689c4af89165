//! Removing a tenant for good: no row and no byte of it is left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harbor_receiver::Script;
use harbor_testkit::api::Api;
use harbor_testkit::program::Server;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::system::set_up::{SECRET, receiver};

const PATIENCE: Duration = Duration::from_secs(60);

/// A mark that nothing but one tenant's payloads holds.
fn mark(tenant: &str) -> String {
    format!("marked-payload-of-{tenant}-5f2c9a")
}

/// Makes a tenant with an endpoint that fails half of its events for good, and publishes small and large ones. Its
/// source has refused something.
async fn fill(operator: &Api, url: &str, tenant: &str) -> Api {
    let policy = json!({"allow_http": true, "allowed_subnets": ["127.0.0.0/8"]});
    let body = json!({"id": tenant, "name": tenant, "policy": policy}).to_string();
    operator.post("/v1/tenants", body).await.expect(201);
    let path = format!("/v1/tenants/{tenant}/api-keys");
    let key = operator.post(&path, r#"{"name": "test", "role": "admin"}"#).await.expect(201);
    let api = operator.with_key(key["key"].as_str());
    let endpoint = json!({
        "url": url, "secret": SECRET, "event_types": ["*"], "ordering": "key",
        "retry": {"max_attempts": 2, "schedule": ["20ms"]},
        // What fails comes in a row by chance.
        "circuit_breaker": {"enabled": false},
    });
    api.post("/v1/endpoints", endpoint.to_string()).await.expect(201);
    for n in 0..300 {
        let filling = "x".repeat(if n % 20 == 0 { 20_000 } else { 100 });
        let payload = json!({"mark": format!("{} number {n}", mark(tenant)), "filling": filling});
        let mut event =
            json!({"event_type": "filled", "payload": payload, "idempotency_key": format!("k{n}")});
        if n % 3 == 0 {
            event["ordering_key"] = json!(format!("lane {}", n % 7));
        }
        api.post("/v1/events:publish", event.to_string()).await.expect(200);
    }
    let source = api.post("/v1/sources", r#"{"name": "door", "provider": "github"}"#).await.expect(201);
    let id = source["id"].as_str().unwrap();
    let forged = [("x-hub-signature-256", "sha256=00")];
    let path = format!("/ingest/{id}");
    let refused = api.try_send(http::Method::POST, &path, &forged, mark(tenant).into()).await.unwrap();
    assert_eq!(refused.status, 401);
    let rejections = api.get(&format!("/v1/sources/{id}/rejections")).await.expect(200);
    assert_eq!(rejections["data"][0]["signed_text"], mark(tenant));
    api
}

/// All bytes of what the server keeps: its files, or a dump of its database.
async fn everything_kept(server: &Server) -> Vec<u8> {
    let mut bytes = Vec::new();
    match server.database_url() {
        Some(url) => {
            let dump = Command::new(pg_dump()).arg(&url).output().await.expect("pg_dump runs");
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            // Bytes stand in it in hexadecimal.
            let text = String::from_utf8(dump.stdout).unwrap();
            bytes.extend(text.split(|c: char| !c.is_ascii_hexdigit()).flat_map(unhex));
            bytes.extend(text.into_bytes());
        }
        None => {
            for file in std::fs::read_dir(server.data_dir()).unwrap() {
                let path = file.unwrap().path();
                if path.is_file() && path.file_name().is_none_or(|name| name != "test-server.log") {
                    bytes.extend(std::fs::read(&path).unwrap());
                }
            }
        }
    }
    bytes
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The `pg_dump` on the path, or where Debian puts it.
fn pg_dump() -> PathBuf {
    let debian = Path::new("/usr/lib/postgresql").read_dir().ok().into_iter().flatten();
    let installed = debian.filter_map(|version| Some(version.ok()?.path().join("bin/pg_dump")));
    installed.filter(|path| path.exists()).max().unwrap_or_else(|| "pg_dump".into())
}

fn count(bytes: &[u8], mark: &str) -> usize {
    bytes.windows(mark.len()).filter(|window| *window == mark.as_bytes()).count()
}

async fn purged(operator: &Api, job: &Value) -> Value {
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let job = operator.get(&path).await.expect(200);
        if job["status"] == "done" {
            return job;
        }
        assert!(Instant::now() < deadline, "the purge comes to its end: {job}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_tenant_that_was_deleted() {
    let mut server = Server::start().await;
    let operator = server.operator();
    let receiver = receiver(Script::by(|request| {
        let is_odd = request.webhook_id().is_some_and(|id| id.bytes().last().unwrap_or(0) % 2 == 1);
        if is_odd { harbor_receiver::Answer::from(500).body(request.body.clone()) } else { 200.into() }
    }))
    .await;
    let mut apis = Vec::new();
    for tenant in ["keeps-one", "goes", "keeps-two"] {
        apis.push(fill(&operator, &receiver.url(), tenant).await);
    }
    // Some are delivered, some dead, some on their way.
    receiver.wait_for(400, PATIENCE).await.unwrap();
    assert!(count(&everything_kept(&server).await, &mark("goes")) > 0, "the marks can be found");

    let job = operator.send(http::Method::DELETE, "/v1/tenants/goes", "").await.expect(202);
    assert_eq!(apis[1].get("/v1/deliveries").await.status, 401, "access ends at once");
    let taken = json!({"id": "goes", "name": "again"}).to_string();
    let done = purged(&operator, &job).await;
    assert_eq!(done["removed"]["events"], 300, "{done}");
    assert_eq!(done["removed"]["endpoints"], 1, "{done}");
    assert_eq!(done["removed"]["deliveries"], 300, "{done}");
    assert_eq!(
        (&done["removed"]["sources"], &done["removed"]["rejections"]),
        (&json!(1), &json!(1)),
        "{done}"
    );

    let kept = everything_kept(&server).await;
    assert_eq!(count(&kept, &mark("goes")), 0, "no byte of a payload is left");
    for tenant in ["keeps-one", "keeps-two"] {
        let path = format!("/v1/tenants/{tenant}/events?limit=500");
        let events = operator.get(&path).await.expect(200);
        assert_eq!(events["data"].as_array().unwrap().len(), 300, "{tenant} is untouched");
        assert!(count(&kept, &mark(tenant)) >= 300, "{tenant} is untouched");
    }
    operator.post("/v1/tenants", taken).await.expect(201);
    let events = operator.get("/v1/tenants/goes/events").await.expect(200);
    assert_eq!(events["data"], json!([]), "a new tenant with the old id begins empty");
    assert!(server.stop().await.success());
    assert_eq!(count(&everything_kept(&server).await, &mark("goes")), 0, "nor after the server has ended");
}
