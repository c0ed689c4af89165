//! Requests and answers over kept connections.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::client::error::{ClientError, chain};
use crate::problem::Problem;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

#[cfg(feature = "client-tls")]
type Connector = hyper_rustls::HttpsConnector<HttpConnector>;
#[cfg(not(feature = "client-tls"))]
type Connector = HttpConnector;

/// One server, one credential, kept connections.
pub(crate) struct Connection {
    http: legacy::Client<Connector, Full<Bytes>>,
    base_url: Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

/// A request to be sent.
pub(crate) struct Request {
    method: Method,
    path: Vec<String>,
    query: Vec<(String, String)>,
    headers: Vec<(HeaderName, String)>,
    body: Result<Bytes, serde_json::Error>,
}

impl Request {
    /// A request to the path of these segments.
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, path, query: Vec::new(), headers: Vec::new(), body: Ok(Bytes::new()) }
    }

    /// Adds a body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(body).map(Bytes::from);
        self
    }

    /// Adds a body that stands already.
    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = Ok(body);
        self
    }

    /// Adds a query.
    pub(crate) fn query(mut self, query: Vec<(String, String)>) -> Self {
        self.query = query;
        self
    }

    /// Adds a header, if it has a value.
    pub(crate) fn header(mut self, name: &'static str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.headers.push((HeaderName::from_static(name), value.to_owned()));
        }
        self
    }
}

impl Connection {
    pub(crate) fn new(base_url: &str, bearer: Option<&str>, timeout: Duration) -> Result<Self, ClientError> {
        let url = Url::parse(base_url)
            .map_err(|error| ClientError::Settings(format!("`{base_url}` is not a URL: {error}")))?;
        let speaks = url.scheme() == "http" || (cfg!(feature = "client-tls") && url.scheme() == "https");
        if !speaks || url.cannot_be_a_base() {
            return Err(ClientError::Settings(format!("`{base_url}` has a scheme that is not spoken here")));
        }
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .build(connector()?);
        Ok(Self { http, base_url: url, authorization: bearer.map(authorization).transpose()?, timeout })
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        let (status, body) = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(status, error.to_string()))
    }

    /// Sends a request whose answer has no body.
    pub(crate) async fn tell(&self, request: Request) -> Result<(), ClientError> {
        self.send(request).await.map(drop)
    }

    async fn send(&self, request: Request) -> Result<(StatusCode, Bytes), ClientError> {
        let request = self.build(request)?;
        let exchange = async {
            let answer = self.http.request(request).await.map_err(|error| self.unreachable(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| self.unreachable(&*error))?.to_bytes()))
        };
        let timed_out = |_| ClientError::Unreachable {
            base_url: self.base_url.to_string(),
            reason: format!("no answer within {} s", self.timeout.as_secs_f64()),
        };
        let (status, body) = tokio::time::timeout(self.timeout, exchange).await.map_err(timed_out)??;
        if status.is_success() {
            return Ok((status, body));
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(error) => Err(self.unexpected(status, format!("it is no problem document: {error}"))),
        }
    }

    fn build(&self, request: Request) -> Result<http::Request<Full<Bytes>>, ClientError> {
        let bad = |error: &dyn std::error::Error| ClientError::Settings(chain(error));
        let mut url = self.base_url.clone();
        url.path_segments_mut().expect("the URL can be a base").pop_if_empty().extend(&request.path);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        let body = request.body.map_err(|error| bad(&error))?;

        let mut built = http::Request::builder()
            .method(request.method)
            .uri(url.as_str())
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(authorization) = &self.authorization {
            built = built.header(AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            built = built.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in request.headers {
            built = built.header(name, value);
        }
        built.body(Full::new(body)).map_err(|error| bad(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ClientError {
        ClientError::Unreachable { base_url: self.base_url.to_string(), reason: chain(error) }
    }

    fn unexpected(&self, status: StatusCode, reason: String) -> ClientError {
        ClientError::Unexpected { base_url: self.base_url.to_string(), status: status.as_u16(), reason }
    }
}

fn authorization(bearer: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {bearer}"))
        .map_err(|_| ClientError::Settings("the credential cannot stand in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(feature = "client-tls")]
fn connector() -> Result<Connector, ClientError> {
    let roots = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots();
    let roots = roots.map_err(|error| {
        ClientError::Settings(format!("the system's certificates cannot be read: {error}"))
    })?;
    Ok(roots.https_or_http().enable_http1().build())
}

#[cfg(not(feature = "client-tls"))]
fn connector() -> Result<Connector, ClientError> {
    Ok(HttpConnector::new())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.base_url)
    }
}
