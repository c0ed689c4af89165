//! Scripted receivers: answers without sockets, and a record of every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use harbor_deliver::send::{Request, Sender, Sent};
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use harbor_model::time::{Clock, Timestamp};
use http::HeaderMap;

/// What a receiver answers to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// This status, with a wish for the next attempt.
    RetryAfter(u16, Duration),
    /// Nothing, for this reason.
    Silence(ErrorClass),
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self::Status(status)
    }
}

/// A request that a receiver got.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Timestamp,
    /// The path that it was sent to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Received {
    /// The text of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// All receivers of a world, told apart by the paths of their URLs.
pub struct ScriptedReceivers {
    clock: Arc<dyn Clock>,
    scripts: Mutex<Scripts>,
}

#[derive(Default)]
struct Scripts {
    /// What is left of each receiver's answers; the last one repeats.
    answers: HashMap<String, Vec<Answer>>,
    received: Vec<Received>,
}

impl ScriptedReceivers {
    /// Receivers that answer 200 until they are told otherwise.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, scripts: Mutex::default() }
    }

    /// Tells the receiver at `path` what to answer, in turn; the last answer repeats.
    pub fn script(&self, path: &str, answers: Vec<Answer>) {
        assert!(!answers.is_empty(), "a receiver answers something");
        self.lock().answers.insert(path.to_owned(), answers);
    }

    /// Every request to the receiver at `path`, in order.
    pub fn received(&self, path: &str) -> Vec<Received> {
        self.lock().received.iter().filter(|request| request.path == path).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().expect("no receiver panics")
    }
}

#[async_trait]
impl Sender for ScriptedReceivers {
    async fn send(&self, request: Request) -> Sent {
        let path = request.target.path().to_owned();
        let mut scripts = self.lock();
        let answer = match scripts.answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.remove(0),
            Some(answers) => answers[0].clone(),
            None => Answer::Status(200),
        };
        let Request { headers, body, .. } = request;
        scripts.received.push(Received { at: self.clock.now(), path, headers, body });
        match answer {
            Answer::Status(status) => Sent::answered(status),
            Answer::RetryAfter(status, wait) => {
                let outcome = Outcome::Answered { status, retry_after: Some(wait) };
                Sent { outcome, ..Sent::answered(status) }
            }
            Answer::Silence(class) => Sent::unreachable(class, "the receiver is silent".to_owned()),
        }
    }
}
