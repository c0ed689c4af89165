//! The load, a process of its own: sends events over many connections and measures the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::entry::Entry;
use crate::histogram::{Histogram, Percentiles};
use crate::payload::{Body, LANES_MAX, Stamp};
use crate::provider::Signer;
use crate::schedule::{self, Schedule, Timetable};
use crate::usage::Usage;
use crate::{child, clock, control, event_key};

/// How long a connection waits after a refusal or a failure, so that a server in trouble is not flooded.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// How long a refusal that does not say is heeded.
const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);
/// How long after its end an open loop still sends what it could not send in time.
const OPEN_LOOP_GRACE: Duration = Duration::from_secs(5);
/// Up to when the load waits before its first request, so that every connection is ready.
const START_DELAY: Duration = Duration::from_millis(20);

/// What the load is told when it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Where the API listens.
    pub api: SocketAddr,
    /// How events come in.
    pub entry: Entry,
    /// The type of all events that are published through the API.
    pub event_type: String,
    /// How many deliveries each event should beget.
    pub fan_out: u64,
    /// The size of each payload.
    pub payload_bytes: usize,
    /// How many events are sent with one request; 1 uses `events:publish`, more `events:batchPublish`.
    pub batch: u64,
    /// How many ordering keys the events have; 0 for none. Each connection has keys of its own.
    pub ordering_keys: u64,
    /// Over how many connections.
    pub connections: usize,
    /// How fast and how long.
    pub pace: Pace,
    /// Whether what is answered 429 is sent again after the time that the answer asks for.
    pub retries_refusals: bool,
    /// Where to write the keys of the events that were acknowledged, a file for each tenant.
    pub acknowledged: Vec<PathBuf>,
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
        /// When it ends though there are more.
        within: Duration,
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
    /// Events that were sent again after an answer 429, each time that they were.
    pub sent_again: u64,
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
    let mut ready = Vec::new();
    for _ in 0..plan.connections {
        ready.push(Connection::open(plan.api).await?);
    }

    let start_us = clock::now_us() + micros(START_DELAY);
    let (schedule, body) = (schedule(&plan, start_us), body(&plan, plan.batch));
    let (signer, tenants) = (signer(&plan), plan.entry.tenants());
    let load = Load { plan, schedule: Arc::new(schedule), body, signer, turn: AtomicUsize::new(0) };
    let load = Arc::new(load);
    tokio::time::sleep(START_DELAY).await;
    let pacer = std::thread::spawn({
        let (schedule, connections) = (Arc::clone(&load.schedule), load.plan.connections);
        move || schedule::pace(&schedule, connections)
    });

    let mut publishers = JoinSet::new();
    for (number, connection) in (0..).zip(ready) {
        let publisher = Publisher {
            lanes: Lanes::of(number, &load.plan),
            load: Arc::clone(&load),
            connection: Some(connection),
            tally: Tally::new(tenants),
        };
        publishers.spawn(publisher.run());
    }
    let mut total = Tally::new(tenants);
    while let Some(tally) = publishers.join_next().await {
        total.merge(tally.context("a publisher panicked")?);
    }
    pacer.join().ok().context("the pacer panicked")?;

    for (path, keys) in load.plan.acknowledged.iter().zip(&total.acknowledged) {
        event_key::write_file(path, keys)?;
    }
    Ok(Report {
        requests: total.requests,
        events: total.acknowledged.iter().map(|keys| keys.len() as u64).sum(),
        seconds: clock::seconds_between(start_us, total.last_us),
        start_us,
        ack: total.ack.percentiles(),
        lateness: total.lateness.percentiles(),
        errors: total.errors,
        sent_again: total.sent_again,
        fan_out_wrong: total.fan_out_wrong,
        unsent: load.schedule.unsent(),
        usage: Usage::of_process(std::process::id())?,
    })
}

