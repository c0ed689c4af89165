//! The load, a process of its own: publishes over many connections and measures the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::histogram::{Histogram, Percentiles};
use crate::payload::Body;
use crate::schedule::{self, Schedule, Timetable};
use crate::usage::Usage;
use crate::{child, clock, control, event_key};

/// How long a connection waits after a refusal or a failure, so that a server in trouble is not flooded.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// How long after its end an open loop still sends what it could not send in time.
const OPEN_LOOP_GRACE: Duration = Duration::from_secs(5);
/// Up to when the load waits before its first request, so that every connection is ready.
const START_DELAY: Duration = Duration::from_millis(20);

/// What the load is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where the API listens.
    pub api: SocketAddr,
    /// The API key of the tenant.
    pub api_key: String,
    /// The type of all events.
    pub event_type: String,
    /// How many deliveries each event should beget.
    pub fan_out: u64,
    /// The size of each payload.
    pub payload_bytes: usize,
    /// How many events are sent with one request; 1 uses `events:publish`, more `events:batchPublish`.
    pub batch: u64,
    /// Over how many connections.
    pub connections: usize,
    /// How fast and how long.
    pub pace: Pace,
    /// Where to write the keys of the events that were acknowledged.
    pub acknowledged: PathBuf,
}

/// How fast a load publishes and when it ends.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Each connection sends the next request when the last was answered.
    Closed {
        /// How long.
        duration: Duration,
    },
    /// Like closed, but ends after so many events, rounded up to whole batches.
    Count {
        /// How many.
        events: u64,
    },
    /// So many events a second, whether or not the server keeps up.
    Open {
        /// How many a second.
        events_per_second: u64,
        /// How long.
        duration: Duration,
    },
}

/// What the load says when it is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Requests that were answered 2xx.
    pub requests: u64,
    /// Events that were acknowledged.
    pub events: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// When the first request was due, on the shared clock.
    pub start_us: u64,
    /// From when a request was due (open loop) or sent (closed loop) to its answer.
    pub ack: Percentiles,
    /// From when a request was due to when it was sent: what the load itself was late.
    pub lateness: Percentiles,
    /// What was refused or failed, by status and code.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledgements with another fan-out than planned.
    pub fan_out_wrong: u64,
    /// Requests that were due and never sent, because the server did not keep up.
    pub unsent: u64,
    /// What the load itself used.
    pub usage: Usage,
}

/// Runs the load and reports to the parent.
pub async fn run() -> Result<()> {
    let plan: Plan = child::plan()?;
    child::say(&publish_all(plan).await?)?;
    // The parent may end this process as soon as it has read the report.
    Ok(())
}

async fn publish_all(plan: Plan) -> Result<Report> {
    let plan = Arc::new(plan);
    let mut ready = Vec::new();
    for _ in 0..plan.connections {
        ready.push(Connection::open(plan.api).await?);
    }

    let start_us = clock::now_us() + micros(START_DELAY);
    let schedule = Arc::new(schedule(&plan, start_us));
    let body = Arc::new(body(&plan));
    tokio::time::sleep(START_DELAY).await;
    let pacer = std::thread::spawn({
        let (schedule, connections) = (Arc::clone(&schedule), plan.connections);
        move || schedule::pace(&schedule, connections)
    });

    let mut publishers = JoinSet::new();
    for connection in ready {
        let publisher = Publisher {
            plan: Arc::clone(&plan),
            schedule: Arc::clone(&schedule),
            body: Arc::clone(&body),
            tally: Tally::new(),
        };
        publishers.spawn(publisher.run(connection));
    }
    let mut total = Tally::new();
    while let Some(tally) = publishers.join_next().await {
        total.merge(tally.context("a publisher panicked")?);
    }
    pacer.join().ok().context("the pacer panicked")?;

    event_key::write_file(&plan.acknowledged, &total.acknowledged)?;
    Ok(Report {
        requests: total.requests,
        events: total.acknowledged.len() as u64,
        seconds: clock::seconds_between(start_us, total.last_us),
        start_us,
        ack: total.ack.percentiles(),
        lateness: total.lateness.percentiles(),
        errors: total.errors,
        fan_out_wrong: total.fan_out_wrong,
        unsent: schedule.unsent(),
        usage: Usage::of_process(std::process::id())?,
    })
}

fn schedule(plan: &Plan, start_us: u64) -> Schedule {
    match plan.pace {
        Pace::Closed { duration } => Schedule::closed(start_us + micros(duration), u64::MAX),
        Pace::Count { events } => Schedule::closed(u64::MAX, events.div_ceil(plan.batch)),
        Pace::Open { events_per_second, duration } => {
            let events = events_per_second * micros(duration) / 1_000_000;
            let timetable = Timetable {
                start_us,
                requests: events / plan.batch,
                events_per_request: plan.batch,
                events_per_second,
            };
            Schedule::open(timetable, start_us + micros(duration + OPEN_LOOP_GRACE))
        }
    }
}

