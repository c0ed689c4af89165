//! A plain HTTP client for tests: sends whatever the test writes, well-formed or not.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The API of a server, as one holder of a key sees it. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
    base_url: Arc<str>,
    key: Option<Arc<str>>,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Api {
    /// The API at `base_url`, with this key.
    pub fn new(base_url: &str, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, base_url: base_url.into(), key: Some(key.into()) }
    }

    /// The same API with another key, or with none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(Into::into), ..self.clone() }
    }

    /// Sends a request with a JSON body, exactly as it is written. `Err` where no answer came.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base_url));
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let (parts, body) =
            self.client.request(request).await.map_err(|error| error.to_string())?.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Sends a request that must be answered.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        self.try_send(method, path, &[], body.into()).await.expect("the server answers")
    }

    /// `GET`s a path.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// `POST`s a body, exactly as it is written.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Method::POST, path, body).await
    }

    /// Publishes an event whose payload is these bytes.
    pub async fn publish(&self, event_type: &str, payload: &[u8]) -> Reply {
        self.post("/v1/events:publish", publish_body(event_type, payload)).await
    }
}

/// The body of a publish whose payload is these bytes, put in as they are.
pub fn publish_body(event_type: &str, payload: &[u8]) -> Bytes {
    let mut body = format!(r#"{{"event_type": "{event_type}", "payload": "#).into_bytes();
    body.extend_from_slice(payload);
    body.push(b'}');
    body.into()
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} with a body that is not JSON: {error}: {:?}", self.status, self.body)
        })
    }

    /// The body, which must come with this status.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The `code` of a problem, which must be one in full.
    pub fn problem_code(&self) -> String {
        let content_type = self.headers.get("content-type").and_then(|value| value.to_str().ok());
        assert_eq!(content_type, Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        for member in ["type", "title", "status", "code", "request_id"] {
            assert!(!problem[member].is_null(), "{member} is missing in {problem}");
        }
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        problem["code"].as_str().expect("a code is text").to_owned()
    }

    /// The fields that a problem names.
    pub fn problem_fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().expect("a field is text").to_owned()).collect()
    }
}
