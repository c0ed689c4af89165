//! The HTTP client: makes one request to a receiver, which may be slow, broken or hostile.
//!
//! Start with [`client::HttpSender`].
//! Whom a request may reach is decided in `connect`, on every connection, after the name was resolved.
//! What a receiver answers is a value, an [`Outcome`]; nothing here returns an error for it.

pub mod client;
mod connect;
mod connection;
mod failure;
mod http1;
mod http2;
mod kept_headers;
mod pool;
pub mod resolve;
mod retry_after;
pub mod settings;
mod stream;
pub mod target;
pub mod tls;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use http::HeaderMap;

use crate::send::target::Target;

/// A `POST` to be made. Not `Debug`: its headers and its body are nobody's business.
#[derive(Clone)]
pub struct Request {
    /// Where it goes.
    pub target: Target,
    /// Its headers; `host`, `content-length` and those of the connection are set by the sender.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// How long it may take until the answer's headers are here, looking up the name included.
    pub timeout: Duration,
}

/// What came of a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// What to judge.
    pub outcome: Outcome,
    /// What went wrong if no answer came, for people; holds no secret and nothing of the URL but its host.
    pub error: Option<String>,
    /// From the beginning to the end of the answer's headers, or to the failure.
    pub latency: Duration,
    /// The beginning of the answer's body.
    pub response_body: Bytes,
    /// The answer's headers that are safe to keep.
    pub response_headers: Vec<(String, String)>,
    /// The address that was connected to, or was tried last.
    pub remote_address: Option<SocketAddr>,
}

impl Sent {
    /// An answer with this status and nothing else.
    pub fn answered(status: u16) -> Self {
        Self::of(Outcome::Answered { status, retry_after: None }, None)
    }

    /// No answer, for this reason.
    pub fn unreachable(class: ErrorClass, error: String) -> Self {
        Self::of(Outcome::Unreachable(class), Some(error))
    }

    fn of(outcome: Outcome, error: Option<String>) -> Self {
        Self {
            outcome,
            error,
            latency: Duration::ZERO,
            response_body: Bytes::new(),
            response_headers: Vec::new(),
            remote_address: None,
        }
    }
}

/// Makes requests to receivers.
#[async_trait]
pub trait Sender: Send + Sync {
    /// Makes one request, at most once, and returns what came of it within its timeout
    /// plus the grace for the answer's body.
    async fn send(&self, request: Request) -> Sent;
}
