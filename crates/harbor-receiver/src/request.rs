//! One request, as it came.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;

use harbor_signature::standard;

use crate::verdict::{Verdicts, find_text};

/// Holds one request and what it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its last byte had come.
    pub received_at: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// What the signatures are worth.
    pub signatures: Verdicts,
    /// The status it is answered; `None` while the script chooses, and where nothing is answered.
    pub status: Option<StatusCode>,
}

impl Request {
    /// The value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        find_text(&self.headers, name)
    }

    /// The `webhook-id`.
    pub fn webhook_id(&self) -> Option<&str> {
        self.header(standard::ID_HEADER)
    }

    /// The `x-harborhook-event-type`.
    pub fn event_type(&self) -> Option<&str> {
        self.header("x-harborhook-event-type")
    }

    /// The `x-harborhook-attempt`, which begins at 1.
    pub fn attempt(&self) -> Option<u32> {
        self.header("x-harborhook-attempt")?.parse().ok()
    }
}
