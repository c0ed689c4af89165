//! Receivers whose answers come when the simulation says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use harbor_deliver::send::{Request, Sender, Sent};
use harbor_model::attempt::ErrorClass;
use harbor_model::decide::classify::Outcome;
use harbor_model::time::{Clock, Timestamp};
use http::HeaderMap;
use tokio::sync::oneshot;

use crate::clock::ManualClock;
use crate::receivers::Answer;
use crate::sim::ledger::requests::Arrival;
use crate::sim::ledger::{Books, NodeId};

/// Where requests of all nodes wait for their answers.
#[derive(Default)]
pub(crate) struct Switchboard(Mutex<BTreeMap<usize, oneshot::Sender<Answer>>>);

impl Switchboard {
    /// Answers a request. False where nobody waits for it any more.
    pub(crate) fn answer(&self, seq: usize, answer: Answer) -> bool {
        let waiting = self.0.lock().expect("no call panics").remove(&seq);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }
}

/// The receivers as one node reaches them.
pub(crate) struct Receivers {
    pub(crate) node: NodeId,
    pub(crate) books: Books,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) switchboard: Arc<Switchboard>,
}

#[async_trait]
impl Sender for Receivers {
    async fn send(&self, request: Request) -> Sent {
        let began = self.clock.now();
        let header = |name| text(&request.headers, name);
        let arrival = Arrival {
            node: self.node,
            path: request.target.path(),
            event_id: header("x-harborhook-event-id"),
            delivery_id: header("x-harborhook-delivery-id"),
            number: header("x-harborhook-attempt").parse().unwrap_or(0),
            body: &request.body,
        };
        let Some(seq) = self.books.open().arrives(&arrival) else { return Sent::answered(500) };
        let mut call = Call { books: &self.books, seq, is_answered: false };
        let (answers, waiting) = oneshot::channel();
        self.switchboard.0.lock().expect("no call panics").insert(seq, answers);
        let answer = tokio::select! {
            biased;
            answer = waiting => answer.unwrap_or(Answer::Silence(ErrorClass::ConnectionReset)),
            () = self.clock.sleep_until(began + request.timeout) => {
                let answer = Answer::Silence(ErrorClass::Timeout);
                self.books.open().answers(seq, answer.clone());
                answer
            }
        };
        call.is_answered = true;
        sent(seq, &answer, self.clock.now(), began)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// What the worker sees. The number of the request goes with it, so that its record can be told from others.
fn sent(seq: usize, answer: &Answer, now: Timestamp, began: Timestamp) -> Sent {
    let sent = match answer {
        Answer::Status(status) => Sent::answered(*status),
        Answer::RetryAfter(status, wait) => {
            let outcome = Outcome::Answered { status: *status, retry_after: Some(*wait) };
            Sent { outcome, ..Sent::answered(*status) }
        }
        Answer::Silence(class) => {
            let silent = Sent::unreachable(*class, format!("#{seq} was not answered"));
            return Sent { latency: now.since(began), ..silent };
        }
    };
    Sent { latency: now.since(began), response_body: Bytes::from(format!("#{seq}")), ..sent }
}

/// A request that somebody waits for.
struct Call<'a> {
    books: &'a Books,
    seq: usize,
    is_answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.books.open().dropped(self.seq);
        }
    }
}
