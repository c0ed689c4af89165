//! What a request is answered, and how.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};

/// Holds one scripted answer.
///
/// A plain status is `Answer::from(500)`, a hostile one `Answer::from(Manner::NeverAnswer)`.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) delay: Duration,
    pub(crate) manner: Manner,
}

/// Says how an answer is given; all but the first are what a hostile or broken receiver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The answer is sent at once and whole.
    Polite,
    /// The request is read and nothing is sent; the connection stays open.
    NeverAnswer,
    /// The request is read and the connection is closed without an answer.
    CloseEarly,
    /// The answer is sent byte by byte, and its headers are too long to end in anyone's lifetime.
    TrickleHeaders {
        /// How long each byte takes.
        every: Duration,
    },
    /// The headers come at once, then a body byte by byte that never ends.
    TrickleBody {
        /// How long each byte takes.
        every: Duration,
    },
    /// The headers come at once, then a body as fast as it is read that never ends.
    EndlessBody,
    /// The headers are 10 MiB long.
    HugeHeaders,
}

impl Answer {
    /// Answers with a status and an empty body.
    pub fn status(status: StatusCode) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            manner: Manner::Polite,
        }
    }

    /// Answers 302 with this location.
    ///
    /// # Panics
    /// If `to` cannot stand in a header.
    pub fn redirect(to: &str) -> Answer {
        Answer::status(StatusCode::FOUND).header(LOCATION.as_str(), to)
    }

    /// Adds a header.
    ///
    /// # Panics
    /// If the name or the value cannot stand in a header.
    pub fn header(mut self, name: &str, value: &str) -> Answer {
        let name = HeaderName::try_from(name).expect("a script holds header names");
        let value = HeaderValue::try_from(value).expect("a script holds header values");
        self.headers.append(name, value);
        self
    }

    /// Sends this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Answer {
        self.body = body.into();
        self
    }

    /// Waits before anything is sent.
    pub fn delay(mut self, delay: Duration) -> Answer {
        self.delay = delay;
        self
    }

    /// Gives the answer in this manner.
    pub fn manner(mut self, manner: Manner) -> Answer {
        self.manner = manner;
        self
    }

    /// The status that this answer shows its client, if it shows any.
    pub(crate) fn status_sent(&self) -> Option<StatusCode> {
        match self.manner {
            Manner::NeverAnswer | Manner::CloseEarly => None,
            Manner::Polite
            | Manner::TrickleHeaders { .. }
            | Manner::TrickleBody { .. }
            | Manner::EndlessBody
            | Manner::HugeHeaders => Some(self.status),
        }
    }
}

impl From<StatusCode> for Answer {
    fn from(status: StatusCode) -> Answer {
        Answer::status(status)
    }
}

/// # Panics
/// If the number is no HTTP status.
impl From<u16> for Answer {
    fn from(status: u16) -> Answer {
        Answer::status(StatusCode::from_u16(status).expect("a script holds HTTP statuses"))
    }
}

impl From<Manner> for Answer {
    fn from(manner: Manner) -> Answer {
        Answer::status(StatusCode::OK).manner(manner)
    }
}
