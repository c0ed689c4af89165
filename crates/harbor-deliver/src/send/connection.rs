//! One connection to a receiver, of either version of HTTP, and the answer that comes over it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};
use hyper::body::Incoming;

use crate::send::failure::Failure;
use crate::send::http1::Http1;
use crate::send::http2::Http2;
use crate::send::target::Route;

/// One connection to a receiver.
pub(super) enum Connection {
    /// Serves one request at a time; whoever holds it drives it.
    Http1(Box<Http1>),
    /// Serves many requests at once; a task drives it.
    Http2(Arc<Http2>),
}

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The head of an answer, and where its body will come from.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) rest: Rest,
}

/// Where the body of an answer comes from.
pub(super) enum Rest {
    Http1 {
        connection: Box<Http1>,
        body: Incoming,
    },
    /// Holds the connection, because the last one to let go of it closes it.
    Http2 {
        body: h2::RecvStream,
        _connection: Arc<Http2>,
    },
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// The message, where it is certain that the receiver has processed nothing of it.
    pub(super) unsent: Option<Box<Message>>,
}

/// Headers that speak of one connection or of framing. HTTP sets them, the caller does not.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

impl Message {
    /// A message without what only the connection may say.
    pub(super) fn new(mut headers: HeaderMap, body: Bytes) -> Self {
        for name in &OF_THE_CONNECTION {
            headers.remove(name);
        }
        Self { headers, body }
    }
}

impl Connection {
    /// Sends `message` and waits for the head of the answer.
    ///
    /// A connection that `was_used` before may have been closed meanwhile; then the message comes back.
    pub(super) async fn ask(
        self,
        route: &Route,
        message: Message,
        was_used: bool,
    ) -> Result<Answer, Unanswered> {
        match self {
            Self::Http1(connection) => connection.ask(route, message).await,
            Self::Http2(connection) => connection.ask(route, message, was_used).await,
        }
    }

    /// The other end.
    pub(super) fn remote(&self) -> SocketAddr {
        match self {
            Self::Http1(connection) => connection.remote,
            Self::Http2(connection) => connection.remote,
        }
    }
}

/// The part of a body that is worth keeping, bounded whatever the receiver sends.
pub(super) struct KeptBody {
    bytes: Vec<u8>,
    kept_max: usize,
    left_to_read: usize,
}

impl KeptBody {
    /// Keeps `kept_max` bytes of the `read_max` that are read at most.
    pub(super) fn new(kept_max: usize, read_max: usize) -> Self {
        Self { bytes: Vec::new(), kept_max, left_to_read: read_max }
    }

    /// Takes a chunk; false once the body is longer than what may be read.
    fn take(&mut self, chunk: &[u8]) -> bool {
        let room = self.kept_max - self.bytes.len();
        // A copy, because a slice would hold on to the connection's whole read buffer.
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let Some(left) = self.left_to_read.checked_sub(chunk.len()) else { return false };
        self.left_to_read = left;
        true
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }
}

impl Rest {
    /// Reads the body into `kept`; false where it is too long or breaks off. Safe to cancel.
    pub(super) async fn read(&mut self, kept: &mut KeptBody) -> bool {
        match self {
            Self::Http1 { connection, body } => {
                while let Some(chunk) = connection.next_chunk(body).await {
                    if !chunk.is_ok_and(|chunk| kept.take(&chunk)) {
                        return false;
                    }
                }
                true
            }
            Self::Http2 { body, .. } => {
                while let Some(chunk) = body.data().await {
                    let Ok(chunk) = chunk else { return false };
                    if !kept.take(&chunk) || body.flow_control().release_capacity(chunk.len()).is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }
}
