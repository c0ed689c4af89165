//! Attempts: one HTTP request made for a delivery. Never edited.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::delivery::names;
use crate::id::AttemptId;
use crate::time::Timestamp;

/// One HTTP request made for a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Names it.
    pub id: AttemptId,
    /// Its place among the delivery's attempts, from 1; none for one that came after its lease was lost.
    pub number: Option<u16>,
    /// When the request began.
    pub started_at: Timestamp,
    /// From the beginning to the end of the headers, or to the failure.
    pub latency: Duration,
    /// What the endpoint answered, if it did.
    pub http_status: Option<u16>,
    /// What kind of failure it was, if it was one.
    pub error_class: Option<ErrorClass>,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// The beginning of what the endpoint said; see [`RESPONSE_BYTES_KEPT_OF_FAILURE`].
    pub response_body: Bytes,
    /// The endpoint's headers that are safe to keep.
    pub response_headers: Vec<(String, String)>,
    /// The address that was connected to.
    pub remote_address: Option<SocketAddr>,
}

/// How much of the answer is kept where the attempt failed.
pub const RESPONSE_BYTES_KEPT_OF_FAILURE: usize = 16 * 1024;

/// How much of the answer is kept where the attempt succeeded.
pub const RESPONSE_BYTES_KEPT_OF_SUCCESS: usize = 1024;

/// What kind of failure an attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The deadline passed before the headers had arrived.
    Timeout,
    /// Nothing listens there.
    ConnectionRefused,
    /// The connection broke.
    ConnectionReset,
    /// The name does not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// The answer is not HTTP as we speak it.
    Protocol,
    /// The address is one that we do not connect to.
    BlockedAddress,
    /// A redirect, which is not followed.
    Http3xx,
    /// A client error other than 429.
    Http4xx,
    /// Too many requests.
    Http429,
    /// A server error.
    Http5xx,
}

names!(ErrorClass {
    Timeout = "timeout",
    ConnectionRefused = "connection_refused",
    ConnectionReset = "connection_reset",
    Dns = "dns",
    Tls = "tls",
    Protocol = "protocol",
    BlockedAddress = "blocked_address",
    Http3xx = "http_3xx",
    Http4xx = "http_4xx",
    Http429 = "http_429",
    Http5xx = "http_5xx",
});