fn schedule(plan: &Plan, start_us: u64) -> Schedule {
    match plan.pace {
        Pace::Closed { duration } => Schedule::closed(start_us + micros(duration), u64::MAX),
        Pace::Count { events, within } => {
            Schedule::closed(start_us + micros(within), events.div_ceil(plan.batch))
        }
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

/// Makes the body of a request with so many events.
fn body(plan: &Plan, events: u64) -> Body {
    let Plan { entry, batch, event_type, payload_bytes, ordering_keys, .. } = plan;
    match (entry, batch) {
        (Entry::Sources { .. }, _) => Body::of_webhook(*payload_bytes),
        (Entry::Api { .. }, 1) => Body::of_one(event_type, *payload_bytes, *ordering_keys > 0),
        (Entry::Api { .. }, _) => {
            Body::of_batch(event_type, *payload_bytes, *ordering_keys > 0, events as usize)
        }
    }
}

fn signer(plan: &Plan) -> Option<Signer> {
    match &plan.entry {
        Entry::Api { .. } => None,
        Entry::Sources { signing, .. } => Some(Signer::new(signing)),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// What all connections share.
struct Load {
    plan: Plan,
    schedule: Arc<Schedule>,
    /// The body of a whole request.
    body: Body,
    /// Signs what is sent to sources.
    signer: Option<Signer>,
    /// Counts the requests, so that tenants take turns.
    turn: AtomicUsize,
}

/// Publishes over one connection.
struct Publisher {
    load: Arc<Load>,
    lanes: Lanes,
    connection: Option<Connection>,
    tally: Tally,
}

/// The ordering keys of one connection, in turn; to sources, numbers that no other connection uses.
struct Lanes {
    first: u64,
    next: u64,
    step: u64,
    end: u64,
}

impl Lanes {
    fn of(connection: u64, plan: &Plan) -> Self {
        let end = match plan.entry {
            Entry::Api { .. } => plan.ordering_keys,
            Entry::Sources { .. } => LANES_MAX,
        };
        Self { first: connection, next: connection, step: plan.connections as u64, end }
    }

    fn next(&mut self) -> u64 {
        if self.end == 0 {
            return 0;
        }
        let lane = self.next;
        let following = lane + self.step;
        self.next = if following < self.end { following } else { self.first };
        lane
    }
}

/// What of a request should be sent again, and when.
struct Again {
    events: u64,
    wait: Duration,
}

impl Publisher {
    async fn run(mut self) -> Tally {
        let load = Arc::clone(&self.load);
        while let Some(due_us) = load.schedule.next().await {
            let tenant = load.turn.fetch_add(1, Ordering::Relaxed) % load.plan.entry.tenants();
            self.tally.lateness.record(clock::now_us().saturating_sub(due_us));
            let stamp = Stamp { due_us, lane: self.lanes.next() };
            let mut again = self.publish(tenant, stamp, &load.body).await;
            while let Some(Again { events, wait }) = again {
                tokio::time::sleep(wait).await;
                if load.schedule.is_over() {
                    break;
                }
                self.tally.sent_again += events;
                again = self.publish(tenant, stamp, &body(&load.plan, events)).await;
            }
        }
        self.tally
    }

    /// Sends a request and counts what comes of it. Returns what is to be sent again.
    async fn publish(&mut self, tenant: usize, stamp: Stamp, body: &Body) -> Option<Again> {
        let load = Arc::clone(&self.load);
        if self.connection.is_none() {
            self.connection = Connection::open(load.plan.api).await.ok();
        }
        let Some(open) = &mut self.connection else {
            self.tally.count_error("no connection");
            tokio::time::sleep(FAILURE_PAUSE).await;
            return None;
        };

        let answer = open.send(load.request(tenant, stamp, body)).await;
        let now_us = clock::now_us();
        self.tally.last_us = now_us;
        match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                self.tally.ack.record(now_us.saturating_sub(stamp.due_us));
                let refused = self.tally.count_answer(answer.body(), tenant, load.plan.fan_out);
                load.again(refused, &answer)
            }
            Ok(answer) => {
                self.tally.count_refusal(answer.status().as_u16(), answer.body());
                tokio::time::sleep(FAILURE_PAUSE).await;
                let is_refused = answer.status() == StatusCode::TOO_MANY_REQUESTS;
                load.again(if is_refused { load.plan.batch } else { 0 }, &answer)
            }
            Err(_) => {
                self.tally.count_error("broken connection");
                self.connection = None;
                tokio::time::sleep(FAILURE_PAUSE).await;
                None
            }
        }
    }
}

impl Load {
    fn request(&self, tenant: usize, stamp: Stamp, body: &Body) -> Request<Full<Bytes>> {
        let (path, key) = match &self.plan.entry {
            Entry::Api { keys } if self.plan.batch == 1 => {
                ("/v1/events:publish", Some(keys[tenant].as_str()))
            }
            Entry::Api { keys } => ("/v1/events:batchPublish", Some(keys[tenant].as_str())),
            Entry::Sources { paths, .. } => (paths[tenant].as_str(), None),
        };
        let body = body.stamped(stamp);
        let signed = self.signer.as_ref().map(|signer| signer.headers(&body, stamp, clock::unix_s()));
        let mut request = control::request(self.plan.api, Method::POST, path, key, body)
            .expect("the same request was accepted when the tenant was set up");
        request.headers_mut().extend(signed.unwrap_or_default());
        request
    }

    /// Returns what of a request is sent again, of which so many events were answered 429.
    fn again(&self, refused: u64, answer: &Response<Bytes>) -> Option<Again> {
        let retries = self.plan.retries_refusals && refused > 0;
        retries.then(|| Again { events: refused, wait: retry_after(answer) })
    }
}

/// Returns how long an answer asks to wait; a batch, whose answer is 200, asks nothing.
fn retry_after(answer: &Response<Bytes>) -> Duration {
    let seconds =
        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(RETRY_AFTER_DEFAULT, Duration::from_secs)
}

/// What one connection, or all of them, counted.
struct Tally {
    requests: u64,
    /// The keys of the events of each tenant.
    acknowledged: Vec<Vec<u64>>,
    ack: Histogram,
    lateness: Histogram,
    errors: BTreeMap<String, u64>,
    sent_again: u64,
    fan_out_wrong: u64,
    last_us: u64,
}

/// The part of an answer that counts: of a source, to `events:publish`, to `events:batchPublish`, or one of
/// its results.
#[derive(Deserialize)]
struct Answer<'a> {
    event_id: Option<&'a str>,
    fanout_count: Option<u64>,
    /// A source names the delivery where there is exactly one, instead of a count.
    delivery_id: Option<&'a str>,
    duplicate: Option<bool>,
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

impl Answer<'_> {
    fn fan_out(&self) -> u64 {
        self.fanout_count.unwrap_or(self.delivery_id.is_some().into())
    }
}

impl Problem {
    fn is_refusal(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS.as_u16()
    }
}

impl Tally {
    fn new(tenants: usize) -> Self {
        Self {
            requests: 0,
            acknowledged: vec![Vec::new(); tenants],
            ack: Histogram::new(),
            lateness: Histogram::new(),
            errors: BTreeMap::new(),
            sent_again: 0,
            fan_out_wrong: 0,
            last_us: 0,
        }
    }

    /// Counts an answer of success and returns how many of its events were nevertheless answered 429.
    fn count_answer(&mut self, body: &[u8], tenant: usize, fan_out: u64) -> u64 {
        self.requests += 1;
        let Ok(mut answer) = serde_json::from_slice::<Answer<'_>>(body) else {
            self.count_error("unreadable answer");
            return 0;
        };
        let mut results = std::mem::take(&mut answer.results);
        if results.is_empty() {
            results.push(answer);
        }
        let mut refused = 0;
        for result in &results {
            self.count_result(result, tenant, fan_out);
            refused += u64::from(result.error.as_ref().is_some_and(Problem::is_refusal));
        }
        refused
    }

    fn count_result(&mut self, result: &Answer<'_>, tenant: usize, fan_out: u64) {
        match (result.event_id, result.duplicate, &result.error) {
            (Some(id), Some(false), None) => {
                self.acknowledged[tenant].push(event_key::of(id.as_bytes()));
                self.fan_out_wrong += u64::from(result.fan_out() != fan_out);
            }
            // Nothing that is sent was sent before.
            (Some(_), Some(true), None) => self.count_error("200 duplicate"),
            (_, _, Some(problem)) => self.count_problem(problem),
            (_, _, None) => self.count_error("unreadable answer"),
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
        for (mine, theirs) in self.acknowledged.iter_mut().zip(other.acknowledged) {
            mine.extend(theirs);
        }
        self.ack.merge(&other.ack);
        self.lateness.merge(&other.lateness);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.sent_again += other.sent_again;
        self.fan_out_wrong += other.fan_out_wrong;
        self.last_us = self.last_us.max(other.last_us);
    }
}

#[cfg(test)]
mod tests;
