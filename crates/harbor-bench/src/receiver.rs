//! The receiver, a process of its own: answers deliveries as its plan says and remembers what came.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use standardwebhooks::Webhook;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::arrivals::Arrivals;
use crate::provider::{Signer, Signing};
use crate::tls::Identity;
use crate::{child, clock, event_key, payload};

/// The signatures of one of so many attempts are checked: enough to notice a wrong one, too few to cost
/// anything.
const SIGNATURES_EVERY: u64 = 64;

/// The number of an attempt, from 1, in what the server sends.
const HEADER_ATTEMPT: &str = "x-harborhook-attempt";

/// What the receiver is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// How many endpoints it stands for, at `/endpoint/0` and on.
    pub endpoints: usize,
    /// The secret that all of them sign with.
    pub secret: String,
    /// How the provider signed what is relayed from a source; its signatures are to arrive with it.
    pub relayed: Option<Signing>,
    /// How deliveries are answered.
    pub answers: Answers,
    /// Whether the first attempts of each ordering key are to come in the order of their publishes.
    pub is_ordered: bool,
    /// What it proves who it is with; without one, deliveries come in the clear.
    pub identity: Option<Identity>,
}

/// How deliveries are answered.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Answers {
    /// The share of attempts that are answered with 500; the others are accepted.
    pub fail_rate: f64,
    /// How long an answer takes.
    pub after: Duration,
}

/// The line that the receiver writes when it listens.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Where deliveries are taken.
    pub deliveries: SocketAddr,
    /// Where it is asked what came, in the clear.
    pub control: SocketAddr,
}

/// A question to the receiver: which deliveries are missing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Missing {
    /// A file with the keys of the events of a tenant.
    pub(crate) events: PathBuf,
    /// The endpoints of that tenant.
    pub(crate) endpoints: Range<usize>,
}

struct Receiver {
    webhook: Webhook,
    signer: Option<Signer>,
    answers: Answers,
    is_ordered: bool,
    arrivals: Mutex<Arrivals>,
}

/// Runs the receiver until its parent ends.
pub async fn run() -> Result<()> {
    let plan: Plan = child::plan()?;
    let deliveries = TcpListener::bind(("127.0.0.1", 0)).await?;
    let control = TcpListener::bind(("127.0.0.1", 0)).await?;
    let listening = Listening { deliveries: deliveries.local_addr()?, control: control.local_addr()? };
    let receiver = Arc::new(Receiver {
        webhook: Webhook::new(&plan.secret).context("the secret cannot be read")?,
        signer: plan.relayed.as_ref().map(Signer::new),
        answers: plan.answers,
        is_ordered: plan.is_ordered,
        arrivals: Mutex::new(Arrivals::new(plan.endpoints, clock::now_us())),
    });
    let acceptor = plan.identity.as_ref().map(Identity::acceptor).transpose()?;
    child::say(&listening)?;
    tokio::try_join!(serve(deliveries, acceptor, Arc::clone(&receiver)), serve(control, None, receiver))?;
    Ok(())
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, receiver: Arc<Receiver>) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let receiver = Arc::clone(&receiver);
        match acceptor.clone() {
            Some(acceptor) => connections.spawn(converse_by_tls(stream, acceptor, receiver)),
            None => connections.spawn(converse(stream, receiver)),
        };
        while connections.try_join_next().is_some() {}
    }
}

async fn converse_by_tls(stream: TcpStream, acceptor: TlsAcceptor, receiver: Arc<Receiver>) {
    // What fails here costs its sender a retry, as below.
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return converse(stream, receiver).await;
    }
    let service = service_fn(|request| answer(Arc::clone(&receiver), request));
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, receiver: Arc<Receiver>) {
    let service = service_fn(|request| answer(Arc::clone(&receiver), request));
    // A connection that breaks costs its sender a retry; the deliveries that came are counted.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    receiver: Arc<Receiver>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(receiver.answer(request).await)
}

impl Receiver {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await.map(|body| body.to_bytes()) else {
            return respond(StatusCode::BAD_REQUEST, "the body broke off");
        };
        let path = head.uri.path();
        if let Some(endpoint) = path.strip_prefix("/endpoint/") {
            let status = self.record(endpoint, &head.headers, &body);
            if !self.answers.after.is_zero() {
                tokio::time::sleep(self.answers.after).await;
            }
            return respond(status, "ok");
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

    /// Counts an attempt and returns what it is answered.
    fn record(&self, endpoint: &str, headers: &HeaderMap, body: &[u8]) -> StatusCode {
        let now_us = clock::now_us();
        let endpoint = endpoint.parse();
        let id = headers.get(standardwebhooks::HEADER_WEBHOOK_ID);
        let (Ok(endpoint), Some(id), Some(due_us)) = (endpoint, id, payload::due_us(body)) else {
            self.arrivals().record_unreadable();
            return StatusCode::OK;
        };
        let attempt = headers.get(HEADER_ATTEMPT).map(AsRef::as_ref).unwrap_or_default();
        let fails = fails(id.as_bytes(), attempt, endpoint, self.answers.fail_rate);
        let mut arrivals = self.arrivals();
        if self.is_ordered && attempt == b"1" {
            arrivals.record_order(endpoint, payload::lane(body).unwrap_or_default(), due_us);
        }
        let number = if fails {
            arrivals.record_failed(endpoint, due_us)
        } else {
            arrivals.record(endpoint, event_key::of(id.as_bytes()), due_us, now_us)
        };
        if number.is_some_and(|number| number % SIGNATURES_EVERY == 1) {
            arrivals.record_signature(self.webhook.verify(body, headers).is_ok());
            if let Some(signer) = &self.signer {
                arrivals.record_signature(signer.has_signed(headers, body));
            }
        }
        if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    }

    fn stats(&self) -> Response<Full<Bytes>> {
        let stats = serde_json::to_vec(&self.arrivals().stats()).expect("statistics are plain numbers");
        respond(StatusCode::OK, stats)
    }

    /// Answers how many deliveries of some events were not accepted.
    fn missing(&self, question: &[u8]) -> Response<Full<Bytes>> {
        let Ok(Missing { events, endpoints }) = serde_json::from_slice(question) else {
            return respond(StatusCode::BAD_REQUEST, "the question cannot be read");
        };
        match event_key::read_file(&events) {
            Ok(events) => respond(StatusCode::OK, self.arrivals().missing(&events, endpoints).to_string()),
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

/// Whether an attempt is one of those that fail: by chance, and yet the same whenever it is asked.
fn fails(id: &[u8], attempt: &[u8], endpoint: usize, fail_rate: f64) -> bool {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.write(attempt);
    hasher.write_usize(endpoint);
    let drawn = hasher.finish() as f64 / 2f64.powi(u64::BITS as i32);
    drawn < fail_rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_failures_is_what_was_asked_for() {
        let failures = |fail_rate: f64| {
            let draws = (0..10_000u32).filter(|id| fails(&id.to_le_bytes(), b"1", 0, fail_rate));
            draws.count()
        };
        assert_eq!((failures(0.0), failures(1.0)), (0, 10_000));
        let half = failures(0.5);
        assert!((4_800..5_200).contains(&half), "{half}");
    }

    #[test]
    fn an_attempt_fails_whatever_the_one_before_did() {
        let both = (0..10_000u32).filter(|id| {
            let id = id.to_le_bytes();
            fails(&id, b"1", 0, 0.5) && fails(&id, b"2", 0, 0.5)
        });
        let both = both.count();
        assert!((2_300..2_700).contains(&both), "{both}");
    }
}
