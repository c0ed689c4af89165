//! The receiver, a process of its own: answers every delivery with 200 and remembers what came.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use standardwebhooks::Webhook;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::arrivals::Arrivals;
use crate::{child, clock, event_key, payload};

/// One of so many signatures is checked: enough to notice a wrong one, too few to cost anything.
const SIGNATURES_EVERY: u64 = 64;

/// What the receiver is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How many endpoints it stands for, at `/endpoint/0` and on.
    pub endpoints: usize,
    /// The secret that all of them sign with.
    pub secret: String,
}

/// The line that the receiver writes when it listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Where.
    pub address: SocketAddr,
}

struct Receiver {
    webhook: Webhook,
    arrivals: Mutex<Arrivals>,
}

/// Runs the receiver until its parent ends.
pub async fn run() -> Result<()> {
    let plan: Plan = child::plan()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    child::say(&Listening { address: listener.local_addr()? })?;
    serve(listener, &plan).await
}

async fn serve(listener: TcpListener, plan: &Plan) -> Result<()> {
    let receiver = Arc::new(Receiver {
        webhook: Webhook::new(&plan.secret).context("the secret cannot be read")?,
        arrivals: Mutex::new(Arrivals::new(plan.endpoints, clock::now_us())),
    });
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn(converse(stream, Arc::clone(&receiver)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, receiver: Arc<Receiver>) {
    let service = service_fn(|request| {
        let receiver = Arc::clone(&receiver);
        async move { Ok::<_, Infallible>(receiver.answer(request).await) }
    });
    // A connection that breaks costs its sender a retry; the deliveries that came are counted.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Receiver {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
            return respond(StatusCode::BAD_REQUEST, "the body broke off");
        };
        let path = head.uri.path();
        if let Some(endpoint) = path.strip_prefix("/endpoint/") {
            self.record(endpoint, &head.headers, &body);
            return respond(StatusCode::OK, "ok");
        }
        match (head.method, path) {
            (Method::GET, "/stats") => self.stats(),
            (Method::POST, "/reset") => {
                self.arrivals().reset(clock::now_us());
                respond(StatusCode::OK, "ok")
            }
            (Method::POST, "/missing") => self.missing(&body),
            _ => respond(StatusCode::NOT_FOUND, "not found"),
        }
    }

    fn record(&self, endpoint: &str, headers: &HeaderMap, body: &[u8]) {
        let now_us = clock::now_us();
        let endpoint = endpoint.parse();
        let id = headers.get(standardwebhooks::HEADER_WEBHOOK_ID);
        let (Ok(endpoint), Some(id), Some(due_us)) = (endpoint, id, payload::due_us(body)) else {
            self.arrivals().record_unreadable();
            return;
        };
        let event = event_key::of(id.as_bytes());
        let mut arrivals = self.arrivals();
        let number = arrivals.record(endpoint, event, due_us, now_us);
        if number.is_some_and(|number| number % SIGNATURES_EVERY == 1) {
            arrivals.record_signature(self.webhook.verify(body, headers).is_ok());
        }
    }

    fn stats(&self) -> Response<Full<Bytes>> {
        let stats = serde_json::to_vec(&self.arrivals().stats()).expect("statistics are plain numbers");
        respond(StatusCode::OK, stats)
    }

    /// Answers how many deliveries of the events in a file, whose path is the body, did not arrive.
    fn missing(&self, path: &[u8]) -> Response<Full<Bytes>> {
        let Ok(path) = std::str::from_utf8(path) else {
            return respond(StatusCode::BAD_REQUEST, "the path is not text");
        };
        match event_key::read_file(Path::new(path)) {
            Ok(events) => respond(StatusCode::OK, self.arrivals().missing(&events).to_string()),
            Err(error) => respond(StatusCode::BAD_REQUEST, format!("{error:#}")),
        }
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        // Counts stay counts when a request that held them panicked.
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