fn body(plan: &Plan) -> Body {
    match plan.batch {
        1 => Body::of_one(&plan.event_type, plan.payload_bytes),
        events => Body::of_batch(&plan.event_type, plan.payload_bytes, events as usize),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Publishes over one connection.
struct Publisher {
    plan: Arc<Plan>,
    schedule: Arc<Schedule>,
    body: Arc<Body>,
    tally: Tally,
}

impl Publisher {
    async fn run(mut self, connection: Connection) -> Tally {
        let mut connection = Some(connection);
        while let Some(due_us) = self.schedule.next().await {
            if connection.is_none() {
                connection = Connection::open(self.plan.api).await.ok();
            }
            let Some(open) = &mut connection else {
                self.tally.count_error("no connection");
                tokio::time::sleep(FAILURE_PAUSE).await;
                continue;
            };

            self.tally.lateness.record(clock::now_us().saturating_sub(due_us));
            let answer = open.send(self.request(due_us)).await;
            let now_us = clock::now_us();
            self.tally.last_us = now_us;
            match answer {
                Ok((StatusCode::OK, body)) => {
                    self.tally.ack.record(now_us.saturating_sub(due_us));
                    self.tally.count_answer(&body, self.plan.fan_out);
                }
                Ok((status, body)) => {
                    self.tally.count_refusal(status.as_u16(), &body);
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
                Err(_) => {
                    self.tally.count_error("broken connection");
                    connection = None;
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
        self.tally
    }

    fn request(&self, due_us: u64) -> Request<Full<Bytes>> {
        let path = if self.plan.batch == 1 { "/v1/events:publish" } else { "/v1/events:batchPublish" };
        let (api, key) = (self.plan.api, Some(self.plan.api_key.as_str()));
        control::request(api, Method::POST, path, key, self.body.stamped(due_us))
            .expect("the same request was accepted when the tenant was set up")
    }
}

/// What one connection, or all of them, counted.
struct Tally {
    requests: u64,
    acknowledged: Vec<u64>,
    ack: Histogram,
    lateness: Histogram,
    errors: BTreeMap<String, u64>,
    fan_out_wrong: u64,
    last_us: u64,
}

/// The part of an answer that counts: to `events:publish`, to `events:batchPublish`, or one of its results.
#[derive(Deserialize)]
struct Answer<'a> {
    event_id: Option<&'a str>,
    fanout_count: Option<u64>,
    error: Option<Problem>,
    #[serde(default, borrow)]
    results: Vec<Answer<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    status: u16,
    code: String,
}

impl Tally {
    fn new() -> Self {
        Self {
            requests: 0,
            acknowledged: Vec::new(),
            ack: Histogram::new(),
            lateness: Histogram::new(),
            errors: BTreeMap::new(),
            fan_out_wrong: 0,
            last_us: 0,
        }
    }

    fn count_answer(&mut self, body: &[u8], fan_out: u64) {
        self.requests += 1;
        let Ok(mut answer) = serde_json::from_slice::<Answer<'_>>(body) else {
            return self.count_error("unreadable answer");
        };
        let results = std::mem::take(&mut answer.results);
        if results.is_empty() {
            return self.count_result(&answer, fan_out);
        }
        for result in &results {
            self.count_result(result, fan_out);
        }
    }

    fn count_result(&mut self, result: &Answer<'_>, fan_out: u64) {
        match (result.event_id, &result.error) {
            (Some(id), None) => {
                self.acknowledged.push(event_key::of(id.as_bytes()));
                self.fan_out_wrong += u64::from(result.fanout_count != Some(fan_out));
            }
            (_, Some(problem)) => self.count_problem(problem),
            (None, None) => self.count_error("unreadable answer"),
        }
    }

    fn count_refusal(&mut self, status: u16, body: &[u8]) {
        let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
        self.count_problem(&Problem { status, ..problem });
    }

    fn count_problem(&mut self, problem: &Problem) {
        self.count_error(format!("{} {}", problem.status, problem.code).trim_end());
    }

    fn count_error(&mut self, error: &str) {
        *self.errors.entry(error.to_owned()).or_default() += 1;
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.acknowledged.extend(other.acknowledged);
        self.ack.merge(&other.ack);
        self.lateness.merge(&other.lateness);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.fan_out_wrong += other.fan_out_wrong;
        self.last_us = self.last_us.max(other.last_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_was_acknowledged_and_why_the_rest_was_not() {
        let mut tally = Tally::new();
        tally.count_answer(br#"{"event_id":"evt_1","fanout_count":1,"duplicate":false}"#, 1);
        tally.count_answer(br#"{"event_id":"evt_2","fanout_count":0,"duplicate":false}"#, 1);
        tally.count_answer(
            br#"{"results":[{"event_id":"evt_3","fanout_count":1},{"error":{"status":503,"code":"storage_away"}}]}"#,
            1,
        );
        tally.count_answer(b"nonsense", 1);
        tally.count_refusal(429, br#"{"status":429,"code":"quota"}"#);
        tally.count_refusal(502, b"<html>");

        assert_eq!(tally.acknowledged, [b"evt_1", b"evt_2", b"evt_3"].map(|id| event_key::of(id)));
        assert_eq!(tally.fan_out_wrong, 1);
        let errors: Vec<_> = tally.errors.iter().map(|(error, count)| (error.as_str(), *count)).collect();
        assert_eq!(errors, [("429 quota", 1), ("502", 1), ("503 storage_away", 1), ("unreadable answer", 1)]);
    }

    #[test]
    fn what_two_connections_counted_adds_up() {
        let mut one = Tally::new();
        one.count_answer(br#"{"event_id":"evt_1","fanout_count":1}"#, 1);
        one.count_error("503");
        let mut two = Tally::new();
        two.count_answer(br#"{"event_id":"evt_2","fanout_count":1}"#, 1);
        two.count_error("503");

        one.merge(two);

        assert_eq!((one.requests, one.acknowledged.len(), one.errors["503"]), (2, 2, 2));
    }
}
